"""A workbook is read by what the format says: its tabs, calendar, texts, widths and merged areas."""

from pathlib import Path

import pytest

from marquee.data.config import DataConfig
from marquee.data.reading.tables import Tables, read_tables
from marquee.data.table_config import TableConfig
from marquee.errors import DataError, RejectedRowsError
from tests.support.workbooks import row, write_workbook

HEADER = row(1, ["user_id", "item_id", "timestamp"])
DATE = '<c s="1"><v>{day}</v></c>'


def events(n: int = 4, day: int = 45717) -> str:
    return HEADER + "".join(row(i, [f"u{i}", f"i{i}", DATE.format(day=day)]) for i in range(2, n + 2))


def read(folder: Path, sheets: dict[str, str], limit: float = 0.5, **keys: object) -> Tables:
    workbook = {key: keys.pop(key) for key in ("hidden", "charts", "is_1904", "after") if key in keys}
    write_workbook(folder / "e.xlsx", sheets, **workbook)  # type: ignore[arg-type]  # keys of several types
    table = TableConfig(path="e.xlsx", **keys)  # type: ignore[arg-type]  # keys of several types
    return read_tables(DataConfig(name="book", root=str(folder), events=table, max_rejected_fraction=limit))


def test_the_first_tab_counts_and_not_the_name_of_its_part(tmp_path: Path) -> None:
    assert len(read(tmp_path, {"now": events(4), "old": events(1)}).events) == 4


def test_a_hidden_tab_is_not_the_first(tmp_path: Path) -> None:
    assert len(read(tmp_path, {"old": events(1), "now": events(4)}, hidden=["old"]).events) == 4


def test_a_tab_can_be_named(tmp_path: Path) -> None:
    sheets = {"now": events(4), "old": events(2)}
    assert len(read(tmp_path, sheets, hidden=["old"], sheet="old").events) == 2
    with pytest.raises(DataError, match=r"no sheet 'new', it has \['now', 'old'\]"):
        read(tmp_path, sheets, sheet="new")


@pytest.mark.parametrize(("is_1904", "day"), [(False, 45717), (True, 44255)])
def test_both_calendars_mean_the_same_day(tmp_path: Path, *, is_1904: bool, day: int) -> None:
    tables = read(tmp_path, {"S": events(day=day)}, is_1904=is_1904)
    assert set(tables.events["timestamp"]) == {1740787200}  # 2025-03-01


def test_a_row_wider_than_the_header_is_rejected_as_in_a_csv(tmp_path: Path) -> None:
    tables = read(tmp_path, {"S": events() + row(9, ["u9", "i9", DATE.format(day=45717), "more"])})
    (reject,) = tables.quality.events.rejects
    assert (reject.reason, reject.count) == ("unreadable_row", 1)


def test_an_error_in_a_cell_is_never_an_id_or_a_time(tmp_path: Path) -> None:
    error = '<c t="e"><v>#N/A</v></c>'
    rows = row(9, [error, "i1", DATE.format(day=45717)]) + row(10, ["u1", "i1", error])
    tables = read(tmp_path, {"S": events() + rows})
    assert {reject.column: reject.example for reject in tables.quality.events.rejects} == {
        "user_id": "user_id='#N/A'",
        "timestamp": "timestamp='#N/A'",
    }
    with pytest.raises(RejectedRowsError, match="#N/A"):
        read(tmp_path, {"S": events() + rows}, limit=0.01)


def test_a_merged_area_counts_in_each_of_its_rows(tmp_path: Path) -> None:
    at = DATE.format(day=45717)
    rows = HEADER + row(2, ["u1", "i1", at]) + row(3, [None, "i2", at]) + row(4, ["u2", "i1", at])
    merged = '<mergeCells count="1"><mergeCell ref="A2:A3"/></mergeCells>'
    assert read(tmp_path, {"S": rows}, after=merged).events["user_id"].to_list() == ["u1", "u1", "u2"]


def test_a_long_number_keeps_its_digits(tmp_path: Path) -> None:
    rows = row(1, ["user_id", "item_id", "timestamp", "value"]) + row(
        2, ["u", "i", 1740787200, "<c><v>0.33333333333333331</v></c>"]
    )
    assert read(tmp_path, {"S": rows}).events["value"].to_list() == [1 / 3]


def test_an_error_in_an_attribute_is_missing_and_noted(tmp_path: Path) -> None:
    write_workbook(
        tmp_path / "i.xlsx",
        {"S": row(1, ["item_id", "colour"]) + row(2, ["i2", '<c t="e"><v>#REF!</v></c>'])},
    )
    write_workbook(tmp_path / "e.xlsx", {"S": events()})
    config = DataConfig(
        name="book",
        root=str(tmp_path),
        events=TableConfig(path="e.xlsx"),
        items=TableConfig(path="i.xlsx"),
        max_rejected_fraction=1,
    )
    tables = read_tables(config)
    assert tables.items is not None
    assert tables.items["colour"].to_list() == [None]
    (note,) = [note for note in tables.quality.notes if "colour" in note]
    assert "1 cell" in note
    assert "#REF!" in note


def test_a_tab_that_holds_a_chart_is_not_the_first(tmp_path: Path) -> None:
    assert len(read(tmp_path, {"chart": "", "now": events(4)}, charts=["chart"]).events) == 4
