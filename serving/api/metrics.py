"""Counters of answers, of the batches that made them, and of the parts of batch calls."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram

from marquee.decision.requests import Answer, Source
from marquee.store.people.consent import Tier
from serving.http.errors import Problem
from serving.http.metrics import SECONDS
from serving.telemetry.timings import QUEUE, READ, STAGES

ANSWERED = "answered"
"""Outcome of a part of a batch call that was answered; the others are the words of refusals."""

_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
_MAX_KNOWN = 256


class AnswerMetrics:
    """Counts answers and what they took.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._add_timings(registry)
        self._add_answers(registry)
        self._parts = Counter(
            "marquee_batch_parts",
            "Parts of batch calls, by outcome: answered, or the word of the refusal.",
            ["outcome"],
            registry=registry,
        )
        # A series that first appears with its first failure has no increase: it must stand at 0 before.
        for outcome in (ANSWERED, Problem.unavailable.name, Problem.internal_error.name):
            self._parts.labels(outcome)
        # `labels` takes a lock and checks its arguments on every call: a dict does neither.
        self._of_stage = {stage: self._stage_seconds.labels(stage).observe for stage in STAGES}
        self._of_answer: dict[tuple[str, str, str], Callable[[], None]] = {}

    def _add_timings(self, registry: CollectorRegistry) -> None:
        """Adds what batches and their stages take."""
        self._stage_seconds = Histogram(
            "marquee_stage_seconds",
            "Time of each stage: of a request until its batch begins, of the batch from there on.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self._model_seconds = Histogram(
            "marquee_model_seconds", "Time of a batch in the model.", buckets=SECONDS, registry=registry
        )
        self._batch_size = Histogram(
            "marquee_batch_size", "Requests that shared a batch.", buckets=_BATCHES, registry=registry
        )

    def _add_answers(self, registry: CollectorRegistry) -> None:
        """Adds the counters of answers."""
        self._answers = Counter(
            "marquee_answers",
            "Answers, by what they rest on, the release that gave them and the surface they are for.",
            ["source", "release", "surface"],
            registry=registry,
        )
        tiers = Counter(
            "marquee_answers_by_tier",
            "Answers, by how much of the user they might rest on: personal, segment or none.",
            ["tier"],
            registry=registry,
        )
        self._of_tier = {tier: tiers.labels(tier.value).inc for tier in Tier}
        self._short = Counter(
            "marquee_short_answers",
            "Answers with fewer items than were asked for.",
            ["surface"],
            registry=registry,
        )
        self._fallbacks = Counter(
            "marquee_fallback_answers",
            "Popular answers to requests that gave something to go by.",
            ["surface"],
            registry=registry,
        )
        self._history = Counter("marquee_history", "History entries that requests gave.", registry=registry)
        self._unknown_history = Counter(
            "marquee_unknown_history",
            "History entries whose item the bundle does not know.",
            registry=registry,
        )

    def count_batch(self, n_requests: int, seconds: float, stages: Mapping[str, float]) -> None:
        """Counts one batch in the model and what its stages took."""
        self._batch_size.observe(n_requests)
        self._model_seconds.observe(seconds)
        for stage, stage_seconds in stages.items():
            self._of_stage[stage](stage_seconds)

    def count_waiting(self, read_s: float, queue_s: float) -> None:
        """Counts how long a request took before the model began with it."""
        self._of_stage[READ](read_s)
        self._of_stage[QUEUE](queue_s)

    def count_answer(
        self,
        answer: Answer,
        n_history: int,
        *,
        gave_something: bool,
        surface: str,
        tier: Tier = Tier.personal,
    ) -> None:
        """Counts one answer.

        Args:
            answer: The answer.
            n_history: History entries that the request gave.
            gave_something: Whether the request gave a user, a history or features.
            surface: The surface that the answer is for, one of a fixed set.
            tier: How much of the user it might rest on.
        """
        self._of_tier[tier]()
        labels = (answer.source.value, answer.version, surface)
        count = self._of_answer.get(labels)
        if count is None:
            if len(self._of_answer) >= _MAX_KNOWN:  # of releases that are long gone, most of them
                self._of_answer.clear()
            count = self._of_answer[labels] = self._answers.labels(*labels).inc
        count()
        if answer.short_reason:
            self._short.labels(surface).inc()
        if gave_something and answer.source is Source.popular:
            self._fallbacks.labels(surface).inc()
        if n_history:
            self._history.inc(n_history)
        if answer.unknown_history:
            self._unknown_history.inc(answer.unknown_history)

    def count_part(self, outcome: str) -> None:
        """Counts one part of a batch call: `ANSWERED`, or the word of its refusal."""
        self._parts.labels(outcome).inc()
