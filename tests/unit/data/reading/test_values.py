import math
from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest

from marquee.core.schema import ColumnType
from marquee.data.reading.values import as_source_type, as_timestamp, attribute, canonical, present
from marquee.data.table_config import SourceType, TableConfig, TimestampUnit

CONFIG = TableConfig(path="e.csv")


def convert(values: list[object], dtype: pl.DataType, target: ColumnType) -> list[object]:
    frame = pl.DataFrame({"x": pl.Series(values, dtype=dtype)})
    return frame.select(canonical("x", dtype, target, CONFIG)).to_series().to_list()


def read_time(value: object, dtype: pl.DataType, config: TableConfig = CONFIG) -> object:
    frame = pl.DataFrame({"x": pl.Series([value], dtype=dtype)})
    return frame.select(as_timestamp("x", dtype, config)).item()


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (["u1", "", None], pl.String(), ["u1", None, None]),
        ([17, None], pl.Int32(), ["17", None]),
        ([17.0, 1.5, math.nan, None], pl.Float64(), ["17", "1.5", None, None]),
        (["a"], pl.Categorical(), ["a"]),
        ([[1]], pl.List(pl.Int64()), [None]),
        ([b"a"], pl.Binary(), [None]),
    ],
    ids=["text", "integer", "float", "categorical", "list", "bytes"],
)
def test_id_is_a_text(values: list[object], dtype: pl.DataType, expected: list[object]) -> None:
    assert convert(values, dtype, ColumnType.id) == expected


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (["3", "3.0", "3.5", "x", None], pl.String(), [3, 3, None, None, None]),
        (["9007199254740993"], pl.String(), [9007199254740993]),
        ([3.0, 3.5, math.inf], pl.Float64(), [3, None, None]),
        ([7], pl.UInt8(), [7]),
    ],
    ids=["text", "beyond-float", "float", "integer"],
)
def test_integer_is_whole(values: list[object], dtype: pl.DataType, expected: list[object]) -> None:
    assert convert(values, dtype, ColumnType.integer) == expected


def test_list_is_no_number() -> None:
    assert convert([[1]], pl.List(pl.Int64()), ColumnType.number) == [None]


def test_number_keeps_what_is_not_finite() -> None:
    numbers = convert(["1.5", "inf", "x", None], pl.String(), ColumnType.number)
    assert numbers == [1.5, math.inf, None, None]


