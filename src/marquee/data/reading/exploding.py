"""Makes one row of each entry of a list: of what was shown together, of what lay in one basket."""

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from marquee.data.reading.files.columns import FAULT, ROW
from marquee.data.reading.sources import Source
from marquee.data.reading.values import as_source_type
from marquee.data.table_config import SourceType, TableConfig
from marquee.errors import ConfigError, MissingColumnError

EMPTY = "__empty_list"
LIST_POSITION = "list_position"


def explode(source: Source, apart: Mapping[str, str], config: TableConfig, key: str) -> Source:
    """Returns a file with a row for each entry of its lists, numbered anew; its other columns are repeated.

    Lists of one row are taken apart side by side, and a row whose lists differ in length has a fault. The
    place of an entry, counted from 0, is the column `list_position`. A row without entries stays one row, in
    which `EMPTY` is true.

    Args:
        source: The file.
        apart: Columns of the table or of the file that hold lists, with the separators of their texts.
        config: Of the table.
        key: Of the table in the config, for messages.

    Raises:
        MissingColumnError: If the file has no such column.
        ConfigError: If a column holds neither lists nor texts to be cut.
    """
    columns = {_column(name, source, config, key): separator for name, separator in apart.items()}
    lists = {name: _as_list(name, separator, source, config, key) for name, separator in columns.items()}
    lengths = [pl.col(name).list.len().fill_null(0) for name in lists]
    # The literal stands in where one list alone is taken apart, and nothing is compared.
    differ = pl.any_horizontal(pl.lit(False), *[length != lengths[0] for length in lengths[1:]])
    fault = pl.when(differ).then(pl.lit(f"lists of different lengths in {', '.join(lists)}"))
    faults = [_unreadable(name, lists[name]) for name in lists if source.columns[name] == pl.String]
    # Before the lists take the place of the texts, which the faults quote.
    frame = source.frame.with_columns(pl.coalesce(FAULT, *faults).alias(FAULT))
    frame = frame.with_columns(values.alias(name) for name, values in lists.items())
    frame = frame.with_columns(pl.coalesce(FAULT, fault).alias(FAULT))
    is_whole = pl.col(FAULT).is_null() & (lengths[0] > 0)
    frame = frame.with_columns(
        # Kept as a row: an empty basket is counted as excluded, and not dropped.
        (pl.col(FAULT).is_null() & (lengths[0] == 0)).alias(EMPTY),
        # A null in place of a list is one row when lists are taken apart.
        *[pl.when(is_whole).then(pl.col(name)).alias(name) for name in lists],
        pl.when(is_whole).then(pl.int_ranges(lengths[0])).alias(_position(source)),
    )
    # Numbered anew, as the id of an event may be made of its row number.
    exploded = frame.drop(ROW).explode([*lists, _position(source)]).with_row_index(ROW, 1)
    schema = exploded.collect_schema()
    names = [name for name in schema if name not in (ROW, FAULT, EMPTY)]
    return replace(
        source,
        frame=exploded,
        columns={name: schema[name] for name in names},
        # A column that was taken apart holds entries and no lists.
        types={name: found for name, found in source.types.items() if name not in lists},
    )


def _unreadable(name: str, values: pl.Expr) -> pl.Expr:
    """Returns why a text that is there is no list; null where it is one, or nothing is there."""
    is_there = pl.col(name).str.strip_chars() != ""
    return pl.when(is_there & values.is_null()).then(pl.format("no list in {}: {}", pl.lit(name), name))


def _position(source: Source) -> str:
    """Returns the name of the column of places; a file's own column of this name stays."""
    return LIST_POSITION if LIST_POSITION not in source.columns else f"{LIST_POSITION}_of_entry"


def _column(name: str, source: Source, config: TableConfig, key: str) -> str:
    """Returns the column of the file that holds the lists which a name means."""
    mapped = config.columns.get(name, name)
    # `a.b` is a field of a nested column, which the file calls `a`.
    for found in (mapped, mapped.partition(".")[0], name):
        if found in source.columns:
            return found
    raise MissingColumnError(
        f"{key}.lists names {name!r}, but {source.path} has {list(source.columns)}; name a column of the "
        f"file that holds lists, or a column of the table that is mapped to one by {key}.columns"
    )


def _as_list(name: str, separator: str, source: Source, config: TableConfig, key: str) -> pl.Expr:
    """Returns a column of the file as lists."""
    dtype = source.columns[name]
    declared = config.types.get(name, source.types.get(name))
    if isinstance(dtype, pl.List):
        return pl.col(name)
    if isinstance(dtype, pl.Array):
        return pl.col(name).arr.to_list()
    if dtype == pl.String and declared in (SourceType.list, SourceType.vector):
        return as_source_type(name, dtype, SourceType.list)
    if dtype != pl.String or not separator:
        raise ConfigError(
            f"{key}.lists.{name} must be a list, or a text with the separator it is cut at, got {dtype} and "
            f"the separator {separator!r}; write lists: {{{name}: '|'}}, or types: {{{name}: list}} for JSON"
        )
    entries = pl.col(name).str.split(separator).list.eval(pl.element().str.strip_chars())
    # A separator at the end names no entry.
    return entries.list.eval(pl.element().filter(pl.element() != ""))
