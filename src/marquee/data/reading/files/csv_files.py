"""Text files of one row a line: CSV, lines cut at a separator of several characters, adjacency lists.

All values are texts. A quote that is only a character spoils at most its own row (see `repair_quotes`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from marquee.data.reading.files.columns import FAULT, ROW
from marquee.data.reading.files.text_files import ScanSource, open_binary, read_text
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError

_SURPLUS = "__surplus"
_LINE = "__line"
_FEW_LINES = 3
_LONGEST_VALUE_LINES = 100  # a quoted value of more lines is looked at as one without its closing quote


def scan_csv(path: Path, config: TableConfig, source: ScanSource | None = None) -> pl.LazyFrame:
    """Returns a CSV as texts; a row with more values than columns has a fault.

    The surplus column is named but not in the file: Polars puts there what a row holds beyond its columns.

    Args:
        path: The file.
        config: How it is written.
        source: Its content, if it was changed; None to read the file.
    """
    source = read_text(path, config, keeps_mark=True) if source is None else source
    separator, quote = separator_of(path, config), config.quote or None
    # Read twice: the schema with the surplus column needs the names.
    head = pl.scan_csv(
        source,
        separator=separator,
        quote_char=quote,
        has_header=config.header,
        skip_lines=config.skip_rows,
        infer_schema=False,
        truncate_ragged_lines=True,
        glob=False,
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
        skip_lines=config.skip_rows,
        schema=dict.fromkeys([*names, _SURPLUS], pl.String()),
        truncate_ragged_lines=True,
        glob=False,
        missing_columns="insert",
        row_index_name=ROW,
        row_index_offset=1,
    )
    fault = pl.when(pl.col(_SURPLUS).is_not_null()).then(pl.lit(f"more than {len(names)} values"))
    return frame.with_columns(fault.alias(FAULT)).drop(_SURPLUS)


def separator_of(path: Path, config: TableConfig) -> str:
    """Returns the separator of values: tabs in a file called .tsv, unless another is declared."""
    is_tsv = path.name.lower().removesuffix(".gz").endswith(".tsv")
    return "\t" if is_tsv and config.separator == "," else config.separator


def has_stray_quotes(path: Path, config: TableConfig, n_columns: int) -> bool:
    """Returns whether a quote seems to open a value and not to close it before the next row begins.

    Polars would take all rows up to the next quote for one value, and say nothing. A line that opens a value
    and still is as wide as a row, before another that is as wide, looks like that.
    """
    lines = pl.scan_lines(read_text(path, config, keeps_mark=True), name=_LINE, glob=False)
    line = pl.col(_LINE)
    opens = line.str.count_matches(config.quote, literal=True) % 2 == 1
    # A true value over several lines mostly leaves its first line narrower than a row.
    is_wide = line.str.count_matches(separator_of(path, config), literal=True) == n_columns - 1
    try:
        # Most files have no such line at all, and then this one count is all that they cost.
        if not lines.select(opens.any()).collect(engine="streaming").item():
            return False
        found = lines.select((opens & is_wide & is_wide.shift(-1, fill_value=True)).any())
        return bool(found.collect(engine="streaming").item())
    except pl.exceptions.ComputeError:
        return False  # text in another encoding, which reading itself says better


def repair_quotes(path: Path, config: TableConfig, n_columns: int) -> bytes:
    """Returns a CSV whose stray quotes are characters of their values.

    A line whose quotes do not open and close whole values is cut at every separator, as if nothing were
    quoted. A quoted value may still run over several lines.
    """
    with open_binary(read_text(path, config)) as file:
        # Not `splitlines`, which also cuts at form feeds and other characters inside a value.
        lines = file.read().decode("utf-8").split("\n")
    records = _Records(separator_of(path, config), config.quote, n_columns)
    return "\n".join(records.repaired(lines)).encode()


@dataclass(frozen=True)
class _Records:
    """How the lines of a CSV make rows."""

    separator: str
    quote: str
    n_columns: int

    @cached_property
    def well_formed(self) -> re.Pattern[str]:
        """Matches a row whose quotes surround whole values."""
        s, q = re.escape(self.separator), re.escape(self.quote)
        value = f"(?:{q}(?:[^{q}]|{q}{q})*{q}|[^{q}{s}]*)"
        return re.compile(f"{value}(?:{s}{value})*", re.DOTALL)

    def repaired(self, lines: Sequence[str]) -> Iterator[str]:
        """Yields well-formed rows."""
        position = 0
        while position < len(lines):
            n_lines = self._length(lines, position)
            if n_lines:
                yield "\n".join(lines[position : position + n_lines])
            else:
                # Read literally: every quote is doubled within quotes of our own.
                values = lines[position].rstrip("\r").split(self.separator)
                doubled = (value.replace(self.quote, self.quote * 2) for value in values)
                yield self.separator.join(f"{self.quote}{value}{self.quote}" for value in doubled)
            position += max(n_lines, 1)

    def _length(self, lines: Sequence[str], position: int) -> int:
        """Returns over how many lines the row that begins here runs, 0 if its quotes do not close."""
        row, n_quotes, are_wide = "", 0, True
        for n_lines, line in enumerate(lines[position : position + _LONGEST_VALUE_LINES], start=1):
            row = f"{row}\n{line}" if n_lines > 1 else line
            n_quotes += line.count(self.quote)
            are_wide = are_wide and line.count(self.separator) == self.n_columns - 1
            if n_quotes % 2 == 0:
                # Several lines that each are a row by themselves are rows between two stray quotes.
                is_swallowed = are_wide and n_lines > _FEW_LINES
                return n_lines if self.well_formed.fullmatch(row.rstrip("\r")) and not is_swallowed else 0
        return 0


def scan_separated_lines(path: Path, config: TableConfig) -> pl.LazyFrame:
    """Returns lines cut at a separator of several characters; a line with too few or many has a fault."""
    lines = _scan_lines(path, config)
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


def scan_adjacency(path: Path, config: TableConfig) -> pl.LazyFrame:
    """Returns `user item item …` lines as one row per pair, with columns user_id and item_id."""
    ids = pl.col(_LINE).str.extract_all(r"\S+")
    return (
        _scan_lines(path, config)
        .select(ids)
        .select(pl.col(_LINE).list.first().alias("user_id"), pl.col(_LINE).list.slice(1).alias("item_id"))
        .filter(pl.col("item_id").list.len() > 0)
        .explode("item_id", empty_as_null=False)
        .with_row_index(ROW, 1)
        .with_columns(pl.lit(None, pl.String).alias(FAULT))
    )


def _scan_lines(path: Path, config: TableConfig) -> pl.LazyFrame:
    """Returns the lines of a text file below those that are left out."""
    lines = pl.scan_lines(read_text(path, config), name=_LINE, glob=False)
    return lines.slice(config.skip_rows) if config.skip_rows else lines
