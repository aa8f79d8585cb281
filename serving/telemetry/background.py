"""Work that a thread repeats in the background, whatever it meets."""

import logging
import threading
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

logger = logging.getLogger(__name__)

_REPEAT_LOG_S = 60.0


class ThreadMetrics:
    """Shows that threads in the background still do their work.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._heartbeats = Gauge(
            "marquee_heartbeat_seconds",
            "When a thread last ended its work without a fault, in the worker where that is longest ago.",
            ["thread"],
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._failures = Counter(
            "marquee_thread_failures",
            "Faults that a thread in the background has met and survived.",
            ["thread"],
            registry=registry,
        )

    def show_heartbeat(self, thread: str, timestamp: float) -> None:
        """Shows that a thread has done its work."""
        self._heartbeats.labels(thread).set(timestamp)

    def count_failure(self, thread: str) -> None:
        """Counts a fault that a thread has survived."""
        self._failures.labels(thread).inc()


class Background:
    """Repeats a piece of work until it is closed.

    An exception ends one turn, never the thread: a dead thread looks like one that has nothing to do. Each
    turn without a fault shows a heartbeat, so that an alarm sees a thread that hangs or fails for long.

    Args:
        name: Of the thread, for the log and the heartbeat; one of a fixed set.
        work: One turn.
        interval_s: Seconds between two turns.
        metrics: Shows the heartbeat.
        clock: Returns the time, seconds since 1970 UTC.
        prepare: Called once in the thread before its first turn.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        interval_s: float,
        metrics: ThreadMetrics,
        clock: Callable[[], float] = time.time,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._work = work
        self._interval_s = interval_s
        self._metrics = metrics
        self._clock = clock
        self._prepare = prepare
        self._is_closed = False
        self._woken = threading.Event()
        self._logged, self._logged_at = "", 0.0

    def start(self) -> None:
        """Starts the thread."""
        # From the start on: a thread that hangs in its very first turn must be seen as well.
        self._metrics.show_heartbeat(self._name, self._clock())
        # A daemon: a turn that hangs must not hold up the end of the process.
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def close(self) -> None:
        """Ends the thread after its turn; does not wait for it."""
        self._is_closed = True
        self._woken.set()

    def wake(self) -> None:
        """Has the thread take its next turn at once."""
        self._woken.set()

    def turn(self) -> bool:
        """Takes one turn; returns whether it met no fault."""
        try:
            self._work()
        except Exception as error:  # whatever it is, the next turn may do better
            self._metrics.count_failure(self._name)
            self._log(error)
            return False
        self._metrics.show_heartbeat(self._name, self._clock())
        return True

    def _log(self, error: Exception) -> None:
        """Logs a fault, the same one once a minute: a turn may come several times a second."""
        now = self._clock()
        if repr(error) != self._logged or now >= self._logged_at + _REPEAT_LOG_S:
            self._logged, self._logged_at = repr(error), now
            logger.error("the thread %r met a fault and goes on: %r", self._name, error, exc_info=error)

    def _run(self) -> None:
        """Takes turns until `close` is called."""
        self._prepare()
        while True:
            self._woken.wait(self._interval_s)
            self._woken.clear()
            if self._is_closed:
                return
            self.turn()


class Breather:
    """Rests between pieces of work, so that a thread beside the answers is busy for a part of the time only.

    Args:
        busy_share: The part, above 0 and at most 1.
        slice_s: After so many seconds of work it rests.
    """

    def __init__(self, busy_share: float, slice_s: float = 0.001) -> None:
        self._rest_times = 1.0 / busy_share - 1.0
        self._slice_s = slice_s
        self._since_s = time.perf_counter()

    def breathe(self) -> None:
        """Rests, where it is time to."""
        worked_s = time.perf_counter() - self._since_s
        if worked_s >= self._slice_s:
            time.sleep(worked_s * self._rest_times)
            self._since_s = time.perf_counter()
