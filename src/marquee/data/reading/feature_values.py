"""Counts the values of declared features that cannot be read as their type, as rows are counted.

A feature takes an unreadable value for a missing one, which is right in a request and hides a mistake in a
table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from marquee.data.reading.odd_times import wrong_times
from marquee.data.table_config import TimestampUnit
from marquee.errors import DataError
from marquee.features import FeatureConfig, FeatureType
from marquee.features.values import LARGEST_NUMBER, read_category, read_number, read_time, read_vector

# A value may be a text of any length, and stands in one line of a report.
_MAX_EXAMPLE_LENGTH = 60
_READERS: dict[FeatureType, Callable[[object], object]] = {
    FeatureType.numeric: read_number,
    FeatureType.timestamp: read_time,
    FeatureType.categorical: read_category,
    FeatureType.text: read_category,
}
_ADVICE = {
    FeatureType.numeric: "write numbers, or an expression that makes them, such as "
    "TRY_CAST(REPLACE({column}, ',', '') AS FLOAT), in columns",
    FeatureType.timestamp: "write ISO 8601 or seconds since 1970, or an expression that makes them, such as "
    "STRPTIME({column}, '%d.%m.%Y'), in columns",
    FeatureType.vector: "write lists of `dim` numbers; JSON lists in a text column need types: "
    "{{{column}: vector}}",
}


@dataclass(frozen=True)
class FeatureQuality:
    """The values of one feature in its table.

    Attributes:
        name: Of the feature.
        column: Where it is read from.
        type: Its declared type.
        n_values: Rows with a value.
        n_unreadable: Values that cannot be read as the type, and count as missing.
        example: The most frequent of them; empty if there is none.
    """

    name: str
    column: str
    type: str
    n_values: int
    n_unreadable: int
    example: str

    @property
    def unreadable_fraction(self) -> float:
        """Unreadable values among those that are there."""
        return self.n_unreadable / max(self.n_values, 1)

    def __str__(self) -> str:
        found = f"feature {self.name} ({self.type}, {self.column}): {self.n_values:,} values"
        if not self.n_unreadable:
            return found
        return (
            f"{found}, {self.n_unreadable:,} unreadable ({self.unreadable_fraction:.2%}, e.g. {self.example})"
        )


def measure_features(features: Mapping[str, FeatureConfig], rows: pl.DataFrame) -> tuple[FeatureQuality, ...]:
    """Returns how many values of each declared feature a table has, and how many cannot be read."""
    return tuple(_measure(name, config, rows[config.column or name]) for name, config in features.items())


def _measure(name: str, config: FeatureConfig, column: pl.Series) -> FeatureQuality:
    """Returns the count of one feature."""
    values = column.filter(_is_present(column))
    unreadable = _unreadable(config, values)
    example = ""
    if len(unreadable):
        shown = unreadable.value_counts(sort=True)[:, 0] if not unreadable.dtype.is_nested() else unreadable
        example = repr(shown.to_list()[0])[:_MAX_EXAMPLE_LENGTH]
    return FeatureQuality(name, column.name, config.type.value, len(values), len(unreadable), example)


def _is_present(column: pl.Series) -> pl.Series:
    """Returns whether there is a value: no null, NaN, empty text or empty list."""
    there = column.is_not_null()
    if column.dtype == pl.String:
        # A file writes a missing text as an empty one, which is no unreadable value.
        return there & (column.str.strip_chars() != "")
    if column.dtype.is_float():
        return there & column.is_not_nan()
    # An empty list is a missing value to the feature's codec as well.
    if isinstance(column.dtype, pl.List):
        return there & (column.list.len() > 0)
    return there


def _unreadable(config: FeatureConfig, values: pl.Series) -> pl.Series:
    """Returns the values that a feature of this type cannot read."""
    if config.type is FeatureType.multi:
        return values.clear()  # every entry of a list is a category
    if config.type is FeatureType.vector:
        return _unread_vectors(values, config.dim)
    if values.dtype.is_nested():
        return values  # one value is meant, and a list or an object is none
    if config.type is FeatureType.numeric and (values.dtype.is_integer() or values.dtype.is_float()):
        return values.filter(~(values.cast(pl.Float64).abs() <= LARGEST_NUMBER))
    # Each value once: the readers are those of a request, one Python call a value.
    distinct = values.unique()
    is_wrong = [_READERS[config.type](value) is None for value in distinct.to_list()]
    wrong = distinct.filter(pl.Series(is_wrong, dtype=pl.Boolean))
    return values.filter(values.is_in(wrong.implode())) if len(wrong) else values.clear()


def _unread_vectors(values: pl.Series, dim: int) -> pl.Series:
    """Returns the values that are no `dim` numbers."""
    if isinstance(values.dtype, pl.List) and values.dtype.inner.is_numeric():
        usable = values.list.eval((pl.element().cast(pl.Float64).abs() <= LARGEST_NUMBER).fill_null(False))
        return values.filter((values.list.len() != dim) | ~usable.list.all())
    if isinstance(values.dtype, pl.Array) and values.dtype.inner.is_numeric():
        return _unread_vectors(values.arr.to_list(), dim)
    is_wrong = [read_vector(value, dim) is None for value in values.to_list()]
    return values.filter(pl.Series(is_wrong, dtype=pl.Boolean))


def require_readable(
    table: str, found: Sequence[FeatureQuality], features: Mapping[str, FeatureConfig], limit: float
) -> None:
    """Raises DataError if more of a feature's values than a share cannot be read as its type."""
    for quality in found:
        if quality.unreadable_fraction <= limit:
            continue
        advice = _ADVICE.get(features[quality.name].type, "correct its type").format(column=quality.column)
        raise DataError(
            f"feature {quality.name!r} (column {quality.column!r} of {table}) is declared {quality.type}, "
            f"and {quality.n_unreadable:,} of its {quality.n_values:,} values cannot be read as that "
            f"({quality.unreadable_fraction:.2%}, data.max_unreadable_fraction is {limit:.2%}), for example "
            f"{quality.example}; correct its type, or {advice} (config data.features, data.{table})"
        )


def validate_feature_times(table: str, features: Mapping[str, FeatureConfig], rows: pl.DataFrame) -> None:
    """Raises DataError if a timestamp feature holds numbers that are dates, or no seconds since 1970."""
    for name, config in features.items():
        column = config.column or name
        if config.type is not FeatureType.timestamp or rows[column].dtype.is_nested():
            continue
        numbers = rows[column].cast(pl.Float64, strict=False).drop_nulls().cast(pl.Int64, strict=False)
        # A median of nothing does not exist; texts in ISO 8601 leave no numbers.
        advice = None if numbers.is_empty() else wrong_times(numbers.drop_nulls(), TimestampUnit.s)
        if advice is not None:
            raise DataError(
                f"feature {name!r} (column {column!r} of {table}) holds numbers such as {numbers[0]}, "
                f"{advice.partition(';')[0]}; a feature is read in seconds since 1970 or ISO 8601, so write "
                f"an expression that makes them, such as {column} / 1000 of milliseconds or "
                f"STRPTIME(CAST({column} AS VARCHAR), '%Y%m%d') of dates, in data.{table}.columns"
            )
