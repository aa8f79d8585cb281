"""Finds the buckets that hold an id, and takes the events of a user out of what was read from files.

All that comes after is made of the rows in `parts`: once they are without a user, another preparation makes
the buckets that held some, and leaves the others where they are. Whoever erases takes the user out of the
files of the caller as well: here they are read no more, but a part that is made again reads them.
"""

from collections.abc import Collection
from pathlib import Path

import polars as pl

from marquee.core.user_hash import buckets_of, hash_column
from marquee.data.prepared.layout import BUCKETS, ID, numbered, read_frame, write_frame
from marquee.data.prepared.manifest import Manifest
from marquee.data.reading.files.columns import ROW

_SOURCE_COLUMN = "source."


def find_buckets(folder: Path, user_ids: Collection[str]) -> list[int]:
    """Returns the buckets that hold events of some users, ascending.

    Args:
        folder: Of prepared data.
        user_ids: The users; those whom it does not hold are in no bucket.

    Raises:
        DataError: If the folder holds no prepared data.
    """
    wanted = pl.Series(list(user_ids), dtype=pl.String)
    # By the hash alone it is known where each would be: no other bucket is opened.
    places = pl.Series(buckets_of(hash_column(wanted), Manifest.read(folder).n_buckets))
    return [
        number
        for number in sorted(places.unique().to_list())
        if _holds(folder, number, wanted.filter(places == number))
    ]


def _holds(folder: Path, number: int, wanted: pl.Series) -> bool:
    """Returns whether a bucket holds any of some users."""
    users = read_frame(folder / numbered(BUCKETS, number) / "users.arrow")[ID]
    return bool(users.is_in(wanted.implode()).any())


def erase_rows(part: Path, user_ids: Collection[str], n_buckets: int) -> bool:
    """Takes the events of some users out of the folder of a part; returns whether it held any.

    Their rows leave the buckets, the ids of their events, and the rejected rows.
    """
    wanted = pl.Series(list(user_ids), dtype=pl.String)
    gone: list[pl.Series] = []
    for number in sorted(set(buckets_of(hash_column(wanted), n_buckets).tolist())):
        path = part / f"{number:05d}.arrow"
        rows = read_frame(path)
        is_gone = rows["user_id"].is_in(wanted.implode())
        if is_gone.any():
            gone.append(rows.filter(is_gone)[ROW])
            _rewrite(path, rows.filter(~is_gone))
    for path in sorted((part / "ids").glob("*.arrow")) if gone else []:
        ids = read_frame(path)
        _rewrite(path, ids.filter(~pl.col(ROW).is_in(pl.concat(gone).implode())))
    return _erase_rejects(part / "rejects.csv", wanted) or bool(gone)


def erase_users(table: Path, user_ids: Collection[str]) -> bool:
    """Takes some users out of the folder of the users table; returns whether it held any."""
    wanted = pl.Series(list(user_ids), dtype=pl.String)
    path = table / "table.arrow"
    users = read_frame(path)
    is_gone = users["user_id"].is_in(wanted.implode())
    if is_gone.any():
        _rewrite(path, users.filter(~is_gone))
    return _erase_rejects(table / "users.csv", wanted) or bool(is_gone.any())


def _erase_rejects(path: Path, wanted: pl.Series) -> bool:
    """Takes rejected rows that name one of some users out of their file; returns whether there were any."""
    if not path.is_file():
        return False
    rows = pl.read_csv(path, infer_schema=False)
    columns = [name for name in rows.columns if name.startswith(_SOURCE_COLUMN)]
    # In any column: a row may have been rejected because its user stood in a wrong one.
    is_gone = rows.select(pl.any_horizontal(pl.col(columns).is_in(wanted.implode()))).to_series()
    if is_gone.any():
        rows.filter(~is_gone.fill_null(False)).write_csv(path)
    return bool(is_gone.any())


def _rewrite(path: Path, rows: pl.DataFrame) -> None:
    """Writes a table in place of one that is mapped into memory."""
    aside = path.with_suffix(".aside")
    # Renamed, and not written over: pages of the old one may still be read.
    write_frame(aside, rows)
    aside.replace(path)
