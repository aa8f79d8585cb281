"""What the service counts, for Prometheus: over all workers, under labels that no caller can multiply.

Routes are named by their pattern and releases are those loaded: ten thousand unknown paths are one line.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
    multiprocess,
)
from prometheus_client.registry import Collector

from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, Source
from serving.http.shared_memory import is_alive
from serving.telemetry.timings import QUEUE, READ, STAGES

OTHER = "other"
"""Stands for every path that nobody knows, and for what is no request."""

MAX_RELEASES = 8
"""Of how many releases, the latest, the answers are told apart."""

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
        self._count_traffic(own)
        self._count_answers(own)
        self._count_releases(own)
        self._count_trials(own)
        self._count_items(own)
        # `labels` takes a lock and checks its arguments: a look into a dict does not.
        self._of_reply: dict[tuple[str, int], Callable[[], None]] = {}
        self._of_route: dict[str, Callable[[float], None]] = {}
        self._of_stage = {stage: self._stage_seconds.labels(stage).observe for stage in STAGES}
        self._of_answer: dict[tuple[str, str, str], Callable[[], None]] = {}

    def _count_traffic(self, own: CollectorRegistry) -> None:
        """Makes the counters of requests and connections."""
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
        self._stage_seconds = Histogram(
            "marquee_stage_seconds",
            "Time of each stage: of a request until its batch begins, of the batch from there on.",
            ["stage"],
            buckets=_SECONDS,
            registry=own,
        )
        self._connections_ended = Counter(
            "marquee_connections_ended",
            "Connections ended by the service, by reason.",
            ["reason"],
            registry=own,
        )

    def _count_answers(self, own: CollectorRegistry) -> None:
        """Makes the counters of batches and answers."""
        self._model_seconds = Histogram(
            "marquee_model_seconds", "Time of a batch in the model.", buckets=_SECONDS, registry=own
        )
        self._batch_size = Histogram(
            "marquee_batch_size", "Requests that shared a batch.", buckets=_BATCHES, registry=own
        )
        self._answers = Counter(
            "marquee_answers",
            "Answers, by what they rest on, the release that gave them and the surface they are for.",
            ["source", "release", "surface"],
            registry=own,
        )
        self._short = Counter(
            "marquee_short_answers",
            "Answers with fewer items than were asked for.",
            ["surface"],
            registry=own,
        )
        self._fallbacks = Counter(
            "marquee_fallback_answers",
            "Popular answers to requests that gave something to go by.",
            ["surface"],
            registry=own,
        )
        self._history = Counter("marquee_history", "History entries that requests gave.", registry=own)
        self._unknown_history = Counter(
            "marquee_unknown_history", "History entries whose item the bundle does not know.", registry=own
        )

    def _count_releases(self, own: CollectorRegistry) -> None:
        """Makes the counters of releases."""
        self._recent_releases: deque[str] = deque(maxlen=MAX_RELEASES)
        self._releases = Counter(
            "marquee_release_changes", "Releases taken or refused by a worker.", ["outcome"], registry=own
        )
        self._created = Gauge(
            "marquee_release_created_seconds",
            "When the oldest release that answers was made, seconds since 1970 UTC.",
            multiprocess_mode="livemin",
            registry=own,
        )
        self._index_changed = Gauge(
            "marquee_index_changed_seconds",
            "When the oldest index that answers last changed, seconds since 1970 UTC.",
            multiprocess_mode="livemin",
            registry=own,
        )
        for outcome in ("taken", "refused"):
            self._releases.labels(outcome)

    def _count_trials(self, own: CollectorRegistry) -> None:
        """Makes the counters of canaries and shadows."""
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

    def _count_items(self, own: CollectorRegistry) -> None:
        """Makes the counters of live items."""
        self._items = Gauge(
            "marquee_live_items",
            "Items added to a bundle's, and items of it withdrawn, since its release was made.",
            ["bundle", "state"],
            multiprocess_mode="livemax",
            registry=own,
        )
        self._item_changes = Counter(
            "marquee_item_changes", "Changes of items taken or refused.", ["outcome"], registry=own
        )
        for outcome in ("taken", "refused"):
            self._item_changes.labels(outcome)

    def count_reply(self, route: str, status: int, seconds: float) -> None:
        """Counts one reply; `route` must be one of a fixed set."""
        self._count_status(route, status)
        observe = self._of_route.get(route)
        if observe is None:
            observe = self._of_route[route] = self._seconds.labels(route).observe
        observe(seconds)

    def count_end(self, reason: str, status: int) -> None:
        """Counts a connection that the service ended, and why, and its last status, 0 for none."""
        self._connections_ended.labels(reason).inc()
        if status:
            self._count_status(OTHER, status)

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

    def count_answer(self, answer: Answer, n_history: int, *, gave_something: bool, surface: str) -> None:
        """Counts one answer.

        Args:
            answer: The answer.
            n_history: History entries that the request gave.
            gave_something: Whether the request gave a user, a history or features.
            surface: Whom the answer is for, one of a fixed set.
        """
        labels = (answer.source.value, answer.version, surface)
        count = self._of_answer.get(labels)
        if count is None:
            count = self._of_answer[labels] = self._answers.labels(*labels).inc
            self._remember_release(answer.version)
        count()
        if answer.short_reason:
            self._short.labels(surface).inc()
        if gave_something and answer.source is Source.popular:
            self._fallbacks.labels(surface).inc()
        if n_history:
            self._history.inc(n_history)
        if answer.unknown_history:
            self._unknown_history.inc(answer.unknown_history)

    def count_release(self, recommender: Recommender | None) -> None:
        """Counts a release that was taken, or one that was refused (None)."""
        self._releases.labels("taken" if recommender else "refused").inc()
        if recommender is not None:
            self._remember_release(recommender.version)
            self._created.set(recommender.bundle.manifest.created)
            self._index_changed.set(recommender.bundle.manifest.created)

    def count_index_change(self, timestamp: float) -> None:
        """Counts that the items of the index have changed since its release was made."""
        self._index_changed.set(timestamp)

    def count_item_changes(self, outcome: str, n: int) -> None:
        """Counts changes of items that were taken or refused."""
        self._item_changes.labels(outcome).inc(n)

    def show_items(self, bundle: str, n_added: int, n_withdrawn: int) -> None:
        """Shows how many items stand on top of a bundle's, and how many of its own are withdrawn."""
        self._items.labels(bundle, "added").set(n_added)
        self._items.labels(bundle, "withdrawn").set(n_withdrawn)

    def count_canary_failures(self, n: int) -> None:
        """Counts requests on which a canary failed and that the current release answered."""
        self._canary_failures.inc(n)

    def count_shadow(self, outcome: str, overlap: float | None = None) -> None:
        """Counts a request that was offered to a shadow: compared, failed or dropped."""
        self._shadow.labels(outcome).inc()
        if overlap is not None:
            self._shadow_overlap.observe(overlap)

    def exposition(self) -> bytes:
        """Returns the counters of all workers in Prometheus's text format, of the latest releases only."""
        everybody = self._registry
        if shared_folder() is not None:
            everybody = CollectorRegistry()
            multiprocess.MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]  # its own annotations
        shown = CollectorRegistry()
        shown.register(_Shown(everybody, self._is_recent))
        return generate_latest(shown)

    def _count_status(self, route: str, status: int) -> None:
        """Counts a status."""
        count = self._of_reply.get((route, status))
        if count is None:
            count = self._of_reply[route, status] = self._requests.labels(route, str(status)).inc
        count()

    def _remember_release(self, release: str) -> None:
        """Takes a release among the latest, in place of the one that has been there for longest."""
        if release not in self._recent_releases:
            self._recent_releases.append(release)
            self._of_answer = {
                key: count for key, count in self._of_answer.items() if self._is_recent(key[1])
            }

    def _is_recent(self, release: str) -> bool:
        """Returns whether a release is one of the latest that this worker took or answered from."""
        return release in self._recent_releases


class _Shown(Collector):
    """What a registry collects, without the series of releases that are long gone: their files keep them."""

    def __init__(self, registry: CollectorRegistry, is_recent: Callable[[str], bool]) -> None:
        self._registry = registry
        self._is_recent = is_recent

    def collect(self) -> Iterable[Metric]:
        """Returns the families of the registry."""
        for family in self._registry.collect():
            if any("release" in sample.labels for sample in family.samples):
                family.samples = [one for one in family.samples if self._is_recent(one.labels["release"])]
            yield family


def shared_folder() -> Path | None:
    """Returns the folder that the workers of this service share, None outside a service."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) if folder else None


def forget_dead_workers() -> None:
    """Removes what workers that have crashed last said of themselves; their counts stay."""
    folder = shared_folder()
    for file in folder.glob(_GAUGE_FILES) if folder else ():
        pid = int(file.stem.rpartition("_")[2])
        if not is_alive(pid):
            with suppress(OSError):
                multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]  # as above
