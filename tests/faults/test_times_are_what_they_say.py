"""Numbers of another unit and dates as numbers stop a run at reading; texts in ISO 8601 are read in full."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from marquee.core.moments import day_text, moment_text
from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.reading.tables import Tables, read_tables
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.table_config import TableConfig, TimestampUnit
from marquee.errors import DataError, RejectedRowsError
from marquee.features.values import read_time

START = datetime(2025, 3, 1, tzinfo=UTC)
MOMENTS = [START + timedelta(hours=7 * n) for n in range(200)]
SECONDS = [int(moment.timestamp()) for moment in MOMENTS]


def read(folder: Path, times: list[object], name: str = "e.csv", **keys: object) -> Tables:
    frame = pl.DataFrame({"user_id": [f"u{n % 9}" for n in range(len(times))], "item_id": "i", "at": times})
    frame.write_csv(folder / name) if name.endswith("csv") else frame.write_parquet(folder / name)
    config = {key: keys.pop(key) for key in ("time", "split") if key in keys}
    columns = keys.pop("columns", {"timestamp": "at"})
    table = TableConfig(path=name, columns=columns, **keys)  # type: ignore[arg-type]  # keys of several types
    return read_tables(
        DataConfig(name="t", root=str(folder), events=table, **config)  # type: ignore[arg-type]  # as above
    )


@pytest.mark.parametrize("name", ["e.csv", "e.parquet"])
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_another_unit_stops_at_reading_and_is_named(tmp_path: Path, unit: str, name: str) -> None:
    numbers: list[object] = [second * TimestampUnit(unit).per_second for second in SECONDS]
    with pytest.raises(
        DataError, match=rf"at of .*\(data\.events\.columns\.timestamp\).*timestamp_unit={unit}"
    ):
        read(tmp_path, numbers, name)
    assert (
        read(tmp_path, numbers, name, timestamp_unit=TimestampUnit(unit)).events["timestamp"][0] == SECONDS[0]
    )


def test_seconds_declared_as_milliseconds_stop(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="timestamp_unit=s"):
        read(tmp_path, list(SECONDS), timestamp_unit=TimestampUnit.ms)


@pytest.mark.parametrize("name", ["e.csv", "e.parquet"])
@pytest.mark.parametrize("written", ["%Y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S"])
def test_dates_as_numbers_stop_and_are_read_by_their_format(tmp_path: Path, written: str, name: str) -> None:
    numbers: list[object] = [int(f"{moment:{written}}") for moment in MOMENTS]
    with pytest.raises(DataError, match=rf"which are dates and no seconds.*timestamp_format={written}"):
        read(tmp_path, numbers, name)
    tables = read(tmp_path, numbers, name, timestamp_format=written)
    assert day_text(tables.events["timestamp"][0]) == "2025-03-01"


def test_dates_to_the_hour_stop(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="append minutes"):
        read(tmp_path, [int(f"{moment:%Y%m%d%H}") for moment in MOMENTS])


def test_numbers_that_only_order_events_are_noted(tmp_path: Path) -> None:
    (note,) = read(tmp_path, list(range(1, 201))).quality.notes
    assert "before 1990" in note
    assert "time=order" in note
    split = SplitConfig(method=SplitMethod.leave_last)
    assert read(tmp_path, list(range(1, 201)), time=TimeMeaning.order, split=split).quality.notes == ()


def test_old_dates_and_distant_ends_are_no_fault(tmp_path: Path) -> None:
    assert len(read(tmp_path, ["1985-05-01"] * 10).events) == 10
    items = pl.DataFrame({"item_id": ["i"], "available_until": [253402300799]})
    items.write_parquet(tmp_path / "i.parquet")
    config = DataConfig(
        name="t",
        root=str(tmp_path),
        events=TableConfig(path="e.csv", columns={"timestamp": "at"}),
        items=TableConfig(path="i.parquet"),
    )
    assert read_tables(config).items is not None


def test_availability_in_another_unit_stops(tmp_path: Path) -> None:
    read(tmp_path, list(SECONDS))
    pl.DataFrame({"item_id": ["i"], "available_from": [SECONDS[0] * 1000]}).write_parquet(
        tmp_path / "i.parquet"
    )
    config = DataConfig(
        name="t",
        root=str(tmp_path),
        events=TableConfig(path="e.csv", columns={"timestamp": "at"}),
        items=TableConfig(path="i.parquet"),
    )
    with pytest.raises(DataError, match=r"data\.items\.columns\.available_from.*timestamp_unit=ms"):
        read_tables(config)


def test_some_times_that_no_calendar_holds_are_rejected_and_counted(tmp_path: Path) -> None:
    (reject,) = read(tmp_path, [*SECONDS, SECONDS[0] * 1000]).quality.events.rejects
    assert (reject.reason, reject.count, reject.example) == (
        "timestamp_out_of_range",
        1,
        f"at='{SECONDS[0] * 1000}'",
    )
    with pytest.raises(RejectedRowsError, match="whether all rows are written in timestamp_unit"):
        read(tmp_path, [*SECONDS, *(second * 1000 for second in SECONDS)])
    assert moment_text(SECONDS[0] * 1000) == str(SECONDS[0] * 1000)


def test_a_few_times_long_before_all_others_are_noted(tmp_path: Path) -> None:
    (note,) = read(tmp_path, [*SECONDS, -2_209_000_000]).quality.notes
    assert "1 of 201 timestamps are before 1990, the earliest is 1899-12-31" in note


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (lambda moment: moment.year, r"CONCAT\(at, '0101'\).*timestamp_format=%Y%m%d"),
        (lambda moment: int(f"{moment:%Y%m}"), r"CONCAT\(at, '01'\).*timestamp_format=%Y%m%d"),
        (lambda moment: int(f"{moment:%G%V}"), r"CONCAT\(at, '1'\).*timestamp_format=%G%V%u"),
        (lambda moment: int(f"{moment:%y%m%d}"), r"timestamp_format=%y%m%d"),
        (lambda moment: int(f"{moment:%Y%j}"), r"timestamp_format=%Y%j"),
        (lambda moment: int(moment.timestamp()) // 86_400, r"days since 1970.* \* 86400"),
        (lambda moment: moment.timestamp() / 86_400 + 25_569, r"\(CAST\(at AS DOUBLE\) - 25569\) \* 86400"),
        (lambda moment: int(moment.timestamp()) // 3600, r"hours since 1970.* \* 3600"),
        (lambda moment: int(moment.timestamp()) // 60, r"minutes since 1970.* \* 60"),
        (lambda moment: int(f"{moment:%d%m%Y}"), r"RIGHT\(CONCAT\('0', at\), 8\).*timestamp_format=%d%m%Y"),
        (lambda moment: f"{moment:%m%d%Y}", r"timestamp_format=%m%d%Y"),
        (lambda moment: int(f"{moment:%d%m%y}"), r"timestamp_format=%d%m%y"),
        (lambda moment: f"{moment:%d%m%Y%H%M}", r"timestamp_format=%d%m%Y%H%M"),
    ],
    ids=[
        "year",
        "month",
        "week",
        "two digits of the year",
        "day of the year",
        "days",
        "spreadsheet",
        "hours",
        "minutes",
        "day first",
        "month first",
        "day first, two digits of the year",
        "day first to the minute",
    ],
)
def test_a_count_or_part_of_a_date_stops_with_the_expression_that_reads_it(
    tmp_path: Path, number: Callable[[datetime], float | str], advice: str
) -> None:
    numbers: list[object] = [number(moment) for moment in MOMENTS]
    with pytest.raises(DataError, match=advice) as stop:
        read(tmp_path, numbers)
    said = str(stop.value)
    expression = re.search(r"CONCAT\(at, '\d+'\)|RIGHT\(.*?, \d+\)|\S*CAST\(at AS DOUBLE\).*? \* \d+", said)
    written = re.search(r"timestamp_format=(\S+)", said)
    tables = read(
        tmp_path,
        numbers,
        columns={"timestamp": expression[0] if expression else "at"},
        timestamp_format=written[1] if written else "",
    )
    first, last = tables.quality.first_timestamp, tables.quality.last_timestamp
    assert abs(first - SECONDS[0]) <= 60 * 86_400
    assert abs(last - SECONDS[-1]) <= 120 * 86_400


TEXTS = [
    ("2025-03-01 10:30:00+00", "2025-03-01 10:30:00"),
    ("2025-03-01 10:30:00.123456+00", "2025-03-01 10:30:00"),
    ("2025-03-01 10:30:00+05:30", "2025-03-01 05:00:00"),
    ("2025-03-01 10:30:00-08", "2025-03-01 18:30:00"),
    ("2025-03-01T10:30:00Z", "2025-03-01 10:30:00"),
    ("2025-03-01t10:30:00z", "2025-03-01 10:30:00"),
    ("2025-03-01T10:30:00,5Z", "2025-03-01 10:30:00"),
    ("2025-03-01T10:30+0100", "2025-03-01 09:30:00"),
    ("2025-03-01T10", "2025-03-01 10:00:00"),
    ("2025-03-01T10:30.5Z", "2025-03-01 10:30:30"),
    ("20250301T10,25+01", "2025-03-01 09:15:00"),
    ("2025-03-01T10:30:00\N{MINUS SIGN}01:00", "2025-03-01 11:30:00"),
    ("2025-03-01T10:30:00+01:00[Europe/Paris]", "2025-03-01 09:30:00"),
    ("2025-03-01 10:30:00 +0000", "2025-03-01 10:30:00"),
    ("2025-03-01 10:30:00 UTC", "2025-03-01 10:30:00"),
    ("20250301T103000Z", "2025-03-01 10:30:00"),
    ("2025-W09-6", "2025-03-01 00:00:00"),
    ("2025-060", "2025-03-01 00:00:00"),
    ("2025-03", "2025-03-01 00:00:00"),
    ("2025-02-28T24:00:00", "2025-03-01 00:00:00"),
    ("2016-12-31T23:59:60Z", "2017-01-01 00:00:00"),
    ("1969-12-31 23:59:59.5+00", "1969-12-31 23:59:59"),
]


@pytest.mark.parametrize(("text", "moment"), TEXTS, ids=[text for text, _ in TEXTS])
def test_iso_8601_is_read_for_events_and_for_features(tmp_path: Path, text: str, moment: str) -> None:
    tables = read(tmp_path, [text, "2025-03-01"])
    assert moment in {moment_text(second) for second in tables.events["timestamp"]}
    read_by_feature = read_time(text)
    assert read_by_feature is not None
    assert f"{read_by_feature:%Y-%m-%d %H:%M:%S}" == moment


@pytest.mark.parametrize("text", ["01/03/2025", "soon", "2025-13-01", "2025-366", "infinity", "10:30"])
def test_what_is_no_moment_is_none(text: str) -> None:
    assert read_time(text) is None
