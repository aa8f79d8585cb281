import zipfile
from pathlib import Path

import pytest

from marquee.data.reading.spreadsheets import read_spreadsheet
from marquee.errors import DataError

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
STRINGS = (
    f"<sst {MAIN}><si><t>item</t></si><si><t>when</t></si><si><r><t>red </t></r><r><t>mug</t></r></si></sst>"
)
STYLES = (
    f'<styleSheet {MAIN}><numFmts><numFmt numFmtId="164" formatCode="m/d/yy\\ h:mm"/>'
    '<numFmt numFmtId="165" formatCode="&quot;days &quot;0"/></numFmts>'
    '<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="164"/>'
    '<xf numFmtId="14"/><xf numFmtId="165"/></cellXfs></styleSheet>'
)
HEADER = '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'


def write_book(path: Path, rows: str, *, strings: str = STRINGS, styles: str = STYLES) -> Path:
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/sharedStrings.xml", strings)
        book.writestr("xl/styles.xml", styles)
        book.writestr(
            "xl/worksheets/sheet1.xml", f"<worksheet {MAIN}><sheetData>{rows}</sheetData></worksheet>"
        )
    return path


def read_cell(folder: Path, cell: str) -> str | None:
    frame = read_spreadsheet(write_book(folder / "a.xlsx", f'{HEADER}<row r="2">{cell}</row>'))
    value = frame["item"][0]
    return None if value is None else str(value)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('<c r="A2" t="s"><v>2</v></c>', "red mug"),
        ('<c r="A2" t="inlineStr"><is><t>mug</t></is></c>', "mug"),
        ('<c r="A2" t="str"><f>1+1</f><v>two</v></c>', "two"),
        ('<c r="A2"><v>17850</v></c>', "17850"),
        ('<c r="A2"><v>2.5499999999999998</v></c>', "2.55"),
        ('<c r="A2" t="n"><v>-1</v></c>', "-1"),
        ('<c r="A2" s="1"><v>40513.351388888892</v></c>', "2010-12-01 08:26:00"),
        ('<c r="A2" s="2"><v>40513</v></c>', "2010-12-01 00:00:00"),
        ('<c r="A2" s="3"><v>12</v></c>', "12"),
        ('<c r="A2"/>', None),
        ('<c r="A2" t="inlineStr"><is><t></t></is></c>', None),
    ],
    ids=[
        "shared",
        "inline",
        "formula",
        "whole",
        "float",
        "negative",
        "date-time",
        "date",
        "days",
        "no-value",
        "empty",
    ],
)
def test_cell_is_read_as_text(tmp_path: Path, cell: str, text: str | None) -> None:
    assert read_cell(tmp_path, cell) == text


def test_cell_goes_where_its_reference_says(tmp_path: Path) -> None:
    rows = f'{HEADER}<row r="2"><c r="B2"><v>7</v></c></row><row r="3"><c><v>8</v></c><c><v>9</v></c></row>'
    frame = read_spreadsheet(write_book(tmp_path / "a.xlsx", rows))
    assert frame.rows() == [(None, "7"), ("8", "9")]


def test_column_without_name_gets_one(tmp_path: Path) -> None:
    frame = read_spreadsheet(write_book(tmp_path / "a.xlsx", '<row><c r="AB1" t="s"><v>0</v></c></row>'))
    assert frame.columns[0] == "column_1"
    assert (len(frame.columns), frame.columns[-1]) == (28, "item")


def test_empty_sheet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the first sheet of .*a\.xlsx is empty, got 0 rows"):
        read_spreadsheet(write_book(tmp_path / "a.xlsx", ""))


def test_other_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"not a workbook")
    with pytest.raises(DataError, match=r"a\.xlsx is not an \.xlsx workbook with a first sheet"):
        read_spreadsheet(tmp_path / "a.xlsx")
