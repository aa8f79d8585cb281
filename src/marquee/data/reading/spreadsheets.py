"""Reads the first sheet of an .xlsx file as texts, with nothing but the standard library.

Dates come out as ISO 8601, whole numbers without a decimal point, an empty cell as null. Formulas give their
stored result. For the size of a publisher's data set: the sheet is read whole.
Does not read .xls, passwords, or more than one sheet.
"""

import re
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

import polars as pl

from marquee.errors import DataError

_SHEET = "xl/worksheets/sheet1.xml"
_STRINGS = "xl/sharedStrings.xml"
_STYLES = "xl/styles.xml"
_EPOCH = datetime(1899, 12, 30)  # day 0 of the 1900 calendar, given that it counts a 29 February 1900
_BUILT_IN_DATE_FORMATS = frozenset([*range(14, 23), *range(45, 48)])
_DATE_LETTERS = re.compile(r"[ymdhs]", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.')


def read_spreadsheet(path: Path) -> pl.DataFrame:
    """Returns the rows of the first sheet as texts, named by its first row.

    Raises:
        DataError: If the file is no .xlsx workbook or its first sheet is empty.
    """
    try:
        with zipfile.ZipFile(path) as book:
            members = set(book.namelist())
            strings = _shared_strings(book) if _STRINGS in members else []
            date_styles = _date_styles(book) if _STYLES in members else frozenset()
            with book.open(_SHEET) as sheet:
                rows = list(_rows(sheet, strings, date_styles))
    except (zipfile.BadZipFile, KeyError, ElementTree.ParseError) as error:
        raise DataError(
            f"{path} is not an .xlsx workbook with a first sheet: {error}; export it as CSV"
        ) from error
    if not rows:
        raise DataError(f"the first sheet of {path} is empty, got {len(rows)} rows; expected a row of names")
    names = [rows[0].get(i) or f"column_{i + 1}" for i in range(max(rows[0], default=-1) + 1)]
    columns = {name: [row.get(i) for row in rows[1:]] for i, name in enumerate(names)}
    return pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String()))


def _local(element: ElementTree.Element) -> str:
    """Returns the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def _text_of(element: ElementTree.Element) -> str:
    """Returns the text of all `t` elements within, which is how formatted text is stored."""
    return "".join(part.text or "" for part in element.iter() if _local(part) == "t")


def _shared_strings(book: zipfile.ZipFile) -> list[str]:
    """Returns the texts that cells refer to by number."""
    with book.open(_STRINGS) as file:
        return [_text_of(element) for element in ElementTree.parse(file).getroot()]


def _date_styles(book: zipfile.ZipFile) -> frozenset[int]:
    """Returns the cell styles that show a number as a date."""
    with book.open(_STYLES) as file:
        root = ElementTree.parse(file).getroot()
    date_formats = set(_BUILT_IN_DATE_FORMATS)
    for element in root.iter():
        if _local(element) == "numFmt" and _DATE_LETTERS.search(
            _QUOTED.sub("", element.get("formatCode", ""))
        ):
            date_formats.add(int(element.get("numFmtId", "0")))
    for element in root:
        if _local(element) == "cellXfs":
            formats = [int(style.get("numFmtId", "0")) for style in element]
            return frozenset(i for i, number in enumerate(formats) if number in date_formats)
    return frozenset()


def _rows(
    sheet: IO[bytes], strings: list[str], date_styles: frozenset[int]
) -> Iterator[dict[int, str | None]]:
    """Yields each row as column number → text."""
    for _, element in ElementTree.iterparse(sheet):
        if _local(element) == "row":
            row: dict[int, str | None] = {}
            for cell in element:
                row[_column(cell.get("r"), len(row))] = _cell(cell, strings, date_styles)
            yield row
            element.clear()


def _column(reference: str | None, position: int) -> int:
    """Returns the column number of a cell reference (`AB12` is 27), or its position if it has none."""
    letters = "".join(character for character in reference or "" if character.isalpha())
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter.upper()) - ord("A") + 1
    return number - 1 if letters else position


def _cell(cell: ElementTree.Element, strings: list[str], date_styles: frozenset[int]) -> str | None:
    """Returns the text of a cell, None if it is empty."""
    if cell.get("t") == "inlineStr":
        return _text_of(cell) or None
    value = next((child.text for child in cell if _local(child) == "v"), None)
    if value is None:
        return None
    match cell.get("t", "n"):
        case "s":
            return strings[int(value)] or None
        case "n":
            return _number(value, is_date=int(cell.get("s", "0")) in date_styles)
        case _:
            return value


def _number(text: str, *, is_date: bool) -> str:
    """Returns a number as its shortest text, or as a date if the cell shows one."""
    number = float(text)
    if is_date:
        moment = _EPOCH + timedelta(seconds=round(number * 86_400))
        return moment.isoformat(sep=" ")
    return str(int(number)) if number.is_integer() else repr(number)
