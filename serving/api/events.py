"""The route by which the app tells what happened."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from marquee.errors import ConfigError, EventLogError, EventLogFullError
from marquee.store.log.event_rows import EventLimits, Receipt, keep_rows
from marquee.store.log.log_rows import SECONDS_PER_DAY
from serving.api.messages.events import MAX_EVENTS, EventsAnswer, EventsRequest
from serving.config import Settings
from serving.http.errors import Problem, Refusal, unavailable
from serving.http.exchange import Call
from serving.recording.metrics import EventMetrics
from serving.recording.named_decisions import YOUNG_S, NamedDecisions, TooEarlyError
from serving.recording.opening import OpenedLog
from serving.recording.users import KnownUsers, PlainUsers
from serving.telemetry.metrics import Metrics

MAX_WAITING = 256
"""Bodies of events that may wait for the disk in one worker; they are held in memory."""

_THREADS = 16
"""Callers that wait for the same flush: a caller more costs a thread, and makes the flush worth more."""

_MEASURE_EVERY_S = 60.0


class EventRoutes:
    """Keeps events, in threads of their own: a flush takes milliseconds, and the model does not wait for it.

    Args:
        log: Where they are kept; None: nowhere.
        settings: The operator's limits.
        metrics: What counts.
        clock: Returns the time, seconds since 1970 UTC; read once per body.
        users: Say under which name a user is kept, and whether at all.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        log: OpenedLog | None,
        settings: Settings,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        users: KnownUsers | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._log = log
        self._users = users or PlainUsers(settings.default_tier)
        self._limits = EventLimits(settings.event_horizon_days * SECONDS_PER_DAY)
        self._metrics = metrics.family(EventMetrics)
        self._clock = clock
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="event-routes")
        self._n_waiting = 0
        self._measured_at = float("-inf")

    async def post(self, call: Call, message: EventsRequest) -> EventsAnswer:
        """Keeps the rows that are good, and answers once these are forced to disk.

        Raises:
            Refusal: If there are none or too many, or the log refuses; nothing was then kept.
        """
        n_rows = len(message.events)
        if not 1 <= n_rows <= MAX_EVENTS:
            raise Refusal(
                Problem.invalid_request,
                f"events must hold 1 to {MAX_EVENTS} rows, got {n_rows}; send them in several calls",
                field="events",
            )
        if self._log is None:
            raise Refusal(
                Problem.not_configured,
                f"the service keeps no events, got {n_rows}; start it with MARQUEE_EVENTS",
            )
        if self._n_waiting >= MAX_WAITING:
            raise unavailable(
                f"{self._n_waiting} bodies of events wait for the disk, more than {MAX_WAITING} must not; "
                "send it again in a moment"
            )
        self._n_waiting += 1
        try:
            receipt = await self._kept(self._log, message.events)
        finally:
            self._n_waiting -= 1
        by_reason = receipt.rejected_by_reason
        self._metrics.count_rows(receipt.accepted, receipt.repeated, by_reason, receipt.orphans)
        call.facts |= {
            "accepted": receipt.accepted,
            "repeated": receipt.repeated,
            "rejected": len(receipt.rejected),
        }
        return EventsAnswer.of(receipt, call.request_id)

    async def _kept(self, log: OpenedLog, rows: Sequence[object]) -> Receipt:
        """Returns the receipt of rows; raises Refusal if the log refuses."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, self._keep, log, rows, True)
        except TooEarlyError:
            # Here, not in a thread: whoever makes up names of decisions would hold all threads with a few.
            await self._sleep(YOUNG_S)
        return await loop.run_in_executor(self._executor, self._keep, log, rows, False)

    def close(self) -> None:
        """Waits for the rows that are being written, and gives up the store."""
        self._executor.shutdown()
        if self._log is not None:
            self._log.close()

    def _keep(self, log: OpenedLog, rows: Sequence[object], may_wait: bool) -> Receipt:
        """Keeps rows; raises Refusal if the log refuses, TooEarlyError if they should come in a moment."""
        try:
            opened = log.get()
            named = NamedDecisions(opened, self._limits, self._clock, may_wait=may_wait)
            receipt = keep_rows(
                opened, rows, int(self._clock()), self._limits, users_of=named.users_of, namer=self._users
            )
        except EventLogFullError as error:
            raise Refusal(Problem.no_room, str(error)) from error
        except (EventLogError, ConfigError) as error:
            raise unavailable(str(error)) from error
        self._measure(log)
        return receipt

    def _measure(self, log: OpenedLog) -> None:
        """Shows at times how large the log is."""
        now = self._clock()
        if now - self._measured_at >= _MEASURE_EVERY_S:
            self._measured_at = now
            with suppress(EventLogError, OSError):  # SQLite removes a file while it is looked at
                self._metrics.show_bytes(log.get().n_bytes())
