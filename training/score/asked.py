"""The users of a bucket: of those that a bundle knows, or of a table.

Nothing is held of the users of other buckets but their hashes.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from marquee.bundle.bundle import Bundle
from marquee.core.arrays import IndexArray
from marquee.core.user_hash import buckets_of, hash_ids
from marquee.decision.batch.terms import AskedUser
from marquee.decision.requests import HistoryEvent
from marquee.errors import DataError, MissingColumnError

USER_ID, HISTORY = "user_id", "history"
_SUFFIXES = (".parquet", ".jsonl", ".csv")
_EVENT_FIELDS = ("item_id", "kind", "value")


def scan_users(path: Path) -> pl.LazyFrame:
    """Returns a table of users, none of which is read yet.

    Raises:
        DataError: If it cannot be read.
        MissingColumnError: If it has no user_id.
    """
    try:
        if path.suffix == ".parquet":
            table = pl.scan_parquet(path, glob=False)
        elif path.suffix == ".jsonl":
            table = pl.scan_ndjson(path, infer_schema_length=None)
        elif path.suffix == ".csv":
            # Texts: a guessed type would turn the id 007 into 7.
            table = pl.scan_csv(path, infer_schema=False, glob=False)
        else:
            raise DataError(f"users must be a file that ends in one of {_SUFFIXES}, got {path}")
        schema = table.collect_schema()
    except (OSError, PolarsError) as error:
        raise DataError(f"users in {path} cannot be read: {error}") from error
    if USER_ID not in schema:
        raise MissingColumnError(
            f"{path} must have a column {USER_ID}, got {schema.names()}; rename the one that names users"
        )
    if path.suffix == ".csv" and len(schema) > 1:
        raise DataError(
            f"a CSV of users holds ids alone, got the columns {schema.names()} in {path}, whose types a CSV "
            "does not say; write a Parquet file"
        )
    return table.with_columns(pl.col(USER_ID).cast(pl.String))


def validate_columns(table: pl.LazyFrame, path: Path, columns: frozenset[str]) -> None:
    """Raises DataError if a table has an attribute that a bundle does not read.

    Args:
        table: Of users.
        path: Of it, for messages.
        columns: What the bundle reads (see `Bundle.columns`).
    """
    attributes = [name for name in table.collect_schema().names() if name not in (USER_ID, HISTORY)]
    strange = sorted(set(attributes) - columns)
    if strange:
        raise DataError(
            f"{path} has the column {strange[0]}, which no feature of the bundle reads; it reads "
            f"{sorted(columns)}; rename the column, or leave it out"
        )


def rejects_of(table: pl.LazyFrame) -> dict[str, int]:
    """Returns how many rows of a table are not scored, by reason: no id, or the id of a row above."""
    ids = pl.col(USER_ID)
    is_named = ids.is_not_null() & (ids != "")
    counts = table.select(
        without_id=(~is_named).sum(), repeated=is_named.sum() - ids.filter(is_named).n_unique()
    ).collect()
    return {reason: count for reason, count in counts.row(0, named=True).items() if count}


def users_of_table(table: pl.LazyFrame, bucket: int, n_buckets: int) -> Iterator[AskedUser]:
    """Yields the users of a table that are in a bucket, in its order; of rows with one id the first."""
    ids = table.select(USER_ID).collect()[USER_ID]
    named = ids.is_not_null() & (ids != "")
    rows = np.flatnonzero((named & ids.is_first_distinct()).to_numpy())
    rows = rows[buckets_of(hash_ids(ids.gather(rows)), n_buckets) == bucket]
    wanted = pl.Series(rows, dtype=pl.UInt32)
    found = table.with_row_index("_row").filter(pl.col("_row").is_in(wanted.implode())).drop("_row").collect()
    for row in found.iter_rows(named=True):
        user_id, history = row.pop(USER_ID), row.pop(HISTORY, None)
        # What is not known of a user is not said, so that what the bundle knows holds.
        features = {name: value for name, value in row.items() if value is not None}
        yield AskedUser(user_id=user_id, history=_history(history, user_id), features=features)


def users_of_bundle(bundle: Bundle, rows: IndexArray) -> Iterator[AskedUser]:
    """Yields some users that a bundle knows, by user_index, (n,)."""
    for user_id in bundle.user_ids.decode(rows.tolist()):
        yield AskedUser(user_id=user_id)


def rows_by_bucket(bundle: Bundle, n_buckets: int) -> list[IndexArray]:
    """Returns the user_index of the users of each bucket, ascending."""
    buckets = buckets_of(hash_ids(bundle.user_ids.ids), n_buckets)
    order = np.argsort(buckets, kind="stable") + 1
    return np.split(order, np.cumsum(np.bincount(buckets, minlength=n_buckets))[:-1])


def _history(value: object, user_id: str) -> tuple[HistoryEvent | str, ...]:
    """Returns a history as a request has it.

    Raises:
        DataError: If it is no list of ids or events.
    """
    if value is None:
        return ()
    if not isinstance(value, list) or any(entry is None for entry in value):
        raise DataError(
            f"history of user {user_id!r} must be a list of items, got {value!r}; correct the row"
        )
    if all(isinstance(entry, str) for entry in value):
        return tuple(value)
    events = []
    for entry in value:
        if not isinstance(entry, dict) or not isinstance(entry.get("item_id"), str):
            raise DataError(
                f"history of user {user_id!r} must hold item ids, or events of {_EVENT_FIELDS}, got "
                f"{entry!r}; correct the row"
            )
        events.append(HistoryEvent(entry["item_id"], entry.get("kind") or "", entry.get("value")))
    return tuple(events)
