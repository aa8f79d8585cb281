"""The declaration of one table: where it lies, how it is written, what its columns mean."""

import codecs
from dataclasses import dataclass, field
from enum import StrEnum

import polars as pl

from marquee.data.split_config import PARTS
from marquee.errors import ConfigError


class TableFormat(StrEnum):
    """How a file is written. `auto` goes by its name; `adjacency` is `user item item …` on each line."""

    auto = "auto"
    parquet = "parquet"
    csv = "csv"
    jsonl = "jsonl"
    adjacency = "adjacency"
    xlsx = "xlsx"


class TimestampUnit(StrEnum):
    """The unit of a timestamp that is a number."""

    s = "s"
    ms = "ms"
    us = "us"
    ns = "ns"

    @property
    def per_second(self) -> int:
        """How many of this unit make a second."""
        return {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[self]


class SourceType(StrEnum):
    """The type of a source column. `list` and `vector` are JSON lists of texts and of numbers."""

    int = "int"
    float = "float"
    str = "str"
    bool = "bool"
    list = "list"
    vector = "vector"

    @property
    def dtype(self) -> pl.DataType:
        """The type of the column after reading."""
        return _SOURCE_DTYPES[self.value]


_SOURCE_DTYPES: dict[str, pl.DataType] = {
    "int": pl.Int64(),
    "float": pl.Float64(),
    "str": pl.String(),
    "bool": pl.Boolean(),
    "list": pl.List(pl.String()),
    "vector": pl.List(pl.Float64()),
}


@dataclass(kw_only=True)
class TableConfig:
    """One table: events, items or users.

    Attributes:
        path: The file, relative to `data.root`; a pattern such as `events/*.parquet` for several.
        paths: In place of `path`: the file of each part (train, validation, test) of a given split.
        optional_paths: Parts of `paths` whose file may be missing.
        format: How the file is written.
        separator: Between the columns of a CSV; may be several characters (`::`), and then nothing is quoted.
        quote: What surrounds a CSV value that holds the separator; empty if nothing is ever quoted.
        header: Whether the first line of a CSV, or row of a sheet, names the columns.
        names: Column names of a CSV or sheet without header.
        skip_rows: Lines, or rows of a sheet, to leave out before the header: a title, a date of export.
        sheet: Of a workbook; empty for the first tab that Excel shows.
        encoding: Of a text file, for example `latin-1`. Any but `utf8` is read whole into memory.
        columns: Canonical column or attribute → SQL expression over source columns, at its simplest the
            name of one. Expressions are those of Polars SQL; a name with blanks stands in double quotes, a
            text in single ones. A canonical column that the source has under its own name needs no entry;
            the expression `NULL` says that such a column is something else.
        keep_rest: Items and users: source columns that are not mapped are attributes under their own name.
        types: Source column → what it is read as. CSV columns are texts otherwise, so arithmetic needs this.
        flags: Attribute → source columns that hold 0 or 1; the attribute lists the names of those with 1.
        lists: Items and users: attribute → separator that its text is cut at, into a list. Events: a column
            that holds lists, such as a basket → separator of its texts, empty where it holds lists: each
            entry is an event, and `list_position` is its place, from 0. One that a context feature reads
            stays a list.
        exclude: Reason → SQL condition over source columns: such rows are not meant to be rows of this
            table; they are counted by reason and are no rejects. The first reason that holds is counted.
        timestamp_format: `strftime` format of timestamps; empty: a number, or ISO 8601 (UTC if no offset).
        timestamp_unit: Unit of timestamps that are numbers.
        deduplicate: Events: of rows equal in user, item, timestamp and kind, keep the first, count the rest.
        unique: Items and users: of rows with one id keep the first and count the rest, instead of
            rejecting them: for a table that is taken from a table of events.
    """

    path: str = ""
    paths: dict[str, str] = field(default_factory=dict)
    optional_paths: list[str] = field(default_factory=list)
    format: TableFormat = TableFormat.auto
    separator: str = ","
    quote: str = '"'
    header: bool = True
    names: list[str] = field(default_factory=list)
    skip_rows: int = 0
    sheet: str = ""
    encoding: str = "utf8"
    columns: dict[str, str] = field(default_factory=dict)
    keep_rest: bool = True
    # CSV columns are texts: a guessed type would turn the id 007 into 7.
    types: dict[str, SourceType] = field(default_factory=dict)
    flags: dict[str, list[str]] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)
    exclude: dict[str, str] = field(default_factory=dict)
    timestamp_format: str = ""
    timestamp_unit: TimestampUnit = TimestampUnit.s
    deduplicate: bool = False
    unique: bool = False

    def __post_init__(self) -> None:
        if self.separator == "\\t":
            self.separator = "\t"  # as it stands in a YAML without quotes
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError that names the key if the declaration cannot be read."""
        self._validate_paths()
        self._validate_text()
        twice = sorted(self.columns.keys() & self.flags.keys())
        if twice:
            raise ConfigError(f"{twice} is both in columns and in flags; name it once (config data tables)")
        _validate_names(self.exclude)
        if self.deduplicate and self.unique:
            raise ConfigError(
                f"deduplicate={self.deduplicate} is for events, unique={self.unique} for items and users; "
                "set one (config data tables)"
            )

    def _validate_paths(self) -> None:
        """Raises ConfigError unless exactly one of path and paths is given, and its parts are known."""
        # With both, one of them would be ignored without a word.
        if bool(self.path) == bool(self.paths):
            raise ConfigError(
                f"a table needs either path or paths, got path={self.path!r} and paths={dict(self.paths)!r}; "
                "give one (config data.events.path)"
            )
        unknown = [part for part in [*self.paths, *self.optional_paths] if part not in PARTS]
        if unknown or (self.paths and "train" not in self.paths):
            raise ConfigError(
                f"paths must name train, and may name {list(PARTS[1:])}, got {list(self.paths)} with "
                f"optional {list(self.optional_paths)} (config data.events.paths)"
            )
        # Without it there is nothing to learn from.
        if "train" in self.optional_paths:
            raise ConfigError(
                f"train cannot be optional, got {list(self.optional_paths)} (config optional_paths)"
            )

    def _validate_text(self) -> None:
        """Raises ConfigError unless the description of a text file is consistent."""
        if self.skip_rows < 0:
            raise ConfigError(f"skip_rows must be 0 or more, got {self.skip_rows} (config skip_rows)")
        if not self.separator:
            raise ConfigError(
                f"separator must not be empty, got {self.separator!r} (config data.events.separator)"
            )
        # Polars knows a quote of one byte alone.
        if len(self.quote) > 1:
            raise ConfigError(f"quote must be one character or empty, got {self.quote!r} (config quote)")
        # With both, the first row would be lost, or the header become a row.
        if self.header and self.names:
            raise ConfigError(
                f"names are for a file without header, got {list(self.names)} and header=true; set "
                "header=false (config data.events.header)"
            )
        if len(set(self.names)) != len(self.names):
            raise ConfigError(f"names must differ, got {list(self.names)} (config data.events.names)")
        try:
            # Found here, and not when the file is opened after others were read.
            codecs.lookup(self.encoding)
        except LookupError:
            raise ConfigError(
                f"encoding {self.encoding!r} is not known; expected utf8, latin-1, cp1252, … (config "
                "encoding)"
            ) from None


BLANK_ROW = "blank_row"
EMPTY_LIST = "empty_list"
DUPLICATE_ROW = "duplicate_row"
REPEATED_ID = "repeated_id"


def _validate_names(exclude: dict[str, str]) -> None:
    """Raises ConfigError if a reason is one that is counted anyway, or has no condition."""
    # Two counts under one name would be added up.
    reserved = [reason for reason in exclude if reason in (BLANK_ROW, EMPTY_LIST, DUPLICATE_ROW, REPEATED_ID)]
    if reserved:
        raise ConfigError(
            f"exclude cannot use the name {reserved[0]!r}, it is counted anyway; choose another"
        )
    empty = [reason for reason, condition in exclude.items() if not condition.strip()]
    if empty:
        raise ConfigError(
            f"exclude {empty[0]!r} has no condition; write one in SQL or remove it (config exclude)"
        )
