"""The difference between the lists of two days: which items entered, which left, which moved."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

ENTERED, LEFT, MOVED = "entered", "left", "moved"

_KEYS = ["user_id", "item_id"]


def changes_between(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Returns a row for each item of a user that is not where it was.

    Args:
        before: `user_id` and `items`, a row per user.
        after: The same of a later day. Of a user who is in one of both alone, all items have entered or left.

    Returns:
        `user_id`, `item_id`, `change`, `place_before` and `place`, from 1, null where there is none.
    """
    joined = _places(before, "place_before").join(
        _places(after, "place"), on=_KEYS, how="full", coalesce=True, maintain_order="none"
    )
    change = (
        pl.when(pl.col("place_before").is_null())
        .then(pl.lit(ENTERED))
        .when(pl.col("place").is_null())
        .then(pl.lit(LEFT))
        .when(pl.col("place") != pl.col("place_before"))
        .then(pl.lit(MOVED))
    )
    # Sorted: the same parts give the same bytes, in whatever order a join comes.
    return (
        joined.with_columns(change=change)
        .drop_nulls("change")
        .select(*_KEYS, "change", "place_before", "place")
        .sort(*_KEYS)
    )


def _places(scores: pl.DataFrame, name: str) -> pl.DataFrame:
    """Returns a row for each item of each user, with its place from 1."""
    listed = scores.select("user_id", item_id="items").with_columns(
        pl.int_ranges(1, pl.col("item_id").list.len() + 1, dtype=pl.Int32).alias(name)
    )
    # An empty list would become a row without an item.
    return listed.explode("item_id", name).drop_nulls("item_id")


def count_changes(files: Iterable[Path]) -> Mapping[str, int]:
    """Returns how many items entered, left and moved, and how many users that concerns."""
    changes = pl.scan_parquet(list(files), glob=False)
    counts = dict(changes.group_by("change").len().collect().iter_rows())
    users = changes.select(pl.col("user_id").n_unique()).collect().item()
    return {**{name: counts.get(name, 0) for name in (ENTERED, LEFT, MOVED)}, "users": users}
