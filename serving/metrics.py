"""What the service counts, for Prometheus: over all workers, under labels that no caller can multiply.

Routes are named by their pattern, keys and versions are no labels: ten thousand unknown paths are one line.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from marquee.recommender import Recommender
from marquee.requests import Answer

CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""BentoML gives every worker of a service the same folder under this name, empty when the service starts."""

_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0)
_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
_GAUGE_FILES = "gauge_live*_*.db"


class Metrics:
    """The counters of one process.

    Args:
        registry: Where they are registered; one each for tests.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        own = registry or CollectorRegistry()
        self._registry = own
        self._requests = Counter(
            "marquee_requests", "Replies, by route and status.", ["route", "status"], registry=own
        )
        self._seconds = Histogram(
            "marquee_request_seconds",
            "Time from the first byte of a request to its reply.",
            ["route"],
            buckets=_SECONDS,
            registry=own,
        )
        self._model_seconds = Histogram(
            "marquee_model_seconds", "Time of a batch in the model.", buckets=_SECONDS, registry=own
        )
        self._batch_size = Histogram(
            "marquee_batch_size", "Requests that shared a batch.", buckets=_BATCHES, registry=own
        )
        self._answers = Counter("marquee_answers", "Answers, by what they rest on.", ["source"], registry=own)
        self._short = Counter(
            "marquee_short_answers", "Answers with fewer items than were asked for.", registry=own
        )
        self._unknown_history = Counter(
            "marquee_unknown_history", "History entries whose item the bundle does not know.", registry=own
        )
        self._releases = Counter(
            "marquee_release_changes", "Releases taken or refused by a worker.", ["outcome"], registry=own
        )
        self._created = Gauge(
            "marquee_release_created_seconds",
            "When the oldest release that answers was made, seconds since 1970 UTC.",
            multiprocess_mode="livemin",
            registry=own,
        )
        for outcome in ("taken", "refused"):
            self._releases.labels(outcome)
        self._canary_failures = Counter(
            "marquee_canary_failures",
            "Requests on which a canary failed and that the current release answered.",
            registry=own,
        )
        self._shadow = Counter(
            "marquee_shadow_requests", "Requests offered to a shadow.", ["outcome"], registry=own
        )
        for outcome in ("compared", "failed", "dropped"):
            self._shadow.labels(outcome)
        self._shadow_overlap = Histogram(
            "marquee_shadow_overlap",
            "Share of the items of an answer that the shadow gives as well.",
            buckets=_SHARES,
            registry=own,
        )
        # `labels` takes a lock and checks its arguments: a look into a dict does not.
        self._of_reply: dict[tuple[str, int], Callable[[], None]] = {}
        self._of_route: dict[str, Callable[[float], None]] = {}
        self._of_source: dict[str, Callable[[], None]] = {}

    def count_reply(self, route: str, status: int, seconds: float) -> None:
        """Counts one reply; `route` must be one of a fixed set."""
        count = self._of_reply.get((route, status))
        if count is None:
            count = self._of_reply[route, status] = self._requests.labels(route, str(status)).inc
        count()
        observe = self._of_route.get(route)
        if observe is None:
            observe = self._of_route[route] = self._seconds.labels(route).observe
        observe(seconds)

    def count_batch(self, answers: list[Answer], seconds: float) -> None:
        """Counts what one batch in the model gave."""
        self._batch_size.observe(len(answers))
        self._model_seconds.observe(seconds)
        for answer in answers:
            count = self._of_source.get(answer.source)
            if count is None:
                count = self._of_source[answer.source] = self._answers.labels(answer.source.value).inc
            count()
            if answer.short_reason:
                self._short.inc()
            if answer.unknown_history:
                self._unknown_history.inc(answer.unknown_history)

    def count_release(self, recommender: Recommender | None) -> None:
        """Counts a release that was taken, or one that was refused (None)."""
        self._releases.labels("taken" if recommender else "refused").inc()
        if recommender is not None:
            self._created.set(recommender.bundle.manifest.created)

    def count_canary_failures(self, n: int) -> None:
        """Counts requests on which a canary failed and that the current release answered."""
        self._canary_failures.inc(n)

    def count_shadow(self, outcome: str, overlap: float | None = None) -> None:
        """Counts a request that was offered to a shadow: compared, failed or dropped."""
        self._shadow.labels(outcome).inc()
        if overlap is not None:
            self._shadow_overlap.observe(overlap)

    def exposition(self) -> bytes:
        """Returns the counters of all workers in Prometheus's text format."""
        if shared_folder() is None:
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        multiprocess.MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]  # its own annotations
        return generate_latest(everybody)


def shared_folder() -> Path | None:
    """Returns the folder that the workers of this service share, None outside a service."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) if folder else None


def forget_dead_workers() -> None:
    """Removes what workers that have crashed last said of themselves; their counts stay."""
    folder = shared_folder()
    for file in folder.glob(_GAUGE_FILES) if folder else ():
        pid = int(file.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            with suppress(OSError):
                multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]  # as above
