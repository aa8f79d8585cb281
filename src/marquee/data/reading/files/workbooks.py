"""Reads one sheet of an Excel workbook (.xlsx, .xlsm) as texts, as a CSV exported from it would hold them.

Cells are read by the package `fastexcel`: dates as ISO 8601 in either calendar, numbers in full, formulas as
their stored result. Two things that it leaves out are read here from the XML: cells that hold an error, and
merged cells. The sheet is read whole. Does not read .xls or workbooks behind a password.
"""

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import polars as pl

from marquee.data.table_config import TableConfig
from marquee.errors import DataError

if TYPE_CHECKING:
    from fastexcel import ExcelReader, ExcelSheet

ERROR_WORDS = ("#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#GETTING_DATA")
SURPLUS = "__surplus"

# By pattern: a tree of all cells would be far larger than the sheet, and few are looked for.
_ERROR_CELL = re.compile(
    rb'<(?:\w+:)?c\s(?=[^>]*\bt="e")[^>]*\br="([A-Z]+)(\d+)"[^>]*>(?:(?!</(?:\w+:)?c>).)*?<(?:\w+:)?v>([^<]*)<',
    re.DOTALL,
)
_FILLED_CELL = re.compile(rb'<(?:\w+:)?c\s[^>]*?\br="([A-Z]+)\d+"(?:[^>/]|/(?!>))*>')
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?\bref="([A-Z]+)(\d+):[A-Z]+(\d+)"')
_ROUNDED = r"^-?\d+\.\d{9}$|^-?0$"  # fastexcel writes a number with at most nine decimals


@dataclass(frozen=True)
class _Extras:
    """Parts of a sheet that fastexcel leaves out, with rows and columns counted from 0 as it counts them.

    Attributes:
        errors: (row, column) → the word of the error.
        merged: First row, last row and column of each merged area of several rows.
    """

    errors: dict[tuple[int, int], str]
    merged: list[tuple[int, int, int]]


def read_workbook(path: Path, config: TableConfig) -> pl.DataFrame:
    """Returns the rows of a sheet as texts named by its header; `SURPLUS` holds a value beyond the header.

    The sheet is the one that `config.sheet` names, or the first tab that Excel shows. A merged area counts
    as its value in each of its rows.

    Raises:
        DataError: If the file is no .xlsx workbook, has no such sheet, or the sheet is empty.
    """
    fastexcel = _fastexcel()
    try:
        reader = fastexcel.read_excel(path)
        sheet = _sheet(reader, path, config)
        cells = _precise(pl.DataFrame(sheet), reader, sheet)
    except fastexcel.FastExcelError as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path} is not an .xlsx workbook that can be read: {reason}; save it as .xlsx without a "
            "password, or export the sheet as CSV"
        ) from error
    cells = _with_extras(cells, _extras(path, sheet.name))
    cells = cells.slice(config.skip_rows)
    if config.header:
        # Blank rows above the header are no rows of the table.
        is_blank = cells.select(pl.all_horizontal(pl.all().is_null())).to_series()
        cells = cells.slice(int((~is_blank).arg_max() or 0)) if not is_blank.all() else cells.clear()
    if cells.is_empty():
        raise DataError(
            f"the sheet {sheet.name!r} of {path} is empty, got 0 rows; expected a row of names. The sheets "
            f"are {reader.sheet_names}; name one under sheet"
        )
    return _named(cells, path, config)


def _fastexcel() -> ModuleType:
    """Returns the package that reads workbooks; raises DataError with the command that installs it."""
    try:
        # Imported here: the package is an extra, and other formats must be readable without it.
        import fastexcel
    except ImportError as error:
        raise DataError(
            f"reading an Excel workbook needs a package that is not installed: {error}; "
            "pip install 'marquee[train]', or export the sheet as CSV"
        ) from error
    return fastexcel


def _sheet(reader: "ExcelReader", path: Path, config: TableConfig) -> "ExcelSheet":
    """Returns the sheet that is named, or the first visible one."""
    names = [config.sheet] if config.sheet else reader.sheet_names
    if config.sheet and config.sheet not in reader.sheet_names:
        raise DataError(
            f"{path} has no sheet {config.sheet!r}, it has {reader.sheet_names}; correct the key sheet"
        )
    # A tab that holds a chart has no cells to load.
    charts = () if config.sheet else _charts(path)
    for name in names:
        if name in charts:
            continue
        sheet = reader.load_sheet(name, header_row=None, skip_rows=0, dtypes="string")
        if config.sheet or sheet.visible == "visible":
            return sheet
    raise DataError(f"{path} shows no sheet, it has {reader.sheet_names}, all hidden; name one under sheet")


def _precise(cells: pl.DataFrame, reader: "ExcelReader", sheet: "ExcelSheet") -> pl.DataFrame:
    """Returns the cells with numbers in full where fastexcel has rounded their text."""
    rounded = [
        i
        for i, column in enumerate(cells)
        if column.dtype == pl.String and column.str.contains(_ROUNDED).any()
    ]
    if not rounded:
        return cells
    # Read again as floats: the texts have lost the digits.
    numbers = pl.DataFrame(
        reader.load_sheet(sheet.name, header_row=None, skip_rows=0, dtypes="float", use_columns=rounded)
    )
    exact = []
    for i, column in zip(rounded, numbers, strict=True):
        text = cells[:, i]
        is_shorter = (text.cast(pl.Float64, strict=False) != column.cast(pl.Float64)).fill_null(False)
        exact.append(
            pl.select(pl.when(is_shorter).then(column.cast(pl.Float64).cast(pl.String)).otherwise(text))
            .to_series()
            .alias(text.name)
        )
    return cells.with_columns(exact)


