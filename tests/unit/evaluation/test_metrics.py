import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score, precision_score, recall_score

from marquee.core.arrays import BoolArray
from marquee.errors import DataError, ShapeError
from marquee.evaluation.metrics import METRICS, Metric, coverage, map_, ndcg, precision, recall

K = 6


def _slow(name: str, relevance: list[bool], n_targets: int) -> float:
    """Each metric by its definition, one user, one rank at a time."""
    k = len(relevance)
    hits = [rank for rank, is_hit in enumerate(relevance, start=1) if is_hit]
    if name == "recall":
        return len(hits) / n_targets
    if name == "precision":
        return len(hits) / k
    if name == "hit_rate":
        return 1.0 if hits else 0.0
    if name == "mrr":
        return 1 / hits[0] if hits else 0.0
    if name == "map":
        return sum((i + 1) / rank for i, rank in enumerate(hits)) / min(k, n_targets)
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, n_targets) + 1))
    return sum(1 / math.log2(rank + 1) for rank in hits) / best


def _random_relevance(seed: int) -> tuple[BoolArray, "np.ndarray[tuple[int], np.dtype[np.int64]]"]:
    generator = np.random.default_rng(seed)
    relevance = generator.random((200, K)) < generator.random((200, 1))
    return relevance, np.maximum(relevance.sum(axis=1) + generator.integers(0, 9, 200), 1)


@pytest.mark.parametrize(("name", "metric"), METRICS.items())
def test_metric_equals_its_definition(name: str, metric: Metric) -> None:
    relevance, n_targets = _random_relevance(0)
    expected = [_slow(name, row, n) for row, n in zip(relevance.tolist(), n_targets.tolist(), strict=True)]
    np.testing.assert_allclose(metric(relevance, n_targets), expected, rtol=1e-12)


def test_every_metric_of_the_style_guide_is_listed() -> None:
    assert set(METRICS) == {"recall", "ndcg", "mrr", "map", "hit_rate", "precision"}


def _ranked_by_scores(seed: int, n_items: int = 30) -> tuple[BoolArray, "np.ndarray", "np.ndarray"]:
    """Scores of items with many ties, their ranking by our tie rule, and which of them are targets."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 8, (100, n_items)).astype(np.float64)
    is_target = generator.random((100, n_items)) < 0.2
    is_target[:, 0] |= ~is_target.any(axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(is_target, order, axis=1), scores, is_target


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_of_the_whole_list_equals_scikit_learn(seed: int) -> None:
    relevance, _, _ = _ranked_by_scores(seed)
    values = map_(relevance, relevance.sum(axis=1))
    places = -np.arange(
        relevance.shape[1], dtype=np.float64
    )  # the tie rule has been applied: no ties are left
    expected = [average_precision_score(row, places) for row in relevance]
    np.testing.assert_allclose(values, expected)


@pytest.mark.parametrize("seed", range(3))
def test_ndcg_of_tied_scores_is_on_average_that_of_scikit_learn(seed: int) -> None:
    _, scores, is_target = _ranked_by_scores(seed)
    k = 10
    tied = np.array([ndcg_score(t[None], s[None], k=k) for t, s in zip(is_target, scores, strict=True)])
    generator, drawn = np.random.default_rng(seed), []
    for _ in range(300):  # scikit-learn averages over the orders of equal scores; our rule picks one of them
        order = np.argsort(-(scores + generator.random(scores.shape) / 2), axis=1)
        relevance = np.take_along_axis(is_target, order, axis=1)[:, :k]
        drawn.append(ndcg(relevance, is_target.sum(axis=1)))
    assert np.mean(drawn) == pytest.approx(tied.mean(), abs=0.005)


@pytest.mark.parametrize("seed", range(3))
def test_precision_and_recall_equal_scikit_learn(seed: int) -> None:
    relevance, _, _ = _ranked_by_scores(seed)
    k, n_targets = 10, relevance.sum(axis=1)
    said = np.arange(relevance.shape[1]) < k
    for metric, reference in ((precision, precision_score), (recall, recall_score)):
        expected = [reference(row, said) for row in relevance]
        np.testing.assert_allclose(metric(relevance[:, :k], n_targets), expected)


def test_ndcg_equals_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    is_target = generator.random((50, 30)) < 0.2
    is_target[:, 0] = True
    scores = generator.permuted(np.tile(np.arange(30.0), (50, 1)), axis=1)
    relevance = np.take_along_axis(is_target, np.argsort(-scores, axis=1), axis=1)[:, :10]
    expected = np.array([ndcg_score(t[None], s[None], k=10) for t, s in zip(is_target, scores, strict=True)])
    np.testing.assert_allclose(ndcg(relevance, is_target.sum(axis=1)), expected, rtol=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_list_has_one_exactly(name: str) -> None:
    assert METRICS[name](np.ones((1, K), dtype=bool), np.array([K])).tolist() == [1.0]


@pytest.mark.parametrize("name", METRICS)
def test_a_list_without_hits_has_zero(name: str) -> None:
    assert METRICS[name](np.zeros((2, K), dtype=bool), np.array([1, 9])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", METRICS)
def test_no_users_give_no_values(name: str) -> None:
    assert METRICS[name](np.zeros((0, K), dtype=bool), np.zeros(0, dtype=np.int64)).shape == (0,)


@pytest.mark.parametrize("metric", METRICS.values())
def test_a_user_without_targets_is_refused(metric: Metric) -> None:
    with pytest.raises(DataError, match="n_targets must be 1 or more, got 0 for user row 1"):
        metric(np.zeros((2, K), dtype=bool), np.array([3, 0]))


def test_more_hits_than_targets_are_refused() -> None:
    with pytest.raises(DataError, match="hits must be at most n_targets, got 2 of 1 for user row 0"):
        ndcg(np.array([[True, True]]), np.array([1]))


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"got \(2, 6\) and \(3,\)"):
        ndcg(np.zeros((2, K), dtype=bool), np.ones(3, dtype=np.int64))


def test_coverage_counts_each_item_once_and_padding_never() -> None:
    assert coverage(np.array([[1, 2, 0], [2, 5, 0]]), n_items=6) == 3 / 6


def test_coverage_refuses_an_item_beyond_the_catalog() -> None:
    with pytest.raises(DataError, match=r"items must be at most n_items \(3\), got 4"):
        coverage(np.array([[4]]), n_items=3)
