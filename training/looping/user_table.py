"""Joins a table of users to a training table: the operator's ids become the pseudonyms of the log."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import polars as pl

from marquee.data.reading.files.columns import FAULT, ROW
from marquee.data.reading.sources import Source, open_sources
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError, DataError
from marquee.store.people.consent import Tier
from marquee.store.people.opening import open_users
from marquee.store.people.user_key import UserKey, validate_key
from marquee.store.people.users import Users

USERS_TABLE = "users.parquet"
_USER_ID = "user_id"


class JoinedUsers(NamedTuple):
    """The rows of a table of users by fate.

    Attributes:
        kept: Users whose pseudonym stands in the table.
        unknown: Users whom the log does not hold, or who were erased.
        withheld: Users who do not let themselves be known.
    """

    kept: int
    unknown: int
    withheld: int


def write_users(path: Path, id_column: str, key_path: str, log: str, to: Path) -> JoinedUsers:
    """Writes the users of a table under their pseudonyms and returns the counts of its rows.

    Args:
        path: File of the table, of any form that a data set may have.
        id_column: Its column of ids.
        key_path: File of the key that the log's users are kept with.
        log: The log, beside which they are.
        to: Folder of the training table.

    Raises:
        ConfigError: If the key is not that of the log.
        DataError: If the table has no such column or cannot be read.
        EventLogError: If the store cannot be reached.
    """
    rows = _rows(path, id_column)
    with _opened(key_path, log) as (users, key):
        handles = {user_id: key.handle(user_id) for user_id in rows[id_column].drop_nulls().unique()}
        persons = users.find_many(handles.values())
    found = {user_id: persons[handle] for user_id, handle in handles.items()}
    # Whoever said nothing stands in the log, so that the service's default lets them be known.
    is_open = {user_id: one.tier in (None, Tier.personal) for user_id, one in found.items()}
    names = {user_id: one.pseudonym for user_id, one in found.items() if one.pseudonym and is_open[user_id]}
    ids = rows[id_column]
    kept = rows.with_columns(ids.replace_strict(names, default=None, return_dtype=pl.String)).drop_nulls(
        id_column
    )
    withheld = sum(user_id is not None and not is_open[user_id] for user_id in ids)
    # By pseudonym: the order of the operator's table would tell who is who.
    kept.rename({id_column: _USER_ID}).sort(_USER_ID).write_parquet(to / USERS_TABLE)
    return JoinedUsers(len(kept), len(rows) - len(kept) - withheld, withheld)


def validate_users(path: Path, id_column: str, key_path: str, log: str) -> None:
    """Raises what `write_users` would raise of key and columns, before the work on the log.

    Raises:
        ConfigError: If the key is not that of the log.
        DataError: If the table has no such column, or another one named `user_id`.
        EventLogError: If the store cannot be reached.
    """
    with _opened(key_path, log):
        for source in _sources(path):
            _validate_columns(source.frame.collect_schema().names(), id_column)


@contextmanager
def _opened(key_path: str, log: str) -> Iterator[tuple[Users, UserKey]]:
    """Opens the users of a log with their key, and closes them again; raises ConfigError for another key."""
    users, key = open_users(log), UserKey.read(key_path)
    try:
        if users.key_fingerprint() is None:
            raise ConfigError(
                f"user_key joins users by pseudonyms, got {key_path} for a log that keeps ids; "
                "leave it out, and name the table of users as `data.users`"
            )
        validate_key(users, key)
        yield users, key
    finally:
        users.close()


def _rows(path: Path, id_column: str) -> pl.DataFrame:
    """Returns the rows of a table of users, ids as text."""
    rows = pl.concat([source.frame.drop(ROW, FAULT).collect() for source in _sources(path)])
    _validate_columns(rows.columns, id_column)
    return rows.with_columns(pl.col(id_column).cast(pl.String))


def _sources(path: Path) -> Sequence[Source]:
    """Returns the files of a table of users."""
    return open_sources(TableConfig(path=path.name), path.parent, "users")


def _validate_columns(columns: Sequence[str], id_column: str) -> None:
    """Raises DataError unless one column of ids can become `user_id`."""
    names = [name for name in columns if name not in (ROW, FAULT)]
    if id_column not in names:
        raise DataError(f"users must have the column of users_id, got {id_column!r}; name one of {names}")
    if id_column != _USER_ID and _USER_ID in names:
        raise DataError(
            f"users must have no column {_USER_ID} beside that of users_id, got {id_column!r} and it; the "
            "pseudonyms get that name: rename or drop it"
        )
