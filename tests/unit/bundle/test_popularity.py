"""Popularity in context against counting by hand, and the rule by which a context is chosen."""

import numpy as np
import polars as pl
import pytest

from marquee.bundle.popularity import GAIN_K, ContextPopularity, PopularItems, PopularityConfig, measure_gain
from marquee.core.ids import IdMap
from marquee.errors import ConfigError, DataError

ITEMS = IdMap(("a", "b", "c", "d"))
SHARES = np.array([0, 0.4, 0.3, 0.2, 0.1], dtype=np.float32)
HOURS = 3600
EVENTS = pl.DataFrame(
    {
        "item_id": ["a", "b", "b", "b", "a", "z", "c", "c"],
        "timestamp": [0, 1, 2, 5 * HOURS, 5 * HOURS, 5 * HOURS, 29 * HOURS, 30 * HOURS],
        "device": ["phone", "phone", "phone", "phone", "desk", "phone", None, "desk"],
        "year": [2018, 2018, 2018, 2018, 2018, 2018, 2019, None],
    }
)


def fit(**config: object) -> ContextPopularity:
    given = {"by": ["device", "hour"], "min_events": 1, "prior_events": 4.0, **config}
    return ContextPopularity.fit(EVENTS, ITEMS, SHARES, PopularityConfig(**given))  # type: ignore[arg-type]


def test_share_is_counted_and_leans_on_the_whole() -> None:
    context = fit().find({"device": "phone"}, timestamp=0)
    assert context is not None
    assert context.name == "device=phone"
    # Four events of phones (the one of an item outside the catalog has no say): a once, b three times.
    assert context.items.tolist() == [2, 1]
    assert context.shares.tolist() == pytest.approx([(3 + 4 * 0.3) / 8, (1 + 4 * 0.4) / 8])
    assert context.rest == pytest.approx(4 / 8)


def test_shares_of_a_context_add_up_to_one() -> None:
    for device in ("phone", "desk"):
        context = fit().find({"device": device}, timestamp=0)
        assert context is not None
        listed = set(context.items.tolist())
        rest = sum(context.rest * SHARES[item] for item in range(1, 5) if item not in listed)
        assert float(context.shares.sum()) + rest == pytest.approx(1.0)


def test_without_prior_events_shares_are_plain_counts() -> None:
    context = fit(prior_events=0).find({"device": "desk"}, timestamp=0)
    assert context is not None
    assert (context.items.tolist(), context.shares.tolist(), context.rest) == ([1, 3], [0.5, 0.5], 0.0)


def test_first_column_with_a_table_decides() -> None:
    tables = fit()
    found = [
        tables.find({"device": "phone"}, timestamp=5 * HOURS),
        tables.find({"device": "never seen"}, timestamp=5 * HOURS),
        tables.find({}, timestamp=24 * HOURS),
        tables.find({"device": None, "hour": 6}, timestamp=0),
        tables.find({}, timestamp=23 * HOURS),
    ]
    assert [context and context.name for context in found] == [
        "device=phone",
        "hour=5",
        "hour=0",
        "hour=6",
        None,
    ]


def test_hour_is_that_of_the_day() -> None:
    context = fit(by=["hour"]).find({}, timestamp=-19 * HOURS)  # five o'clock of the day before 1970
    assert context is not None
    assert (context.name, sorted(context.items.tolist())) == ("hour=5", [1, 2, 3])


def test_too_few_events_make_no_table() -> None:
    assert fit(by=["device"], min_events=3).values == (("device", "phone"),)
    assert fit(by=["device"], min_events=5).values == ()


def test_columns_keep_their_largest_tables() -> None:
    assert fit(by=["device"], max_values=1).values == (("device", "phone"),)
    assert fit(max_values=0).values == ()


def test_numbers_are_named_as_requests_name_them() -> None:
    tables = fit(by=["year"])
    for value in (2018, 2018.0, "2018"):
        context = tables.find({"year": value}, timestamp=0)
        assert context is not None
        assert context.name == "year=2018"


def test_tables_survive_being_written() -> None:
    tables = fit()
    again = ContextPopularity.from_json(tables.to_json(), tables.offsets, tables.items, tables.shares)
    context, expected = again.find({}, 0), tables.find({}, 0)
    assert context is not None
    assert expected is not None
    assert (context.name, context.rest) == (expected.name, expected.rest)
    assert context.items.tolist() == expected.items.tolist()


def test_tables_that_do_not_fit_are_refused() -> None:
    tables = fit()
    with pytest.raises(DataError, match="must fit together"):
        ContextPopularity.from_json(tables.to_json(), tables.offsets[:-1], tables.items, tables.shares)
    with pytest.raises(DataError, match="must fit together"):
        ContextPopularity.from_json(tables.to_json(), tables.offsets, tables.items, tables.shares[1:])
    swapped = tables.offsets.copy()
    swapped[1:3] = swapped[2:0:-1]
    with pytest.raises(DataError, match="out of order"):
        ContextPopularity.from_json(tables.to_json(), swapped, tables.items, tables.shares)


def test_column_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"popularity.by must name columns .* got 'surface'"):
        fit(by=["surface"])


def test_column_of_lists_is_refused() -> None:
    events = EVENTS.with_columns(tags=pl.lit(["x"]))
    with pytest.raises(ConfigError, match=r"columns of single values, got 'tags' of List"):
        ContextPopularity.fit(events, ITEMS, SHARES, PopularityConfig(by=["tags"]))


@pytest.mark.parametrize("fields", [{"min_events": 0}, {"prior_events": -1.0}, {"max_values": -1}])
def test_impossible_number_is_refused_by_name(fields: dict[str, float]) -> None:
    (key,) = fields
    with pytest.raises(ConfigError, match=rf"{key} must be .* \(config popularity.{key}\)"):
        PopularityConfig(**fields)  # type: ignore[arg-type]  # to be refused


def by_device(n_events: int, n_items: int) -> tuple[pl.DataFrame, IdMap]:
    """Returns events in which phones have the odd items and desks the even ones."""
    rng = np.random.default_rng(0)
    items = rng.integers(0, n_items, n_events)
    events = pl.DataFrame(
        {
            "item_id": [f"i{item:03d}" for item in items],
            "timestamp": np.arange(n_events),
            "device": np.where(items % 2 == 1, "phone", "desk"),
            "coin": rng.choice(["head", "tail"], n_events),
        }
    )
    return events, IdMap.fit(events["item_id"])


def test_gain_is_the_difference_of_hit_rates() -> None:
    n_items = 3 * GAIN_K
    events, ids = by_device(20_000, n_items)
    config = PopularityConfig(min_events=10, prior_events=0)
    gain, standard_error = measure_gain(events, ids, "device", config)
    # A list for all holds a third of the items, a list per device two thirds of its half.
    assert gain == pytest.approx(1 / 3, abs=0.03)
    assert 0 < standard_error < 0.03
    chance, standard_error = measure_gain(events, ids, "coin", config)
    assert abs(chance) < 3 * standard_error + 0.03
    assert measure_gain(events.head(5), ids, "device", config) == (0.0, 0.0)


def test_items_that_nobody_has_had_come_last() -> None:
    items = PopularItems(SHARES)
    flags = np.array([False, True, False, True, True, True, False, True])
    ranked, shares = items.rank(flags, 6, None)
    assert ranked.tolist() == [1, 3, 4, 5, 7]
    assert shares.tolist() == pytest.approx([0.4, 0.2, 0.1, 0.0, 0.0])
