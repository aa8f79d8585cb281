"""Stops a table whose times are numbers of another unit than declared, or dates written as numbers."""

from collections.abc import Iterator

import polars as pl

from marquee.core.schema import ColumnType
from marquee.data.reading.mapping import MappedSource, TableMapping
from marquee.data.reading.odd_times import are_odd, middle, wrong_times
from marquee.data.reading.sources import collect
from marquee.errors import DataError

_NEARLY_ALL = 0.99
_N_SAMPLE = 200


def validate_times(rows: pl.DataFrame, file: MappedSource, mapping: TableMapping) -> None:
    """Raises DataError if nearly all numbers of a time column make sense only in another unit or format.

    Args:
        rows: All rows of the file, mapped.
        file: The file.
        mapping: How it is mapped.
    """
    # The format says what the digits mean: no unit is involved.
    if mapping.config.timestamp_format:
        return
    unit = mapping.config.timestamp_unit
    for name in _time_columns(file, mapping):
        seconds = rows[name].drop_nulls()
        if seconds.is_empty() or not are_odd(seconds) or not _are_numbers(file, mapping, name):
            continue
        # Back in the unit of the file, whose numbers the message shows.
        numbers = seconds * unit.per_second
        advice = wrong_times(numbers, unit)
        if advice is not None:
            raise DataError(
                f"{mapping.schema.name}: {', '.join(file.file_columns[name])} of {file.source.path} "
                f"({mapping.key}.columns.{name}) holds numbers such as {middle(numbers)}, {advice} (config "
                f"{mapping.key})"
            )


def _time_columns(file: MappedSource, mapping: TableMapping) -> Iterator[str]:
    """Yields the columns that hold moments and are read from the file."""
    for column in mapping.schema.columns:
        # Where times only order events, any numbers will do.
        is_moment = column.type is ColumnType.timestamp and not (column.required and mapping.orders_only)
        if is_moment and file.file_columns.get(column.name):
            yield column.name


def _are_numbers(file: MappedSource, mapping: TableMapping, name: str) -> bool:
    """Returns whether a column is numbers as the file has them, or texts of numbers."""
    # A sample: a column of numbers shows it in its first rows.
    raw = collect(file.raw(name).drop_nulls().head(_N_SAMPLE), file.source.path, mapping.schema.name)
    values = raw.to_series()
    if values.dtype != pl.String:
        return values.dtype.is_numeric()
    n_numbers = values.cast(pl.Float64, strict=False).count()
    return n_numbers >= _NEARLY_ALL * len(values)
