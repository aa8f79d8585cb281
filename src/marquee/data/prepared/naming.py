"""The index of each name: the names of all buckets in one order, which is that of one sorted table.

Indices count from 1: first the names of training, then the others of `layout`'s groups, each sorted. Users
stand in one bucket each, so ranges of names are sorted apart; items stand in many, and are merged. Then each
bucket looks its own up.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

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


def merge_items(out: Path, inputs: Sequence[Path]) -> None:
    """Writes the distinct items of some tables, sorted, each with whether it stands in training.

    Args:
        out: Table of the name and `is_trained`.
        inputs: Such tables.
    """
    together = pl.concat(read_frame(path) for path in inputs)
    write_frame(out, together.group_by(ID).agg(pl.col("is_trained").any()).sort(ID))


def name_items(out: Path, inputs: Sequence[Path]) -> None:
    """Writes the items in the order of their indices.

    Args:
        out: Folder: `ids.arrow`, `counts.json`, how many there are of each group.
        inputs: The merged items, then the items table where there is one.
    """
    items = read_frame(inputs[0])
    catalog = read_frame(inputs[1]).select(pl.col("item_id").alias(ID)) if len(inputs) > 1 else None
    if catalog is None:
        # Without a catalog those of training are all there are.
        named = items.with_columns(is_known=False)
    else:
        # Once each: an item of the table need not stand in events.
        named = items.join(catalog.with_columns(is_known=True), on=ID, how="full", coalesce=True)
    group = (
        pl.when(pl.col("is_trained").fill_null(False))
        .then(pl.lit(TRAINED))
        .when(pl.col("is_known").fill_null(False))
        .then(pl.lit(CATALOG))
        .otherwise(pl.lit(OUTSIDE))
    )
    ordered = named.select(ID, group.alias(GROUP)).sort(GROUP, ID)
    out.mkdir()
    write_frame(out / "ids.arrow", ordered.select(ID))
    counts = np.bincount(ordered[GROUP].to_numpy(), minlength=OUTSIDE + 1).tolist()
    # A null has been made by the other side of the join: the item stands in one of both alone.
    without = {
        "without_event": named["is_trained"].null_count(),
        "without_row": named["is_known"].null_count(),
    }
    write_facts(out / "counts.json", {"counts": counts} | (without if catalog is not None else {}))


def index_bucket(out: Path, inputs: Sequence[Path], *, bucket: int, n_ranges: int) -> None:
    """Writes the indices of a bucket's users, and of the items of its events.

    Args:
        out: Folder: `user_index`, of each user, (n,) int32; `item_index`, of each event, (n,) int32.
        inputs: The folder of the bucket; the names of the items; for each range of users the bucket's users
            with their groups, then their ranks; then the counts of each range.
        bucket: Its number.
        n_ranges: Ranges of users.
    """
    folder, items = inputs[0], inputs[1]
    groups, ranks, counts = (
        inputs[2 + number * n_ranges : 2 + (number + 1) * n_ranges] for number in range(3)
    )
    assert all(path.name == f"rank-{bucket:05d}.npy" for path in ranks), f"ranks of {bucket}, got {ranks}"
    sizes = np.array([read_facts(path)["counts"] for path in counts])  # (n_ranges, n_groups)
    # Behind all of earlier groups, and those of this group in earlier ranges.
    ahead = np.concatenate(([0], np.cumsum(sizes.sum(axis=0))[:-1])) + np.cumsum(sizes, axis=0) - sizes
    user_index = [
        read_array(rank.parent, rank.stem) + ahead[number][read_frame(group)[GROUP].to_numpy()] + 1
        for number, (group, rank) in enumerate(zip(groups, ranks, strict=True))
    ]
    local = read_frame(folder / "items.arrow")[ID]
    item_index = (codes(local, read_frame(items)[ID]) + 1).astype(np.int32)
    assert ahead.shape[1] == UNCOUNTED + 1, f"expected {UNCOUNTED + 1} groups, got {ahead.shape}"
    assert item_index.all(), (
        f"all items of bucket {bucket} must have a name, got {local[int(item_index.argmin())]!r}"
    )
    out.mkdir()
    write_array(out, "user_index", np.concatenate(user_index).astype(np.int32))
    write_array(out, "item_index", item_index[read_array(folder, "item")])
