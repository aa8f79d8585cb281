"""Audiences: whom a condition names, bounds, the floor, who is held back, and what changed."""

from collections import Counter

import polars as pl
import pytest

from marquee.errors import ConfigError, MissingColumnError
from marquee.marketing.audiences.changes import apply_changes, find_changes, to_lines
from marquee.marketing.audiences.members import Audience, choose_members
from marquee.marketing.config import AudienceConfig, Purpose

N = 500
ROWS = pl.DataFrame(
    {
        "user_id": [f"u{row:03d}" for row in range(N)],
        "score": [row / N for row in range(N)],
        "town": ["north" if row % 2 else "south" for row in range(N)],
    }
)


def choose(config: AudienceConfig, rows: pl.DataFrame = ROWS) -> Audience:
    """Returns an audience of the rows."""
    return choose_members("people", config, rows, 0, {})


def test_members_stand_by_the_order_highest_first() -> None:
    audience = choose(AudienceConfig(where="score >= 0.5 AND town = 'north'", order="score"))
    assert audience.members["user_id"].to_list()[:2] == ["u499", "u497"]
    assert audience.members["position"].to_list() == list(range(1, 126))
    assert audience.refused == ""


def test_bounds_take_the_first() -> None:
    assert choose(AudienceConfig(order="score", top=120)).members.height == 120
    assert choose(AudienceConfig(order="score", budget=101.0, cost=0.5)).members.height == 202
    assert choose(AudienceConfig(order="score", budget=0.3, cost=0.1)).members.height == 3
    assert choose(AudienceConfig(order="score", top=120, budget=500.0, cost=1.0)).members.height == 120


def test_who_is_held_back_is_a_share_and_stays_so() -> None:
    first = choose(AudienceConfig(holdout=0.2))
    again = choose(AudienceConfig(holdout=0.2), ROWS.reverse())
    groups = dict(first.members.select("user_id", "group").iter_rows())
    assert groups == dict(again.members.select("user_id", "group").iter_rows())
    assert Counter(groups.values())["holdout"] == pytest.approx(100, abs=25)


def test_who_has_no_value_fulfils_no_condition() -> None:
    rows = ROWS.with_columns(pl.when(pl.col("town") == "north").then("score").alias("score"))
    assert choose(AudienceConfig(where="score >= 0 OR score < 0"), rows).members.height == N // 2


def test_fewer_than_a_hundred_members_are_refused_unless_they_are_spoken_to() -> None:
    few = "score >= 0.9"
    assert "has 50 members and needs 100" in choose(AudienceConfig(where=few)).refused
    assert choose(AudienceConfig(where=few, purpose=Purpose.contact)).refused == ""


def test_an_empty_audience_says_that_its_condition_names_nobody() -> None:
    assert "is empty" in choose(AudienceConfig(where="score > 7", purpose=Purpose.contact)).refused


@pytest.mark.parametrize(
    ("where", "said"),
    [("leaves > 0.5", "no column or trait 'leaves'"), ("scor > 1", "did you mean 'score'")],
)
def test_an_unknown_trait_is_named(where: str, said: str) -> None:
    with pytest.raises(MissingColumnError, match=said):
        choose(AudienceConfig(where=where))


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("score", "must be true or false"),
        ("town > 3", "cannot be computed"),
        ("SUM(score) > 1", "own row"),
        ("score >", "SQL"),
    ],
)
def test_a_condition_that_is_none_is_named(where: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        choose(AudienceConfig(where=where))


def test_a_trait_that_is_refused_gives_no_audience() -> None:
    audience = choose_members("p", AudienceConfig(where="score > 0"), ROWS, 0, {"score": "it leaks"})
    assert (audience.members.height, audience.refused) == (0, "score is refused: it leaks")


def test_a_refused_trait_stops_only_those_who_name_it() -> None:
    refused = {"sco": "it leaks"}
    by_column = choose_members("p", AudienceConfig(where="score > 0"), ROWS, 0, refused)
    by_trait = choose_members("p", AudienceConfig(order="2 * sco_value"), ROWS, 0, refused)
    assert (by_column.refused, by_trait.refused) == ("", "sco is refused: it leaks")


def test_an_order_that_is_no_number_stands_nowhere() -> None:
    odd = ROWS.with_columns(n=pl.when(pl.col("score") < 0.5).then(0.0).otherwise(2.0))
    audience = choose(AudienceConfig(order="score / n"), odd)
    assert audience.members["user_id"].to_list()[:2] == ["u499", "u498"]
    assert audience.members.height == 250


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"holdout": 1.0}, "holdout must lie"),
        ({"budget": 5.0, "order": "a"}, "cost of one contact"),
        ({"budget": 5.0, "cost": 10.0, "order": "a"}, "must pay for one contact"),
        ({"top": 5}, "need an order"),
        ({"seeds": "a", "order": "b"}, "stands by likeness"),
        ({"top": -1}, "0 or more"),
    ],
)
def test_impossible_declarations_are_named(declared: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        AudienceConfig(**declared)  # type: ignore[arg-type] # that is the point


BEFORE = {"a": "contact", "b": "contact", "c": "holdout"}
NOW = {"b": "contact", "c": "holdout", "d": "contact"}


def test_changes_are_the_difference_of_the_sets() -> None:
    changes = find_changes("people", BEFORE, NOW)
    assert [(one.change, one.user_id) for one in changes] == [("removed", "a"), ("added", "d")]
    assert apply_changes(BEFORE, changes, set()) == set(NOW)


def test_delivering_twice_changes_nothing() -> None:
    changes = find_changes("people", BEFORE, NOW)
    seen: set[str] = set()
    once = apply_changes(BEFORE, changes, seen)
    # Somebody adds a again: the second delivery of its removal must not undo that.
    assert apply_changes({*once, "a"}, changes, seen) == {*NOW, "a"}
    assert to_lines(changes) == to_lines(find_changes("people", BEFORE, NOW))


def test_the_same_change_at_another_time_is_another_delivery() -> None:
    first = find_changes("people", {}, {"a": "contact"})
    again = find_changes("people", {"b": "contact"}, {"a": "contact", "b": "contact"})
    assert first[0].delivery_id != again[0].delivery_id


def test_an_erased_member_is_removed() -> None:
    changes = find_changes("people", BEFORE, {"b": "contact"}, erased={"a", "c", "never"})
    assert [(one.change, one.user_id) for one in changes] == [("removed", "a"), ("removed", "c")]
