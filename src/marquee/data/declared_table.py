"""Reads a table that is none of the three of a data set: of outcomes by arm, of scores, of logged actions.

The same readers, rules and counts as for events (see `reading.table_reader`); which columns there are is for
the caller to declare.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from marquee.core.schema import Column, TableSchema
from marquee.data.reading.mapping import TableMapping
from marquee.data.reading.quality import TableQuality
from marquee.data.reading.table_reader import TableReader
from marquee.data.table_config import TableConfig

MAX_REJECTED_FRACTION = 0.01


def read_declared_table(
    config: TableConfig,
    root: Path,
    columns: Sequence[Column],
    expressions: Mapping[str, str],
    config_key: str,
    max_rejected_fraction: float = MAX_REJECTED_FRACTION,
    *,
    keep_rest: bool = False,
    name: str = "table",
) -> tuple[pl.DataFrame, TableQuality]:
    """Returns the columns of a table, and what became of each of its rows.

    Args:
        config: Where the file is and how it is written.
        root: Where its path starts.
        columns: Those that the caller needs, with types.
        expressions: Column → what it is made of: a column of the file, or SQL over them. A column that is
            not named here has its own name in the file.
        config_key: Where the declaration stands, for messages: `ab` for `ab.table`.
        max_rejected_fraction: Of the rows that may be wrong.
        keep_rest: Whether other columns of the file are kept under their own names.
        name: Of the table below `config_key`.

    Raises:
        MissingColumnError: If the file lacks a column.
        RejectedRowsError: If more rows are wrong than allowed.
        DataError: If a file is missing or unreadable, or no row is left.
    """
    schema = TableSchema(name, "", tuple(columns), config_key)
    # The expressions of the caller win: their keys are the columns that it goes on to read.
    declared = replace(config, columns={**config.columns, **expressions}, keep_rest=keep_rest)
    reader = TableReader([TableMapping(schema, declared)], [], max_rejected_fraction)
    rows, quality = reader.read(root, None)
    if not keep_rest:
        # The mapping may add columns that nobody asked for.
        rows = rows.select(column.name for column in columns if column.name in rows.columns)
    return rows, quality
