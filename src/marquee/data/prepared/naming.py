"""The index of each name: the names of all buckets in one order, which is that of one sorted table.

Indices count from 1: first the names of training, then the others of `layout`'s groups, each sorted. Users
stand in one bucket each, items in many; ranges of names are put in order apart, and then each bucket looks up
its own.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from marquee.core.arrays import IndexArray
from marquee.data.prepared.layout import (
    CATALOG,
    GROUP,
    ID,
    OUTSIDE,
    TRAINED,
    UNCOUNTED,
    codes,
    read_array,
    read_facts,
    read_frame,
    write_array,
    write_facts,
    write_frame,
)

_BUCKET = "bucket"


def name_users(out: Path, inputs: Sequence[Path]) -> None:
    """Writes the users of one range of names in order, and the place of each within its group.

    Args:
        out: Folder: `<group>.arrow`, the names of each group, sorted; `rank-<bucket>`, place of each user of
            a bucket, (n,) int32; `counts.json`, how many there are of each group.
        inputs: The users of the range with their groups, bucket by bucket.
    """
    users = pl.concat(
        read_frame(path).with_columns(pl.lit(bucket, pl.UInt32).alias(_BUCKET))
        for bucket, path in enumerate(inputs)
    )
    order = users[ID].arg_sort().to_numpy()
    group = users[GROUP].to_numpy()[order]
    rank = np.empty(len(order), dtype=np.int32)
    out.mkdir()
    for number in range(UNCOUNTED + 1):
        rows = order[group == number]
        rank[rows] = np.arange(len(rows))
        write_frame(out / f"{number}.arrow", users[ID].gather(rows).to_frame(ID))
    ends = np.cumsum(np.bincount(users[_BUCKET].to_numpy(), minlength=len(inputs)))
    for bucket, of_bucket in enumerate(np.split(rank, ends[:-1])):
        write_array(out, f"rank-{bucket:05d}", of_bucket)
    counts = np.bincount(group, minlength=UNCOUNTED + 1).tolist()
    write_facts(out / "counts.json", {"counts": counts})


def name_items(out: Path, inputs: Sequence[Path], *, start: str | None, end: str | None) -> None:
    """Writes the items of one range of names in order.

    Args:
        out: Folder: `<group>.arrow`, the names of each group, sorted; `counts.json`, how many there are of
            each group, and how many of the catalog stand in no event, or in events and not in the catalog.
        inputs: The items of the range with whether they stand in training, bucket by bucket; then the items
            table where there is one.
        start: First name of the range; None for no bound.
        end: First name behind it; None for no bound.
    """
    tables = [read_frame(path) for path in inputs]
    catalog = tables.pop() if "item_id" in tables[-1].columns else None
    items = pl.concat(tables).group_by(ID).agg(pl.col("is_trained").any())
    if catalog is None:
        # Without a catalog those of training are all there are.
        named = items.with_columns(is_known=False)
    else:
        known = catalog.select(pl.col("item_id").alias(ID)).with_columns(is_known=True)
        known = known if start is None else known.filter(pl.col(ID) >= start)
        known = known if end is None else known.filter(pl.col(ID) < end)
        # Of either: an item of the table need not stand in events.
        named = items.join(known, on=ID, how="full", coalesce=True)
    group = (
        pl.when(pl.col("is_trained").fill_null(False))
        .then(pl.lit(TRAINED))
        .when(pl.col("is_known").fill_null(False))
        .then(pl.lit(CATALOG))
        .otherwise(pl.lit(OUTSIDE))
    )
    ordered = named.select(ID, group.alias(GROUP)).sort(ID)
    out.mkdir()
    for number in range(OUTSIDE + 1):
        write_frame(out / f"{number}.arrow", ordered.filter(pl.col(GROUP) == number).select(ID))
    counts = np.bincount(ordered[GROUP].to_numpy(), minlength=OUTSIDE + 1).tolist()
    # A null has been made by the other side of the join: the item stands in one of both alone.
    nulls = {name: named[name].null_count() for name in ("is_trained", "is_known")}
    write_facts(
        out / "counts.json",
        {"counts": counts, "without_event": nulls["is_trained"], "without_row": nulls["is_known"]},
    )


def index_bucket(out: Path, inputs: Sequence[Path], *, bucket: int, n_users: int, n_items: int) -> None:
    """Writes the indices of a bucket's users, and of the items of its events.

    Args:
        out: Folder: `user_index`, of each user, (n,) int32; `item_index`, of each event, (n,) int32.
        inputs: `item.npy` of the bucket. For each range of users: the bucket's users with their groups; then
            the ranks of these; then the counts. For each range of items: the bucket's items; then the folder
            of the range.
        bucket: Its number.
        n_users: Ranges of users.
        n_items: Ranges of items.
    """
    paths = iter(inputs[1:])
    groups, ranks, counts = ([next(paths) for _ in range(n_users)] for _ in range(3))
    local, named = ([next(paths) for _ in range(n_items)] for _ in range(2))
    assert all(path.name == f"rank-{bucket:05d}.npy" for path in ranks), f"ranks of {bucket}, got {ranks}"
    ahead = _ahead(counts)
    user_index = [
        read_array(rank.parent, rank.stem) + ahead[number][read_frame(group)[GROUP].to_numpy()] + 1
        for number, (group, rank) in enumerate(zip(groups, ranks, strict=True))
    ]
    ahead = _ahead([folder / "counts.json" for folder in named])
    item_index = [
        _item_index(read_frame(items)[ID], folder, ahead[number])
        for number, (items, folder) in enumerate(zip(local, named, strict=True))
    ]
    out.mkdir()
    write_array(out, "user_index", np.concatenate(user_index).astype(np.int32))
    places = read_array(inputs[0].parent, inputs[0].stem)
    write_array(out, "item_index", np.concatenate(item_index).astype(np.int32)[places])


def _ahead(counts: Sequence[Path]) -> IndexArray:
    """Returns how many names stand before those of each range and group, (n_ranges, n_groups)."""
    sizes = np.array([read_facts(path)["counts"] for path in counts])
    # All of earlier groups, and those of this group in earlier ranges.
    earlier = np.concatenate(([0], np.cumsum(sizes.sum(axis=0))[:-1]))
    ahead: IndexArray = earlier + np.cumsum(sizes, axis=0) - sizes
    return ahead


def _item_index(items: pl.Series, folder: Path, ahead: IndexArray) -> IndexArray:
    """Returns the index of some items of a range, (n,) int64."""
    groups = [read_frame(folder / f"{number}.arrow")[ID] for number in range(OUTSIDE + 1)]
    index = np.concatenate([np.arange(len(group)) + ahead[number] + 1 for number, group in enumerate(groups)])
    places = codes(items, pl.concat(groups))
    assert (places >= 0).all(), f"all items of {folder} must have a name, got {items[int(places.argmin())]!r}"
    found: IndexArray = index[places]
    return found
