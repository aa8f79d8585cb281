"""Opens the files of a table, each as a lazy frame of its rows as they are written, numbered from 1.

Text files are read as texts, so that a wrong value spoils one row and not the file. What columns mean is
decided in `mapping`, what a row may not hold in `validation`.
"""

import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import IO, TypeVar

import polars as pl

from marquee.data.reading.spreadsheets import read_spreadsheet
from marquee.data.table_config import SourceType, TableConfig, TableFormat
from marquee.errors import ConfigError, DataError

ROW = "__row"
FAULT = "__fault"

ScanSource = Path | bytes
Collected = TypeVar("Collected")

_FORMATS = {
    ".parquet": TableFormat.parquet,
    ".pq": TableFormat.parquet,
    ".csv": TableFormat.csv,
    ".tsv": TableFormat.csv,
    ".jsonl": TableFormat.jsonl,
    ".ndjson": TableFormat.jsonl,
    ".xlsx": TableFormat.xlsx,
}
_SURPLUS = "__surplus"
_LINE = "__line"
_UNREADABLE = "__unreadable"
_GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True)
class Source:
    """One file of a table.

    Attributes:
        path: The file.
        part: Part of a given split that it holds; empty if the split is not given.
        prefix: What sets its rows apart from rows of the table's other files; empty if it is the only one.
        frame: Its rows: `ROW`, the number of the row, `FAULT`, why it cannot be read, else null, and the
            source columns. Rows count from 1, without the header; an empty line of JSON lines is no row,
            and in an adjacency file each pair of user and item is one.
        columns: Type of each source column.
        types: Types that the file itself makes plain, as `TableConfig.types`.
        is_text: Whether rows are lines, so that an empty one is no row.
    """

    path: Path
    part: str
    prefix: str
    frame: pl.LazyFrame
    columns: dict[str, pl.DataType]
    types: dict[str, SourceType]
    is_text: bool


def open_sources(config: TableConfig, root: Path, table: str) -> list[Source]:
    """Returns the files of a table in the order in which their rows count.

    Raises:
        DataError: If a file is missing, empty or not of its format.
        ConfigError: If the format cannot be told from the name, or the declaration does not fit it.
    """
    files = list(_locate(config, root, table))
    return [
        _open(path, part, "" if len(files) == 1 else f"{part or number}-", config, table)
        for number, (part, path) in enumerate(files, start=1)
    ]


def collect(frame: pl.LazyFrame, path: Path, table: str) -> pl.DataFrame:
    """Returns the rows of a lazy frame.

    Raises:
        DataError: If the file is not what it is declared to be, or an expression fails on it.
    """
    return reading(lambda: frame.collect(engine="streaming"), path, table)


def reading(read: Callable[[], Collected], path: Path, table: str) -> Collected:
    """Returns what `read` returns; what Polars or the disk raises becomes a DataError that names the file."""
    try:
        return read()
    except (pl.exceptions.PolarsError, OSError, EOFError, UnicodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"{table}: {path} cannot be read: {reason}. Look at its format, separator, quote and encoding, "
            f"and at the expressions in data.{table}: arithmetic on a text file needs types, and TRY_CAST "
            "makes a wrong value null where CAST stops"
        ) from error


def _locate(config: TableConfig, root: Path, table: str) -> Iterator[tuple[str, Path]]:
    """Yields part and path of each file, in order."""
    declared = config.paths or {"": config.path}
    for part, name in declared.items():
        path = root / name
        if _GLOB_CHARACTERS & set(name):
            found = [Path(match) for match in sorted(glob(str(path)))]
        else:
            found = [path] if path.exists() else []
        if not found and part not in config.optional_paths:
            raise DataError(
                f"{table}: there is no file {path}; set data.root or data.{table}.path, or fetch the set "
                "with python -m training.download data=…"
            )
        yield from ((part, match) for match in found)


def _open(path: Path, part: str, prefix: str, config: TableConfig, table: str) -> Source:
    """Returns one file as a source."""
    written = _format_of(path, config, table)
    types: dict[str, SourceType] = {}
    if written is TableFormat.parquet:
        frame = pl.scan_parquet(path, row_index_name=ROW, row_index_offset=1)
        frame = frame.with_columns(pl.lit(None, pl.String).alias(FAULT))
    elif written is TableFormat.jsonl:
        frame, types = reading(lambda: _scan_json_lines(path, config), path, table)
    elif written is TableFormat.adjacency:
        frame = _scan_adjacency(_text(path, config))
    elif written is TableFormat.xlsx:
        sheet = reading(lambda: read_spreadsheet(path), path, table)
        frame = sheet.lazy().with_row_index(ROW, 1).with_columns(pl.lit(None, pl.String).alias(FAULT))
    elif len(config.separator) > 1:
        frame = reading(lambda: _scan_separated_lines(path, config), path, table)
    else:
        frame = reading(lambda: _scan_csv(path, config), path, table)
    schema = reading(frame.collect_schema, path, table)
    columns = {name: dtype for name, dtype in schema.items() if name not in (ROW, FAULT)}
    return Source(path, part, prefix, frame, columns, types, is_text=written is not TableFormat.parquet)


def _format_of(path: Path, config: TableConfig, table: str) -> TableFormat:
    """Returns the declared format, or the one that the end of the name tells."""
    if config.format is not TableFormat.auto:
        return config.format
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    found = _FORMATS.get(suffix.lower())
    if found is None:
        raise ConfigError(
            f"{table}: the format of {path.name} cannot be told from its name, expected the end to be one of "
            f"{sorted(_FORMATS)}, for text also .gz; set data.{table}.format to one of "
            f"{[str(written) for written in TableFormat]}"
        )
    return found


