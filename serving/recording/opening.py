"""Opens the event log of one process, and opens it again where it could not be reached."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from marquee.errors import EventLogError, EventLogGoneError
from marquee.store.log.closed_days import find_decision
from marquee.store.log.event_log import Decision, EventLog
from marquee.store.log.opening import open_event_log
from serving.recording.settings import RecordingSettings

RETRY_S = 1.0
"""A store that could not be reached is tried again after so long."""


class OpenedLog:
    """The event log, opened when it is first asked for. May be asked by several threads.

    Args:
        where: A folder, or an address.
        open_log: Opens it.
        clock: Returns seconds that only go forward.
        closed: Folder of the closed days; None if no day is closed.
    """

    def __init__(
        self,
        where: str,
        open_log: Callable[[str], EventLog] = open_event_log,
        clock: Callable[[], float] = time.monotonic,
        closed: Path | None = None,
    ) -> None:
        self._where = where
        self._closed = closed
        self._open = open_log
        self._clock = clock
        self._log: EventLog | None = None
        self._opening = threading.Lock()
        self._retry_at = 0.0

    @property
    def opened(self) -> EventLog | None:
        """The log if it is open already; None leads to no wait."""
        return self._log

    def get(self) -> EventLog:
        """Returns the log.

        Raises:
            EventLogError: If it cannot be opened, or another thread is opening it.
            ConfigError: If it never can.
        """
        if self._log is not None:
            return self._log
        # Whoever answers a request must not wait behind a connection that does not come about.
        if self._clock() < self._retry_at or not self._opening.acquire(blocking=False):
            raise EventLogGoneError(
                f"the event log is not open yet and is tried every {RETRY_S:g} s; send it again after that"
            )
        try:
            if self._log is None:
                self._log = self._open(self._where)
        except EventLogError:
            self._retry_at = self._clock() + RETRY_S
            raise
        finally:
            self._opening.release()
        return self._log

    def find_decision(self, decision_id: str) -> Decision | None:
        """Returns a decision from the store or from the closed days, None if neither holds it.

        Raises:
            EventLogError: If the store cannot be read.
            OSError: If a file of a closed day cannot be read.
        """
        log = self.get()
        return (
            find_decision(log, self._closed, decision_id) if self._closed else log.find_decision(decision_id)
        )

    def close(self) -> None:
        """Gives up all connections."""
        with self._opening:
            if self._log is not None:
                self._log.close()
            self._log = None


def validate_log(settings: RecordingSettings) -> None:
    """Raises ConfigError or EventLogError if the event log cannot be made or reached; makes it if need be."""
    if settings.events:
        # Once before the workers start: a wrong address ends the start, not every request.
        open_event_log(settings.events).close()
