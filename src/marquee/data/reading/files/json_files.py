"""JSON lines, one JSON list of objects, or objects one behind the other, as a lazy frame.

Values are texts, so that one of another type spoils its row alone; nested objects stay nested and are read by
dotted names. NaN, which Python writes for a missing number, is null.
"""

import json
import math
import re
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
_BETWEEN = re.compile(r"[ \t\r\n,\x1e]*")  # RFC 7464 begins each object with the last of these
_MAX_SHOWN = 100
_DECODER = json.JSONDecoder()
_TEXT = pl.String()


def scan_json(path: Path, config: TableConfig) -> tuple[pl.LazyFrame, dict[str, SourceType]]:
    """Returns the objects as rows, and the columns that hold lists; a line that is no object has a fault.

    Raises:
        DataError: If the file begins as a JSON list and is none, or holds no JSON object.
        NoDataError: If it is empty.
    """
    source = read_text(path, config)
    if _is_list(source):
        source = _lines_of_list(source, path)
    try:
        # Of all rows: a field that first occurs in a late row would be lost.
        found = pl.scan_ndjson(_scanned(source), infer_schema_length=None).collect_schema()
    except pl.exceptions.ComputeError:
        # Polars knows neither NaN nor broken lines; Python's reader does, line by line.
        with open_binary(source) as file:
            source = _readable(file.read().removeprefix(_MARK), path)
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
    if not text.strip(b"[] \t\r\n"):
        raise pl.exceptions.NoDataError("the list is empty")
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


def _readable(text: bytes, path: Path) -> bytes:
    """Returns a line for each JSON object as Polars reads it, and one that quotes it for any other line."""
    if not text.strip():
        raise pl.exceptions.NoDataError("the file is empty")
    lines = text.split(b"\n")
    objects = [_objects(line) for line in lines]
    if not any(objects):
        # Objects that are written over several lines are none in any line.
        objects = [_objects(text)]
        if not objects[0]:
            first = next(line for line in lines if line.strip()).decode(errors="replace").strip()
            raise DataError(
                f"{path} holds no JSON object, its first line is {first[:_MAX_SHOWN]!r}; write one object on "
                "each line, or a list of objects"
            )
    return b"\n".join(
        found or (_marked(line.decode(errors="replace").strip()) if line.strip() else b"")
        for line, found in zip(lines, objects, strict=False)
    )


def _objects(text: bytes) -> bytes:
    """Returns a line for each JSON object that stands here, nothing if there is anything else."""
    found: list[bytes] = []
    try:
        decoded = text.decode()
        place = _BETWEEN.match(decoded).end()  # type: ignore[union-attr]  # it matches the empty text
        while place < len(decoded):
            value, place = _DECODER.raw_decode(decoded, place)
            if not isinstance(value, dict):
                return b""
            found.append(json.dumps(_plain(value)).encode())
            place = _BETWEEN.match(decoded, place).end()  # type: ignore[union-attr]  # as above
    except ValueError:
        return b""
    return b"\n".join(found)


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
