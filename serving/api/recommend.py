"""Handlers of the routes that ask the model: message to job, jobs to batch, answer to message."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from msgspec import UNSET, Raw, structs

from marquee.decision.explaining.asked import AskedRow
from marquee.errors import MarqueeError
from marquee.store.people.consent import Tier, strictest
from serving.api.ads.advertised import Advertised
from serving.api.ads.messages import ads_told
from serving.api.answering.batching import Batcher
from serving.api.answering.cost import cost_of, cost_of_page
from serving.api.answering.jobs import Answered, Job, JobMaker
from serving.api.answering.runner import JobRunner
from serving.api.answering.steering import NOT_STEERED, Steering
from serving.api.answering.tiers import Tiers
from serving.api.messages.answers import (
    NOT_RECORDING,
    PROFILE_UNAVAILABLE,
    BatchAnswer,
    BundleAnswer,
    RecommendAnswer,
    RecordOfAnswer,
)
from serving.api.messages.limits import to_request, to_similar_request, validate_batch_size
from serving.api.messages.page_limits import to_rows, to_user
from serving.api.messages.pages import PageAnswer, PageRequest, row_answer
from serving.api.messages.reading import reader
from serving.api.messages.requests import BatchRequest, RecommendRequest, SimilarRequest
from serving.api.metrics import ANSWERED, AnswerMetrics
from serving.config import Settings
from serving.http.errors import ErrorAnswer, Refusal, refusal_of
from serving.http.exchange import Call
from serving.recording.profiles import Profiles
from serving.recording.recorder import GivenAnswer, Recorder
from serving.recording.users import PlainUsers
from serving.releases.arms.callers import Arms
from serving.releases.arms.experiments import NO_EXPERIMENTS, Experiments
from serving.releases.arms.metrics import ExperimentMetrics
from serving.releases.surfaces import Surfaces
from serving.telemetry.metrics import Metrics
from serving.telemetry.timings import QUEUE, READ

logger = logging.getLogger(__name__)


class Endpoints:
    """Answers bodies with the releases that are loaded; belongs to one event loop.

    Args:
        settings: The operator's limits.
        surfaces: Which surface a request means, and who answers for it.
        clock: Returns the time, seconds since 1970 UTC; read once per body.
        metrics: What counts.
        recorder: Puts answers on record; None: nobody does.
        profiles: Knows what users did since the release; None: nobody does.
        experiments: Those that run.
        steering: What steers answers beside the release.
    """

    def __init__(
        self,
        settings: Settings,
        surfaces: Surfaces,
        clock: Callable[[], float] = time.time,
        metrics: Metrics | None = None,
        recorder: Recorder | None = None,
        profiles: Profiles | None = None,
        experiments: Experiments = NO_EXPERIMENTS,
        steering: Steering = NOT_STEERED,
    ) -> None:
        self._recorder = recorder
        self._profiles = profiles
        self._settings = settings
        self.surfaces = surfaces
        self._clock = clock
        self.metrics = metrics or Metrics()
        self._answer_metrics = self.metrics.family(AnswerMetrics)
        self._experiment_metrics = self.metrics.family(ExperimentMetrics)
        self._experiment_metrics.declare(experiments.shares)
        # Where nobody keeps what users say, all have said the same.
        self._tiers = (
            Tiers(profiles.users, profiles.budget_s) if profiles else Tiers(PlainUsers(settings.default_tier))
        )
        self._arms = Arms(surfaces, experiments, clock)
        self._jobs = JobMaker(recorder)
        self._runner = JobRunner(
            self.metrics,
            profiles,
            steering,
            is_recording=recorder is not None,
            default=settings.default_tier,
        )
        self._batcher: Batcher[Job, Answered] = Batcher(
            self._runner.run,
            micro_batch=settings.micro_batch,
            max_pending=settings.max_pending,
            deadline_s=settings.deadline_ms / 1000,
        )
        self._read_part = reader(RecommendRequest)

    async def recommend(self, call: Call, message: RecommendRequest) -> RecommendAnswer:
        """Returns the answer to one request."""
        tiers = await self._tiers_of([message])
        job = self._recommend_job(message, tiers, self._now(), call.request_id)
        return await self._answer(job, call)

    async def similar(self, call: Call, message: SimilarRequest) -> RecommendAnswer:
        """Returns the items that resemble one."""
        caller = self._arms.of(call.request_id, None, Tier.personal)
        surface = caller.named(message.surface)
        asked = to_similar_request(message, surface, self._now())
        job = self._jobs.make(asked, surface, caller, call.request_id, timings=message.timings)
        return await self._answer(job, call)

    async def page(self, call: Call, message: PageRequest) -> PageAnswer:
        """Returns the rows of a page."""
        tiers = await self._tiers_of([message])
        caller = self._arms.of(call.request_id, message.user_id, _tier(message, tiers))
        surface = caller.named(message.surface)
        user = to_user(message, surface, self._now())
        job = self._jobs.make(user, surface, caller, call.request_id, cursor=message.cursor)
        rows = to_rows(message, caller, job.asked, self._settings.max_rows)
        job = self._jobs.with_rows(job, rows, caller)
        (future,) = self._enqueue([job], call)
        answered = await future
        items = [item for row in answered.rows for item in row.answer.items]
        version = answered.answer.version
        call.facts = {"release": version, "surface": surface.name, "rows": len(rows), "returned": len(items)}
        self._count_stages(job, answered, call)
        return PageAnswer(
            request_id=call.request_id,
            version=version,
            tier=answered.identified.request.tier,
            rows=tuple(
                map(
                    row_answer,
                    message.rows,
                    answered.rows,
                    self._record_rows(job, answered),
                    answered.row_creatives,
                    map(ads_told, answered.row_advertised),
                )
            ),
            profile=None if answered.identified.has_profile else PROFILE_UNAVAILABLE,
            cursor=job.cursor_behind(version, [item.item_id for item in items]) if items else None,
        )

    async def recommend_batch(self, call: Call, message: BatchRequest) -> BatchAnswer:
        """Returns an answer or an error for each of several requests."""
        validate_batch_size(message, self._settings)
        call.charge(len(message.requests) - 1)
        read = [self._read_of_batch(part) for part in message.requests]
        tiers = await self._tiers_of([part for part in read if isinstance(part, RecommendRequest)])
        parts = self._jobs_of_batch(read, tiers, self._now(), call.request_id)
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
        message = RecommendAnswer.of(
            answer,
            job.request_id,
            took_ms=took_ms,
            cursor=cursor,
            record=self._record(job, answered),
            tier=answered.identified.request.tier,
            creatives=answered.creatives,
            experiments={one.experiment: one.arm for one in job.told_arms(job.surface, answered.identified)},
        )
        ads = ads_told(answered.advertised)
        return structs.replace(message, ads=ads) if ads else message

    def _count_stages(self, job: Job, answered: Answered, call: Call) -> None:
        """Tells counters and log what an answer took."""
        read_s = job.since - call.started
        self._answer_metrics.count_waiting(read_s, answered.queue_s)
        call.stages = {READ: read_s, QUEUE: answered.queue_s, **answered.watch.seconds}

    def _record(self, job: Job, answered: Answered) -> RecordOfAnswer:
        """Puts an answer on record, if answers are, and returns what it tells of that."""
        if self._recorder is None or job.begun is None or answered.decided is None:
            return NOT_RECORDING
        given = GivenAnswer(
            answered.identified,
            job.begun,
            job.request_id,
            job.answered_by(answered.answer.version),
            answered.decided,
            job.failed_release(answered.answer.version),
            answered.creatives,
            job.told_arms(job.surface, answered.identified),
        )
        given = _with_sales(given, answered.advertised)
        profile = None if answered.identified.has_profile else PROFILE_UNAVAILABLE
        return self._told(self._recorder, given, profile)

    def _told(self, recorder: Recorder, given: GivenAnswer, profile: str | None = None) -> RecordOfAnswer:
        """Puts an answer on record and returns what it tells of that."""
        is_recorded = recorder.record_answer(given)
        if given.experiments:
            self._experiment_metrics.count(given.experiments)
        policy = given.identified.request.exploration.policy
        return RecordOfAnswer(given.begun.decision_id, is_recorded, policy, profile)

    def _record_rows(self, job: Job, answered: Answered) -> list[RecordOfAnswer]:
        """Puts each row of a page on record as a decision of its own, and returns what each tells of that."""
        records: list[RecordOfAnswer] = []
        page, shown = answered.identified.request, list[str]()
        for position, (row, begun, made, surface) in enumerate(
            zip(answered.asked_rows, job.begun_rows, answered.rows, job.row_surfaces, strict=True)
        ):
            if self._recorder is None or begun is None:
                records.append(NOT_RECORDING)
                continue
            # User and history are the page's: a row names none.
            asked = replace(row.request, user_id=page.user_id, history=page.history)
            own = AskedRow(row.kind.value, row.item_id, row.items, tuple(shown), page.surface)
            one = answered.identified._replace(request=asked)
            # Numbered as the parts of a batch are.
            request_id = f"{job.request_id}.{position}"
            given = GivenAnswer(
                one,
                begun,
                request_id,
                job.answered_by(made.answer.version),
                made.decided,
                job.failed_release(made.answer.version),
                answered.row_creatives[position],
                job.told_arms(surface, one),
                row=own,
            )
            given = _with_sales(given, answered.row_advertised[position])
            shown += answered.row_content[position]
            records.append(self._told(self._recorder, given))
        return records

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
        self._runner.close()
        self._tiers.close()
        if self._recorder is not None:
            self._recorder.close()
        if self._profiles is not None:
            self._profiles.close()

    def _read_of_batch(self, part: Raw) -> RecommendRequest | Exception:
        """Returns the message of a part of a batch, or the reason why it is none."""
        try:
            return self._read_part(part)
        except (Refusal, MarqueeError) as error:
            return error

    def _jobs_of_batch(
        self,
        read: Sequence[RecommendRequest | Exception],
        tiers: Mapping[str, Tier],
        timestamp: int,
        request_id: str,
    ) -> list[Job | Exception]:
        """Returns a job, or the reason why it is none, per part of a batch."""
        parts: list[Job | Exception] = []
        for position, part in enumerate(read):
            if isinstance(part, Exception):
                parts.append(part)
                continue
            try:
                parts.append(self._recommend_job(part, tiers, timestamp, f"{request_id}.{position}"))
            except (Refusal, MarqueeError) as error:
                parts.append(error)
        return parts

    def _recommend_job(
        self, message: RecommendRequest, tiers: Mapping[str, Tier], timestamp: int, request_id: str
    ) -> Job:
        """Returns the job that a message makes; raises what says that it makes none."""
        caller = self._arms.of(request_id, message.user_id, _tier(message, tiers))
        surface = caller.named(message.surface)
        request = to_request(message, surface, timestamp)
        timings, cursor = message.timings, message.cursor
        job = self._jobs.make(request, surface, caller, request_id, timings=timings, cursor=cursor)
        return replace(job, is_paged=True) if message.paging else job

    async def _tiers_of(self, messages: Sequence[RecommendRequest | PageRequest]) -> Mapping[str, Tier]:
        """Returns how much of each user may be used, where the arm that they are in depends on it."""
        if not self._arms.are_drawn:
            return {}
        return await self._tiers.read([one.user_id for one in messages if one.user_id])

    def _now(self) -> int:
        """Returns the time of a request, seconds since 1970 UTC."""
        return int(self._clock())


def _with_sales(given: GivenAnswer, advertised: Advertised | None) -> GivenAnswer:
    """Returns an answer with the ads that it shows, for its record."""
    if advertised is None or advertised.auction is None:
        return given
    return given._replace(sales=advertised.sales, auction=advertised.auction)


def _tier(message: RecommendRequest | PageRequest, tiers: Mapping[str, Tier]) -> Tier:
    """Returns how much of a user may be used, `none` where nobody knows what they have said."""
    said = tiers.get(message.user_id or "", Tier.none)
    return said if message.consent is UNSET else strictest((said, message.consent))


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
