"""Chooses the store of the event log by where it is; loads no driver but the one that is needed."""

from pathlib import Path

from marquee.errors import ConfigError
from marquee.store.log.event_log import EventLog

POSTGRES_SCHEMES = ("postgresql://", "postgres://")
CLOSED = "closed"
"""Folder of the closed days within the folder of a log."""


def open_event_log(where: str) -> EventLog:
    """Opens, and makes if need be, the log at a `postgresql://` address or in a folder.

    Raises:
        ConfigError: If it is an address of another kind, or the library of the store is missing or too old.
        EventLogError: If the store cannot be made or reached.
    """
    if where.startswith(POSTGRES_SCHEMES):
        # Imported here: a machine without psycopg can still keep its log in a folder.
        from marquee.store.log.postgres import PostgresEventLog

        return PostgresEventLog(where)
    if "://" in where:  # or else it would become a folder of that name
        raise ConfigError(
            f"the event log must be a folder or begin with {POSTGRES_SCHEMES[0]}, got an address of "
            f"{where.partition('://')[0][:32]!r}; correct it"
        )
    from marquee.store.log.sqlite import SqliteEventLog

    return SqliteEventLog(Path(where))


def folder_of_closed_days(where: str, named: str) -> Path | None:
    """Returns the folder of the closed days of a log; None for a database beside which none is named.

    Args:
        where: As `open_event_log` takes it.
        named: The folder that an operator names; empty for `CLOSED` in the folder of the log.
    """
    if named:
        return Path(named)
    return None if where.startswith(POSTGRES_SCHEMES) else Path(where) / CLOSED
