"""The index of each name: the names of all buckets in one order, which is that of one sorted table.

Indices count from 1: first the names of training, then the others of `layout`'s groups, each sorted. Users
stand in one bucket each, so ranges of names are sorted apart; items stand in many, and are merged.
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
    write_facts(out / "counts.json", {"counts": counts})