def _text(path: Path, config: TableConfig) -> ScanSource:
    """Returns what Polars scans: the file itself, or its bytes as UTF-8 if it is written otherwise."""
    if config.encoding.lower().replace("-", "") == "utf8":
        return path
    with _open_binary(path) as file:
        return file.read().decode(config.encoding).encode()


def _open_binary(path: Path) -> IO[bytes]:
    """Returns the opened file, decompressed if its name ends in .gz."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]  # GzipFile reads as IO


def _scan_csv(path: Path, config: TableConfig) -> pl.LazyFrame:
    """Returns a CSV as texts; a row with more values than columns has a fault.

    The surplus column is named but not in the file: Polars puts there what a row holds beyond its columns.
    """
    source = _text(path, config)
    separator = (
        "\t"
        if path.name.removesuffix(".gz").endswith(".tsv") and config.separator == ","
        else config.separator
    )
    quote = config.quote or None
    head = pl.scan_csv(
        source,
        separator=separator,
        quote_char=quote,
        has_header=config.header,
        infer_schema=False,
        truncate_ragged_lines=True,
    )
    names = head.collect_schema().names()
    if config.names:
        _validate_width(path, config.names, len(names))
        names = list(config.names)
    frame = pl.scan_csv(
        source,
        separator=separator,
        quote_char=quote,
        has_header=config.header,
        schema=dict.fromkeys([*names, _SURPLUS], pl.String()),
        truncate_ragged_lines=True,
        missing_columns="insert",
        row_index_name=ROW,
        row_index_offset=1,
    )
    fault = pl.when(pl.col(_SURPLUS).is_not_null()).then(pl.lit(f"more than {len(names)} values"))
    return frame.with_columns(fault.alias(FAULT)).drop(_SURPLUS)


def _scan_separated_lines(path: Path, config: TableConfig) -> pl.LazyFrame:
    """Returns lines cut at a separator of several characters; a line with too few or many has a fault."""
    source = _text(path, config)
    lines = pl.scan_lines(source, name=_LINE)
    first = lines.head(1).collect()
    if first.is_empty():
        raise pl.exceptions.NoDataError("the file is empty")
    values = str(first.item()).split(config.separator)
    names = values if config.header else [f"column_{i + 1}" for i in range(len(values))]
    if config.names:
        _validate_width(path, config.names, len(values))
        names = list(config.names)
    if config.header:
        lines = lines.slice(1)
    # An empty line has neither values nor a fault.
    cut = lines.with_row_index(ROW, 1).with_columns(
        pl.col(_LINE).replace("", None).str.split(config.separator).alias(_LINE)
    )
    n_values = pl.col(_LINE).list.len()
    fault = pl.when(n_values != len(names)).then(
        pl.format("{} values where {} were expected", n_values, pl.lit(len(names)))
    )
    columns = [
        pl.col(_LINE).list.get(i, null_on_oob=True).replace("", None).alias(name)
        for i, name in enumerate(names)
    ]
    return cut.select(ROW, fault.alias(FAULT), *columns)


def _validate_width(path: Path, names: list[str], width: int) -> None:
    """Raises ConfigError unless there is a name for each column."""
    if len(names) != width:
        raise ConfigError(
            f"names must name every column of {path}, got {len(names)} names and {width} columns in its "
            "first line; see whether the separator is right"
        )


def _scan_adjacency(source: ScanSource) -> pl.LazyFrame:
    """Returns `user item item …` lines as one row per pair, with columns user_id and item_id."""
    ids = pl.col(_LINE).str.extract_all(r"\S+")
    return (
        pl.scan_lines(source, name=_LINE)
        .select(ids)
        .select(pl.col(_LINE).list.first().alias("user_id"), pl.col(_LINE).list.slice(1).alias("item_id"))
        .filter(pl.col("item_id").list.len() > 0)
        .explode("item_id", empty_as_null=False)
        .with_row_index(ROW, 1)
        .with_columns(pl.lit(None, pl.String).alias(FAULT))
    )


def _scan_json_lines(path: Path, config: TableConfig) -> tuple[pl.LazyFrame, dict[str, SourceType]]:
    """Returns JSON lines as texts, and the columns that hold lists; a line that is no object has a fault."""
    source = _text(path, config)
    try:
        found = pl.scan_ndjson(source, infer_schema_length=None).collect_schema()
    except pl.exceptions.ComputeError:
        source = _mark_broken_lines(source)
        found = pl.scan_ndjson(source, infer_schema_length=None).collect_schema()
    types: dict[str, SourceType] = {}
    for name, dtype in found.items():
        if isinstance(dtype, pl.List):
            types[name] = SourceType.vector if dtype.inner.is_numeric() else SourceType.list
    schema = dict.fromkeys([*found, _UNREADABLE], pl.String())
    frame = pl.scan_ndjson(source, schema=schema, row_index_name=ROW, row_index_offset=1)
    fault = pl.when(pl.col(_UNREADABLE).is_not_null()).then(pl.format("no JSON object: {}", _UNREADABLE))
    return frame.with_columns(fault.alias(FAULT)).drop(_UNREADABLE), types


def _mark_broken_lines(source: ScanSource) -> bytes:
    """Returns the file with each line that is no JSON object put into one, so that it stays one row."""
    with _open_binary(source) if isinstance(source, Path) else io.BytesIO(source) as file:
        return b"\n".join(_marked(file))


def _marked(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yields each line that is a JSON object, and an object that quotes it in place of any other."""
    for line in lines:
        try:
            whole = not line.strip() or isinstance(json.loads(line), dict)
        except ValueError:
            whole = False
        text = line.decode(errors="replace").strip()
        yield line.strip() if whole else json.dumps({_UNREADABLE: text}).encode()
