"""Looks whether the order of a file's rows is an order of values, where it is taken for the order of time."""

from collections.abc import Iterator

import polars as pl

from marquee.data.reading.mapping import MappedSource
from marquee.data.reading.sources import collect

_FEWEST_ROWS = 4  # three rows stand in order by chance in one case of six, either way in one of three
_MOST = 0.5
_USER = "__user"


def sorted_columns(file: MappedSource, table: str) -> Iterator[str]:
    """Yields what most users' rows are sorted by, in words.

    Of the users with some rows, more than half must ascend, or descend, in a column whose values they do not
    share.

    Args:
        file: A file of events, mapped.
        table: Name of the table, for messages.
    """
    columns = [name for name, dtype in file.source.columns.items() if not dtype.is_nested()]
    users = file.file_columns["user_id"]
    asked = [name for name in columns if users != (name,)]
    frame = pl.concat(
        [file.raw("user_id").rename({"user_id": _USER}), file.source.frame.select(asked)],
        how="horizontal",
    )
    rows = collect(frame, file.source.path, table)
    for name in asked:
        for values in _readings(rows[name]):
            direction = _direction(rows[_USER], values)
            if direction:
                yield f"most users' rows {direction} in {name}"
                break


def _readings(column: pl.Series) -> Iterator[pl.Series]:
    """Yields a column as numbers if it is some, then as texts."""
    numbers = column.cast(pl.Float64, strict=False)
    if numbers.null_count() == column.null_count():
        yield numbers
    elif column.dtype == pl.String:
        yield column


def _direction(users: pl.Series, values: pl.Series) -> str | None:
    """Returns whether most users' values ascend or descend, None if neither."""
    step = (pl.col("value") > pl.col("value").shift()).over("user")
    back = (pl.col("value") < pl.col("value").shift()).over("user")
    found = (
        pl.DataFrame({"user": users, "value": values})
        .drop_nulls()
        .with_columns(up=step, down=back)
        .group_by("user")
        .agg(pl.len().alias("n"), pl.col("up").sum(), pl.col("down").sum())
        .filter((pl.col("n") >= _FEWEST_ROWS) & (pl.col("up") + pl.col("down") > 0))
    )
    if found.is_empty():
        return None
    if found.filter(pl.col("down") == 0).height > _MOST * found.height:
        return "ascend"
    if found.filter(pl.col("up") == 0).height > _MOST * found.height:
        return "descend"
    return None
