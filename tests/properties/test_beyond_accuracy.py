import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.core.arrays import BoolArray, IndexArray
from marquee.core.item_lists import ItemLists
from marquee.errors import DataError, ShapeError
from marquee.evaluation.analyses import beyond_accuracy
from marquee.evaluation.analyses.beyond_accuracy import CatalogFacts, describe_lists

N_ITEMS, K = 7, 3
N_USERS = st.integers(2, 6)
SOME = settings(max_examples=40, deadline=None)


def _draw(seed: int, n_users: int) -> tuple[IndexArray, ItemLists, BoolArray]:
    """Full lists, histories of 1 to 4 items, and attributes of which an item may have none."""
    generator = np.random.default_rng(seed)
    items = np.stack([generator.permutation(N_ITEMS)[:K] + 1 for _ in range(n_users)])
    histories = ItemLists.of(
        [generator.integers(1, N_ITEMS + 1, size=generator.integers(1, 5)).tolist() for _ in range(n_users)]
    )
    attributes = generator.random((N_ITEMS + 1, 4)) < 0.4
    attributes[0] = False
    return items, histories, attributes


@given(st.integers(0, 10**6), N_USERS)
@SOME
def test_gini_is_half_the_mean_difference_over_the_mean(seed: int, n_users: int) -> None:
    items, _, _ = _draw(seed, n_users)
    shown = [sum(row.count(item) for row in items.tolist()) for item in range(1, N_ITEMS + 1)]
    differences = sum(abs(a - b) for a, b in itertools.product(shown, shown)) / N_ITEMS**2
    assert beyond_accuracy.gini(items, N_ITEMS) == pytest.approx(differences / (2 * np.mean(shown)))


@given(st.integers(0, 10**6), N_USERS)
@SOME
def test_overlap_is_the_mean_over_all_pairs_of_users(seed: int, n_users: int) -> None:
    items, _, _ = _draw(seed, n_users)
    lists = [set(row) for row in items.tolist()]
    shared = [len(a & b) / K for a, b in itertools.combinations(lists, 2)]
    assert beyond_accuracy.overlap(items) == pytest.approx(np.mean(shared))


@given(st.integers(0, 10**6), N_USERS)
@SOME
def test_diversity_by_embedding_agrees_with_cosines_pair_by_pair(seed: int, n_users: int) -> None:
    items, _, _ = _draw(seed, n_users)
    vectors = np.random.default_rng(seed).normal(size=(N_ITEMS + 1, 5)).astype(np.float32)
    distances = [
        1 - vectors[a] @ vectors[b] / (np.linalg.norm(vectors[a]) * np.linalg.norm(vectors[b]))
        for row in items.tolist()
        for a, b in itertools.combinations(row, 2)
    ]
    assert beyond_accuracy.diversity_by_embedding(items, vectors) == pytest.approx(
        np.mean(distances), abs=1e-5
    )


@given(st.integers(0, 10**6), N_USERS)
@SOME
def test_diversity_by_attribute_agrees_with_sets_pair_by_pair(seed: int, n_users: int) -> None:
    items, _, attributes = _draw(seed, n_users)
    of_item = [set(np.flatnonzero(row).tolist()) for row in attributes]
    of_lists = []
    for row in items.tolist():
        pairs = [(of_item[a], of_item[b]) for a, b in itertools.combinations(row, 2)]
        distances = [1 - len(a & b) / len(a | b) for a, b in pairs if a | b]
        of_lists += [np.mean(distances)] if distances else []
    expected = np.mean(of_lists) if of_lists else math.nan
    assert beyond_accuracy.diversity_by_attribute(items, attributes) == pytest.approx(expected, nan_ok=True)


@given(st.integers(0, 10**6), N_USERS)
@SOME
def test_miscalibration_agrees_with_the_divergence_user_by_user(seed: int, n_users: int) -> None:
    items, histories, attributes = _draw(seed, n_users)
    divergences = []
    for row in range(n_users):
        past = histories.item_index[histories.offsets[row] : histories.offsets[row + 1]].tolist()
        shares = []
        for of_side in (past, items[row].tolist()):
            total = np.zeros(4)
            for item in of_side:
                total += attributes[item] / max(attributes[item].sum(), 1)
            shares.append(total)
        p, q = shares
        if p.any() and q.any():
            p, q = p / p.sum(), q / q.sum()
            q = 0.99 * q + 0.01 * p
            divergences.append(sum(a * math.log2(a / b) for a, b in zip(p, q, strict=True) if a > 0))
    expected = np.mean(divergences) if divergences else math.nan
    found = beyond_accuracy.miscalibration(items, histories, attributes)
    assert found == pytest.approx(expected, nan_ok=True)
    assert not found < -1e-12


@given(st.integers(0, 10**6), N_USERS)
@SOME
def test_popularity_lift_and_novelty_agree_with_plain_means(seed: int, n_users: int) -> None:
    items, histories, _ = _draw(seed, n_users)
    counts = np.array([0, *np.random.default_rng(seed).integers(0, 9, N_ITEMS)]) + np.arange(N_ITEMS + 1)
    past = [histories.item_index[a:b] for a, b in itertools.pairwise(histories.offsets)]
    before = np.mean([counts[of_user].mean() for of_user in past])
    after = np.mean([counts[row].mean() for row in items])
    assert beyond_accuracy.popularity_lift(items, histories, counts) == pytest.approx(after / before - 1)
    information = [-math.log2(max(counts[item], 1) / counts.sum()) for item in items.ravel()]
    assert beyond_accuracy.novelty(items, counts) == pytest.approx(np.mean(information))


@given(st.integers(0, 10**6), N_USERS)
@SOME
def test_no_number_hangs_on_the_order_of_users(seed: int, n_users: int) -> None:
    items, histories, attributes = _draw(seed, n_users)
    facts = CatalogFacts(np.arange(N_ITEMS + 1), attributes.astype(np.float32), attributes)
    relevance = items % 2 == 0
    expected = np.tile([1, 2, 3], (n_users, 1))
    order = np.random.default_rng(seed).permutation(n_users)
    one = describe_lists(items, relevance, expected, histories, facts)
    other = describe_lists(items[order], relevance[order], expected, histories.rows(order), facts)
    for name, value in one.to_json_dict().items():
        assert other.to_json_dict()[name] == pytest.approx(value), name


def test_short_lists_and_unknown_items_say_nothing() -> None:
    items, histories = np.array([[1, 0], [0, 0]]), ItemLists.of([[0], []])
    facts = CatalogFacts(np.array([0, 4]), np.ones((2, 3), np.float32), np.zeros((2, 2), np.bool_))
    numbers = describe_lists(items, items > 9, None, histories, facts).to_json_dict()
    assert numbers["novelty"] == 0.0
    for name in ("diversity_by_embedding", "diversity_by_attribute", "serendipity", "miscalibration"):
        assert numbers[name] is None


def test_lists_must_hold_items_of_the_catalog() -> None:
    with pytest.raises(DataError, match=r"at most n_items \(4\), got 5"):
        beyond_accuracy.gini(np.array([[5]]), 4)
    with pytest.raises(DataError, match=r"lists of shape \(1, 2\) must hold an item"):
        beyond_accuracy.gini(np.array([[0, 0]]), 4)


def test_facts_must_be_of_one_catalog() -> None:
    with pytest.raises(ShapeError, match="vectors must have 3 rows as counts has, got 2"):
        CatalogFacts(np.zeros(3, np.int64), np.zeros((2, 4), np.float32))
