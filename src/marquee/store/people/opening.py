"""Chooses the store of users by where the event log is; loads no driver but the one that is needed."""

from pathlib import Path

from marquee.store.log.opening import POSTGRES_SCHEMES
from marquee.store.people.users import USERS_FILE, Users


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


def noted_key(where: str) -> bytes | None:
    """Returns the fingerprint of the key that the users beside a log are kept with, None if there is none.

    Raises:
        EventLogError: If the store cannot be reached.
    """
    # Where nobody has a key no file is made for them.
    if not where.startswith(POSTGRES_SCHEMES) and not (Path(where) / USERS_FILE).exists():
        return None
    users = open_users(where)
    try:
        return users.key_fingerprint()
    finally:
        users.close()
