"""Handlers of the routes that ask the model: message to job, jobs to batch, answer to message."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from msgspec import UNSET, UnsetType

from marquee.bundle.releases import Role
from marquee.decision.pages.rows import AnsweredRow, Row
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, Decided, Request
from marquee.errors import DataError, FilterError, MarqueeError, UnknownIdError
from serving.api.batching import Batcher
from serving.api.cost import cost_of, cost_of_page
from serving.api.messages.answers import (
    NOT_RECORDING,
    PROFILE_UNAVAILABLE,
    BatchAnswer,
    BundleAnswer,
    RecommendAnswer,
    RecordOfAnswer,
)
from serving.api.messages.cursors import Cursor, write_cursor
from serving.api.messages.limits import to_request, to_similar_request, validate_batch_size
from serving.api.messages.page_limits import to_rows, to_user
from serving.api.messages.pages import PageAnswer, PageRequest, row_answer
from serving.api.messages.reading import reader
from serving.api.messages.requests import BatchRequest, RecommendRequest, SimilarRequest
from serving.api.metrics import ANSWERED, AnswerMetrics
from serving.config import Settings
from serving.http.errors import ErrorAnswer, Problem, Refusal, refusal_of
from serving.http.exchange import Call
from serving.recording.profiles import Profiles
from serving.recording.recorder import Begun, Recorder, decision_of
from serving.releases.answering import Answering
from serving.releases.metrics import CandidateMetrics, ThreadMetrics
from serving.releases.shadow import Shadow
from serving.releases.surfaces import Surface, Surfaces
from serving.telemetry.metrics import Metrics
from serving.telemetry.timings import QUEUE, READ, Stopwatch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A question and the release that answers it: chosen once, so that an answer is of one release.

    Attributes:
        asked: What.
        surface: Where the answer is shown.
        recommender: Who answers.
        answering: All who might have when the request came.
        request_id: Of the request.
        timings: Whether the answer is to tell what each stage took.
        begun: The decision that it is to be, None where nothing is recorded.
        since: When the job was made, seconds of `time.perf_counter`.
        is_paged: Whether the answer brings a cursor.
        shown: Items that were shown before.
        rows: Of a page; none for a plain request.
    """

    asked: Request
    surface: Surface
    recommender: Recommender
    answering: Answering
    request_id: str
    timings: bool
    begun: Begun | None
    since: float
    is_paged: bool = False
    shown: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()

    def cursor_behind(self, version: str, item_ids: Iterable[str]) -> str | None:
        """Returns the cursor behind an answer of a release; None if nothing may follow."""
        answered_by = (one for one in self.answering.recommenders if one.version == version)
        recommender = next(answered_by, self.recommender)
        return write_cursor(recommender.item_pool, version, (*self.shown, *item_ids))


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and what it took.

    Attributes:
        asked: What was asked, with what the user did since the release.
        answer: The answer, of a page that of its first row.
        decided: With what a record of it holds beside; None where nothing is recorded.
        has_profile: Whether what the user did since the release was there, as far as it is asked for.
        queue_s: Seconds that the job waited for its batch.
        watch: Of the batch.
        rows: The rows of a page.
    """

    asked: Request
    answer: Answer
    decided: Decided | None
    has_profile: bool
    queue_s: float
    watch: Stopwatch
    rows: tuple[AnsweredRow, ...] = ()


class Endpoints:
    """Answers bodies with the releases that are loaded; belongs to one event loop.

    Args:
        settings: The operator's limits.
        surfaces: Which surface a request means, and who answers for it.
        clock: Returns the time, seconds since 1970 UTC; read once per body.
        metrics: What counts.
        recorder: Puts answers on record; None: nobody does.
        profiles: Knows what users did since the release; None: nobody does.
    """

    def __init__(
        self,
        settings: Settings,
        surfaces: Surfaces,
        clock: Callable[[], float] = time.time,
        metrics: Metrics | None = None,
        recorder: Recorder | None = None,
        profiles: Profiles | None = None,
    ) -> None:
        self._recorder = recorder
        self._profiles = profiles
        self._settings = settings
        self.surfaces = surfaces
        self._clock = clock
        self.metrics = metrics or Metrics()
        self._answer_metrics = self.metrics.family(AnswerMetrics)
        self._candidate_metrics = self.metrics.family(CandidateMetrics)
        self._shadow = Shadow(self._candidate_metrics, self.metrics.family(ThreadMetrics))
        self._batcher: Batcher[Job, Answered] = Batcher(
            self._run_batch,
            micro_batch=settings.micro_batch,
            max_pending=settings.max_pending,
            deadline_s=settings.deadline_ms / 1000,
        )
        self._read_part = reader(RecommendRequest)

    async def recommend(self, call: Call, message: RecommendRequest) -> RecommendAnswer:
        """Returns the answer to one request."""
        job = self._recommend_job(message, self._now(), call.request_id)
        return await self._answer(job, call)

    async def similar(self, call: Call, message: SimilarRequest) -> RecommendAnswer:
        """Returns the items that resemble one."""
        surface = self.surfaces.named(message.surface)
        asked = to_similar_request(message, surface, self._now())
        job = self._job(asked, surface, call.request_id, timings=message.timings)
        return await self._answer(job, call)

    async def page(self, call: Call, message: PageRequest) -> PageAnswer:
        """Returns the rows of a page."""
        surface = self.surfaces.named(message.surface)
        user = to_user(message, surface, self._now())
        job = self._job(user, surface, call.request_id, cursor=message.cursor)
        rows = to_rows(message, self.surfaces, job.asked, self._settings.max_rows)
        for row in rows:
            _validate(job.recommender, row.request)
        job = replace(job, rows=tuple(rows))
        (future,) = self._enqueue([job], call)
        answered = await future
        items = [item for row in answered.rows for item in row.answer.items]
        version = answered.answer.version
        call.facts = {"release": version, "surface": surface.name, "rows": len(rows), "returned": len(items)}
        self._count_stages(job, answered, call)
        return PageAnswer(
            request_id=call.request_id,
            version=version,
            rows=tuple(map(row_answer, message.rows, answered.rows)),
            cursor=job.cursor_behind(version, [item.item_id for item in items]) if items else None,
        )

    async def recommend_batch(self, call: Call, message: BatchRequest) -> BatchAnswer:
        """Returns an answer or an error for each of several requests."""
        validate_batch_size(message, self._settings)
        call.charge(len(message.requests) - 1)
        parts = self._read_parts(message, self._now(), call.request_id)
        futures = self._enqueue([part for part in parts if isinstance(part, Job)], call)
        answered = iter(await asyncio.gather(*futures, return_exceptions=True))
        answers: list[RecommendAnswer | ErrorAnswer] = []
        n_refused = 0  # the status of the whole call is 200: the log must tell of its parts
        for position, part in enumerate(parts):
            outcome = next(answered) if isinstance(part, Job) else part
            if isinstance(part, Job) and isinstance(outcome, Answered):
                answers.append(self._tell(part, outcome, call))
                self._answer_metrics.count_part(ANSWERED)
            else:
                request_id = f"{call.request_id}.{position}"
                assert isinstance(outcome, BaseException), f"an answer needs a job, got {type(outcome)}"
                refusal = refusal_and_log(outcome, request_id)
                answers.append(refusal.answer(request_id))
                self._answer_metrics.count_part(refusal.problem.name)
                n_refused += 1
        call.facts["requests"] = len(parts)
        call.facts["refused"] = n_refused
        return BatchAnswer(request_id=call.request_id, answers=answers)

    async def _answer(self, job: Job, call: Call) -> RecommendAnswer:
        """Returns the answer to the one job of a call."""
        (future,) = self._enqueue([job], call)
        answered = await future
        call.facts = {
            "release": answered.answer.version,
            "surface": job.surface.name,
            "source": answered.answer.source.value,
            "returned": len(answered.answer.items),
        }
        return self._tell(job, answered, call)

    def _tell(self, job: Job, answered: Answered, call: Call) -> RecommendAnswer:
        """Returns the message that tells an answer, with what it took if that is asked."""
        self._count_stages(job, answered, call)
        took_ms = _took_ms(call) if job.timings else None
        answer, cursor = answered.answer, None
        if job.is_paged and len(answer.items) == answer.requested:  # a shorter one holds all that there was
            cursor = job.cursor_behind(answer.version, [item.item_id for item in answer.items])
        return RecommendAnswer.of(answer, job.request_id, took_ms, cursor, self._record(job, answered))

    def _count_stages(self, job: Job, answered: Answered, call: Call) -> None:
        """Tells counters and log what an answer took."""
        read_s = job.since - call.started
        self._answer_metrics.count_waiting(read_s, answered.queue_s)
        call.stages = {READ: read_s, QUEUE: answered.queue_s, **answered.watch.seconds}

    def _record(self, job: Job, answered: Answered) -> RecordOfAnswer:
        """Puts an answer on record, if answers are, and returns what it tells of that."""
        if self._recorder is None or job.begun is None or answered.decided is None:
            return NOT_RECORDING
        decision = decision_of(job.asked, job.begun, job.request_id, job.recommender, answered.decided)
        is_recorded = self._recorder.record(decision)
        profile = None if answered.has_profile else PROFILE_UNAVAILABLE
        return RecordOfAnswer(decision.decision_id, is_recorded, decision.policy, profile)

    def _enqueue(self, jobs: Sequence[Job], call: Call) -> "list[asyncio.Future[Answered]]":
        """Returns a future per job; charges the key for what the jobs cost beyond plain ones."""
        costs = [cost_of_page(job.asked, job.rows) if job.rows else cost_of(job.asked) for job in jobs]
        futures = self._batcher.enqueue(jobs, call.deadline_s, call.caller, costs)
        call.charge_work(sum(costs) - len(costs))
        return futures

    def refuse_if_full(self, deadline_s: float, caller: str) -> None:
        """Raises Refusal if a request that `caller` sent now would be answered too late."""
        self._batcher.refuse_if_full(deadline_s, caller)

    async def bundle(self, call: Call) -> BundleAnswer:
        """Returns which bundle answers for the surface that the query names."""
        surface = self.surfaces.named(call.query.get("surface", UNSET))
        bundle = self.surfaces.answering(surface).current.bundle
        return BundleAnswer.of(bundle, with_figures=call.sees_more)

    def close(self) -> None:
        """Waits for the requests in the model and stops taking more."""
        self._batcher.close()
        self._shadow.close()
        if self._recorder is not None:
            self._recorder.close()
        if self._profiles is not None:
            self._profiles.close()

    def _read_parts(self, message: BatchRequest, timestamp: int, request_id: str) -> list[Job | Exception]:
        """Returns a job, or the reason why it is none, per part of a batch."""
        parts: list[Job | Exception] = []
        for position, part in enumerate(message.requests):
            try:
                read = self._read_part(part)
                parts.append(self._recommend_job(read, timestamp, f"{request_id}.{position}"))
            except (Refusal, MarqueeError) as error:
                parts.append(error)
        return parts

    def _recommend_job(self, message: RecommendRequest, timestamp: int, request_id: str) -> Job:
        """Returns the job that a message makes; raises what says that it makes none."""
        surface = self.surfaces.named(message.surface)
        request = to_request(message, surface, timestamp)
        job = self._job(request, surface, request_id, timings=message.timings, cursor=message.cursor)
        return replace(job, is_paged=True) if message.paging else job

    def _job(
        self,
        asked: Request,
        surface: Surface,
        request_id: str,
        *,
        timings: bool = False,
        cursor: str | UnsetType = UNSET,
    ) -> Job:
        """Returns a job with who answers it; raises FilterError before it could spoil a batch."""
        answering = self.surfaces.answering(surface)
        shown: tuple[str, ...] = ()
        recommender = answering.choose(asked.user_id or request_id)
        if cursor is not UNSET:
            read = Cursor.read(cursor)
            recommender = _of_release(answering, read.version)
            shown = read.shown(recommender.item_pool)
            asked = replace(asked, exclude=(*asked.exclude, *shown))
        if surface.context:
            asked = surface.with_context(asked, recommender.bundle.columns)
        begun = self._recorder.begin() if self._recorder else None
        if begun and begun.may_explore and surface.exploration.explores:
            asked = replace(asked, exploration=surface.exploration, decision_id=begun.decision_id)
        _validate(recommender, asked)
        return Job(
            asked,
            surface,
            recommender,
            answering,
            request_id,
            timings,
            begun,
            time.perf_counter(),
            is_paged=cursor is not UNSET,
            shown=shown,
        )

    def _run_batch(self, jobs: Sequence[Job]) -> list[Answered]:
        """Returns the answer to each job, each from one recommender; runs in the batcher's thread."""
        if all(job.answering is jobs[0].answering and not job.answering.candidates for job in jobs):
            return self._answers(jobs)
        answers: dict[int, Answered] = {}
        groups: dict[Recommender, list[int]] = {}
        for position, job in enumerate(jobs):
            groups.setdefault(job.recommender, []).append(position)
        for members in groups.values():
            group = [jobs[position] for position in members]
            answers.update(zip(members, self._answers_of_release(group), strict=True))
        return [answers[position] for position in range(len(jobs))]

    def _answers_of_release(self, jobs: Sequence[Job]) -> list[Answered]:
        """Returns the answers of jobs that one release answers; the current one stands in for a canary."""
        current = jobs[0].answering.current
        try:
            answers = self._answers(jobs)
        except MarqueeError:
            raise
        except Exception as error:
            if jobs[0].recommender is current:
                raise
            logger.error("canary %s failed: %r", jobs[0].recommender.version, error, exc_info=error)
            self._candidate_metrics.count_canary_failures(len(jobs))
            return self._answers([replace(job, recommender=current) for job in jobs])
        for job, answer in zip(jobs, answers, strict=True):
            shadow = job.answering.candidates.get(Role.shadow)
            is_current = job.recommender is job.answering.current
            if shadow and is_current and not job.rows and shadow.candidate.includes(job.request_id):
                self._shadow.offer(shadow.recommender, answer.asked, answer.answer, job.recommender)
        return answers

    def _answers(self, jobs: Sequence[Job]) -> list[Answered]:
        """Returns the answers of jobs that one release answers, and counts them."""
        if any(job.rows for job in jobs):
            return [self._page(job) if job.rows else self._answers([job])[0] for job in jobs]
        watch = Stopwatch()
        recommender = jobs[0].recommender
        asked, has_profile = self._with_profiles(jobs)
        decided: Sequence[Decided | None] = [None] * len(jobs)
        if self._recorder is None:
            answers = recommender.recommend(asked, watch)
        else:
            decided = made = recommender.decide(asked, watch)
            answers = [one.answer for one in made]
        self._answer_metrics.count_batch(len(jobs), watch.total_s, watch.seconds)
        for job, answer in zip(jobs, answers, strict=True):
            self._count_answer(job, answer)
        return [
            Answered(request, answer, one, there, watch.started - job.since, watch)
            for job, request, answer, one, there in zip(
                jobs, asked, answers, decided, has_profile, strict=True
            )
        ]

    def _page(self, job: Job) -> Answered:
        """Returns the rows of a page, and counts each."""
        watch = Stopwatch()
        (asked,), (has_profile,) = self._with_profiles([job])
        rows = job.recommender.recommend_page(asked, job.rows, watch)
        self._answer_metrics.count_batch(1, watch.total_s, watch.seconds)
        for row in rows:
            self._count_answer(job, row.answer)
        queue_s = watch.started - job.since
        return Answered(asked, rows[0].answer, None, has_profile, queue_s, watch, tuple(rows))

    def _with_profiles(self, jobs: Sequence[Job]) -> tuple[list[Request], list[bool]]:
        """Returns the requests with the profiles of their users, and which of these could be had."""
        asked = [job.asked for job in jobs]
        if self._profiles is None:
            return asked, [True] * len(jobs)
        return self._profiles.before(asked, jobs[0].recommender.bundle.manifest.known_until)

    def _count_answer(self, job: Job, answer: Answer) -> None:
        """Tells the counters of one answer."""
        asked, n_history = job.asked, len(job.asked.history)
        gave_something = bool(n_history or asked.user_id or asked.features or asked.like_item)
        self._answer_metrics.count_answer(
            answer, n_history, gave_something=gave_something, surface=job.surface.name
        )

    def _now(self) -> int:
        """Returns the time of a request, seconds since 1970 UTC."""
        return int(self._clock())


