"""The rejected rows: counted by reason with an example each, and written out as they stand in the files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from marquee.core.reasons import Reason
from marquee.core.schema import EVENTS, ITEMS, USERS, TableSchema
from marquee.data.reading.advice import advice_for
from marquee.data.reading.files.columns import FAULT, ROW
from marquee.data.reading.mapping import REJECTED, MappedSource
from marquee.data.reading.quality import RejectCount, TableQuality
from marquee.data.reading.sources import Source, collect
from marquee.data.reading.validation import Rule
from marquee.errors import RejectedRowsError

SOURCE = "__source"
_SCHEMA: dict[str, pl.DataType] = {
    SOURCE: pl.UInt32(),
    ROW: pl.UInt32(),
    "order": pl.UInt32(),
    "reason": pl.String(),
    "columns": pl.List(pl.String()),
    "column": pl.String(),
    "key": pl.String(),
}
_SCHEMAS = {schema.name: schema for schema in (EVENTS, ITEMS, USERS)}
_WHY = ("reason", "columns", "column", "key")
# A value may be a text of any length, and stands in one line of a report.
_MAX_EXAMPLE_LENGTH = 80


@dataclass(frozen=True)
class Rejects:
    """The rejected rows of one table, each once.

    Attributes:
        table: Name of the table.
        sources: Its files.
        rows: Of each row the position of its file, its number, the position of the rule that it breaks, the
            reason, the columns of the file that the rule looks at, the column of the table, and the key of
            the config that it is read by.
    """

    table: str
    sources: Sequence[Source]
    rows: pl.DataFrame

    @classmethod
    def none(cls, table: str, sources: Sequence[Source]) -> "Rejects":
        """Returns no rejected rows."""
        return cls(table, sources, pl.DataFrame(schema=_SCHEMA))

    def add_broken(self, rows: pl.DataFrame, position: int, mapped: MappedSource) -> "Rejects":
        """Returns these rows and those of one file that break a rule by themselves.

        Args:
            rows: `ROW` and `REJECTED` of the latter.
            position: Of the file among the sources.
            mapped: The file.
        """
        rules = pl.DataFrame(
            {
                REJECTED: range(len(mapped.rules)),
                "reason": [rule.reason.value for rule in mapped.rules],
                "columns": [list(columns) for columns in mapped.rule_columns],
                "column": [rule.column for rule in mapped.rules],
                "key": [mapped.keys.get(rule.column, "") for rule in mapped.rules],
            },
            schema={REJECTED: pl.UInt16(), **{name: _SCHEMA[name] for name in _WHY}},
        )
        return self._with(
            rows.join(rules, on=REJECTED, maintain_order="left").with_columns(
                pl.lit(position).alias(SOURCE), pl.col(REJECTED).alias("order")
            )
        )

    def add_by_rule(self, rows: pl.DataFrame, rule: Rule, mapped: Sequence[MappedSource]) -> "Rejects":
        """Returns these rows and those that break a rule between rows.

        Args:
            rows: Position of the file and `ROW` of the latter.
            rule: The rule.
            mapped: All files.
        """
        columns = pl.DataFrame(
            {
                SOURCE: range(len(mapped)),
                "columns": [list(file.file_columns[rule.column]) for file in mapped],
                # Behind the rules of single rows, which are looked at first.
                "order": [len(file.rules) for file in mapped],
                "column": [rule.column] * len(mapped),
                "key": [file.keys.get(rule.column, "") for file in mapped],
            },
            schema={name: _SCHEMA[name] for name in (SOURCE, "columns", "order", "column", "key")},
        )
        return self._with(
            rows.select(pl.col(SOURCE).cast(pl.UInt32), ROW)
            .join(columns, on=SOURCE, maintain_order="left")
            .with_columns(pl.lit(rule.reason.value).alias("reason"))
        )

    def _with(self, rows: pl.DataFrame) -> "Rejects":
        """Returns these and further rows."""
        return Rejects(
            self.table,
            self.sources,
            pl.concat([self.rows, rows.select(pl.col(name).cast(dtype) for name, dtype in _SCHEMA.items())]),
        )

    def report(self, path: Path | None) -> tuple[RejectCount, ...]:
        """Returns the rows counted by reason and columns, and writes every row to a CSV.

        In the file each row stands as it is in its source, after source, number, reason and column.

        Args:
            path: The CSV; None to write nothing. It is not made if there are no rows.
        """
        if self.rows.is_empty():
            return ()
        groups = (
            # Sorted first, so that the example is the earliest row of the first file.
            self.rows.sort("order", SOURCE, ROW, maintain_order=True)
            .group_by("reason", "columns", maintain_order=True)
            .agg(pl.len().alias("count"), pl.col(SOURCE, ROW, "column", "key").first())
        )
        # Only the examples are read again if nothing is written.
        found = self._rows_as_written(groups if path is None else self.rows)
        if path is not None:
            self._write_csv(path, found)
        return tuple(
            self._example(group, found[group[SOURCE]].row(by_predicate=pl.col(ROW) == group[ROW], named=True))
            for group in groups.iter_rows(named=True)
        )

    def _example(self, group: Mapping[str, Any], row: Mapping[str, object]) -> RejectCount:  # Any: a row
        """Returns a count with a row as example."""
        columns = group["columns"]
        shown = {name: row[name] for name in columns} or {"row": row[FAULT] or "as a whole"}
        return RejectCount(
            reason=group["reason"],
            column=", ".join(columns),
            count=group["count"],
            example_file=str(self.sources[group[SOURCE]].path),
            example_row=int(str(row[ROW])),
            example=", ".join(f"{name}={value!r}" for name, value in shown.items())[:_MAX_EXAMPLE_LENGTH],
            key=group["key"],
            advice=advice_for(Reason(group["reason"]), group["column"], _schema(self.table)),
        )

    def _rows_as_written(self, wanted: pl.DataFrame) -> dict[int, pl.DataFrame]:
        """Returns rows as they stand, by position of their file, in order, with lists as JSON."""
        found = {}
        for (position,), group in wanted.group_by(SOURCE, maintain_order=True):
            assert isinstance(position, int), f"a file has a position, got {position!r}"
            source = self.sources[position]
            nested = [name for name, dtype in source.columns.items() if dtype.is_nested()]
            as_written = source.frame.select(ROW, FAULT, *source.columns)
            rows = as_written.filter(pl.col(ROW).is_in(group[ROW].implode())).with_columns(
                # A CSV holds no lists.
                pl.struct(name).struct.json_encode().alias(name)
                for name in nested
            )
            found[position] = collect(rows, source.path, self.table).sort(ROW)
        return found

    def _write_csv(self, path: Path, found: Mapping[int, pl.DataFrame]) -> None:
        """Writes every row, each file's in order."""
        parts = []
        for position, rows in sorted(found.items()):
            why = (
                self.rows.filter(pl.col(SOURCE) == position)
                .sort(ROW)
                .select(
                    pl.lit(str(self.sources[position].path)).alias("file"),
                    pl.col(ROW).alias("row"),
                    pl.col("reason"),
                    pl.col("columns").list.join(", ").alias("column"),
                )
            )
            as_written = rows.drop(ROW, FAULT)
            parts.append(
                # A file may have columns called `row` or `reason` itself.
                why.hstack(as_written.rename({name: f"source.{name}" for name in as_written.columns}))
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        # Files of one table may differ in columns and types.
        pl.concat(parts, how="diagonal_relaxed").write_csv(path)


def _schema(table: str) -> TableSchema:
    """Returns the schema of a table; one that a caller declared for itself has no columns to advise about."""
    return _SCHEMAS.get(table, TableSchema(table, "", ()))


def require_few(quality: TableQuality, max_fraction: float, config_key: str = "data") -> None:
    """Raises RejectedRowsError if more than `max_fraction` of a table's rows were rejected.

    Args:
        quality: Of the table.
        max_fraction: Of its rows.
        config_key: Where the declaration of the table stands, for the message.
    """
    if quality.rejected_fraction <= max_fraction:
        return
    # The most frequent first: the advice of one reason has to do, and this one mends most rows.
    by_count = sorted(quality.rejects, key=lambda reject: -reject.count)
    worst = by_count[0]
    where = f"column {worst.column!r}" if worst.column else "the row as a whole"
    where += f" ({worst.key})" if worst.key else ""
    others = ", ".join(f"{reject.count:,} {reject.reason} in {reject.column!r}" for reject in by_count[1:])
    raise RejectedRowsError(
        f"{quality.name}: {quality.n_rejected:,} of {quality.rows_in - quality.n_excluded:,} rows of "
        f"{', '.join(quality.files)} were rejected ({quality.rejected_fraction:.2%}), but "
        f"{config_key}.max_rejected_fraction is {max_fraction:.2%}. Most often {worst.reason}, {where}: "
        f"{worst.count:,} rows, for example row {worst.example_row} of {worst.example_file} with "
        f"{worst.example}."
        + (f" Then {others}." if others else "")
        + (f" All of them: {quality.rejects_file}." if quality.rejects_file else "")
        + f" Correct the file or {config_key}.{quality.name}: {worst.advice}. Rows that are right but not "
        f"meant belong under {config_key}.{quality.name}.exclude; or raise the limit"
    )
