import weakref

import numpy as np
import pytest

from marquee.core.arrays import FloatArray
from marquee.core.histories import Interactions
from marquee.core.item_lists import ItemLists
from marquee.errors import DataError, ShapeError
from marquee.index.ranking import MIN_BLOCK_ROWS, ScoreBlock, block_rows, inner_product_scores, rank


def _fixed(scores: FloatArray) -> ScoreBlock:
    return lambda rows: scores[rows].copy()


def _slow_rank(scores: FloatArray, k: int, excluded: list[list[int]]) -> list[list[int]]:
    """Sorts every row in plain Python: highest score first, lower index first among equals."""
    lists = []
    for row, forbidden in zip(scores.tolist(), excluded, strict=True):
        allowed = [i for i in range(1, len(row)) if i not in forbidden and row[i] != -np.inf]
        best = sorted(allowed, key=lambda i: (-row[i], i))[:k]
        lists.append(best + [0] * (k - len(best)))
    return lists


@pytest.mark.parametrize("n_items", [1, 7, 300, 5000])
@pytest.mark.parametrize("n_values", [2, 40, 10**6], ids=["many ties", "some ties", "hardly a tie"])
@pytest.mark.parametrize("k", [1, 10, 60])
def test_rank_equals_sorting_every_row(n_items: int, n_values: int, k: int) -> None:
    generator = np.random.default_rng(n_items + k)
    scores = generator.integers(0, n_values, (20, n_items + 1)).astype(np.float32)
    excluded = [generator.integers(1, n_items + 1, generator.integers(0, 9)).tolist() for _ in range(20)]
    ranked = rank(_fixed(scores), 20, n_items, k, ItemLists.of(excluded), memory_mb=1)
    assert ranked.items.tolist() == _slow_rank(scores, k, excluded)


def test_scores_belong_to_the_items() -> None:
    scores = np.random.default_rng(0).standard_normal((5, 3001)).astype(np.float32)
    ranked = rank(_fixed(scores), 5, 3000, 8)
    np.testing.assert_array_equal(ranked.scores, np.take_along_axis(scores, ranked.items, axis=1))


def test_a_tie_across_the_cutoff_goes_to_the_lower_index_and_is_reported() -> None:
    scores = np.zeros((2, 2001), dtype=np.float32)
    scores[0, [1500, 30, 700]] = 1.0  # three equal bests for two places
    scores[1, [1500, 30]] = [2.0, 1.0]  # no tie among the bests
    ranked = rank(_fixed(scores), 2, 2000, 2)
    assert ranked.items.tolist() == [[30, 700], [1500, 30]]
    assert ranked.tied.tolist() == [True, False]


def test_fewer_than_k_allowed_end_in_zeros() -> None:
    scores = np.ones((1, 4), dtype=np.float32)
    ranked = rank(_fixed(scores), 1, 3, 5, ItemLists.of([[2]]))
    assert ranked.items.tolist() == [[1, 3, 0, 0, 0]]
    assert ranked.scores.tolist() == [[1.0, 1.0, -np.inf, -np.inf, -np.inf]]
    assert not ranked.tied.any()


def test_padding_and_minus_infinity_are_never_returned() -> None:
    scores = np.array([[9.0, -np.inf, 1.0]], dtype=np.float32)
    assert rank(_fixed(scores), 1, 2, 2).items.tolist() == [[2, 0]]


def test_blocks_cover_all_queries_and_progress_tells_so() -> None:
    scores = np.random.default_rng(0).standard_normal((40, 50_001)).astype(np.float32)
    seen: list[tuple[int, int]] = []
    ranked = rank(_fixed(scores), 40, 50_000, 3, memory_mb=1, progress=lambda *done: seen.append(done))
    assert seen == [(16, 40), (32, 40), (40, 40)]
    assert ranked.items.tolist() == _slow_rank(scores, 3, [[]] * 40)


def test_no_queries_give_no_lists() -> None:
    assert rank(_fixed(np.zeros((0, 4), dtype=np.float32)), 0, 3, 2).items.shape == (0, 2)


