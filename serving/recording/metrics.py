"""Counters of events, decisions and profiles."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from marquee.core.reasons import Reason


class EventMetrics:
    """Counts the rows of events that came.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "marquee_events",
            "Rows of events, by outcome: accepted, repeated or rejected.",
            ["outcome"],
            registry=registry,
        )
        self._rejected = Counter(
            "marquee_rejected_events", "Rejected rows of events, by reason.", ["reason"], registry=registry
        )
        # A series that first appears with its first failure has no increase: it must stand at 0 before.
        for outcome in ("accepted", "repeated", "rejected"):
            self._events.labels(outcome)
        for reason in Reason:
            self._rejected.labels(reason.value)
        self._bytes = Gauge(
            "marquee_event_log_bytes",
            "Bytes that the event log takes on its disk.",
            multiprocess_mode="livemax",
            registry=registry,
        )

    def count_rows(self, accepted: int, repeated: int, rejected: Mapping[Reason, int]) -> None:
        """Counts the rows of one body."""
        self._events.labels("accepted").inc(accepted)
        self._events.labels("repeated").inc(repeated)
        for reason, n_rows in rejected.items():
            self._events.labels("rejected").inc(n_rows)
            self._rejected.labels(reason.value).inc(n_rows)

    def show_bytes(self, n_bytes: int) -> None:
        """Shows how large the log is."""
        self._bytes.set(n_bytes)
