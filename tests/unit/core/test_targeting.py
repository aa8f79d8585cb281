"""Targeting: conditions on one customer mean what they mean over tables, and name what is wrong."""

import polars as pl
import pytest

from marquee.core.targeting.condition import read_condition
from marquee.core.targeting.customer import Customer
from marquee.core.targeting.targeting import NO_CUSTOMERS, CustomerFacts, Targeting
from marquee.errors import DataError
from marquee.marketing.conditions import evaluate

ROWS = pl.DataFrame(
    {
        "leaves": [0.0, 0.5, 0.9, None],
        "worth": [10.0, None, 30.5, 20.0],
        "group": ["loyal", "it's new", None, "champions · weekly"],
        "vip": [True, False, None, True],
        "in": [1, 2, 3, None],
    }
)
FACTS = CustomerFacts("r1", {"leaves": "number", "group": "text", "vip": "flag"}, frozenset({"keep"}))


@pytest.mark.parametrize(
    "text",
    [
        "leaves >= 0.5",
        "0.5<leaves",
        "leaves <> 0.5 AND worth < 25",
        "leaves > 0.4 OR worth > 15 AND vip",
        "(leaves > 0.4 OR worth > 15) AND NOT vip",
        "NOT NOT leaves = .5e0",
        "NOT (leaves >= 0.5 AND worth >= 20)",
        "\"group\" IN ('loyal', 'it''s new')",
        "\"group\" NOT IN ('loyal')",
        "leaves between 0.1 and 0.6 or worth not between 5 and 12",
        "worth IS NULL",
        "worth is not null and \"group\" = 'champions · weekly'",
        '"in" = 2 OR "in" != 3',
        "vip = true OR leaves > worth",
        "leaves = -1",
    ],
)
def test_condition_means_the_same_for_one_customer_as_over_a_table(text: str) -> None:
    expected = evaluate(text, ROWS, "where").holds.to_list()
    assert [read_condition(text).holds(row) for row in ROWS.to_dicts()] == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("leaves >=", "a trait, a number or a 'text', got 'the end'"),
        ("leaves >= 0.5 leaves", "AND, OR or the end, got 'leaves'"),
        ("leaves ~ 2", "got '~ 2'"),
        ("(leaves > 1", r"go on with \), got 'the end'"),
        ("0.5", "IN, BETWEEN or a comparison"),
        ("leaves NOT 3", "IN, BETWEEN or a comparison, got '3'"),
        ("lower(group) = 'a'", r"AND, OR or the end, got .\(group\)"),
        ("vip IS 3", "go on with NULL, got '3'"),
        ("(" * 60 + "vip" + ")" * 60, "at most 50 brackets"),
        ("leaves > 1 " * 200, "at most 1000 characters, got 2200"),
    ],
)
def test_condition_that_is_none_is_refused_with_its_place(text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        Targeting(where=text)


def test_targeting_asks_for_the_condition_and_one_of_the_audiences() -> None:
    keep = Targeting(where="leaves >= 0.5", audiences=("keep", "gold"))
    assert keep.matches(Customer({"leaves": 0.5}, frozenset({"gold", "other"})))
    assert not keep.matches(Customer({"leaves": 0.5}, frozenset({"other"})))
    assert not keep.matches(Customer({"leaves": 0.4}, frozenset({"keep"})))


def test_nobody_of_whom_nothing_is_known_is_meant() -> None:
    assert not Targeting(where="leaves IS NULL").matches(None)
    assert not Targeting(where="NOT leaves > 3").matches(Customer({"leaves": None}))


def test_targeting_without_any_condition_is_refused() -> None:
    with pytest.raises(DataError, match="got where='  ' and no audience"):
        Targeting(where="  ")


@pytest.mark.parametrize(
    ("targeting", "facts", "told"),
    [
        (
            Targeting(where="leave > 1"),
            FACTS,
            "run of customers r1 has no trait 'leave', did you mean 'leaves'",
        ),
        (Targeting(audiences=("zzz",)), FACTS, r"tells no audience 'zzz', it has \['keep'\]"),
        (Targeting(where="leaves > 'a'"), FACTS, "leaves must be compared with a number, got a text"),
        (Targeting(where="leaves"), FACTS, "leaves must be compared with a number, got a flag"),
        (Targeting(where="\"group\" IN ('a', 3)"), FACTS, "group must be compared with a text, got a number"),
        (Targeting(where="vip"), NO_CUSTOMERS, "a service without a run of customers has no trait 'vip'"),
    ],
)
def test_targeting_that_a_run_cannot_tell_is_refused(
    targeting: Targeting, facts: CustomerFacts, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        targeting.validate(facts)


def test_targeting_that_a_run_can_tell_is_taken() -> None:
    good = Targeting(where="leaves >= 0.5 AND vip AND \"group\" = 'a'", audiences=("keep",))
    good.validate(FACTS)
    assert good.missing(FACTS) == ""
