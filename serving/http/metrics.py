"""Counters of requests and connections."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

OTHER = "other"
"""Label of every unknown path, and of bytes that are no request."""

# Each about twice the one before, up to twice the default deadline of a request.
SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0)
"""Upper bounds of the buckets of every duration."""


class TrafficMetrics:
    """Counts replies, and the connections that the service ended.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "marquee_requests", "Replies, by route and status.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "marquee_request_seconds",
            "Time from the first byte of a request to its reply.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._connections_ended = Counter(
            "marquee_connections_ended",
            "Connections ended by the service, by reason.",
            ["reason"],
            registry=registry,
        )
        # `labels` takes a lock and checks its arguments on every call: a dict does neither.
        self._of_reply: dict[tuple[str, int], Callable[[], None]] = {}
        self._of_route: dict[str, Callable[[float], None]] = {}

    def count_reply(self, route: str, status: int, seconds: float) -> None:
        """Counts one reply; `route` must be one of a fixed set."""
        self._count_status(route, status)
        observe = self._of_route.get(route)
        if observe is None:
            observe = self._of_route[route] = self._seconds.labels(route).observe
        observe(seconds)

    def count_end(self, reason: str, status: int) -> None:
        """Counts a connection that the service ended, with the reason and the last status, 0 for none."""
        self._connections_ended.labels(reason).inc()
        # Bytes that reached no route were answered all the same, and count as a reply.
        if status:
            self._count_status(OTHER, status)

    def _count_status(self, route: str, status: int) -> None:
        """Counts a status."""
        count = self._of_reply.get((route, status))
        if count is None:
            count = self._of_reply[route, status] = self._requests.labels(route, str(status)).inc
        count()