def _with_extras(cells: pl.DataFrame, extras: _Extras) -> pl.DataFrame:
    """Returns the cells with error words in place of nulls, and merged areas filled downwards."""
    changed: dict[int, list[str | None]] = {}
    for (row, column), word in extras.errors.items():
        if column < cells.width and row < cells.height:
            changed.setdefault(column, cells[:, column].to_list())[row] = word
    for first, last, column in extras.merged:
        if column < cells.width and first < cells.height:
            values = changed.setdefault(column, cells[:, column].to_list())
            end = min(last + 1, len(values))
            # Excel stores the value of a merged area in its first cell alone.
            values[first:end] = [values[first]] * (end - first)
    return cells.with_columns(
        pl.Series(cells.columns[column], values, pl.String) for column, values in changed.items()
    )


def _named(cells: pl.DataFrame, path: Path, config: TableConfig) -> pl.DataFrame:
    """Returns the rows below the header under its names, with the first value beyond it as `SURPLUS`."""
    texts = cells.cast(pl.String)
    if config.header:
        header = list(texts.row(0))
        texts = texts.slice(1)
        # Up to the last name: a value beyond it has no column, and is a fault of its row.
        width = max(i for i, name in enumerate(header) if name is not None) + 1
        names = _distinct([name or f"column_{i + 1}" for i, name in enumerate(header[:width])])
    else:
        names = list(config.names) or [f"column_{i + 1}" for i in range(texts.width)]
        width = len(names)
        if width > texts.width:
            raise DataError(
                f"names must name every column of {path}, got {width} names and {texts.width} columns; "
                "correct names"
            )
    beyond = texts.columns[width:]
    surplus = pl.coalesce(beyond) if beyond else pl.lit(None, pl.String)
    return texts.select(
        *[pl.col(old).replace("", None).alias(new) for old, new in zip(texts.columns, names, strict=False)],
        surplus.alias(SURPLUS),
    )


def _distinct(names: list[str]) -> list[str]:
    """Returns names, a repeated one with the suffix that Polars gives it in a CSV."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        distinct.append(f"{name}_duplicated_{seen[name] - 1}" if name in seen else name)
        seen[name] = seen.get(name, 0) + 1
    return distinct


def _extras(path: Path, sheet: str) -> _Extras:
    """Returns the errors and merged areas of a sheet."""
    with zipfile.ZipFile(path) as book:
        xml = book.read(_part_of(book, sheet))
    # Most sheets have no error, and need no search by pattern.
    errors = [match.groups() for match in _ERROR_CELL.finditer(xml)] if b't="e"' in xml else []
    merged = [match.groups() for match in _MERGED.finditer(xml)]
    if not errors and not merged:
        return _Extras({}, [])
    # fastexcel counts columns from the first that is filled, rows from the first of the sheet.
    origin = min((_column(letters) for letters in set(_FILLED_CELL.findall(xml))), default=0)
    return _Extras(
        {(int(row) - 1, _column(letters) - origin): word.decode() for letters, row, word in errors},
        [
            (int(first) - 1, int(last) - 1, _column(letters) - origin)
            for letters, first, last in merged
            # Not along a row: the cells beside are other columns.
            if first != last and _column(letters) >= origin
        ],
    )


def _column(letters: bytes) -> int:
    """Returns the number of a column, counted from 0: `AB` is 27."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number - 1


def _part_of(book: zipfile.ZipFile, sheet: str) -> str:
    """Returns the name of the part that holds a sheet: relations say it, not the name of the file."""
    # By its end: the beginning of the type differs between the two conformance classes of ECMA-376.
    workbook = next(target for kind, target in _relations(book, "") if kind.endswith("/officeDocument"))
    for name, part in _sheets(book, workbook):
        if name == sheet:
            return part
    raise DataError(f"{book.filename} names no part for its sheet {sheet!r}; export it as CSV")


def _charts(path: Path) -> set[str]:
    """Returns the tabs that hold a chart in place of cells."""
    with zipfile.ZipFile(path) as book:
        workbook = next(target for kind, target in _relations(book, "") if kind.endswith("/officeDocument"))
        charts = {part for kind, part in _relations(book, workbook) if kind.endswith("/chartsheet")}
        return {name for name, part in _sheets(book, workbook) if part in charts}


def _sheets(book: zipfile.ZipFile, workbook: str) -> Iterator[tuple[str, str]]:
    """Yields the name of each tab, and that of the part which holds it: relations say it."""
    targets = _targets(book, workbook)
    for element in ElementTree.fromstring(book.read(workbook)).iter():
        if element.tag.rpartition("}")[2] == "sheet":
            identity = next(value for key, value in element.attrib.items() if key.endswith("}id"))
            yield element.get("name", ""), targets[identity]


def _relations(book: zipfile.ZipFile, part: str) -> list[tuple[str, str]]:
    """Returns kind and target of each relation of a part; the empty name is the package itself."""
    return [(element.get("Type", ""), _resolved(part, element)) for element in _relation_elements(book, part)]


def _targets(book: zipfile.ZipFile, part: str) -> dict[str, str]:
    """Returns the target of each relation of a part by its id."""
    return {element.get("Id", ""): _resolved(part, element) for element in _relation_elements(book, part)}


def _relation_elements(book: zipfile.ZipFile, part: str) -> list[ElementTree.Element]:
    """Returns the relations of a part as they are written."""
    folder, _, name = part.rpartition("/")
    return list(ElementTree.fromstring(book.read(f"{folder}/_rels/{name}.rels".lstrip("/"))))


def _resolved(part: str, element: ElementTree.Element) -> str:
    """Returns the name of a relation's target in the archive; it is relative to its part, or absolute."""
    target = element.get("Target", "")
    if target.startswith("/"):
        return target[1:]
    folder = part.rpartition("/")[0]
    return f"{folder}/{target}" if folder else target
