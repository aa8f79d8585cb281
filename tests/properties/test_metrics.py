import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.core.arrays import BoolArray
from marquee.evaluation.metrics import METRICS, Metric, coverage

modest = settings(max_examples=60, deadline=None)
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))


@st.composite
def lists(draw: st.DrawFn) -> tuple[BoolArray, "np.ndarray[tuple[int], np.dtype[np.int64]]"]:
    n_users, k = draw(st.integers(1, 8)), draw(st.integers(1, 12))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    relevance = generator.random((n_users, k)) < draw(st.floats(0, 1))
    return relevance, np.maximum(relevance.sum(axis=1) + generator.integers(0, 4, n_users), 1)


@every_metric
@modest
@given(given_lists=lists())
def test_values_stay_between_zero_and_one(
    metric: Metric, given_lists: tuple[BoolArray, "np.ndarray[tuple[int], np.dtype[np.int64]]"]
) -> None:
    values = metric(*given_lists)
    assert ((values >= 0) & (values <= 1)).all()


@pytest.mark.parametrize("name", ["recall", "hit_rate", "mrr"])
@modest
@given(given_lists=lists())
def test_a_longer_list_never_lowers_what_it_finds(
    name: str, given_lists: tuple[BoolArray, "np.ndarray[tuple[int], np.dtype[np.int64]]"]
) -> None:
    relevance, n_targets = given_lists
    by_k = [METRICS[name](relevance[:, :k], n_targets) for k in range(1, relevance.shape[1] + 1)]
    assert (np.diff(by_k, axis=0) >= 0).all()


@every_metric
@modest
@given(given_lists=lists(), seed=st.integers(0, 2**32))
def test_the_order_of_users_has_no_influence(
    metric: Metric,
    given_lists: tuple[BoolArray, "np.ndarray[tuple[int], np.dtype[np.int64]]"],
    seed: int,
) -> None:
    relevance, n_targets = given_lists
    order = np.random.default_rng(seed).permutation(len(relevance))
    np.testing.assert_array_equal(metric(relevance[order], n_targets[order]), metric(*given_lists)[order])


@every_metric
@modest
@given(given_lists=lists(), seed=st.integers(0, 2**32))
def test_moving_a_hit_up_never_lowers_a_metric(
    metric: Metric,
    given_lists: tuple[BoolArray, "np.ndarray[tuple[int], np.dtype[np.int64]]"],
    seed: int,
) -> None:
    relevance, n_targets = given_lists
    row, upper = relevance[:1].copy(), 0
    hits = np.flatnonzero(row[0])
    if len(hits):
        generator = np.random.default_rng(seed)
        lower = int(generator.choice(hits))
        upper = int(generator.integers(0, lower + 1))
        row[0, [upper, lower]] = row[0, [lower, upper]]
    assert metric(row, n_targets[:1])[0] >= metric(relevance[:1], n_targets[:1])[0] - 1e-15


@modest
@given(items=st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=6))
def test_coverage_is_the_share_of_distinct_items(items: list[list[int]]) -> None:
    distinct = {item for row in items for item in row} - {0}
    assert coverage(np.array(items), n_items=9) == len(distinct) / 9
