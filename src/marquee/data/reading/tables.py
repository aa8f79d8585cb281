"""Reads a data set as the user declares it into validated tables. From here on the tables are trusted.

Files are opened by `sources`, mapped by `mapping`, judged by the rules of `validation`; `table_reader` does
so for one table. What is wrong is written by `rejects` and counted in `quality`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from marquee.core.schema import EVENTS, ITEMS, USERS, TableSchema, TimeMeaning
from marquee.data.config import DataConfig, UnknownItems
from marquee.data.reading.feature_values import measure_features, require_readable, validate_feature_times
from marquee.data.reading.mapping import TableMapping
from marquee.data.reading.odd_times import LAST_PLAUSIBLE
from marquee.data.reading.quality import QualityReport, TableQuality, measure_events
from marquee.data.reading.table_reader import TableReader
from marquee.data.reading.validation import Limits, duplicate_rule, unknown_item_rule
from marquee.data.sessions import rows_of_sessions, users_of_sessions
from marquee.data.table_config import TableConfig
from marquee.errors import MissingColumnError
from marquee.features import FeatureConfig

__all__ = ["DataConfig", "TableConfig", "Tables", "TimeMeaning", "UnknownItems", "read_tables"]


@dataclass(frozen=True)
class Tables:
    """The validated tables.

    Attributes:
        events: The canonical columns of `events.EVENTS` (the optional ones if the source has them),
            then context columns, then `split` if the split is given; sorted by timestamp, rows with equal
            time as in the files. `event_id` is the number of the row in these; kinds, ids of requests,
            surfaces, policies and campaigns are held once each (`pl.Categorical`).
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
    # Items first: the rule on unknown items needs their ids.
    for schema in (ITEMS, USERS, EVENTS):
        if _declared(schema, config) is not None:
            catalog = frames.get(ITEMS.name) if schema is EVENTS else None
            frames[schema.name], qualities[schema.name] = read_table(schema, config, catalog, rejects_folder)
    if config.time is not TimeMeaning.none:
        # Taken out: while it is sorted, nobody else may hold the columns.
        frames[EVENTS.name] = _by_time(frames.pop(EVENTS.name))
    events = frames[EVENTS.name]
    users = frames.get(USERS.name)
    # Before sessions become users: the report is of those in the file.
    quality = measure_events(config.name, config.time, qualities, frames)
    if config.session_gap_minutes:
        events = users_of_sessions(events, config.session_gap_minutes)
        # Sessions are users now, and each needs the attributes of its user.
        users = None if users is None else rows_of_sessions(users, events["user_id"])
        quality = replace(quality, notes=(*quality.notes, _session_note(events, quality.n_users, config)))
    return Tables(events=events, items=frames.get(ITEMS.name), users=users, quality=quality)


def read_table(
    schema: TableSchema, config: DataConfig, catalog: pl.DataFrame | None, rejects_folder: Path | None
) -> tuple[pl.DataFrame, TableQuality]:
    """Returns one table that is declared, validated, and what became of its rows.

    Args:
        schema: Of the table.
        config: The data set.
        catalog: For events, the items table; None where there is none.
        rejects_folder: Where rejected rows are written; None for nowhere.

    Raises:
        As `read_tables`.
    """
    table, features = _declared(schema, config), _features(schema, config)
    assert table is not None, f"{schema.name} must be declared"
    rules = [] if table.unique else [duplicate_rule(schema)]
    if catalog is not None and config.unknown_items is UnknownItems.reject:
        # In the order of `Reason`, where it stands before duplicates.
        rules.insert(0, unknown_item_rule(catalog["item_id"]))
    reader = TableReader(
        # One reader for all of them: rules between rows must see the events of every file.
        list(mappings_of(schema, config).values()),
        rules,
        config.max_rejected_fraction,
        order_is_time=schema is EVENTS and config.time is TimeMeaning.none and config.split.needs_order,
    )
    rows, quality = reader.read(Path(config.root), rejects_folder)
    _require_features(features, rows, schema)
    validate_feature_times(schema.name, features, rows)
    # Of kept rows: a rejected row's value trains nothing, and is counted already.
    found = measure_features(features, rows)
    require_readable(schema.name, found, features, config.max_unreadable_fraction)
    return rows, replace(quality, features=found)


def mappings_of(schema: TableSchema, config: DataConfig) -> dict[str, TableMapping]:
    """Returns how the files of a table are mapped, by the name of each declaration; "" is the first."""
    table = _declared(schema, config)
    assert table is not None, f"{schema.name} must be declared"
    declared = {"": table, **(config.more_events if schema is EVENTS else {})}
    return {
        name: TableMapping(
            schema=schema,
            config=declaration,
            time=config.time,
            limits=_limits(config),
            kept=tuple(feature.column or name for name, feature in _features(schema, config).items()),
            name=name,
        )
        for name, declaration in declared.items()
    }


def _declared(schema: TableSchema, config: DataConfig) -> TableConfig | None:
    """Returns the declaration of a table, None where there is no such table."""
    return {EVENTS: config.events, ITEMS: config.items, USERS: config.users}[schema]


def _features(schema: TableSchema, config: DataConfig) -> Mapping[str, FeatureConfig]:
    """Returns the features that are read from a table."""
    features = config.features
    return {EVENTS: features.context, ITEMS: features.item, USERS: features.user}[schema]


def _by_time(events: pl.DataFrame) -> pl.DataFrame:
    """Returns events by time; rows of equal time keep the order of the files, by which splits count them."""
    if events["timestamp"].is_sorted():
        return events
    order = events.select(pl.arg_sort_by("timestamp", maintain_order=True)).to_series()
    # Column by column: two whole tables side by side would be the peak of all reading.
    for name in events.columns:
        events = events.with_columns(events[name].gather(order))
    return events


def _limits(config: DataConfig) -> Limits:
    """Returns the range of times: a moment that no data set has is no time, unless the config says it is."""
    latest = LAST_PLAUSIBLE if config.time is TimeMeaning.absolute else None
    return Limits(config.timestamp_min, config.timestamp_max if config.timestamp_max is not None else latest)


def _session_note(events: pl.DataFrame, n_users: int, config: DataConfig) -> str:
    """Returns a note on how many sessions became users."""
    return (
        f"{events['user_id'].n_unique():,} sessions of {n_users:,} users, parted by pauses of more than "
        f"{config.session_gap_minutes:g} minutes, are users of their own"
    )


def _require_features(features: Mapping[str, FeatureConfig], rows: pl.DataFrame, schema: TableSchema) -> None:
    """Raises MissingColumnError unless the table has the column of every declared feature."""
    for name, feature in features.items():
        column = feature.column or name
        if column not in rows.columns:
            raise MissingColumnError(
                f"feature {name!r} needs the column {column!r}, but the {schema.name} table has "
                f"{rows.columns}; map it in data.{schema.name}.columns.{column} or correct data.features"
            )
