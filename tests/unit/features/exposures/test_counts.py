"""Counts by item, token and pair: each cell is one key's, and what is not known says nothing."""

import numpy as np
import pytest

from marquee.features.exposures.counts import CountTable, FixedCounts
from marquee.features.exposures.layout import (
    ITEM_HALF_LIFE_DAYS,
    ITEM_PRIOR,
    PAIR_PRIOR,
    CountLayout,
    Keys,
    TokenColumns,
)

LAYOUT = CountLayout(
    query_columns=(TokenColumns("device", 0, 1, 1, 2),),
    item_columns=(TokenColumns("kind", 0, 1, 1, 2), TokenColumns("tags", 1, 2, 3, 3)),
    n_items=4,
)


def keys(*rows: tuple[int, int, int, int, int]) -> Keys:
    """Returns the keys of exposures: device, item, kind and two tags, counted from 1."""
    columns = np.array(rows, dtype=np.int64).reshape(-1, 5)
    return Keys(columns[:, :1], columns[:, 1], columns[:, 2:])


def column(table: CountTable | FixedCounts, asked: Keys, name: str) -> np.ndarray:
    """Returns one column of what a table says."""
    return np.asarray(table.read(asked)[:, LAYOUT.column_names.index(name)])


def filled() -> CountTable:
    """Returns a table of one clicked and one unclicked exposure."""
    table = CountTable.empty(LAYOUT)
    table.add(
        keys((1, 2, 1, 1, 2), (2, 2, 1, 3, 0)), np.array([0.5, 0.25]), np.array([1.0, 0.0]), is_click=True
    )
    return table


def test_item_says_what_came_of_it_beside_what_its_places_promise() -> None:
    table = filled()
    ratio = np.log((1 + ITEM_PRIOR) / (0.75 + ITEM_PRIOR))
    np.testing.assert_allclose(column(table, keys((1, 2, 1, 1, 2)), "item"), ratio, rtol=1e-6)
    np.testing.assert_allclose(column(table, keys((1, 2, 0, 0, 0)), "item: exposures"), np.log1p(0.75))


def test_pair_counts_the_exposures_of_both_alone() -> None:
    table = filled()
    of_phone, of_desk = (column(table, keys((d, 4, 1, 0, 0)), "device and kind")[0] for d in (1, 2))
    assert of_phone == pytest.approx(np.log((1 + PAIR_PRIOR) / (0.5 + PAIR_PRIOR)))
    assert of_desk == pytest.approx(np.log(PAIR_PRIOR / (0.25 + PAIR_PRIOR)))


def test_of_several_tags_the_mean_over_those_that_are_there() -> None:
    table = filled()
    first, third, both, none = (
        column(table, keys((1, 4, 1, *tags)), "tags")[0] for tags in ((1, 0), (3, 0), (1, 3), (0, 0))
    )
    assert first > 0 > third
    assert both == pytest.approx((first + third) / 2)
    assert none == 0.0


@pytest.mark.parametrize("asked", [(1, 0, 0, 0, 0), (2, 3, 2, 2, 2)])
def test_what_was_never_shown_says_nothing(asked: tuple[int, int, int, int, int]) -> None:
    table = CountTable.empty(LAYOUT)
    assert not table.read(keys(asked)).any()
    table.add(keys((1, 0, 0, 0, 0)), np.array([5.0]), np.array([3.0]), is_click=True)
    told = dict(zip(LAYOUT.column_names, table.read(keys(asked))[0], strict=True))
    # Only the count of everything has moved: an unknown item is no item that others share.
    assert {name for name, value in told.items() if value} == {"recent"}


def test_conversions_and_clicks_do_not_mix() -> None:
    table = CountTable.empty(LAYOUT)
    table.add(keys((1, 2, 1, 1, 2)), np.array([0.0]), np.array([1.0]), is_click=False)
    told = dict(zip(LAYOUT.column_names, table.read(keys((1, 2, 1, 1, 2)))[0], strict=True))
    assert all(name.startswith("conversions") for name, value in told.items() if value)
    assert told["conversions of the item"] > 0


def test_only_what_is_recent_ages() -> None:
    table = filled()
    before = table.read(keys((1, 2, 1, 1, 2)))[0]
    table.age(ITEM_HALF_LIFE_DAYS)
    after = table.read(keys((1, 2, 1, 1, 2)))[0]
    moved = {name for name, a, b in zip(LAYOUT.column_names, before, after, strict=True) if a != b}
    assert moved == {"recent", "item lately"}
    half = np.log((0.5 + ITEM_PRIOR) / (0.375 + ITEM_PRIOR))
    np.testing.assert_allclose(column(table, keys((1, 2, 1, 1, 2)), "item lately"), half, rtol=1e-6)


def test_counts_of_a_bundle_say_what_those_of_training_say() -> None:
    rng = np.random.default_rng(0)
    rows = [tuple(rng.integers(0, (3, 5, 3, 4, 4)).tolist()) for _ in range(200)]
    table = CountTable.empty(LAYOUT)
    table.add(keys(*rows), rng.random(200), (rng.random(200) < 0.3).astype(float), is_click=True)
    np.testing.assert_allclose(FixedCounts(table).read(keys(*rows)), table.read(keys(*rows)), atol=1e-6)


def test_no_two_keys_share_a_cell() -> None:
    every = [(d, i, k, 0, 0) for d in range(1, 3) for i in range(1, 5) for k in range(1, 3)]
    cells = LAYOUT.cells(keys(*every))
    blocks = LAYOUT.slot_block
    for slot in range(cells.shape[1]):
        first, size = int(LAYOUT.firsts[blocks[slot]]), int(LAYOUT.sizes[blocks[slot]])
        assert ((cells[:, slot] >= first) & (cells[:, slot] < first + size)).all()
    pair = [n for n, block in enumerate(LAYOUT.blocks) if block.name == "device and kind"]
    (slot,) = np.flatnonzero(blocks == pair[0]).tolist()
    found = {(d, k): cells[row, slot] for row, (d, _, k, _, _) in enumerate(every)}
    assert len(set(found.values())) == len(found) == 4
