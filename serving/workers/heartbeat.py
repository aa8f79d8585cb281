"""The beat of one worker: says that its event loop runs, and ends the worker once nobody watches it."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence

from serving.workers.table import WorkerTable

logger = logging.getLogger(__name__)

BEAT_S = 1.0
PARENT_VARIABLE = "SERVING_SUPERVISOR_PID"
"""The environment variable in which the watching process tells its workers who it is."""

# As long as the watching process would wait (`supervisor.END_S`), which is gone.
_END_S = 30.0


class Heartbeat:
    """Runs in the event loop of a worker for as long as that runs.

    Args:
        table: Where the beat is told.
        others: What else is done at each beat; must wait for nothing, and so not look at a disk.
        parent: The process that watches this one; None: nobody does.
    """

    def __init__(
        self, table: WorkerTable, others: Sequence[Callable[[], None]] = (), parent: int | None = None
    ) -> None:
        self._table = table
        self._others = others
        self._parent = parent

    @classmethod
    def of_worker(cls, table: WorkerTable, others: Sequence[Callable[[], None]] = ()) -> "Heartbeat":
        """Returns the beat of a worker that the watching process has started."""
        parent = os.environ.get(PARENT_VARIABLE)
        return cls(table, others, int(parent) if parent else None)

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Beats now and then once a second."""
        self._table.beat()
        # The kernel gives an orphan another parent.
        if self._parent is not None and os.getppid() != self._parent:
            self._end(loop)
            return
        loop.call_later(BEAT_S, self.begin, loop)  # before the others: one that fails stops no beat
        for other in self._others:
            other()

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends this worker as SIGTERM does: unwatched, it would hold the port against the next service."""
        logger.error("process %s, which watched this worker, is gone: the worker ends", self._parent)
        loop.call_later(_END_S, os._exit, 1)
        os.kill(os.getpid(), signal.SIGTERM)
