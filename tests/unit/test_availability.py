"""Windows of time as masks over scores, against the plain rule for every pair of query and item."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.availability import Availability
from marquee.catalog import ALWAYS_FROM, ALWAYS_UNTIL
from marquee.errors import ShapeError
from marquee.ranking import rank


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
        available.mask_scores(scores[first : first + 7], first)
    assert (scores == 1.0).tolist() == expected.tolist()
    assert set(scores[~expected].tolist()) <= {-np.inf}
    assert available.n_unavailable.tolist() == (~expected).sum(axis=1).tolist()
    query, item = np.indices(expected.shape)
    assert available.allows(query.ravel(), item.ravel()).tolist() == expected.ravel().tolist()


def test_infinite_and_undefined_scores_stay_what_they_are() -> None:
    scores = np.array([[np.nan, np.inf, -np.inf, np.inf]], dtype=np.float32)
    available = Availability(np.array([0, 0, 0, 9]), np.array([9, 9, 9, 99]), np.array([1]))
    available.mask_scores(scores, 0)
    np.testing.assert_array_equal(scores, [[np.nan, np.inf, -np.inf, -np.inf]])


@pytest.mark.parametrize("memory_mb", [1, 512], ids=["many blocks", "one block"])
def test_ranking_returns_the_best_of_what_could_be_shown(memory_mb: int) -> None:
    rng = np.random.default_rng(0)
    n_queries, n_items, k = 70, 20_000, 10
    start = rng.integers(0, 100, n_items + 1)
    available = Availability(start, start + rng.integers(0, 60, n_items + 1), rng.integers(0, 120, n_queries))
    scores = rng.standard_normal((n_queries, n_items + 1)).astype(np.float32)
    ranked = rank(
        lambda rows: scores[rows].copy(), n_queries, n_items, k, available=available, memory_mb=memory_mb
    )
    for query, allowed in enumerate(_allowed(available)):
        best = [item for item in np.argsort(-scores[query]).tolist() if item and allowed[item]][:k]
        assert ranked.items[query].tolist() == best + [0] * (k - len(best))


def test_windows_and_queries_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"available_until must have shape \(3,\).*got \(2,\)"):
        Availability(np.zeros(3, dtype=np.int64), np.zeros(2, dtype=np.int64), np.zeros(1, dtype=np.int64))
    available = Availability(np.zeros(3, dtype=np.int64), np.ones(3, dtype=np.int64), np.zeros(2, np.int64))
    scores = np.zeros((1, 4), dtype=np.float32)
    with pytest.raises(ShapeError, match="must have 1 queries and 3 items, got 2 and 2"):
        rank(lambda rows: scores[rows], 1, 3, 1, available=available)
