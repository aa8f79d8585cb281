"""Reads a data set as the user declares it into validated tables. From here on the tables are trusted.

Files are opened by `sources`, mapped by `mapping`, judged by the rules of `validation`; what is wrong is
written by `rejects` and counted in `quality`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marquee.core.schema import EVENTS, ITEMS, USERS, TableSchema, TimeMeaning
from marquee.data.config import DataConfig, UnknownItems
from marquee.data.reading.mapping import EXCLUDED, REJECTED, MappedSource, TableMapping
from marquee.data.reading.quality import QualityReport, TableQuality, measure_columns, measure_events
from marquee.data.reading.rejects import SOURCE, Rejects, require_few
from marquee.data.reading.sources import ROW, collect, open_sources
from marquee.data.reading.validation import Limits, Rule, duplicate_rule, unknown_item_rule
from marquee.data.splits import PART
from marquee.data.table_config import DUPLICATE_ROW, REPEATED_ID, TableConfig
from marquee.errors import DataError, MissingColumnError
from marquee.features import FeatureConfig

__all__ = ["DataConfig", "TableConfig", "Tables", "TimeMeaning", "UnknownItems", "read_tables"]

_SAME_EVENT = ("user_id", "item_id", "timestamp", "kind")


@dataclass(frozen=True)
class Tables:
    """The validated tables.

    Attributes:
        events: The canonical columns of `events.EVENTS` (the optional ones if the source has them),
            then context columns, then `split` if the split is given; sorted by timestamp, rows with equal
            time as in the files.
        items: The canonical columns of `events.ITEMS`, then attributes; None if there is no such table.
        users: `user_id`, then attributes; None if there is no such table.
        quality: What was read, kept, excluded and rejected.
    """

    events: pl.DataFrame
    items: pl.DataFrame | None
    users: pl.DataFrame | None
    quality: QualityReport


def read_tables(config: DataConfig, rejects_folder: Path | None = None) -> Tables:
    """Reads, maps and validates all tables of a data set.

    Args:
        config: The data set.
        rejects_folder: Where rejected rows are written, one CSV per table that has any; None for nowhere.

    Raises:
        MissingColumnError: If a file lacks a column that the config names or the table needs.
        RejectedRowsError: If more rows are rejected than `max_rejected_fraction` allows.
        DataError: If a file is missing or unreadable, or no row is left.
        ConfigError: If an expression of the config is no SQL.
    """
    frames: dict[str, pl.DataFrame] = {}
    qualities: dict[str, TableQuality] = {}
    for schema, table, features in (
        (ITEMS, config.items, config.features.item),
        (USERS, config.users, config.features.user),
        (EVENTS, config.events, config.features.context),
    ):
        if table is None:
            continue
        rules = [] if table.unique else [duplicate_rule(schema)]
        if schema is EVENTS and ITEMS.name in frames and config.unknown_items is UnknownItems.reject:
            rules.insert(0, unknown_item_rule(frames[ITEMS.name]["item_id"]))
        mapping = TableMapping(
            schema=schema,
            config=table,
            time=config.time,
            limits=Limits(config.timestamp_min, config.timestamp_max),
            kept=tuple(feature.column or name for name, feature in features.items()),
        )
        reader = _TableReader(mapping, rules, config.max_rejected_fraction)
        frames[schema.name], qualities[schema.name] = reader.read(Path(config.root), rejects_folder)
        _require_features(features, frames[schema.name], schema)
    events = frames[EVENTS.name]
    if config.time is not TimeMeaning.none and not events["timestamp"].is_sorted():
        events = events.sort("timestamp", maintain_order=True)
    return Tables(
        events=events,
        items=frames.get(ITEMS.name),
        users=frames.get(USERS.name),
        quality=measure_events(config.name, config.time, qualities, frames),
    )


@dataclass(frozen=True)
class _TableReader:
    """Reads one table.

    Attributes:
        mapping: How its files are mapped.
        rules: Rules between rows, in order.
        max_rejected_fraction: Of the rows that are not excluded.
    """

    mapping: TableMapping
    rules: Sequence[Rule]
    max_rejected_fraction: float

    def read(self, root: Path, rejects_folder: Path | None) -> tuple[pl.DataFrame, TableQuality]:
        """Returns the rows that are kept, and what became of the others."""
        schema, config = self.mapping.schema, self.mapping.config
        sources = open_sources(config, root, schema.name)
        mapped = [self.mapping.apply(source) for source in sources]
        rejects = Rejects.none(schema.name, sources)
        excluded: Counter[str] = Counter()
        parts: list[pl.DataFrame] = []
        rows_in = 0
        for position, file in enumerate(mapped):
            rows = collect(file.frame, file.source.path, schema.name)
            rows_in += rows.height
            meant = rows[EXCLUDED].is_null()
            for reason, count in rows.filter(~meant)[EXCLUDED].value_counts(sort=True).iter_rows():
                excluded[file.exclusions[reason]] += count
            good = meant & rows[REJECTED].is_null()
            rejects = rejects.add_broken(rows.filter(meant & ~good).select(ROW, REJECTED), position, file)
            parts.append(_kept(rows, good, position, file))
            del rows
        kept = parts[0] if len(parts) == 1 else pl.concat(parts, how="diagonal_relaxed")
        for rule in self.rules:
            if not any(file.file_columns[rule.column] for file in mapped):
                continue  # the column is made here, of row numbers
            broken = kept.select(rule.condition).to_series()
            if broken.any():
                rejects = rejects.add_by_rule(kept.filter(broken), rule, mapped)
                kept = kept.filter(~broken)
        kept, repeated = self._without_repeated(kept)
        excluded.update(repeated)
        kept = kept.drop(SOURCE, ROW)
        n_out = rejects.rows.height + excluded.total()
        assert rows_in == kept.height + n_out, (
            f"{schema.name}: {rows_in} rows in, {kept.height} kept, {n_out} not"
        )
        rejects_file = None
        if rejects_folder is not None and not rejects.rows.is_empty():
            rejects_file = rejects_folder / f"{schema.name}.csv"
        quality = TableQuality(
            name=schema.name,
            files=tuple(str(source.path) for source in sources),
            rows_in=rows_in,
            kept=kept.height,
            excluded=dict(excluded),
            rejects=rejects.report(rejects_file),
            columns=measure_columns(kept, schema.key),
            rejects_file=None if rejects_file is None else str(rejects_file),
        )
        require_few(quality, self.max_rejected_fraction)
        if kept.is_empty():
            raise DataError(
                f"{schema.name}: none of the {rows_in:,} rows of {', '.join(quality.files)} is left, "
                f"{quality.n_rejected:,} were rejected and {dict(excluded)} excluded; correct "
                f"data.{schema.name}"
            )
        return kept, quality

    def _without_repeated(self, kept: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        """Returns the rows without those that an option counts as repetitions, and how many these are."""
        schema, config = self.mapping.schema, self.mapping.config
        if config.deduplicate:
            same, reason = list(_SAME_EVENT), DUPLICATE_ROW
        elif config.unique:
            same, reason = [schema.key], REPEATED_ID
        else:
            return kept, {}
        distinct = kept.unique(same, keep="first", maintain_order=True)
        n_repeated = kept.height - distinct.height
        return distinct, {reason: n_repeated} if n_repeated else {}


def _kept(rows: pl.DataFrame, good: pl.Series, position: int, file: MappedSource) -> pl.DataFrame:
    """Returns the good rows of one file, with where each came from."""
    kept = (rows if good.all() else rows.filter(good)).drop(EXCLUDED, REJECTED)
    kept = kept.with_columns(pl.lit(position, pl.UInt32).alias(SOURCE))
    return kept.with_columns(pl.lit(file.source.part).alias(PART)) if file.source.part else kept


def _require_features(features: Mapping[str, FeatureConfig], rows: pl.DataFrame, schema: TableSchema) -> None:
    """Raises MissingColumnError unless the table has the column of every declared feature."""
    for name, feature in features.items():
        column = feature.column or name
        if column not in rows.columns:
            raise MissingColumnError(
                f"feature {name!r} needs the column {column!r}, but the {schema.name} table has "
                f"{rows.columns}; map it in data.{schema.name}.columns.{column} or correct data.features"
            )
