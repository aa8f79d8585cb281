"""Counts how often items and creatives of a training table were shown and clicked, for Thompson sampling."""

from pathlib import Path

import polars as pl

_COUNTS = pl.Schema(
    {"surface": pl.String(), "item_id": pl.String(), "shown": pl.Int64(), "clicked": pl.Int64()}
)


def count_clicks(table: Path) -> pl.DataFrame:
    """Returns how often each item was shown on each surface and then clicked, for Thompson sampling.

    Args:
        table: Folder of a training table.

    Returns:
        Columns surface, item_id, shown and clicked, ordered by surface, then item, without open exposures.
    """
    files = sorted((table / "events").glob("*.shown-*.parquet"))
    # A log of events without a decision: nothing was shown.
    if not files:
        return pl.DataFrame(schema=_COUNTS)
    exposures = pl.scan_parquet(files)
    counted = exposures.group_by("surface", "item_id").agg(
        pl.len().cast(pl.Int64).alias("shown"), pl.col("clicked_at").count().cast(pl.Int64).alias("clicked")
    )
    return counted.sort("surface", "item_id").collect(engine="streaming")


def count_shown(table: Path) -> pl.DataFrame:
    """Returns the counts of items and, with `creative` in place of `item_id`, those of creatives."""
    return pl.concat([count_clicks(table), count_creatives(table)], how="diagonal")


def count_creatives(table: Path) -> pl.DataFrame:
    """Returns how often each creative was shown on each surface and its item then clicked.

    Args:
        table: Folder of a training table.

    Returns:
        Columns surface, creative, shown and clicked, ordered by surface, then creative.
    """
    files = sorted((table / "events").glob("*.shown-*.parquet"))
    if not files:
        return pl.DataFrame(schema={("creative" if n == "item_id" else n): t for n, t in _COUNTS.items()})
    exposures = pl.scan_parquet(files).filter(pl.col("creative").is_not_null())
    counted = exposures.group_by("surface", "creative").agg(
        pl.len().cast(pl.Int64).alias("shown"), pl.col("clicked_at").count().cast(pl.Int64).alias("clicked")
    )
    return counted.sort("surface", "creative").collect(engine="streaming")
