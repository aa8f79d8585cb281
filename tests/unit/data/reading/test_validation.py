"""Each rule against rows written by hand: which row breaks it, and under which reason it is counted."""

from collections.abc import Sequence

import polars as pl
import pytest

from marquee.core.reasons import Reason
from marquee.core.schema import EVENTS, ITEMS, USERS, TableSchema
from marquee.data.reading.validation import Limits, Rule, duplicate_rule, row_rules, unknown_item_rule

GOOD_EVENT = {
    "event_id": "e",
    "user_id": "u",
    "item_id": "i",
    "timestamp": 50,
    "kind": "click",
    "value": None,
    "position": 0,
    "propensity": 0.5,
}
GOOD_ITEM = {"item_id": "i", "kind": "ad", "available_from": 5, "available_until": 6, "bid": 0.0}
LIMITS = Limits(timestamp_min=10, timestamp_max=100)


def frame_of(schema: TableSchema, rows: Sequence[dict[str, object]]) -> pl.DataFrame:
    dtypes = {name: schema.by_name[name].type.dtype for name in rows[0]}
    return pl.DataFrame(rows, schema=dtypes)


def first_broken(schema: TableSchema, row: dict[str, object]) -> tuple[str, str] | None:
    frame = frame_of(schema, [row])
    for rule in row_rules(schema, set(frame.columns), LIMITS):
        if frame.select(rule.condition.fill_null(False)).item():
            return rule.reason.value, rule.column
    return None


def broken_rows(rule: Rule, frame: pl.DataFrame) -> list[bool]:
    return frame.select(rule.condition).to_series().to_list()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"timestamp": 10},
        {"timestamp": 100},
        {"propensity": 1.0},
        {"propensity": None},
        {"kind": "rating", "value": -1.0},
        {"kind": "conversion", "value": 0.0},
        {"kind": "conversion", "value": None},
        {"kind": "feedback", "value": -2.0},
        {"position": None},
    ],
    ids=str,
)
def test_possible_event_breaks_no_rule(change: dict[str, object]) -> None:
    assert first_broken(EVENTS, {**GOOD_EVENT, **change}) is None


@pytest.mark.parametrize(
    ("change", "reason", "column"),
    [
        ({"user_id": None}, "null_id", "user_id"),
        ({"item_id": None}, "null_id", "item_id"),
        ({"event_id": None}, "null_id", "event_id"),
        ({"timestamp": None}, "null_timestamp", "timestamp"),
        ({"kind": "CLICK"}, "unknown_kind", "kind"),
        ({"kind": None}, "unknown_kind", "kind"),
        ({"timestamp": 9}, "timestamp_out_of_range", "timestamp"),
        ({"timestamp": 101}, "timestamp_out_of_range", "timestamp"),
        ({"value": float("nan")}, "non_finite_value", "value"),
        ({"value": float("-inf")}, "non_finite_value", "value"),
        ({"kind": "rating"}, "impossible_value", "value"),
        ({"kind": "conversion", "value": -0.01}, "impossible_value", "value"),
        ({"position": -1}, "impossible_value", "position"),
        ({"propensity": 0.0}, "propensity_out_of_range", "propensity"),
        ({"propensity": 1.001}, "propensity_out_of_range", "propensity"),
        ({"propensity": float("nan")}, "propensity_out_of_range", "propensity"),
    ],
    ids=str,
)
def test_impossible_event_breaks_its_rule(change: dict[str, object], reason: str, column: str) -> None:
    assert first_broken(EVENTS, {**GOOD_EVENT, **change}) == (reason, column)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"available_from": None}, None),
        ({"available_until": None}, None),
        ({"bid": None}, None),
        ({"item_id": None}, ("null_id", "item_id")),
        ({"kind": "click"}, ("unknown_kind", "kind")),
        ({"bid": float("inf")}, ("non_finite_value", "bid")),
        ({"bid": -0.5}, ("impossible_value", "bid")),
        ({"available_until": 5}, ("impossible_availability", "available_until")),
        ({"available_until": 4}, ("impossible_availability", "available_until")),
    ],
    ids=str,
)
def test_item_rules(change: dict[str, object], expected: tuple[str, str] | None) -> None:
    assert first_broken(ITEMS, {**GOOD_ITEM, **change}) == expected


def test_user_needs_an_id() -> None:
    assert first_broken(USERS, {"user_id": None}) == ("null_id", "user_id")


def test_row_with_several_faults_is_counted_by_the_first() -> None:
    row = {**GOOD_EVENT, "timestamp": None, "kind": "bogus", "propensity": 7.0, "item_id": None}
    assert first_broken(EVENTS, row) == ("null_id", "item_id")


def test_rules_follow_the_order_of_reasons() -> None:
    reasons = [rule.reason for rule in row_rules(EVENTS, EVENTS.by_name.keys(), LIMITS)]
    assert reasons == sorted(reasons, key=list(Reason).index)


def test_rules_on_absent_columns_are_left_out() -> None:
    rules = row_rules(EVENTS, {"user_id", "item_id", "timestamp"}, Limits())
    assert [rule.column for rule in rules] == ["user_id", "item_id", "timestamp"]


def test_undeclared_range_allows_every_time() -> None:
    assert not [
        rule
        for rule in row_rules(EVENTS, {"timestamp"}, Limits())
        if rule.reason is Reason.timestamp_out_of_range
    ]


def test_unknown_item_is_one_outside_of_the_table() -> None:
    rule = unknown_item_rule(pl.Series(["i1", "i2"]))
    assert broken_rows(rule, pl.DataFrame({"item_id": ["i2", "i3", "i1"]})) == [False, True, False]


def test_first_of_equal_ids_is_right() -> None:
    rule = duplicate_rule(EVENTS)
    assert broken_rows(rule, pl.DataFrame({"event_id": ["a", "b", "a", "a"]})) == [False, False, True, True]
