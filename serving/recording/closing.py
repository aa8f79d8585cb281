"""Moves days that are over out of the event log, by a thread that has it done in a process of its own.

Reading a day makes millions of objects: in this process it would hold up the answers beside it. Every worker
has such a thread; the log lets one at a time close days, and the others find nothing left to do.
"""

import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from marquee.store.log.closed_days import Known
from marquee.store.log.event_log import ClosedPart
from serving.recording.closing_process import Order
from serving.recording.metrics import ClosingMetrics
from serving.recording.orders import OrderedProcess
from serving.telemetry.background import Background, ThreadMetrics
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

LOOK_S = 20.0
"""Seconds between two turns: within those after which a thread without heartbeat counts as one that hangs."""

PATIENCE_S = 540.0
"""How long closing may take. What was noted until then stays closed; the next turn goes on with the rest."""

_MODULE = "serving.recording.closing_process"


class DayCloser:
    """The thread.

    Args:
        where: The log.
        folder: Of the closed days.
        horizon_s: Age up to which an event is accepted, seconds.
        every_s: Seconds between two looks into the log; a look reads all of what it holds.
        known: Returns what each release that answers knows; None while one of them is being loaded.
        metrics: What counts.
        clock: Returns the time, seconds since 1970 UTC.
    """

    def __init__(
        self,
        where: str,
        folder: Path,
        horizon_s: int,
        every_s: int,
        known: Callable[[], Collection[Known] | None],
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._order = Order(where=where, folder=str(folder), horizon_s=horizon_s, now=0, known=[])
        self._every_s = every_s
        self._known = known
        self._metrics = metrics.family(ClosingMetrics)
        self._clock = clock
        self._known_before: Collection[Known] | None = None
        self._due = 0.0
        self._process = OrderedProcess(_MODULE, "closing days", PATIENCE_S)
        interval_s = min(LOOK_S, every_s)
        self._thread = Background("closing", self.look, interval_s, metrics.family(ThreadMetrics), clock)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread and the process; what that has not noted stays in the store."""
        self._thread.close()
        self._process.close()

    def look(self) -> list[ClosedPart]:
        """Closes the days that are over, if a look is due; returns what has moved.

        Raises:
            EventLogError: If it fails, or takes too long.
        """
        before, self._known_before = self._known_before, self._known()
        now = self._clock()
        if before is None or self._known_before is None or now < self._due:
            return []
        # What was known a turn ago as well: another worker may not have taken the release that came since.
        known = [*before, *self._known_before]
        told = self._process.run(msgspec.structs.replace(self._order, now=int(now), known=known))
        moved = msgspec.json.decode(told, type=list[ClosedPart]) if told else []
        # Not before: a fault is tried again at the next turn.
        self._due = now + self._every_s
        for part in moved:
            logger.info("%s rows of the event log have moved to %s", part.n_rows, part.file)
            self._metrics.count_closed(part.kind, part.n_rows)
        return moved
