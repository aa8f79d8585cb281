import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from marquee.core.availability import Availability
from marquee.core.item_lists import ItemLists
from marquee.evaluation.analyses.mistakes import count_items, rank_groups, target_ranks
from marquee.evaluation.evaluation import EvaluationTask, evaluate
from marquee.index.ranking import rank

N_USERS, N_ITEMS = 12, 9


@given(seed=st.integers(0, 10_000), n_levels=st.sampled_from([2, 5, 1_000]))
def test_ranks_are_the_places_in_the_full_ranking_with_ties_and_exclusions(seed: int, n_levels: int) -> None:
    generator = np.random.default_rng(seed)
    scores = (generator.integers(0, n_levels, (N_USERS, N_ITEMS + 1)) / n_levels).astype(np.float32)
    excluded = ItemLists.of([generator.permutation(N_ITEMS)[:2].tolist() for _ in range(N_USERS)])
    excluded = excluded.take(excluded.item_index > 0)
    available = Availability(
        np.zeros(N_ITEMS + 1, np.int64), np.full(N_ITEMS + 1, 10), generator.integers(0, 10, N_USERS)
    )
    lists = rank(lambda rows: scores[rows].copy(), N_USERS, N_ITEMS, N_ITEMS, excluded, available=available)
    targets = ItemLists.of([[item for item in row.tolist() if item] for row in lists.items])
    queries = np.array([0, 3, 11])
    ranks = target_ranks(lambda rows: scores[rows], targets, queries, excluded, available)
    assert ranks.tolist() == [place for query in queries for place in range(1, targets.sizes[query] + 1)]


def test_a_target_outside_the_catalog_has_no_rank() -> None:
    scores = np.array([[0, 1, 2]], dtype=np.float32)
    ranks = target_ranks(lambda rows: scores[rows], ItemLists.of([[0, 1, 2]]), np.array([0]))
    assert ranks.tolist() == [0, 2, 1]


def test_no_queries_have_no_ranks() -> None:
    scores = np.zeros((1, 2), dtype=np.float32)
    assert (
        len(target_ranks(lambda rows: scores[rows], ItemLists.of([[1]]), np.array([], dtype=np.int64))) == 0
    )


def test_items_are_counted_over_all_lists() -> None:
    scores = np.array([[0, 3, 2, 1], [0, 3, 2, 1], [0, 3, 1, 2]], dtype=np.float32)
    task = EvaluationTask(ItemLists.of([[1], [3], [3]]), n_items=3, ks=(1,))
    evaluation = evaluate(
        {"model": lambda rows: scores[rows].copy()}, task, np.random.default_rng(0), n_resamples=5
    )
    found = count_items(evaluation, 1, ["", "a", "b", "c"], np.array([0, 9, 4, 1]))
    (shown,), (missed,) = found["over_recommended"], found["missed"]
    assert (shown.label, shown.n_shown, shown.n_wanted, shown.n_hits, shown.n_events) == ("a", 3, 1, 1, 9)
    assert (missed.label, missed.n_shown, missed.n_wanted, missed.n_hits, missed.n_events) == (
        "c",
        0,
        2,
        0,
        1,
    )


def test_groups_stand_in_the_order_of_their_median_rank_and_small_ones_are_left_out() -> None:
    ranks, items = np.array([1, 200, 50, 0, 7]), np.array([1, 2, 2, 2, 3])
    members = {name: np.isin(np.arange(4), some) for name, some in {"a": [1, 3], "b": [2], "c": [3]}.items()}
    first, second = rank_groups(ranks, items, members, min_targets=2)
    assert (first.group, first.n_targets, first.median_rank, first.in_10, first.in_100) == (
        "b",
        2,
        125,
        0,
        0.5,
    )
    assert (second.group, second.median_rank, second.in_10) == ("a", 4.0, 1.0)
