from pathlib import Path

import polars as pl
import pytest

from marquee.data.reading.files.workbooks import SURPLUS, read_workbook
from marquee.data.table_config import TableConfig
from marquee.errors import DataError
from tests.support.workbooks import row, write_workbook

HEADER = row(1, ['<c t="s"><v>0</v></c>', '<c t="s"><v>1</v></c>'])


def read_sheet(folder: Path, rows: str, **keys: object) -> pl.DataFrame:
    path = write_workbook(folder / "a.xlsx", {"S": rows})
    return read_workbook(path, TableConfig(path="a.xlsx", **keys))  # type: ignore[arg-type]  # keys of several types


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('<c t="s"><v>2</v></c>', "red mug"),
        ('<c t="inlineStr"><is><t>mug</t></is></c>', "mug"),
        ('<c t="str"><f>1+1</f><v>two</v></c>', "two"),
        ("<c><v>17850</v></c>", "17850"),
        ("<c><v>2.5499999999999998</v></c>", "2.55"),
        ("<c><v>0.33333333333333331</v></c>", "0.3333333333333333"),
        ("<c><v>1E-12</v></c>", "1e-12"),
        ("<c><v>0</v></c>", "0"),
        ('<c t="n"><v>-1</v></c>', "-1"),
        ('<c t="b"><v>1</v></c>', "true"),
        ('<c t="d"><v>2025-03-01T10:30:00</v></c>', "2025-03-01T10:30:00"),
        ('<c s="1"><v>40513.351388888892</v></c>', "2010-12-01 08:26:00"),
        ('<c s="2"><v>40513</v></c>', "2010-12-01 00:00:00"),
        ('<c s="3"><v>12</v></c>', "12"),
        ('<c t="e"><v>#N/A</v></c>', "#N/A"),
        ("<c/>", None),
        ('<c t="inlineStr"><is><t></t></is></c>', None),
    ],
)
def test_cell_is_read_as_text(tmp_path: Path, cell: str, text: str | None) -> None:
    frame = read_sheet(tmp_path, HEADER + row(2, [cell, "x"]))
    assert frame["item"].to_list() == [text]


def test_cell_goes_where_its_reference_says(tmp_path: Path) -> None:
    rows = f'{HEADER}<row r="2"><c r="B2"><v>7</v></c></row><row r="3"><c><v>8</v></c><c><v>9</v></c></row>'
    assert read_sheet(tmp_path, rows).drop(SURPLUS).rows() == [(None, "7"), ("8", "9")]


def test_error_is_found_where_columns_begin_late(tmp_path: Path) -> None:
    rows = row(4, ["a", "b"], "C") + row(5, ["x", '<c t="e"><v>#REF!</v></c>'], "C")
    assert read_sheet(tmp_path, rows).drop(SURPLUS).rows() == [("x", "#REF!")]


def test_columns_without_name_and_with_one_name_get_their_own(tmp_path: Path) -> None:
    frame = read_sheet(tmp_path, row(1, ["a", None, "a", "b"]) + row(2, [1, 2, 3, 4]))
    assert frame.drop(SURPLUS).columns == ["a", "column_2", "a_duplicated_0", "b"]
    assert frame.drop(SURPLUS).row(0) == ("1", "2", "3", "4")


def test_value_beyond_the_header_is_surplus(tmp_path: Path) -> None:
    frame = read_sheet(tmp_path, row(1, ["a", "b"]) + row(2, [1, 2]) + row(3, [3, 4, None, 6]))
    assert frame[SURPLUS].to_list() == [None, "6"]


def test_rows_above_the_header_can_be_left_out(tmp_path: Path) -> None:
    rows = row(1, ["Report of March"]) + row(2, ["made by", "us"]) + row(4, ["a", "b"]) + row(5, [1, 2])
    frame = read_sheet(tmp_path, rows, skip_rows=2)
    assert frame.drop(SURPLUS).rows(named=True) == [{"a": "1", "b": "2"}]


def test_sheet_without_header_has_the_declared_names(tmp_path: Path) -> None:
    frame = read_sheet(tmp_path, row(1, ["u", "i"]), header=False, names=["user", "item"])
    assert frame.drop(SURPLUS).rows(named=True) == [{"user": "u", "item": "i"}]


def test_empty_sheet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the sheet 'S' of .*a\.xlsx is empty, got 0 rows.*\['S'\]"):
        read_sheet(tmp_path, "")


def test_other_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"not a workbook")
    with pytest.raises(DataError, match=r"a\.xlsx is not an \.xlsx workbook that can be read"):
        read_workbook(tmp_path / "a.xlsx", TableConfig(path="a.xlsx"))
