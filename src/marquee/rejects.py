"""The rejected rows: counted by reason with an example each, and written out as they stand in the files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marquee.errors import RejectedRowsError
from marquee.mapping import REJECTED, MappedSource
from marquee.quality import RejectCount, TableQuality
from marquee.sources import FAULT, ROW, Source, collect
from marquee.validation import Rule

_SOURCE = "source"
_SCHEMA: dict[str, pl.DataType] = {
    _SOURCE: pl.UInt32(),
    ROW: pl.UInt32(),
    "order": pl.UInt32(),
    "reason": pl.String(),
    "columns": pl.List(pl.String()),
}
_MAX_EXAMPLE_LENGTH = 80


@dataclass(frozen=True)
class Rejects:
    """The rejected rows of one table, each once.

    Attributes:
        table: Name of the table.
        sources: Its files.
        rows: Of each row the position of its file, its number, the position of the rule that it breaks, the
            reason, and the columns of the file that the rule looks at.
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
            },
            schema={REJECTED: pl.UInt16(), "reason": pl.String(), "columns": pl.List(pl.String())},
        )
        return self._with(
            rows.join(rules, on=REJECTED, maintain_order="left").with_columns(
                pl.lit(position).alias(_SOURCE), pl.col(REJECTED).alias("order")
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
                _SOURCE: range(len(mapped)),
                "columns": [list(file.file_columns[rule.column]) for file in mapped],
                "order": [len(file.rules) for file in mapped],
            },
            schema={_SOURCE: pl.UInt32(), "columns": pl.List(pl.String()), "order": pl.UInt32()},
        )
        return self._with(
            rows.select(pl.col(_SOURCE).cast(pl.UInt32), ROW)
            .join(columns, on=_SOURCE, maintain_order="left")
            .with_columns(pl.lit(rule.reason.value).alias("reason"))
        )

    def _with(self, rows: pl.DataFrame) -> "Rejects":
        """Returns these and further rows."""
        return Rejects(
            self.table,
            self.sources,
            pl.concat([self.rows, rows.select(pl.col(name).cast(dtype) for name, dtype in _SCHEMA.items())]),
        )

    def count(self) -> tuple[RejectCount, ...]:
        """Returns the rows counted by reason and columns, with the first of each as example."""
        groups = (
            self.rows.sort("order", _SOURCE, ROW, maintain_order=True)
            .group_by("reason", "columns", maintain_order=True)
            .agg(pl.len().alias("count"), pl.col(_SOURCE).first(), pl.col(ROW).first())
        )
        counts = []
        for reason, columns, count, position, row in groups.iter_rows():
            source = self.sources[position]
            found = self._rows_of(source, pl.Series([row], dtype=pl.UInt32)).row(0, named=True)
            shown = {name: found[name] for name in columns} or {"row": found[FAULT] or "as a whole"}
            example = ", ".join(f"{name}={value!r}" for name, value in shown.items())
            counts.append(
                RejectCount(
                    reason=reason,
                    column=", ".join(columns),
                    count=count,
                    example_file=str(source.path),
                    example_row=row,
                    example=example[:_MAX_EXAMPLE_LENGTH],
                )
            )
        return tuple(counts)

    def write_csv(self, path: Path) -> None:
        """Writes every row with file, number, reason and column before what stands in the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = []
        for position, source in enumerate(self.sources):
            rejected = self.rows.filter(pl.col(_SOURCE) == position).sort(ROW)
            if rejected.is_empty():
                continue
            why = rejected.select(
                pl.lit(str(source.path)).alias("file"),
                pl.col(ROW).alias("row"),
                pl.col("reason"),
                pl.col("columns").list.join(", ").alias("column"),
            )
            found = self._rows_of(source, rejected[ROW]).drop(ROW)
            parts.append(why.hstack(found.rename({name: f"source.{name}" for name in found.columns})))
        pl.concat(parts, how="diagonal_relaxed").drop(f"source.{FAULT}").write_csv(path)

    def _rows_of(self, source: Source, numbers: pl.Series) -> pl.DataFrame:
        """Returns rows of a file by their numbers, ascending, with lists as JSON."""
        nested = [name for name, dtype in source.columns.items() if dtype.is_nested()]
        rows = source.frame.filter(pl.col(ROW).is_in(numbers.implode())).with_columns(
            pl.struct(name).struct.json_encode().alias(name) for name in nested
        )
        return collect(rows, source.path, self.table).sort(ROW)


def require_few(quality: TableQuality, max_fraction: float) -> None:
    """Raises RejectedRowsError if more than `max_fraction` of a table's rows were rejected."""
    if quality.rejected_fraction <= max_fraction:
        return
    by_count = sorted(quality.rejects, key=lambda reject: -reject.count)
    worst = by_count[0]
    where = f"column {worst.column!r}" if worst.column else "the row as a whole"
    others = ", ".join(f"{reject.count:,} {reject.reason} in {reject.column!r}" for reject in by_count[1:])
    raise RejectedRowsError(
        f"{quality.name}: {quality.n_rejected:,} of {quality.rows_in - quality.n_excluded:,} rows of "
        f"{', '.join(quality.files)} were rejected ({quality.rejected_fraction:.2%}), but "
        f"data.max_rejected_fraction is {max_fraction:.2%}. Most often {worst.reason}, {where}: "
        f"{worst.count:,} rows, for example row {worst.example_row} of {worst.example_file} with "
        f"{worst.example}."
        + (f" Then {others}." if others else "")
        + (f" All of them: {quality.rejects_file}." if quality.rejects_file else "")
        + f" Correct the file or data.{quality.name}, declare such rows under data.{quality.name}.exclude, "
        "or raise the limit"
    )
