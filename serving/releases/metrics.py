"""Counters of releases, their candidates and live items."""

from collections.abc import Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from marquee.bundle.manifest import Manifest
from marquee.bundle.releases import Role
from serving.telemetry.metrics import RELEASE_SEEN

_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class ReleaseMetrics:
    """Counts changes of releases, and shows which ones answer.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._changes = Counter(
            "marquee_release_changes",
            "Releases taken, refused for good, or postponed because of a passing fault, by a worker.",
            ["outcome"],
            registry=registry,
        )
        # A series that first appears with its first failure has no increase: it must stand at 0 before.
        for outcome in ("taken", "refused", "postponed"):
            self._changes.labels(outcome)
        self._created = Gauge(
            "marquee_release_created_seconds",
            "When the oldest release that answers was made, seconds since 1970 UTC.",
            # The oldest: a worker that stays behind must be seen, whatever the others answer from.
            multiprocess_mode="livemin",
            registry=registry,
        )
        # The dead are counted as well: a release does not end because the worker that met it has died.
        self._seen = Gauge(
            RELEASE_SEEN,
            "When a release was last ready to answer in any worker, seconds since 1970 UTC.",
            ["release"],
            multiprocess_mode="max",
            registry=registry,
        )
        self._behind = Gauge(
            "marquee_workers_behind",
            "Workers that answer from another release than CURRENT names.",
            ["bundle"],
            # Of the living alone: a worker that has died answers from nothing.
            multiprocess_mode="livesum",
            registry=registry,
        )

    def count_taken(self, manifest: Manifest, timestamp: float) -> None:
        """Counts a release that has become the current one."""
        self._changes.labels("taken").inc()
        self._created.set(manifest.created)
        self.show_ready([manifest.version], timestamp)

    def count_refused(self, *, is_final: bool) -> None:
        """Counts a release that was refused, or whose loading is tried again later."""
        self._changes.labels("refused" if is_final else "postponed").inc()

    def show_ready(self, versions: Collection[str], timestamp: float) -> None:
        """Shows that some releases are ready to answer in this worker."""
        for version in versions:
            self._seen.labels(version).set(timestamp)

    def show_behind(self, channel: str, *, is_behind: bool) -> None:
        """Shows whether this worker answers from another release than `CURRENT` names."""
        self._behind.labels(channel).set(is_behind)


class CandidateMetrics:
    """Counts how candidates do beside the current release.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._canary_failures = Counter(
            "marquee_canary_failures",
            "Requests on which a canary failed and that the current release answered.",
            registry=registry,
        )
        self._arm_failures = Counter(
            "marquee_arm_failures",
            "Requests on which the release of an arm failed and that the current one answered.",
            registry=registry,
        )
        self._shadow = Counter(
            "marquee_shadow_requests", "Requests offered to a shadow.", ["outcome"], registry=registry
        )
        # At 0 from the start, as above.
        for outcome in ("compared", "failed", "dropped"):
            self._shadow.labels(outcome)
        self._shadow_overlap = Histogram(
            "marquee_shadow_overlap",
            "Share of the items of an answer that the shadow gives as well.",
            buckets=_SHARES,
            registry=registry,
        )

    def count_failures(self, role: str, n: int) -> None:
        """Counts requests on which a canary or an arm's release failed and that the current one answered."""
        (self._canary_failures if role == Role.canary else self._arm_failures).inc(n)

    def count_shadow(self, outcome: str, overlap: float | None = None) -> None:
        """Counts a request that was offered to a shadow: compared, failed or dropped."""
        self._shadow.labels(outcome).inc()
        if overlap is not None:
            self._shadow_overlap.observe(overlap)


class ItemMetrics:
    """Counts changes of live items, and shows how full their store is.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._items = Gauge(
            "marquee_live_items",
            "Items added to a bundle's, and items of it withdrawn, since its release was made.",
            ["bundle", "state"],
            # All workers read one store: a sum would count each item once for each of them.
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._fill = Gauge(
            "marquee_live_items_fill",
            "Share of the room for live items that is taken, by number or by bytes, whichever is more.",
            ["bundle"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._changes = Counter(
            "marquee_item_changes", "Changes of items taken or refused.", ["outcome"], registry=registry
        )
        for outcome in ("taken", "refused"):
            self._changes.labels(outcome)
        self._index_changed = Gauge(
            "marquee_index_changed_seconds",
            "When the oldest index that answers last changed, seconds since 1970 UTC.",
            multiprocess_mode="livemin",
            registry=registry,
        )

    def count_changes(self, outcome: str, n: int) -> None:
        """Counts changes of items that were taken or refused."""
        self._changes.labels(outcome).inc(n)

    def show_items(self, channel: str, n_added: int, n_withdrawn: int) -> None:
        """Shows how many items stand on top of a bundle's, and how many of its own are withdrawn."""
        self._items.labels(channel, "added").set(n_added)
        self._items.labels(channel, "withdrawn").set(n_withdrawn)

    def show_fill(self, channel: str, share: float) -> None:
        """Shows which share of the room for live items is taken."""
        self._fill.labels(channel).set(share)

    def show_index_change(self, timestamp: float) -> None:
        """Shows when the items of the index last changed, by a release or by a live item."""
        self._index_changed.set(timestamp)
