"""Windows of time as masks over scores, against the plain rule for every pair of query and item."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.core.availability import Availability
from marquee.core.catalog import ALWAYS_FROM, ALWAYS_UNTIL
from marquee.core.item_lists import ItemLists
from marquee.errors import ShapeError
from marquee.evaluation.analyses.mistakes import target_ranks
from marquee.index.ranking import rank


def _allowed(available: Availability) -> list[list[bool]]:
    """The rule itself: from the first second, until before the last."""
    windows = list(zip(available.available_from.tolist(), available.available_until.tolist(), strict=True))
    return [[start <= moment < end for start, end in windows] for moment in available.timestamp.tolist()]


@st.composite
def availabilities(draw: st.DrawFn) -> Availability:
    """Windows with open ends, empty ones and shared edges, and moments on and off the edges."""
    edges = st.integers(0, 12)
    starts = draw(st.lists(st.one_of(st.just(ALWAYS_FROM), edges), min_size=1, max_size=12))
    lengths = [draw(st.one_of(st.none(), edges)) for _ in starts]
    ends = [
        ALWAYS_UNTIL if length is None else (start if start > ALWAYS_FROM else 0) + length
        for start, length in zip(starts, lengths, strict=True)
    ]
    moments = draw(st.lists(st.integers(-1, 26), min_size=1, max_size=40))
    return Availability(
        np.array([ALWAYS_FROM, *starts]), np.array([ALWAYS_UNTIL, *ends]), np.array(moments, dtype=np.int64)
    )


@settings(max_examples=200, deadline=None)
@given(available=availabilities())
def test_masks_counts_and_pairs_follow_the_rule(available: Availability) -> None:
    expected = np.array(_allowed(available))
    scores = np.ones(expected.shape, dtype=np.float32)
    for first in range(0, len(scores), 7):
        rows = np.arange(first, min(first + 7, len(scores)))
        available.mask_scores(scores[rows[0] : rows[-1] + 1], rows)
    assert (scores == 1.0).tolist() == expected.tolist()
    assert set(scores[~expected].tolist()) <= {-np.inf}
    assert available.n_unavailable.tolist() == (~expected).sum(axis=1).tolist()
    query, item = np.indices(expected.shape)
    assert available.allows(query.ravel(), item.ravel()).tolist() == expected.ravel().tolist()


def test_infinite_and_undefined_scores_stay_what_they_are() -> None:
    scores = np.array([[np.nan, np.inf, -np.inf, np.inf]], dtype=np.float32)
    available = Availability(np.array([0, 0, 0, 9]), np.array([9, 9, 9, 99]), np.array([1]))
    available.mask_scores(scores, np.array([0]))
    np.testing.assert_array_equal(scores, [[np.nan, np.inf, -np.inf, -np.inf]])


@pytest.mark.parametrize("n_values", [3, 40, 10**6], ids=["many ties", "some ties", "hardly a tie"])
@pytest.mark.parametrize("longest", [20, 100, 400], ids=["few there", "half there", "most there"])
def test_ranking_equals_the_ranking_of_masked_scores(longest: int, n_values: int) -> None:
    rng = np.random.default_rng(longest + n_values)
    n_queries, n_items, k = 40, 3_000, 10
    start = rng.integers(0, 100, n_items + 1)
    available = Availability(
        start, start + rng.integers(0, longest, n_items + 1), rng.integers(20, 120, n_queries)
    )
    scores = rng.integers(0, n_values, (n_queries, n_items + 1)).astype(np.float32)
    scores[:20] += 10 * n_values * ~np.array(_allowed(available))[:20]  # the model likes what is not there
    masked = np.where(_allowed(available), scores, -np.inf).astype(np.float32)
    ranked = rank(lambda rows: scores[rows].copy(), n_queries, n_items, k, available=available)
    expected = rank(lambda rows: masked[rows].copy(), n_queries, n_items, k)
    for name in ("items", "scores", "tied"):
        np.testing.assert_array_equal(getattr(ranked, name), getattr(expected, name))


def test_ranks_of_targets_are_among_what_could_be_shown() -> None:
    start = np.where(np.arange(6) == 5, 50, 0)  # item 5, the best, comes at 50
    available = Availability(start, start + 100, np.array([10, 60]))
    scores = np.tile(np.arange(6, dtype=np.float32), (2, 1))
    targets = ItemLists.of([[4, 1], [4]])
    ranks = target_ranks(lambda rows: scores[rows], targets, np.array([0, 1]), None, available)
    assert ranks.tolist() == [1, 4, 2]


def test_a_list_is_short_where_little_could_be_shown() -> None:
    start = np.where(np.isin(np.arange(1001), [7, 5]), 0, 50)
    available = Availability(start, start + 100, np.array([10, 60]))
    scores = np.tile(np.arange(1001, dtype=np.float32), (2, 1))
    ranked = rank(lambda rows: scores[rows].copy(), 2, 1000, 3, available=available, memory_mb=1)
    assert ranked.items.tolist() == [[7, 5, 0], [1000, 999, 998]]
    assert not ranked.tied.any()


def test_windows_and_queries_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"available_until must have shape \(3,\).*got \(2,\)"):
        Availability(np.zeros(3, dtype=np.int64), np.zeros(2, dtype=np.int64), np.zeros(1, dtype=np.int64))
    available = Availability(np.zeros(3, dtype=np.int64), np.ones(3, dtype=np.int64), np.zeros(2, np.int64))
    scores = np.zeros((1, 4), dtype=np.float32)
    with pytest.raises(ShapeError, match="must have 1 queries and 3 items, got 2 and 2"):
        rank(lambda rows: scores[rows], 1, 3, 1, available=available)