@pytest.mark.parametrize(
    "text",
    [
        "1700000000",
        "1700000000.0",
        "1.7e9",
        "2023-11-14 22:13:20",
        "2023-11-14T22:13:20",
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20.999Z",
        "2023-11-14 23:13:20+01:00",
        "2023-11-14T17:13:20.5-0500",
        " 2023-11-14T22:13:20 ",
    ],
)
def test_moment_is_read_however_it_is_written(text: str) -> None:
    assert read_time(text, pl.String()) == 1_700_000_000


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2023-11-14", datetime(2023, 11, 14, tzinfo=UTC)),
        ("2023-11-14 22:13", datetime(2023, 11, 14, 22, 13, tzinfo=UTC)),
        ("2023-11-14T22:13+02:00", datetime(2023, 11, 14, 22, 13, tzinfo=timezone(timedelta(hours=2)))),
        ("1969-12-31 23:59:59", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_shorter_iso_forms_are_read(text: str, moment: datetime) -> None:
    assert read_time(text, pl.String()) == int(moment.timestamp())


@pytest.mark.parametrize("text", ["soon", "2023-13-01", "14.11.2023", "nan", "", None])
def test_text_that_is_no_moment_is_null(text: str | None) -> None:
    assert read_time(text, pl.String()) is None


def test_column_may_mix_forms() -> None:
    frame = pl.DataFrame({"x": ["5", "1970-01-01 00:00:06", "x", None, "7.9"]})
    assert frame.select(as_timestamp("x", pl.String(), CONFIG)).to_series().to_list() == [5, 6, None, None, 7]


def test_number_with_a_fraction_is_read_in_its_unit() -> None:
    config = TableConfig(path="e", timestamp_unit=TimestampUnit.ms)
    assert read_time("1700000000500.0", pl.String(), config) == 1_700_000_000


@pytest.mark.parametrize("unit", list(TimestampUnit))
@pytest.mark.parametrize("dtype", [pl.Int64(), pl.Float64(), pl.String()], ids=str)
def test_number_is_read_in_its_unit(unit: TimestampUnit, dtype: pl.DataType) -> None:
    per_second = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[unit]
    number = 1_700_000_000 * per_second + per_second // 2
    value = {"Int64": number, "Float64": float(number), "String": str(number)}[str(dtype)]
    assert read_time(value, dtype, TableConfig(path="e", timestamp_unit=unit)) == 1_700_000_000


@pytest.mark.parametrize(
    ("value", "dtype", "seconds"),
    [
        (datetime(1970, 1, 2), pl.Datetime("ns"), 86_400),
        (datetime(1970, 1, 2, tzinfo=UTC), pl.Datetime("ms", "Europe/Paris"), 86_400),
        (date(1970, 1, 3), pl.Date(), 172_800),
        (timedelta(days=1), pl.Duration(), None),
        (math.nan, pl.Float64(), None),
    ],
    ids=["naive-is-utc", "zone", "date", "duration", "nan"],
)
def test_typed_moment_becomes_seconds(value: object, dtype: pl.DataType, seconds: int | None) -> None:
    assert read_time(value, dtype) == seconds


@pytest.mark.parametrize(
    ("written", "text"), [("%d.%m.%Y %H:%M", "02.01.1970 00:00"), ("%Y%m%d %z", "19700102 +0000")]
)
def test_declared_format_is_the_only_one(written: str, text: str) -> None:
    config = TableConfig(path="e", timestamp_format=written)
    assert read_time(text, pl.String(), config) == (None if "%H" not in written else 86_400)
    assert read_time("86400", pl.String(), config) is None


@pytest.mark.parametrize(
    ("target", "texts", "expected"),
    [
        (SourceType.int, ["1", "x"], [1, None]),
        (SourceType.float, ["1.5", "x"], [1.5, None]),
        (SourceType.str, ["a", ""], ["a", None]),
        (SourceType.bool, ["true", "0", "maybe"], [True, False, None]),
        (SourceType.list, ['["a", "b"]', "[1]"], [["a", "b"], ["1"]]),
        (SourceType.list, ['["a"]', "[1", "5", "", None], [["a"], None, None, None, None]),
        (SourceType.vector, ["[1, 0.5]", '["a"]', "[]"], [[1.0, 0.5], None, []]),
    ],
)
def test_text_is_read_as_declared(
    target: SourceType, texts: list[str | None], expected: list[object]
) -> None:
    frame = pl.DataFrame({"x": pl.Series(texts, dtype=pl.String)})
    read = frame.select(as_source_type("x", pl.String(), target)).to_series()
    assert read.to_list() == expected
    assert read.dtype == target.dtype


def test_typed_list_is_cast_and_other_types_are_no_lists() -> None:
    frame = pl.DataFrame({"x": [[1, 2]], "y": [1]})
    assert frame.select(as_source_type("x", pl.List(pl.Int64()), SourceType.vector)).item().to_list() == [
        1.0,
        2.0,
    ]
    assert frame.select(as_source_type("y", pl.Int64(), SourceType.list)).item() is None


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (datetime(1970, 1, 2), pl.Datetime("us"), 86_400),
        (date(1970, 1, 2), pl.Date(), 86_400),
        ("a", pl.Categorical(), "a"),
        (1, pl.Decimal(10, 2), 1.0),
        (5, pl.Int8(), 5),
    ],
    ids=["moment", "date", "categorical", "decimal", "integer"],
)
def test_attribute_becomes_a_plain_value(value: object, dtype: pl.DataType, expected: object) -> None:
    frame = pl.DataFrame({"x": pl.Series([value]).cast(dtype)})
    assert frame.select(attribute("x", dtype)).item() == expected


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (["a", "", None], pl.String(), [True, False, False]),
        ([1.0, math.nan, None], pl.Float64(), [True, False, False]),
        ([0, None], pl.Int64(), [True, False]),
    ],
    ids=["text", "float", "integer"],
)
def test_presence_is_more_than_not_null(
    values: list[object], dtype: pl.DataType, expected: list[bool]
) -> None:
    frame = pl.DataFrame({"x": pl.Series(values, dtype=dtype)})
    assert frame.select(present("x", dtype)).to_series().to_list() == expected
