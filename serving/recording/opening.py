"""Opens the stores of one process, and opens them again where they could not be reached."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from marquee.errors import ConfigError, EventLogError, EventLogGoneError
from marquee.store.log.closed_days import find_decision
from marquee.store.log.event_log import Decision, EventLog
from marquee.store.log.opening import open_event_log
from marquee.store.people.opening import noted_key, open_users
from marquee.store.people.user_key import UserKey, validate_key
from serving.recording.settings import RecordingSettings

logger = logging.getLogger(__name__)

PLAIN_IDS = (
    "users are kept under the ids that requests name, for MARQUEE_USER_KEY names no key: nobody can consent "
    "or be erased"
)
RETRY_S = 1.0
"""A store that could not be reached is tried again after so long."""


class Closable(Protocol):
    """A store that holds connections."""

    def close(self) -> None:
        """Gives them up."""


Store = TypeVar("Store", bound=Closable)


class Opened(Generic[Store]):
    """A store, opened when it is first asked for. May be asked by several threads.

    Args:
        where: A folder, or an address.
        open_store: Opens it.
        clock: Returns seconds that only go forward.
    """

    def __init__(
        self,
        where: str,
        open_store: Callable[[str], Store],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._where = where
        self._open = open_store
        self._clock = clock
        self._store: Store | None = None
        self._opening = threading.Lock()
        self._retry_at = 0.0

    @property
    def opened(self) -> Store | None:
        """The store if it is open already; None leads to no wait."""
        return self._store

    def get(self, patience_s: float = 0.0) -> Store:
        """Returns the store.

        Args:
            patience_s: How long to wait while another thread opens it, seconds.

        Raises:
            EventLogError: If it cannot be opened, or another thread is opening it.
            ConfigError: If it never can.
        """
        if self._store is not None:
            return self._store
        # Whoever answers a request must not wait behind a connection that does not come about.
        if self._clock() < self._retry_at or not self._opening.acquire(timeout=patience_s):
            raise EventLogGoneError(
                f"the event log is not open yet and is tried every {RETRY_S:g} s; send it again after that"
            )
        try:
            if self._store is None:
                self._store = self._open(self._where)
        except EventLogError:
            self._retry_at = self._clock() + RETRY_S
            raise
        finally:
            self._opening.release()
        return self._store

    def close(self) -> None:
        """Gives up all connections."""
        with self._opening:
            if self._store is not None:
                self._store.close()
            self._store = None


class OpenedLog(Opened[EventLog]):
    """The event log.

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
        super().__init__(where, open_log, clock)
        self._closed = closed

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


def validate_log(settings: RecordingSettings) -> None:
    """Makes the event log and the users if need be.

    Raises:
        ConfigError: If they cannot be, or the users cannot be kept as the settings say.
        EventLogError: If the store cannot be reached.
    """
    if settings.user_key and not settings.events:
        raise ConfigError(
            f"MARQUEE_USER_KEY needs MARQUEE_EVENTS, beside which the users are kept, got "
            f"{settings.user_key!r} alone; set both"
        )
    if not settings.events:
        return
    # Once before the workers start: a wrong address ends the start, not every request.
    log = open_event_log(settings.events)
    try:
        if settings.user_key:
            _validate_users(log, settings)
        elif noted_key(settings.events) is None:
            # Once, by the process that watches the workers.
            logger.warning("%s", PLAIN_IDS)
        else:
            raise ConfigError(
                "MARQUEE_USER_KEY must name the key that the users of this log were kept with, got none; "
                "without it their ids would come to disk"
            )
    finally:
        log.close()


def _validate_users(log: EventLog, settings: RecordingSettings) -> None:
    """Raises ConfigError unless the users of a log are kept with the key that the settings name."""
    key, users = UserKey.read(settings.user_key), open_users(settings.events)
    try:
        # Before the key is noted: rows that are there were kept under the operator's own ids.
        if users.key_fingerprint() is None and holds_rows(log):
            raise ConfigError(
                f"the log in {settings.events.rpartition('@')[2]} was begun without a user key and holds the "
                "ids of its users, got MARQUEE_USER_KEY; convert it with `python -m serving.convert_users`"
            )
        validate_key(users, key)
    finally:
        users.close()


def holds_rows(log: EventLog) -> bool:
    """Returns whether a log holds anything, in the store or in files."""
    return bool(log.last_sequence() or log.open_days() or log.closed_parts())