def _of_release(answering: Answering, version: str) -> Recommender:
    """Returns who answers from the release of a cursor; raises Refusal if nobody does any more."""
    for recommender in answering.recommenders:
        if recommender.version == version:
            return recommender
    raise Refusal(
        Problem.cursor_expired,
        f"the cursor belongs to release {version[:128]!r}, and {answering.current.version} answers now; "
        "begin anew, without the cursor",
        field="cursor",
    )


def _validate(recommender: Recommender, request: Request) -> None:
    """Raises what says that a release cannot answer a request, before it could spoil a batch.

    Raises:
        FilterError: If the catalog cannot apply the filters.
        UnknownIdError: If there is no item that others are to be like.
        Refusal: If re-ranking asks for an attribute that the catalog does not have.
    """
    if not (request.filters or request.reranks or request.like_item):
        return
    try:
        recommender.validate(request)
    except (FilterError, UnknownIdError):
        raise
    except DataError as error:
        raise Refusal(Problem.invalid_request, str(error), field="reranking") from None


def _took_ms(call: Call) -> dict[str, float]:
    """Returns the stages of a call, and all since it began, in milliseconds."""
    total_s = time.perf_counter() - call.started
    return {name: round(seconds * 1000, 3) for name, seconds in (*call.stages.items(), ("total", total_s))}


def refusal_and_log(error: BaseException, request_id: str) -> Refusal:
    """Returns the refusal that the caller gets for `error`; logs every fault of ours in full."""
    refusal = refusal_of(error)
    if refusal is not error and refusal.status >= 500:
        facts = {"request_id": request_id}
        logger.error("request %s failed", request_id, exc_info=error, extra={"facts": facts})
    return refusal
