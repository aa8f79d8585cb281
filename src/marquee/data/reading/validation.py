"""Why a row is rejected: the reasons, the rules of one row, and the rules between rows.

A row that breaks several rules is counted once, under the first: rules are looked at in the order of
`Reason`, and within a reason in the order of the columns.
Does not read files (see `sources`) and does not count (see `quality`).
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass

import polars as pl

from marquee.core.catalog import ItemKind
from marquee.core.event_kinds import EventKind
from marquee.core.reasons import Reason
from marquee.core.schema import EVENTS, ITEMS, ColumnType, TableSchema


@dataclass(frozen=True)
class Rule:
    """One way in which a row can be wrong.

    Attributes:
        reason: What it is counted as.
        column: The column of the table that is at fault; empty if it is the row as a whole.
        condition: True where the row is wrong; null counts as False.
    """

    reason: Reason
    column: str
    condition: pl.Expr


@dataclass(frozen=True)
class Limits:
    """The declared range of timestamps, in seconds, both ends included; None for no bound."""

    timestamp_min: int | None = None
    timestamp_max: int | None = None


def row_rules(schema: TableSchema, present: Set[str], limits: Limits) -> list[Rule]:
    """Returns the rules that one row of a canonical table can break by itself, in order.

    Args:
        schema: Which table.
        present: Columns that the table has; rules on others are left out.
        limits: The declared range of timestamps.
    """
    # For every schema, as callers may declare tables of their own.
    rules = [*_common_rules(schema)]
    if schema is EVENTS:
        rules += _event_rules(limits)
    if schema is ITEMS:
        rules += _item_rules()
    order = list(Reason)
    used = [rule for rule in rules if set(rule.condition.meta.root_names()) <= present]
    # A stable sort: within a reason the order of the columns stays.
    return sorted(used, key=lambda rule: order.index(rule.reason))


def _common_rules(schema: TableSchema) -> Iterator[Rule]:
    """Yields the rules that follow from a column's type, whatever the table."""
    for column in schema.columns:
        value = pl.col(column.name)
        if column.type is ColumnType.id and (column.required or column.name == schema.key):
            yield Rule(Reason.null_id, column.name, value.is_null())
        if column.type is ColumnType.timestamp and column.required:
            yield Rule(Reason.null_timestamp, column.name, value.is_null())
        # A propensity has a rule of its own, which finds NaN and infinity as well.
        if column.type is ColumnType.number and column.name != "propensity":
            yield Rule(Reason.non_finite_value, column.name, ~value.is_finite())


def _event_rules(limits: Limits) -> Iterator[Rule]:
    """Yields the rules of events."""
    kind, value, timestamp = pl.col("kind"), pl.col("value"), pl.col("timestamp")
    propensity = pl.col("propensity")
    yield Rule(Reason.unknown_kind, "kind", _is_no_member(kind, list(EventKind)))
    if limits.timestamp_min is not None:
        yield Rule(Reason.timestamp_out_of_range, "timestamp", timestamp < limits.timestamp_min)
    if limits.timestamp_max is not None:
        yield Rule(Reason.timestamp_out_of_range, "timestamp", timestamp > limits.timestamp_max)
    lost_rating = (kind == EventKind.rating.value) & value.is_null()
    negative_conversion = (kind == EventKind.conversion.value) & (value < 0)
    yield Rule(Reason.impossible_value, "value", lost_rating | negative_conversion)
    yield Rule(Reason.impossible_value, "position", pl.col("position") < 0)
    # NaN is greater than every number to Polars, so it falls outside here as well.
    yield Rule(Reason.propensity_out_of_range, "propensity", (propensity <= 0) | (propensity > 1))


def _item_rules() -> Iterator[Rule]:
    """Yields the rules of items."""
    yield Rule(Reason.unknown_kind, "kind", _is_no_member(pl.col("kind"), list(ItemKind)))
    yield Rule(Reason.impossible_value, "bid", pl.col("bid") < 0)
    yield Rule(
        Reason.impossible_availability,
        "available_until",
        pl.col("available_until") <= pl.col("available_from"),
    )


def _is_no_member(value: pl.Expr, members: list[EventKind] | list[ItemKind]) -> pl.Expr:
    """Returns True where a text is null or none of the members."""
    # A missing kind is none of the members; null would count as right.
    return ~value.is_in([member.value for member in members]).fill_null(False)


def unknown_item_rule(item_ids: pl.Series) -> Rule:
    """Returns the rule that an event's item must be one of `item_ids`."""
    return Rule(Reason.unknown_item, "item_id", ~pl.col("item_id").is_in(item_ids.implode()))


def duplicate_rule(schema: TableSchema) -> Rule:
    """Returns the rule that no two rows share the key; the first one is right."""
    return Rule(Reason.duplicate_id, schema.key, ~pl.col(schema.key).is_first_distinct())
