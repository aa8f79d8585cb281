"""Opens the files of a table, each as a lazy frame of its rows as they are written, numbered from 1.

Text files are read as texts, so that a wrong value spoils one row and not the file. What columns mean is
decided in `mapping`, what a row may not hold in `validation`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import polars as pl

from marquee.data.reading.files.columns import FAULT, ROW
from marquee.data.reading.files.csv_files import (
    has_stray_quotes,
    repair_quotes,
    scan_adjacency,
    scan_csv,
    scan_separated_lines,
)
from marquee.data.reading.files.json_files import scan_json
from marquee.data.reading.files.locating import File, locate
from marquee.data.reading.files.workbooks import ERROR_WORDS, SURPLUS, read_workbook
from marquee.data.table_config import SourceType, TableConfig, TableFormat
from marquee.errors import ConfigError, DataError

Collected = TypeVar("Collected")

_FORMATS = {
    ".parquet": TableFormat.parquet,
    ".pq": TableFormat.parquet,
    ".csv": TableFormat.csv,
    ".tsv": TableFormat.csv,
    # One list or lines: `scan_json` looks.
    ".json": TableFormat.jsonl,
    ".jsonl": TableFormat.jsonl,
    ".ndjson": TableFormat.jsonl,
    ".xlsx": TableFormat.xlsx,
    ".xlsm": TableFormat.xlsx,
}

_OTHERS = dict.fromkeys(
    (".xls", ".xlsb", ".ods", ".numbers"), "save it as .xlsx or CSV, or else "
) | dict.fromkeys((".zip", ".zst", ".bz2", ".xz", ".7z", ".tar"), "unpack it, or else ")


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
        marks: Texts that stand for a value which the file could not hold: errors in the cells of a workbook.
        has_header: Whether a line or row of it may name the columns.
        is_quoted: Whether the file may be refused for a quote that is only a character.
        partition: Columns whose value the folders above the file say.
    """

    path: Path
    part: str
    prefix: str
    frame: pl.LazyFrame
    columns: dict[str, pl.DataType]
    types: dict[str, SourceType]
    is_text: bool
    marks: tuple[str, ...] = ()
    has_header: bool = False
    is_quoted: bool = False
    partition: Mapping[str, str | None] = field(default_factory=dict)


def open_sources(config: TableConfig, root: Path, table: str) -> list[Source]:
    """Returns the files of a table in the order in which their rows count.

    Raises:
        DataError: If a file is missing, empty or not of its format.
        ConfigError: If the format cannot be told from the name, or the declaration does not fit it.
    """
    files = list(locate(config, root, table))
    return [
        # Row numbers repeat between files, and ids may be made of them.
        open_source(file, "" if len(files) == 1 else f"{file.part or number}-", config, table)
        for number, file in enumerate(files, start=1)
    ]


def with_repaired_quotes(source: Source, config: TableConfig, table: str) -> Source:
    """Returns a CSV with its stray quotes read as characters; see `csv_files.repair_quotes`."""
    # What folders say stands in no line of the file.
    n_columns = len(source.columns) - len(source.partition)
    frame = reading(
        lambda: scan_csv(source.path, config, repair_quotes(source.path, config, n_columns)),
        source.path,
        table,
    )
    return replace(source, frame=_with_partition(frame, source.partition), is_quoted=False)


def _with_partition(frame: pl.LazyFrame, partition: Mapping[str, str | None]) -> pl.LazyFrame:
    """Returns the rows with the columns that folders say."""
    return frame.with_columns(pl.lit(value, pl.String).alias(name) for name, value in partition.items())


def collect(frame: pl.LazyFrame, path: Path, table: str) -> pl.DataFrame:
    """Returns the rows of a lazy frame.

    Raises:
        DataError: If the file is not what it is declared to be, or an expression fails on it.
    """
    # Streaming, so that memory follows what is kept and not the whole file.
    return reading(lambda: frame.collect(engine="streaming"), path, table)


def reading(read: Callable[[], Collected], path: Path, table: str) -> Collected:
    """Calls `read`; an error of Polars or the disk becomes a DataError that names the file."""
    try:
        return read()
    # EOFError: gzip raises it for a file that was cut off.
    except (pl.exceptions.PolarsError, OSError, EOFError, UnicodeError) as error:
        # The further lines of an error of Polars are its query plan.
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise DataError(f"{table}: {path} cannot be read: {reason}. {_advice(error, table)}") from error


def _advice(error: Exception, table: str) -> str:
    """Advises on a file that cannot be read."""
    if isinstance(error, UnicodeError) or "utf-8" in str(error).lower():
        return f"Set data.{table}.encoding to that of the file, such as latin-1 or cp1252"
    if isinstance(error, pl.exceptions.NoDataError):
        return f"Expected some rows; look at data.{table}.path and skip_rows"
    if isinstance(error, (OSError, EOFError)):
        return f"See whether it is whole, and written as its name or data.{table}.format says"
    return (
        f"Look at its format, separator, quote and encoding, and at the expressions in data.{table}: "
        "arithmetic on a text file needs types, and TRY_CAST makes a wrong value null where CAST stops"
    )


