"""JSON lines, or one JSON list of objects, as a lazy frame.

Values are texts, so that one of another type spoils its row alone; nested objects stay nested and are read by
dotted names. NaN, which Python writes for a missing number, is null.
"""

import json
import math
from collections.abc import Iterable, Iterator
from glob import escape
from pathlib import Path

import polars as pl

from marquee.data.reading.files.columns import FAULT, ROW
from marquee.data.reading.files.text_files import ScanSource, open_binary, read_text
from marquee.data.table_config import SourceType, TableConfig
from marquee.errors import DataError

_UNREADABLE = "__unreadable"
_BLANKS = b" \t\r\n"
_MARK = b"\xef\xbb\xbf"
_TEXT = pl.String()


def scan_json(path: Path, config: TableConfig) -> tuple[pl.LazyFrame, dict[str, SourceType]]:
    """Returns the objects as rows, and the columns that hold lists; a line that is no object has a fault.

    Raises:
        DataError: If the file is one JSON value, but no list of objects.
    """
    source = read_text(path, config)
    if _is_list(source):
        source = _lines_of_list(source, path)
    try:
        found = pl.scan_ndjson(_scanned(source), infer_schema_length=None).collect_schema()
    except pl.exceptions.ComputeError:
        # Polars knows neither NaN nor broken lines; Python's reader does, line by line.
        with open_binary(source) as file:
            source = b"\n".join(_readable(file))
        found = pl.scan_ndjson(source, infer_schema_length=None).collect_schema()
    types = {
        name: SourceType.vector if dtype.inner.is_numeric() else SourceType.list
        for name, dtype in found.items()
        if isinstance(dtype, pl.List) and not dtype.inner.is_nested()
    }
    schema = {name: _as_texts(dtype) for name, dtype in found.items()} | {_UNREADABLE: _TEXT}
    frame = pl.scan_ndjson(_scanned(source), schema=schema, row_index_name=ROW, row_index_offset=1)
    fault = pl.when(pl.col(_UNREADABLE).is_not_null()).then(pl.format("no JSON object: {}", _UNREADABLE))
    return frame.with_columns(fault.alias(FAULT)).drop(_UNREADABLE), types


def _scanned(source: ScanSource) -> str | bytes:
    """Returns a source for Polars, which takes a path for a pattern here and cannot be told otherwise."""
    return source if isinstance(source, bytes) else escape(str(source))


def _as_texts(dtype: pl.DataType | pl.datatypes.DataTypeClass, *, is_inside: bool = False) -> pl.DataType:
    """Returns a type with texts as leaves; a list of plain values is the text of its JSON unless inside."""
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _as_texts(field.dtype, is_inside=True) for field in dtype.fields})
    if isinstance(dtype, pl.List) and (is_inside or dtype.inner.is_nested()):
        return pl.List(_as_texts(dtype.inner, is_inside=True))
    return _TEXT


def _is_list(source: ScanSource) -> bool:
    """Returns whether a file begins as a JSON list."""
    with open_binary(source) as file:
        for line in file:
            text = line.removeprefix(_MARK).strip(_BLANKS)
            if text:
                # A line that is a whole list is a broken line of JSON lines, unless it is the only one.
                return text.startswith(b"[") and not (
                    text.endswith(b"]") and any(rest.strip() for rest in file)
                )
    return False


def _lines_of_list(source: ScanSource, path: Path) -> bytes:
    """Returns the elements of a JSON list as JSON lines."""
    with open_binary(source) as file:
        text = file.read().removeprefix(_MARK)
    try:
        elements = json.loads(text)
    except ValueError as error:
        raise DataError(
            f"{path} begins as a JSON list and does not go on as one: {error}; write a list of "
            "objects, or one object on each line"
        ) from error
    return b"\n".join(
        json.dumps(_plain(element)).encode() if isinstance(element, dict) else _marked(json.dumps(element))
        for element in elements
    )


def _readable(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yields each line that is a JSON object as Polars reads it, and one that quotes it for any other."""
    for number, raw in enumerate(lines):
        line = raw.removeprefix(_MARK) if number == 0 else raw
        if not line.strip():
            yield b""
            continue
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if isinstance(value, dict):
            yield json.dumps(_plain(value)).encode()
        else:
            yield _marked(line.decode(errors="replace").strip())


def _marked(text: str) -> bytes:
    """Returns an object that quotes a line which is no object."""
    return json.dumps({_UNREADABLE: text}).encode()


def _plain(value: object) -> object:
    """Returns a value without what only Python's JSON knows: NaN is null, an infinite number its text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value
