"""Expressions that turn a source column of any type into a canonical one; what cannot be turned is null.

Does not judge values: a null that was a value before is found by `validation`, which calls it a wrong type.
"""

import json
import math
from collections.abc import Iterator

import polars as pl

from marquee.core.moments import read_moment
from marquee.core.schema import ColumnType
from marquee.data.table_config import SourceType, TableConfig

_TRUE = ("true", "True", "TRUE", "1")
_FALSE = ("false", "False", "FALSE", "0")


def canonical(column: str, source: pl.DataType, target: ColumnType, config: TableConfig) -> pl.Expr:
    """Returns the expression of a canonical column made of a column of type `source`."""
    match target:
        case ColumnType.id:
            return _plain_id(column, source)
        case ColumnType.timestamp:
            return as_timestamp(column, source, config)
        case ColumnType.integer:
            return as_integer(column, source)
        case ColumnType.number:
            return as_number(column, source)


def present(column: str, source: pl.DataType) -> pl.Expr:
    """Returns whether a column holds a value: not null, not an empty text, not NaN."""
    value = pl.col(column)
    if source == pl.String:
        return value.is_not_null() & (value != "")
    if source.is_float():
        return value.is_not_null() & value.is_not_nan()
    return value.is_not_null()


def as_id(column: str, source: pl.DataType) -> pl.Expr:
    """Returns ids as texts; a whole number that a file stores as 17.0 is `17`, an empty text is null."""
    value = pl.col(column)
    if source == pl.String:
        return value.replace("", None)
    if source.is_float():
        known = value.fill_nan(None)
        # Whole numbers with gaps among them are floats to Pandas: 17.0 is the id 17.
        whole = known.cast(pl.Int64, strict=False)
        return pl.when(whole == known).then(whole.cast(pl.String)).otherwise(known.cast(pl.String))
    if source.is_integer() or isinstance(source, (pl.Boolean, pl.Categorical, pl.Enum, pl.Null)):
        return value.cast(pl.String)
    if isinstance(source, pl.Decimal):
        # A decimal writes the digits of its scale: 17 as 17.00.
        return value.cast(pl.String).str.replace(r"\.0+$", "")
    return pl.lit(None, pl.String)


def _plain_id(column: str, source: pl.DataType) -> pl.Expr:
    """Returns ids as texts; one that is the JSON of an object or a list of texts is null."""
    ids = as_id(column, source)
    if source != pl.String:
        return ids
    # Where some lines of JSON hold a text and others an object, Polars makes texts of all of them.
    is_nested = ids.str.starts_with('{"') | ids.str.starts_with('["')
    return pl.when(~is_nested).then(ids)


def as_number(column: str, source: pl.DataType) -> pl.Expr:
    """Returns numbers as Float64."""
    if source == pl.String or source.is_numeric() or isinstance(source, (pl.Boolean, pl.Null)):
        return pl.col(column).cast(pl.Float64, strict=False)
    return pl.lit(None, pl.Float64)


def as_integer(column: str, source: pl.DataType) -> pl.Expr:
    """Returns whole numbers as Int64; 3.0 is 3, and 3.5 is null."""
    value = pl.col(column)
    number = as_number(column, source)
    whole = number.cast(pl.Int64, strict=False)
    from_number = pl.when(whole == number).then(whole)
    if source == pl.String:
        # Directly first: by way of a float, digits beyond 2**53 would change.
        return pl.coalesce(value.cast(pl.Int64, strict=False), from_number)
    return value.cast(pl.Int64, strict=False) if source.is_integer() else from_number


def as_timestamp(column: str, source: pl.DataType, config: TableConfig) -> pl.Expr:
    """Returns seconds since 1970, UTC, as Int64; fractions of a second are cut off.

    A text is read by `timestamp_format`, or else as a number or as ISO 8601. A time without offset is UTC.
    """
    value = pl.col(column)
    if config.timestamp_format and source.is_integer():
        # A date such as 20250301 is a number to Parquet, and its format speaks of the digits.
        value, source = value.cast(pl.String), pl.String()
    if source == pl.String:
        if config.timestamp_format:
            return _seconds(
                value.str.strptime(_parsed_as(config.timestamp_format), config.timestamp_format, strict=False)
            )
        return value.map_batches(
            lambda texts: _read_timestamps(texts, config.timestamp_unit.per_second),
            return_dtype=pl.Int64(),
            is_elementwise=True,
        )
    if source.is_integer():
        return value.cast(pl.Int64, strict=False) // config.timestamp_unit.per_second
    if source.is_numeric():
        return (
            (value.cast(pl.Float64) / config.timestamp_unit.per_second).floor().cast(pl.Int64, strict=False)
        )
    if isinstance(source, (pl.Datetime, pl.Date)):
        return _seconds(value.cast(pl.Datetime("us", getattr(source, "time_zone", None))))
    return pl.lit(None, pl.Int64)


def _seconds(moment: pl.Expr) -> pl.Expr:
    """Returns moments as seconds since 1970, rounded down also before it."""
    # Not truncated: half a second before 1970 is second -1.
    return moment.dt.epoch("us").floordiv(1_000_000)


