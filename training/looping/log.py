"""Opens the event log of a service for training, and says up to where it is known at a cutoff."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marquee.data.loop_table import LogSource
from marquee.errors import ConfigError
from marquee.store.event_log import EventLog
from marquee.store.opening import POSTGRES_SCHEMES, open_event_log

CLOSED = "closed"
"""Folder of the closed days within the folder of a log."""

_LAST_ROWS = 10_000


@contextmanager
def opened(log: str, closed: str) -> Iterator[LogSource]:
    """Opens a log that is there, and closes it again.

    Args:
        log: Folder or `postgresql://` address.
        closed: Folder of the closed days; empty for `CLOSED` in the folder of the log.

    Raises:
        ConfigError: If there is no such folder, or an address comes without a folder of closed days.
        EventLogError: If the store cannot be reached.
    """
    is_address = log.startswith(POSTGRES_SCHEMES)
    if is_address and not closed:
        raise ConfigError(
            f"closed must name the folder of the closed days beside log={log.partition('@')[2] or log}, got "
            "none; a new folder will do while no day is closed"
        )
    # Opening makes what is not there: a misspelt folder would become an empty log.
    if not is_address and not Path(log).is_dir():
        raise ConfigError(
            f"log must be the folder that MARQUEE_EVENTS names, or a postgresql:// address, got {log!r}, "
            "which is no folder"
        )
    store = open_event_log(log)
    try:
        yield LogSource(store, Path(closed or f"{log}/{CLOSED}"))
    finally:
        store.close()


def last_known(log: EventLog, cutoff: int) -> int:
    """Returns a sequence up to which every event was received before the cutoff, the highest that is sure.

    Args:
        log: The store.
        cutoff: First second that is not known, since 1970 UTC.
    """
    last = log.last_sequence()
    after = max(last - _LAST_ROWS, 0)
    for row in log.read(after, _LAST_ROWS):
        # Events of the second of the cutoff are in no table yet: the next loop must find them new.
        if row.event.received >= cutoff:
            return row.sequence - 1
    return last