def open_source(file: File, prefix: str, config: TableConfig, table: str) -> Source:
    """Returns one file as a source.

    Args:
        file: The file.
        prefix: What sets its rows apart from rows of the table's other files.
        config: Of the table.
        table: Its name.

    Raises:
        DataError: If the file is empty or not of its format.
        ConfigError: If the format cannot be told from the name, or the declaration does not fit it.
    """
    path = file.path
    written = format_of(path, config, table)
    frame, types = reading(lambda: _scan(path, written, config), path, table)
    own = reading(frame.collect_schema, path, table)
    # A column of the file counts: some writers keep the value there as well.
    said = {name: value for name, value in file.partition.items() if name not in own}
    frame = _with_partition(frame, said)
    schema = own | dict.fromkeys(said, pl.String())
    columns = {name: dtype for name, dtype in schema.items() if name not in (ROW, FAULT)}
    if pl.Binary() in columns.values():
        frame = reading(lambda: _with_texts(frame, columns), path, table)
        columns = {name: pl.String() if dtype == pl.Binary else dtype for name, dtype in columns.items()}
    source = Source(
        path=path,
        part=file.part,
        prefix=prefix,
        frame=frame,
        columns=columns,
        types=types,
        is_text=written is not TableFormat.parquet,
        marks=ERROR_WORDS if written is TableFormat.xlsx else (),
        has_header=written in (TableFormat.csv, TableFormat.xlsx),
        is_quoted=written is TableFormat.csv and len(config.separator) == 1 and bool(config.quote),
        partition=said,
    )
    # Less two: ROW and FAULT are in no line.
    if source.is_quoted and reading(lambda: has_stray_quotes(path, config, len(own) - 2), path, table):
        return with_repaired_quotes(source, config, table)
    return source


def _scan(
    path: Path, written: TableFormat, config: TableConfig
) -> tuple[pl.LazyFrame, dict[str, SourceType]]:
    """Returns the rows of a file, and the types that it makes plain."""
    match written:
        case TableFormat.parquet:
            # Folders are read by `locating`, alike for all formats.
            frame = pl.scan_parquet(
                path, row_index_name=ROW, row_index_offset=1, hive_partitioning=False, glob=False
            )
            return frame.with_columns(pl.lit(None, pl.String).alias(FAULT)), {}
        case TableFormat.jsonl:
            return scan_json(path, config)
        case TableFormat.adjacency:
            return scan_adjacency(path, config), {}
        case TableFormat.xlsx:
            sheet = read_workbook(path, config)
            n_columns = sheet.width - 1
            fault = pl.when(pl.col(SURPLUS).is_not_null()).then(pl.lit(f"more than {n_columns} values"))
            numbered = sheet.lazy().with_row_index(ROW, 1).with_columns(fault.alias(FAULT))
            return numbered.drop(SURPLUS), {}
        # Polars takes a separator of one byte.
        case _ if len(config.separator) > 1:
            return scan_separated_lines(path, config), {}
    return scan_csv(path, config), {}


def _with_texts(frame: pl.LazyFrame, columns: dict[str, pl.DataType]) -> pl.LazyFrame:
    """Returns binary columns as texts: in UTF-8 if all their values are, else in hexadecimal digits.

    Older writers of Parquet do not say that their bytes are text; others keep ids such as UUIDs as bytes.
    """
    binary = [name for name, dtype in columns.items() if dtype == pl.Binary]
    texts = []
    for name in binary:
        try:
            # The cast fails on one value that is no UTF-8; the maximum makes it look at all of them.
            frame.select(pl.col(name).cast(pl.String).str.len_bytes().max()).collect(engine="streaming")
            texts.append(pl.col(name).cast(pl.String))
        except pl.exceptions.ComputeError:
            texts.append(pl.col(name).bin.encode("hex"))
    return frame.with_columns(texts)


def format_of(path: Path, config: TableConfig, table: str) -> TableFormat:
    """Returns the declared format, or the one that the end of the name tells."""
    if config.format is not TableFormat.auto:
        return config.format
    suffix = Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix
    found = _FORMATS.get(suffix.lower())
    if found is None:
        raise ConfigError(
            f"{table}: the format of {path.name} cannot be told from its name, expected the end to be one of "
            f"{sorted(_FORMATS)}, for text also .gz; {_OTHERS.get(suffix.lower(), '')}set "
            f"data.{table}.format to one of {[str(written) for written in TableFormat]}"
        )
    return found