def _parsed_as(timestamp_format: str) -> pl.Datetime:
    """Returns the type that a format yields: in UTC if it holds an offset."""
    return pl.Datetime("us", "UTC" if "%z" in timestamp_format or "%:z" in timestamp_format else None)


def _read_timestamps(texts: pl.Series, per_second: int) -> pl.Series:
    """Returns texts as seconds: numbers first, then ISO 8601, each way only for the texts still unread."""
    seconds = texts.cast(pl.Int64, strict=False) // per_second
    column = pl.col(texts.name)
    number = (column.cast(pl.Float64, strict=False) / per_second).floor().cast(pl.Int64, strict=False)
    # Parsing dates is by far the slowest step, and a column of numbers needs none of it.
    for read in (number, *_iso_formats(column), _any_iso(column)):
        unread = (seconds.is_null() & texts.is_not_null()).arg_true()
        if unread.is_empty():
            break
        seconds = seconds.scatter(unread, texts.gather(unread).to_frame().select(read).to_series())
    return seconds


def _any_iso(text: pl.Expr) -> pl.Expr:
    """Returns the way to read the rest of ISO 8601 and what PostgreSQL writes, text by text."""
    return text.map_batches(_read_each, return_dtype=pl.Int64(), is_elementwise=True)


def _read_each(texts: pl.Series) -> pl.Series:
    """Returns texts as seconds, each distinct one read once."""
    distinct = texts.unique().drop_nulls()
    moments = [read_moment(text) for text in distinct.to_list()]
    seconds = [None if moment is None else math.floor(moment.timestamp()) for moment in moments]
    return texts.replace_strict(
        distinct, pl.Series(seconds, dtype=pl.Int64), default=None, return_dtype=pl.Int64
    )


def _iso_formats(text: pl.Expr) -> Iterator[pl.Expr]:
    """Yields the ways to read ISO 8601: date and time with or without seconds and offset, or a date alone."""
    plain = text.str.strip_chars().str.replace("T", " ", literal=True).str.replace("Z$", "+0000")
    for time in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"):
        yield _seconds(plain.str.strptime(pl.Datetime("us"), time, strict=False))
        yield _seconds(plain.str.strptime(pl.Datetime("us", "UTC"), f"{time}%z", strict=False))
    yield _seconds(plain.str.strptime(pl.Date(), "%Y-%m-%d", strict=False).cast(pl.Datetime("us")))


def as_source_type(column: str, source: pl.DataType, target: SourceType) -> pl.Expr:
    """Returns a source column read as the declared type."""
    value = pl.col(column)
    match target:
        case SourceType.int:
            return as_integer(column, source)
        case SourceType.float:
            return as_number(column, source)
        case SourceType.str:
            return as_id(column, source)
        case SourceType.bool:
            text = value.cast(pl.String, strict=False)
            return pl.when(text.is_in(_TRUE)).then(True).when(text.is_in(_FALSE)).then(False)
        case SourceType.list | SourceType.vector:
            return _as_list(value, source, target)


def _as_list(value: pl.Expr, source: pl.DataType, target: SourceType) -> pl.Expr:
    """Returns a list or the JSON text of one as the target's list."""
    if isinstance(source, pl.List):
        return value.cast(target.dtype, strict=False)
    if source == pl.String:
        return value.map_batches(lambda texts: _decode_lists(texts, target), return_dtype=target.dtype)
    return pl.lit(None, target.dtype)


def _decode_lists(texts: pl.Series, target: SourceType) -> pl.Series:
    """Returns JSON lists as lists; any other text is null."""
    try:
        return texts.str.json_decode(target.dtype)
    except pl.exceptions.PolarsError:
        # One broken text fails the whole column above; then each is read by itself.
        return pl.Series(texts.name, [_decode_list(text, target) for text in texts], target.dtype)


def _decode_list(text: str | None, target: SourceType) -> list[str] | list[float] | None:
    """Returns one JSON list; None for another text, or for entries of another type."""
    try:
        # Nothing is no list, and no error.
        values = json.loads(text or "null")
        if not isinstance(values, list):
            return None
        return (
            [float(value) for value in values]
            if target is SourceType.vector
            else [str(value) for value in values]
        )
    except (ValueError, TypeError):
        return None


def attribute(column: str, source: pl.DataType) -> pl.Expr:
    """Returns an attribute in a type that features and bundles can hold: moments become seconds."""
    value = pl.col(column)
    if isinstance(source, (pl.Datetime, pl.Date)):
        return _seconds(value.cast(pl.Datetime("us", getattr(source, "time_zone", None))))
    if isinstance(source, pl.Decimal):
        return value.cast(pl.Float64)
    if isinstance(source, (pl.Categorical, pl.Enum, pl.Null)):
        return value.cast(pl.String)
    # No feature or filter reads into an object: it stands as the text of its JSON.
    if isinstance(source, pl.Struct):
        return value.struct.json_encode()
    if isinstance(source, pl.List) and isinstance(source.inner, pl.Struct):
        return value.list.eval(pl.element().struct.json_encode())
    return value
