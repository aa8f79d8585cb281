"""From the rows of one bucket to arrays: names sorted, events by user and time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from marquee.core.arrays import IndexArray
from marquee.data.prepared.layout import (
    ID,
    SOURCE,
    codes,
    read_frame,
    write_array,
    write_facts,
    write_frame,
)
from marquee.data.reading.files.columns import ROW
from marquee.data.reading.notes import SAME_EVENT

_ARRAYS = {"user_id", "item_id", "kind", "value", "timestamp", SOURCE, ROW}


def sort_bucket(out: Path, inputs: Sequence[Path], *, sources: Sequence[int], deduplicate: bool) -> None:
    """Writes the events of a bucket's users, grouped by user, oldest first.

    Events of one time stand in the order of the files, by which splits and histories count them.

    Args:
        out: Folder: `users.arrow` and `items.arrow`, the names, sorted; `offsets`, where the events of each
            user begin, (n + 1,) int64; of each event `item`, place of its name, int32, `kind`, uint8,
            `timestamp`, int64, `value`, float64 with NaN for none, where any has one, `source` and `row`,
            where it stood, uint32; `times`, all timestamps ascending; `extra.arrow`, its other columns where
            there are any; `bucket.json`, counts.
        inputs: The rows of the bucket, file by file; then tables of rows that are left out.
        sources: Number of the file of each input that holds rows.
        deduplicate: Keep the first of rows equal in user, item, timestamp and kind.
    """
    rows = _rows(inputs[: len(sources)], sources)
    for path in inputs[len(sources) :]:
        rows = rows.join(read_frame(path), on=[SOURCE, ROW], how="anti", maintain_order="left")
    n_before = rows.height
    if deduplicate:
        rows = rows.unique(list(SAME_EVENT), keep="first", maintain_order=True)
    out.mkdir()
    users = rows["user_id"].unique().sort()
    items = rows["item_id"].unique().sort()
    user, item = codes(rows["user_id"], users), codes(rows["item_id"], items)
    timestamp = rows["timestamp"].to_numpy().astype(np.int64)
    # Stable, and the rows are in the order of the files: ties keep it.
    order = np.lexsort((timestamp, user))
    for name, names in (("users", users), ("items", items)):
        write_frame(out / f"{name}.arrow", names.alias(ID).to_frame())
    write_array(out, "offsets", _offsets(user, len(users)))
    write_array(out, "item", item[order].astype(np.int32))
    write_array(out, "kind", rows["kind"].to_numpy()[order])
    write_array(out, "timestamp", timestamp[order])
    write_array(out, "source", rows[SOURCE].to_numpy()[order])
    write_array(out, "row", rows[ROW].cast(pl.UInt32).to_numpy()[order])
    write_array(out, "times", np.sort(timestamp))
    if "value" in rows.columns:
        write_array(out, "value", rows["value"].cast(pl.Float64).to_numpy()[order])
    if extra := [name for name in rows.columns if name not in _ARRAYS]:
        write_frame(out / "extra.arrow", rows.select(extra)[order])
    write_facts(out / "bucket.json", {"n_duplicates": n_before - rows.height, "kept": rows.height})


def _rows(paths: Sequence[Path], sources: Sequence[int]) -> pl.DataFrame:
    """Returns the rows of a bucket from all files, with the number of each file."""
    parts = [
        read_frame(path).with_columns(pl.lit(source, pl.UInt32).alias(SOURCE))
        for path, source in zip(paths, sources, strict=True)
    ]
    # Relaxed, as one file may hold whole numbers where another holds fractions, or lack a column.
    return pl.concat(parts, how="diagonal_relaxed", rechunk=True)


def _offsets(user: IndexArray, n_users: int) -> IndexArray:
    """Returns where the events of each user begin, and the end of the last."""
    return np.concatenate(([0], np.cumsum(np.bincount(user, minlength=n_users)))).astype(np.int64)
