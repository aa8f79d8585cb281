"""Chooses the store of users by where the event log is; loads no driver but the one that is needed."""

from pathlib import Path

from marquee.store.log.opening import POSTGRES_SCHEMES
from marquee.store.people.users import Users


def open_users(where: str) -> Users:
    """Opens, and makes if need be, the users beside the event log at an address or in a folder.

    Raises:
        ConfigError: If the library of the store is missing or too old.
        EventLogError: If the store cannot be made or reached.
    """
    if where.startswith(POSTGRES_SCHEMES):
        # Imported here: a machine without psycopg can still keep its users in a folder.
        from marquee.store.people.postgres import PostgresUsers

        return PostgresUsers(where)
    from marquee.store.people.sqlite import SqliteUsers

    return SqliteUsers(Path(where))
