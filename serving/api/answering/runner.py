"""Runs jobs through the releases that answer them; the batcher's thread does."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from marquee.bundle.releases import Role
from marquee.decision.creatives.answers import ItemCreative, choose_creatives, creative_counts
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, Decided, Request
from marquee.errors import MarqueeError
from marquee.store.people.consent import Tier
from serving.api.ads.advertised import Advertised
from serving.api.answering.jobs import Answered, Job
from serving.api.answering.steering import Steering
from serving.api.metrics import AnswerMetrics
from serving.recording.identity import Identified, identified_by_itself
from serving.recording.profiles import Profiles
from serving.recording.recorder import Begun
from serving.recording.rules.metrics import RuleMetrics
from serving.releases.metrics import CandidateMetrics
from serving.releases.shadow import Shadow
from serving.releases.surfaces import Surface
from serving.telemetry.background import ThreadMetrics
from serving.telemetry.metrics import Metrics
from serving.telemetry.timings import Stopwatch

logger = logging.getLogger(__name__)


class JobRunner:
    """Answers batches of jobs, each job from its one release; called from one thread at a time.

    Args:
        metrics: What counts.
        profiles: Knows what users did since the release; None: nobody does.
        steering: What steers answers beside the release.
        is_recording: Whether answers are put on record, and so need what a record holds beside them.
        default: How much of a person may be used where nobody keeps what they said.
    """

    def __init__(
        self,
        metrics: Metrics,
        profiles: Profiles | None,
        steering: Steering,
        *,
        is_recording: bool,
        default: Tier = Tier.personal,
    ) -> None:
        self._answer_metrics = metrics.family(AnswerMetrics)
        self._candidate_metrics = metrics.family(CandidateMetrics)
        self._shadow = Shadow(self._candidate_metrics, metrics.family(ThreadMetrics))
        self._rule_metrics = metrics.family(RuleMetrics)
        self._profiles = profiles
        self._steering = steering
        self._is_recording = is_recording
        self._default = default

    def run(self, jobs: Sequence[Job]) -> list[Answered]:
        """Returns the answer to each job, each from one recommender."""
        if all(job.answering is jobs[0].answering and job.is_plain for job in jobs):
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
        """Returns the answers of jobs that one release answers; the current one stands in for any other."""
        current = jobs[0].answering.current
        try:
            answers = self._answers(jobs)
        except MarqueeError:
            raise
        except Exception as error:
            if jobs[0].recommender is current:
                raise
            canary = jobs[0].answering.candidates.get(Role.canary)
            role = Role.canary.value if canary and canary.recommender is jobs[0].recommender else "arm"
            logger.error("%s %s failed: %r", role, jobs[0].recommender.version, error, exc_info=error)
            self._candidate_metrics.count_failures(role, len(jobs))
            return self._answers([replace(job, recommender=current) for job in jobs])
        for job, answer in zip(jobs, answers, strict=True):
            shadow = job.answering.candidates.get(Role.shadow)
            is_current = job.recommender is job.answering.current
            # A shadow sells nothing: its content would be compared with ads.
            is_content = answer.advertised is None or not answer.advertised.ads
            if (
                shadow
                and is_current
                and is_content
                and not job.rows
                and shadow.candidate.includes(job.request_id)
            ):
                asked = replace(answer.identified.request_to(shadow.recommender.bundle.manifest), ads=None)
                self._shadow.offer(shadow.recommender, asked, answer.answer, job.recommender)
        return answers

    def _answers(self, jobs: Sequence[Job]) -> list[Answered]:
        """Returns the answers of jobs that one release answers, and counts them."""
        if any(job.rows for job in jobs):
            return [self._page(job) if job.rows else self._answers([job])[0] for job in jobs]
        watch = Stopwatch()
        recommender = jobs[0].recommender
        identified = self._identified(jobs)
        asked = self._steering.requests(identified, jobs)
        # A shadow must know that rules held: it is compared without them.
        identified = [
            who if who.request is one else who._replace(request=one)
            for who, one in zip(identified, asked, strict=True)
        ]
        decided: Sequence[Decided | None] = [None] * len(jobs)
        sold: Sequence[Advertised | None] = [None] * len(jobs)
        if self._is_recording:
            made = recommender.decide(asked, watch)
            sold = [
                self._steering.advertised(who, job, recommender, one)
                for who, job, one in zip(identified, jobs, made, strict=True)
            ]
            decided = made = [
                one if ads is None else ads.decided for one, ads in zip(made, sold, strict=True)
            ]
            answers = [one.answer for one in made]
        else:
            answers = recommender.recommend(asked, watch)
        self._answer_metrics.count_batch(len(jobs), watch.total_s, watch.seconds)
        for job, request, answer in zip(jobs, asked, answers, strict=True):
            self._count_answer(job, request, answer)
        return [
            Answered(
                who,
                answer,
                one,
                watch.started - job.since,
                watch,
                creatives=_creatives(job.surface, job.begun, job.request_id, recommender, answer),
                advertised=ads,
            )
            for job, who, answer, one, ads in zip(jobs, identified, answers, decided, sold, strict=True)
        ]

    def _page(self, job: Job) -> Answered:
        """Returns the rows of a page, and counts each."""
        watch = Stopwatch()
        (identified,) = self._identified([job])
        asked = identified.request
        wanted = self._steering.rows(identified, job)
        made = job.recommender.recommend_page(asked, wanted, watch)
        sold = self._steering.rows_advertised(identified, job, wanted, made)
        rows = [
            one if ads is None else replace(one, decided=ads.decided)
            for one, ads in zip(made, sold, strict=True)
        ]
        self._answer_metrics.count_batch(1, watch.total_s, watch.seconds)
        for row in rows:
            self._count_answer(job, asked, row.answer)
        queue_s = watch.started - job.since
        said = [
            _creatives(surface, begun, job.request_id, job.recommender, row.answer)
            for surface, begun, row in zip(job.row_surfaces, job.begun_rows, rows, strict=True)
        ]
        return Answered(
            identified,
            rows[0].answer,
            None,
            queue_s,
            watch,
            tuple(rows),
            tuple(wanted),
            row_creatives=tuple(said),
            row_advertised=tuple(sold),
            row_content=tuple(tuple(item.item_id for item in one.answer.items) for one in made),
        )

    def _identified(self, jobs: Sequence[Job]) -> list[Identified]:
        """Returns the requests as they may be answered."""
        asked = [job.asked for job in jobs]
        if self._profiles is None:
            known = [identified_by_itself(one, self._default) for one in asked]
        else:
            known = self._profiles.before(asked, jobs[0].recommender.bundle.manifest)
        return [
            one.held_out() if job.surface.is_held_out else self._steering.with_customer(one, job)
            for one, job in zip(known, jobs, strict=True)
        ]

    def _count_answer(self, job: Job, answered: Request, answer: Answer) -> None:
        """Tells the counters of one answer."""
        # Of a user below `personal` what the answer may use; of others what the request gave.
        asked = job.asked if answered.tier is Tier.personal else answered
        n_history = len(asked.history)
        gave_something = bool(n_history or asked.user_id or asked.features or asked.like_item or asked.query)
        self._answer_metrics.count_answer(
            answer,
            n_history,
            gave_something=gave_something,
            surface=job.surface.name,
            tier=answered.tier,
        )
        if answer.rules or answer.rules_not_applied:
            self._rule_metrics.count_answer(len(answer.rules), len(answer.rules_not_applied))

    def close(self) -> None:
        """Ends the threads that answers have beside them."""
        self._shadow.close()
        self._steering.close()


def _creatives(
    surface: Surface, begun: Begun | None, request_id: str, recommender: Recommender, answer: Answer
) -> tuple[ItemCreative, ...]:
    """Returns how the items of an answer are said; nothing where the surface has no creatives."""
    creatives = surface.creatives
    if creatives is None:
        return ()
    if begun is None or not begun.may_explore:
        # What is not on record must not be drawn: nobody could learn from it.
        creatives = creatives.greedy
    item_ids = [item.item_id for item in answer.items]
    decision_id = request_id if begun is None else begun.decision_id
    counts = creative_counts(recommender.bundle, surface.name)
    return choose_creatives(creatives, recommender.item_pool.table, item_ids, decision_id, counts)
