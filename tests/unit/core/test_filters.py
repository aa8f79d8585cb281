"""The items that a filter lets through, and the filters that are refused."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from marquee.core.filters import NO_FILTERS, AttributeColumns, AttributeType, Clause, Filters, to_bound
from marquee.errors import FilterError

ATTRIBUTES = pl.DataFrame(
    {
        "genres": [["war", "love"], ["war"], [], None, ["love", "love", "zen"]],
        "colour": ["red", None, "blue", "red", ""],
        "year": [1990, 2000, None, 2010, 2000],
        "price": [1.5, float("nan"), None, 2.0, -1.0],
        "is_new": [True, False, None, False, True],
        "sizes": [[38, 40], [40], None, [], [42]],
        "vector": [[0.5], [1.0], None, [], [2.0]],
        "huge": pl.Series([2**64 - 1, 5, None, 0, 1], dtype=pl.UInt64),
    }
)
COLUMNS = AttributeColumns(ATTRIBUTES)


def passing(conditions: dict[str, dict[str, object]]) -> list[int]:
    """Returns the items, counted from 1, that pass."""
    filters = Filters.of(conditions)
    COLUMNS.validate(filters)
    flags = COLUMNS.flags(filters)
    assert flags.shape == (6,)
    return [int(item) for item in flags.nonzero()[0]]


@pytest.mark.parametrize(
    ("attribute", "condition", "expected"),
    [
        ("genres", {"any_of": ["war", "zen"]}, [1, 2, 5]),
        ("genres", {"all_of": ["war", "love"]}, [1]),
        ("genres", {"none_of": ["war"]}, [3, 4, 5]),
        ("genres", {"any_of": ["love"], "none_of": ["war"]}, [5]),
        ("genres", {"any_of": ["warlike"]}, []),
        ("genres", {"none_of": ["warlike"]}, [1, 2, 3, 4, 5]),
        ("genres", {}, [1, 2, 3, 4, 5]),
        ("colour", {"any_of": ["red"]}, [1, 4]),
        ("colour", {"any_of": ["", "blue"]}, [3, 5]),
        ("colour", {"all_of": ["red", "blue"]}, []),
        ("colour", {"none_of": ["red"]}, [2, 3, 5]),
        ("year", {"min": 2000}, [2, 4, 5]),
        ("year", {"max": 2000}, [1, 2, 5]),
        ("year", {"min": 1990.5, "max": 2009}, [2, 5]),
        ("year", {"min": 2001, "max": 1999}, []),
        ("year", {"any_of": [1990, 2010.0, 2000.5]}, [1, 4]),
        ("year", {"none_of": [2000]}, [1, 3, 4]),
        ("year", {"any_of": [0]}, []),
        ("price", {"max": 1.5}, [1, 5]),
        ("price", {"any_of": [2]}, [4]),
        ("price", {"none_of": [2]}, [1, 2, 3, 5]),
        ("is_new", {"any_of": [True]}, [1, 5]),
        ("is_new", {"none_of": [True]}, [2, 3, 4]),
        ("sizes", {"any_of": [40, 42.0]}, [1, 2, 5]),
        ("sizes", {"all_of": [38, 40]}, [1]),
        ("huge", {"min": 2**63}, [1]),
        ("huge", {"any_of": [0]}, [4]),
    ],
)
def test_filter_lets_through_what_it_says(
    attribute: str, condition: dict[str, object], expected: list[int]
) -> None:
    assert passing({attribute: condition}) == expected


def test_all_clauses_must_hold() -> None:
    assert passing({"colour": {"any_of": ["red"]}, "year": {"min": 2000}}) == [4]
    both = Filters.of({"colour": {"any_of": ["red"]}}) & Filters.of({"colour": {"none_of": ["red"]}})
    assert not COLUMNS.flags(both).any()
    assert both & NO_FILTERS == both == NO_FILTERS & both


def test_attributes_of_a_kind_that_means_something_can_be_filtered_by() -> None:
    assert COLUMNS.types == {
        "genres": AttributeType.texts,
        "colour": AttributeType.text,
        "year": AttributeType.number,
        "price": AttributeType.number,
        "is_new": AttributeType.flag,
        "sizes": AttributeType.numbers,
        "huge": AttributeType.number,
    }


@pytest.mark.parametrize(
    ("attribute", "condition", "message"),
    [
        (
            "genre",
            {"any_of": ["war"]},
            r"filters\.genre is no attribute of this catalog; use one of \['colour'",
        ),
        (
            "vector",
            {"any_of": [1]},
            r"filters\.vector holds List\(Float64\), which nothing can be filtered by",
        ),
        ("colour", {"min": 3}, r"filters\.colour holds text, got a range; ask for any_of"),
        ("sizes", {"min": 3}, r"filters\.sizes holds numbers, got a range"),
        ("colour", {"any_of": ["red", 3]}, r"filters\.colour holds text, got 3; send values of that type"),
        ("year", {"any_of": ["2000"]}, r"filters\.year holds number, got '2000'"),
        ("year", {"any_of": [True]}, r"filters\.year holds number, got True"),
        ("year", {"any_of": [2**63]}, r"filters\.year holds number, got 9223372036854775808"),
        ("year", {"any_of": [float("nan")]}, r"filters\.year holds number, got nan"),
        ("is_new", {"none_of": [1]}, r"filters\.is_new holds flag, got 1"),
        ("sizes", {"any_of": [40.5]}, r"filters\.sizes holds numbers, got 40\.5"),
    ],
)
def test_filter_that_does_not_fit_the_catalog_is_refused(
    attribute: str, condition: dict[str, object], message: str
) -> None:
    with pytest.raises(FilterError, match=message) as caught:
        COLUMNS.validate(Filters.of({attribute: condition}))
    assert caught.value.field == f"filters.{attribute}"


def test_message_names_no_more_attributes_than_anybody_reads() -> None:
    columns = AttributeColumns(pl.DataFrame({f"a{number:02d}": ["x"] for number in range(25)}))
    with pytest.raises(FilterError, match=r"'a18', 'a19'\] and 5 more$"):
        columns.validate(Filters.of({"b": {}}))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"year": 1990}, r"filters\.year must be a mapping with keys of \['any_of', .*\], got 1990"),
        ({"year": {"from": 1990}}, r"filters\.year must be a mapping .*, got {'from': 1990}"),
        ({"year": {"attribute": "x"}}, r"filters\.year must be a mapping"),
        (
            {"colour": {"any_of": "red"}},
            r"filters\.colour\.any_of must be a list of at least one .* got 'red'",
        ),
        ({"colour": {"any_of": []}}, r"filters\.colour\.any_of must be a list of at least one .* got \[\]"),
        ({"colour": {"any_of": [None]}}, r"filters\.colour\.any_of must be a list .* got \[None\]"),
        ({"year": {"min": "1990"}}, r"filters\.year\.min: '1990' is neither a number nor an ISO 8601 date"),
        ({"year": {"min": None}}, r"filters\.year\.min: None is neither a number nor"),
        ({"year": {"max": True}}, r"filters\.year\.max: True is neither a number nor"),
        ({"year": {"max": float("inf")}}, r"filters\.year must be bounded by finite numbers, got max=inf"),
    ],
)
def test_mapping_that_is_no_filter_is_refused(declared: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(FilterError, match=message):
        Filters.of(declared)


DAY = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("moment", "low", "high"),
    [
        ("2026-03-01", DAY, DAY + 86_399),
        (date(2026, 3, 1), DAY, DAY + 86_399),
        ("2026-03-01T01:00", DAY + 3600, DAY + 3600),
        ("2026-03-01 01:00:05Z", DAY + 3605, DAY + 3605),
        ("2026-03-01T01:00+02:00", DAY - 3600, DAY - 3600),
        (datetime(2026, 3, 1, 1, tzinfo=UTC), DAY + 3600, DAY + 3600),
        (7.5, 7.5, 7.5),
    ],
)
def test_bound_may_be_a_moment(moment: object, low: float, high: float) -> None:
    assert (to_bound(moment, "min"), to_bound(moment, "max")) == (low, high)


def test_filters_are_equal_if_they_ask_for_the_same() -> None:
    one = Filters.of({"a": {"any_of": ["x", "y", "x"]}, "b": {"min": 1}})
    same = Filters.of({"b": {"min": 1}, "a": {"any_of": ["y", "x"]}})
    assert (one, hash(one)) == (same, hash(same))
    assert one != Filters.of({"a": {"any_of": ["x", "y"]}, "b": {"max": 1}})
    assert Filters.of({"a": {"any_of": [1]}}) != Filters.of({"a": {"any_of": [True]}})
    assert bool(one)
    assert not NO_FILTERS
    assert Filters.of({}) == NO_FILTERS


def test_values_that_no_item_has_are_named() -> None:
    filters = Filters.of(
        {
            "genres": {"any_of": ["war", "peace"], "none_of": ["noir"]},
            "year": {"any_of": [2000, 1066, 2000.5]},
            "price": {"min": 100},
        }
    )
    assert COLUMNS.unknown_values(filters) == ("genres=peace", "genres=noir", "year=2000.5", "year=1066")


def test_attribute_without_any_value_lets_only_none_of_through() -> None:
    columns = AttributeColumns(pl.DataFrame({"tags": pl.Series([None, None], dtype=pl.List(pl.String))}))
    assert columns.flags(Filters.of({"tags": {"any_of": ["a"]}})).tolist() == [False, False, False]
    assert columns.flags(Filters.of({"tags": {"none_of": ["a"]}})).tolist() == [False, True, True]
    assert columns.unknown_values(Filters.of({"tags": {"none_of": ["a"]}})) == ("tags=a",)


def test_clause_keeps_its_values_once_and_in_order() -> None:
    clause = Clause(attribute="a", any_of=("b", 2, "a", True, "b", 1))
    assert clause.any_of == (True, 1, 2, "a", "b")
    assert [type(value) for value in clause.any_of[:2]] == [bool, int]