def test_a_read_only_block_is_left_as_it_was() -> None:
    scores = np.array([[0.0, 3.0, 5.0]], dtype=np.float32)
    scores.flags.writeable = False
    assert rank(lambda rows: scores[rows], 1, 2, 1, ItemLists.of([[2]])).items.tolist() == [[1]]


def test_a_block_that_lies_column_by_column_is_ranked_right() -> None:
    scores = np.asfortranarray(np.random.default_rng(0).standard_normal((9, 901)).astype(np.float32))
    expected = _slow_rank(scores, 4, [[]] * 9)
    assert rank(lambda rows: scores[rows], 9, 900, 4).items.tolist() == expected


def test_nan_is_refused_with_its_query() -> None:
    scores = np.zeros((30, 900), dtype=np.float32)
    scores[21, 5] = np.nan
    with pytest.raises(DataError, match="got NaN for query 21"):
        rank(_fixed(scores), 30, 899, 2)


def test_wrong_shapes_are_refused() -> None:
    scores = _fixed(np.zeros((2, 4), dtype=np.float32))
    with pytest.raises(ShapeError, match=r"must have shape \(2, 6\).*got \(2, 4\)"):
        rank(scores, 2, 5, 1)
    with pytest.raises(ShapeError, match=r"one list per query \(2\), got 1"):
        rank(scores, 2, 3, 1, ItemLists.of([[]]))
    with pytest.raises(DataError, match="k must be 1 or more, got 0"):
        rank(scores, 2, 3, 0)


def test_a_block_is_freed_before_the_next_one_is_made() -> None:
    blocks: list[weakref.ref[FloatArray]] = []

    def score(rows: slice) -> FloatArray:
        assert all(block() is None for block in blocks)
        block = np.zeros((rows.stop - rows.start, 50_001), dtype=np.float32)
        blocks.append(weakref.ref(block))
        return block

    rank(score, 40, 50_000, 3, memory_mb=1)
    assert len(blocks) == 3


def test_block_rows_follow_the_memory() -> None:
    assert block_rows(n_items=2**18 - 1, memory_mb=64) == 64
    assert block_rows(n_items=10**7, memory_mb=1) == MIN_BLOCK_ROWS


def test_inner_product_scores_reuse_their_memory() -> None:
    generator = np.random.default_rng(0)
    queries, items = generator.standard_normal((5, 3)), generator.standard_normal((7, 3))
    score = inner_product_scores(queries.astype(np.float32), items.astype(np.float32))
    first = score(slice(0, 3))
    np.testing.assert_allclose(first, queries[:3] @ items.T, rtol=1e-5)
    second = score(slice(3, 5))
    np.testing.assert_allclose(second, queries[3:] @ items.T, rtol=1e-5)
    assert np.shares_memory(first, second)


def test_inner_products_of_different_dims_are_refused() -> None:
    with pytest.raises(ShapeError, match="got 3 and 4"):
        inner_product_scores(np.zeros((2, 3), dtype=np.float32), np.zeros((2, 4), dtype=np.float32))


def test_lists_of_users_leave_the_unknown_user_empty() -> None:
    user = np.array([0, 1, 1, 2])
    ones = np.ones(4, dtype=np.int64)
    interactions = Interactions.group(
        user, np.array([7, 5, 6, 8]), ones, np.arange(4), ones.astype(np.float32), n_users=2
    )
    lists = ItemLists.of_users(interactions, np.array([2, 0, 1]))
    assert (lists.offsets.tolist(), lists.item_index.tolist()) == ([0, 1, 1, 3], [8, 5, 6])


def test_take_keeps_the_queries() -> None:
    lists = ItemLists.of([[1, 2], [], [3]]).take(np.array([False, True, False]))
    assert (lists.offsets.tolist(), lists.item_index.tolist()) == ([0, 1, 1, 1], [2])


def test_contains_refuses_another_number_of_queries() -> None:
    with pytest.raises(ShapeError, match=r"one row per query \(1\), got 2"):
        ItemLists.of([[1]]).contains(np.zeros((2, 1), dtype=np.int64))
