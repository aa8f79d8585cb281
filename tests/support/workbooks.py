"""Excel workbooks made by hand, so that a test says exactly what stands in the XML.

A sheet is its rows of cells as XML, or values to be written as inline texts and numbers.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
STYLES = (
    f'<styleSheet xmlns="{_MAIN}"><numFmts><numFmt numFmtId="164" formatCode="m/d/yy\\ h:mm"/>'
    '<numFmt numFmtId="165" formatCode="&quot;days &quot;0"/></numFmts>'
    '<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="164"/>'
    '<xf numFmtId="14"/><xf numFmtId="165"/></cellXfs></styleSheet>'
)
STRINGS = (
    f'<sst xmlns="{_MAIN}"><si><t>item</t></si><si><t>when</t></si>'
    '<si><r><t xml:space="preserve">red </t></r><r><t>mug</t></r></si></sst>'
)


def row(number: int, values: Sequence[object], first_column: str = "A") -> str:
    """Returns a row of inline texts and numbers; a text that begins with `<c` is a cell, None is no cell."""
    cells = []
    for i, value in enumerate(values):
        reference = f"{chr(ord(first_column) + i)}{number}"
        if isinstance(value, str) and value.startswith("<c"):
            cells.append(value.replace("<c", f'<c r="{reference}"', 1))
        elif isinstance(value, str):
            cells.append(f'<c r="{reference}" t="inlineStr"><is><t>{escape(value)}</t></is></c>')
        elif value is not None:
            cells.append(f'<c r="{reference}"><v>{value}</v></c>')
    return f'<row r="{number}">{"".join(cells)}</row>'


def write_workbook(
    path: Path,
    sheets: Mapping[str, str],
    *,
    hidden: Sequence[str] = (),
    charts: Sequence[str] = (),
    is_1904: bool = False,
    after: str = "",
) -> Path:
    """Writes a workbook whose first sheet lies in the part that comes last by name, as after a move of tabs.

    Args:
        path: The file.
        sheets: Name of the sheet → its rows as XML, in the order of the tabs.
        hidden: Sheets that Excel does not show.
        charts: Sheets that hold a chart in place of cells.
        is_1904: Whether days count from 1904.
        after: XML behind the rows of every sheet.
    """
    numbers = range(len(sheets), 0, -1)
    with zipfile.ZipFile(path, "w") as book:
        book.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{_PACKAGE}"><Relationship Id="r" Type="{_OFFICE}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        tabs = "".join(
            f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"{_state(name, hidden)}/>'
            for n, name in zip(numbers, sheets, strict=True)
        )
        calendar = '<workbookPr date1904="1"/>' if is_1904 else ""
        book.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}">{calendar}<sheets>{tabs}</sheets></workbook>',
        )
        related = "".join(
            f'<Relationship Id="rId{n}" Type="{_OFFICE}/{"chart" if name in charts else "work"}sheet" '
            f'Target="worksheets/sheet{n}.xml"/>'
            for n, name in zip(numbers, sheets, strict=True)
        )
        parts = (
            f'<Relationship Id="s" Type="{_OFFICE}/styles" Target="styles.xml"/>'
            f'<Relationship Id="t" Type="{_OFFICE}/sharedStrings" Target="sharedStrings.xml"/>'
        )
        book.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{_PACKAGE}">{related}{parts}</Relationships>',
        )
        book.writestr("xl/styles.xml", STYLES)
        book.writestr("xl/sharedStrings.xml", STRINGS)
        for n, rows in zip(numbers, sheets.values(), strict=True):
            book.writestr(
                f"xl/worksheets/sheet{n}.xml",
                f'<worksheet xmlns="{_MAIN}"><sheetData>{rows}</sheetData>{after}</worksheet>',
            )
    return path


def _state(name: str, hidden: Sequence[str]) -> str:
    """Returns the attribute that hides a sheet."""
    return ' state="hidden"' if name in hidden else ""
