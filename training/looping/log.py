"""Opens the event log of a service for training."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marquee.data.loop.log_source import LogSource
from marquee.errors import ConfigError
from marquee.store.log.opening import POSTGRES_SCHEMES, folder_of_closed_days, open_event_log
from marquee.store.people.opening import noted_key


@contextmanager
def opened(log: str, closed: str) -> Iterator[LogSource]:
    """Opens a log that is there, and closes it again.

    Args:
        log: Folder or `postgresql://` address.
        closed: Folder of the closed days; empty for `closed` in the folder of the log.

    Raises:
        ConfigError: If there is no such folder, or an address comes without a folder of closed days.
        EventLogError: If the store cannot be reached.
    """
    folder = folder_of_closed_days(log, closed)
    if folder is None:
        raise ConfigError(
            # An address may hold a password, which stands before the @.
            f"closed must name the folder of the closed days beside log={log.partition('@')[2] or log}, got "
            "none; a new folder will do while no day is closed"
        )
    # Opening makes what is not there: a misspelt folder would become an empty log.
    if not log.startswith(POSTGRES_SCHEMES) and not Path(log).is_dir():
        raise ConfigError(
            f"log must be the folder that MARQUEE_EVENTS names, or a postgresql:// address, got {log!r}, "
            "which is no folder"
        )
    store = open_event_log(log)
    try:
        yield LogSource(store, folder, has_pseudonyms=noted_key(log) is not None)
    finally:
        store.close()
