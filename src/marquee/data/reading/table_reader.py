"""Reads the files of one table into its validated rows, and says what became of the others."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from marquee.core.schema import EVENTS, TableSchema
from marquee.data.reading.files.columns import ROW
from marquee.data.reading.mapping import EXCLUDED, REJECTED, MappedSource, TableMapping
from marquee.data.reading.notes import SAME_EVENT, order_notes, sorted_columns
from marquee.data.reading.quality import TableQuality, measure_columns
from marquee.data.reading.rejects import SOURCE, Rejects, require_few
from marquee.data.reading.sources import Source, collect, open_sources, with_repaired_quotes
from marquee.data.reading.times import validate_times
from marquee.data.reading.validation import Rule
from marquee.data.splits import PART
from marquee.data.table_config import DUPLICATE_ROW, REPEATED_ID, TableConfig
from marquee.errors import DataError

HELD_ONCE = ("kind", "request_id", "surface", "policy", "campaign_id")
"""Texts that only tell rows apart or together; training knows users and items by theirs."""


@dataclass(frozen=True)
class _Collected:
    """The rows of all files of a table.

    Attributes:
        rows_in: How many there were.
        kept: Those that are meant and right by themselves, with file and number; of events `_slim`.
        excluded: Those that are not meant, by reason.
        rejects: Those that are wrong.
        files: The files, as they were mapped in the end.
        notes: What looks odd in them.
    """

    rows_in: int
    kept: pl.DataFrame
    excluded: Counter[str]
    rejects: Rejects
    files: list[MappedSource]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class TableReader:
    """Reads one table.

    Attributes:
        mappings: How its files are mapped: one for each declaration of a part of the table.
        rules: Rules between rows, in order.
        max_rejected_fraction: Of the rows that are not excluded.
        order_is_time: Whether the order of the rows says which of a user's events are the latest.
    """

    mappings: Sequence[TableMapping]
    rules: Sequence[Rule]
    max_rejected_fraction: float
    order_is_time: bool = False

    @property
    def schema(self) -> TableSchema:
        """The canonical table."""
        return self.mappings[0].schema

    def read(self, root: Path, rejects_folder: Path | None) -> tuple[pl.DataFrame, TableQuality]:
        """Returns the rows that are kept, and what became of the others.

        Args:
            root: Where paths start.
            rejects_folder: Where the rejected rows are written; None for nowhere.
        """
        rows = self._collect(root)
        kept, rejects = self._apply_rules(rows)
        # After the rules: a wrong row must not be the one of its like that is kept.
        kept, repeated = _without_repeated(kept, self.schema, self.mappings[0].config)
        rows.excluded.update(repeated)
        kept = kept.drop(SOURCE, ROW)
        if self.schema is EVENTS:
            # The ids have told repetitions; from here on rows only need to be told apart.
            kept = kept.with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias(EVENTS.key))
        quality = self._quality(rows, kept, rejects, rejects_folder)
        # Before the table may be found empty: the rejects say why it is.
        require_few(quality, self.max_rejected_fraction, self.schema.config_key)
        if kept.is_empty():
            raise DataError(
                f"{self.schema.name}: none of the {rows.rows_in:,} rows of {', '.join(quality.files)} is "
                f"left, {quality.n_rejected:,} were rejected and {dict(rows.excluded)} excluded; correct "
                f"{self.mappings[0].key}"
            )
        return kept, quality

    def _collect(self, root: Path) -> _Collected:
        """Returns the rows of all files, each judged by itself."""
        name = self.schema.name
        opened = [
            (mapping, source)
            for mapping in self.mappings
            for source in _named_apart(open_sources(mapping.config, root, name), mapping.name)
        ]
        excluded: Counter[str] = Counter()
        parts: list[pl.DataFrame] = []
        files: list[MappedSource] = []
        broken: list[pl.DataFrame] = []
        rows_in = 0
        for position, (mapping, source) in enumerate(opened):
            file, rows = rows_of(mapping, source, _slim)
            # Of all rows: a wrong unit may put each of them out of range.
            validate_times(rows, file, mapping)
            files.append(file)
            rows_in += rows.height
            meant = rows[EXCLUDED].is_null()
            for reason, count in rows.filter(~meant)[EXCLUDED].value_counts(sort=True).iter_rows():
                excluded[file.exclusions[reason]] += count
            good = meant & rows[REJECTED].is_null()
            broken.append(rows.filter(meant & ~good).select(ROW, REJECTED))
            # Only the good rows are held while the next file is read.
            parts.append(_kept(rows, good, position, file))
            del rows  # the largest table of all, and the next file's is about to be read
        rejects = Rejects.none(name, [file.source for file in files])
        for position, (file, wrong) in enumerate(zip(files, broken, strict=True)):
            rejects = rejects.add_broken(wrong, position, file)
        kept = _together(parts)
        return _Collected(rows_in, kept, excluded, rejects, files, tuple(self._notes(files)))

    def _notes(self, files: Sequence[MappedSource]) -> Iterator[str]:
        """Yields what looks odd in the files."""
        for file in files:
            yield from _mark_notes(file, self.schema.name)
        if self.order_is_time:
            found = [words for file in files for words in sorted_columns(file, self.schema.name)]
            yield from order_notes(found)

    def _apply_rules(self, rows: _Collected) -> tuple[pl.DataFrame, Rejects]:
        """Returns the rows that break no rule between rows, and all rejected rows."""
        kept, rejects = rows.kept, rows.rejects
        for rule in self.rules:
            if not any(file.file_columns[rule.column] for file in rows.files):
                continue  # the column is made here, of row numbers
            broken = kept.select(rule.condition).to_series()
            if broken.any() and self.schema is EVENTS and rule.column == EVENTS.key:
                broken = self._is_repeated(kept, broken, rows.files)
            if broken.any():
                rejects = rejects.add_by_rule(kept.filter(broken), rule, rows.files)
                kept = kept.filter(~broken)
        return kept, rejects

    def _is_repeated(
        self, kept: pl.DataFrame, suspected: pl.Series, files: Sequence[MappedSource]
    ) -> pl.Series:
        """Returns which rows have the id of an earlier one, by the texts of the ids.

        Args:
            kept: With digests for ids.
            suspected: The rows whose digest an earlier one has.
            files: Where the texts are.
        """
        # Two ids may share a digest of 64 bits: what looks repeated is compared as it is written.
        digests = kept.filter(suspected)[EVENTS.key].unique()
        alike = kept.select(pl.int_range(pl.len()).alias("place"), SOURCE, ROW, EVENTS.key).filter(
            pl.col(EVENTS.key).is_in(digests.implode())
        )
        texts = []
        for (position,), rows in alike.group_by(SOURCE, maintain_order=True):
            assert isinstance(position, int), f"a file has a position, got {position!r}"
            file = files[position]
            ids = file.frame.filter(pl.col(ROW).is_in(rows[ROW].implode())).select(ROW, EVENTS.key)
            found = collect(ids, file.source.path, self.schema.name)
            texts.append(rows.drop(EVENTS.key).join(found, on=ROW, how="left", maintain_order="left"))
        repeated = pl.concat(texts).sort("place").filter(~pl.col(EVENTS.key).is_first_distinct())
        return pl.int_range(kept.height, eager=True).is_in(repeated["place"].implode())

    def _quality(
        self, rows: _Collected, kept: pl.DataFrame, rejects: Rejects, rejects_folder: Path | None
    ) -> TableQuality:
        """Writes the rejected rows and returns the counts of all rows."""
        name = self.schema.name
        n_out = rejects.rows.height + rows.excluded.total()
        # Every row has one fate: none may vanish without a count.
        assert rows.rows_in == kept.height + n_out, (
            f"{name}: {rows.rows_in} rows in, {kept.height} kept, {n_out} not"
        )
        rejects_file = None
        if rejects_folder is not None and not rejects.rows.is_empty():
            rejects_file = rejects_folder / f"{name}.csv"
        return TableQuality(
            name=name,
            files=tuple(str(file.source.path) for file in rows.files),
            rows_in=rows.rows_in,
            kept=kept.height,
            excluded=dict(rows.excluded),
            rejects=rejects.report(rejects_file),
            columns=measure_columns(kept, self.schema.key),
            rejects_file=None if rejects_file is None else str(rejects_file),
            notes=rows.notes,
        )


def _named_apart(sources: list[Source], name: str) -> list[Source]:
    """Returns the files of one declaration with what sets their rows apart from those of another."""
    return [replace(source, prefix=f"{name}-{source.prefix}") if name else source for source in sources]


def rows_of(
    mapping: TableMapping, source: Source, slim: Callable[[pl.LazyFrame, TableSchema], pl.LazyFrame]
) -> tuple[MappedSource, pl.DataFrame]:
    """Returns a file as it is mapped, with its rows; stray quotes are repaired if they stop the reading.

    Args:
        mapping: Of the table.
        source: The file, or some of its rows.
        slim: Makes the mapped rows smaller before they are collected.
    """
    name = mapping.schema.name
    file = mapping.apply(source)
    try:
        return file, collect(slim(file.frame, mapping.schema), source.path, name)
    except DataError as error:
        if not source.is_quoted:
            raise _naming_expression(error, file, name) from error
    # Only after a failure: the repair reads the whole file into memory.
    file = mapping.apply(with_repaired_quotes(source, mapping.config, name))
    try:
        return file, collect(slim(file.frame, mapping.schema), source.path, name)
    except DataError as error:
        raise _naming_expression(error, file, name) from error


def _digest(name: str) -> pl.Expr:
    """Returns 64 bits for each text of a column."""
    return pl.col(name).hash()


def _slim(frame: pl.LazyFrame, schema: TableSchema) -> pl.LazyFrame:
    """Returns events with a digest for the id, and other texts held once each; other tables as they are.

    Ids of events and requests have thirty letters and more: half of what a table would take.
    """
    if schema is not EVENTS:
        return frame
    held_once = [name for name in HELD_ONCE if name in frame.collect_schema()]
    return frame.with_columns(_digest(EVENTS.key), pl.col(held_once).cast(pl.Categorical))


def _naming_expression(error: DataError, file: MappedSource, table: str) -> DataError:
    """Returns an error that names the expression which fails by itself, or the error as it is."""
    # Only after a failure, as each expression reads the file once more.
    for name, key in file.keys.items():
        try:
            collect(file.raw(name), file.source.path, table)
        except DataError as found:
            return DataError(f"{key} fails: {found}")
    return error


def _mark_notes(file: MappedSource, table: str) -> Iterator[str]:
    """Yields how many cells of each column hold an error in place of a value."""
    source = file.source
    if not source.marks:
        return
    # Marks are texts, and stand in no other column.
    texts = [name for name, dtype in source.columns.items() if dtype == pl.String]
    cells = collect(source.frame.select(texts), source.path, table)
    for column in cells:
        found = column.filter(column.is_in(source.marks))
        if len(found):
            many = "cell" if len(found) == 1 else "cells"
            yield (
                f"{table}: {len(found):,} {many} of {column.name} in {source.path.name} hold an error "
                f"({found[0]}), which counts as a missing value"
            )


def _kept(rows: pl.DataFrame, good: pl.Series, position: int, file: MappedSource) -> pl.DataFrame:
    """Returns the good rows of one file, with where each came from."""
    kept = (rows if good.all() else rows.filter(good)).drop(EXCLUDED, REJECTED)
    kept = kept.with_columns(pl.lit(position, pl.UInt32).alias(SOURCE))
    return kept.with_columns(pl.lit(file.source.part).alias(PART)) if file.source.part else kept


def _together(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Returns the rows of all files as one table; empties the list."""
    if any(part.schema != parts[0].schema for part in parts):
        # Relaxed, as one file may hold whole numbers where another holds fractions.
        return pl.concat(parts, how="diagonal_relaxed").rechunk()
    # Column by column: all parts beside the whole table would be twice the memory, and a table in pieces is
    # made whole by the first column that is added to it.
    columns = []
    for name in parts[0].columns:
        columns.append(pl.concat([part[name] for part in parts], rechunk=True))
        parts[:] = [part.drop(name) for part in parts]
    return pl.DataFrame(columns)


def _without_repeated(
    kept: pl.DataFrame, schema: TableSchema, config: TableConfig
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Returns the rows without those that an option counts as repetitions, and how many these are."""
    if config.deduplicate:
        same, reason = list(SAME_EVENT), DUPLICATE_ROW
    elif config.unique:
        same, reason = [schema.key], REPEATED_ID
    else:
        return kept, {}
    distinct = kept.unique(same, keep="first", maintain_order=True)
    n_repeated = kept.height - distinct.height
    return distinct, {reason: n_repeated} if n_repeated else {}
