import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.core.arrays import FloatArray
from marquee.core.item_lists import ItemLists
from marquee.index.ranking import rank

modest = settings(max_examples=60, deadline=None)


@st.composite
def questions(draw: st.DrawFn) -> tuple[FloatArray, ItemLists, int]:
    """Scores with few distinct values, some of them -inf, exclusions, and a k that may be too large."""
    n_queries, n_items = draw(st.integers(1, 20)), draw(st.integers(1, 900))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    drawn = generator.integers(-1, draw(st.integers(0, 50)), (n_queries, n_items + 1), endpoint=True)
    scores = np.where(drawn < 0, -np.inf, drawn).astype(np.float32)
    excluded = [
        generator.integers(0, n_items + 1, generator.integers(0, 6)).tolist() for _ in range(n_queries)
    ]
    return scores, ItemLists.of(excluded), draw(st.integers(1, 30))


@modest
@given(question=questions())
def test_lists_hold_the_best_allowed_items_in_order(question: tuple[FloatArray, ItemLists, int]) -> None:
    scores, excluded, k = question
    ranked = rank(lambda rows: scores[rows].copy(), len(scores), scores.shape[1] - 1, k, excluded)
    allowed = scores.copy()
    allowed[:, 0] = -np.inf
    allowed[excluded.query_index, excluded.item_index] = -np.inf
    order = np.argsort(-allowed, axis=1, kind="stable")[:, :k]
    expected = np.where(np.take_along_axis(allowed, order, axis=1) > -np.inf, order, 0)
    assert ranked.items[:, : expected.shape[1]].tolist() == expected.tolist()
    assert not ranked.items[:, expected.shape[1] :].any()


@modest
@given(question=questions())
def test_a_shorter_list_is_the_head_of_a_longer_one(question: tuple[FloatArray, ItemLists, int]) -> None:
    scores, excluded, k = question
    short, long = (
        rank(lambda rows: scores[rows].copy(), len(scores), scores.shape[1] - 1, length, excluded).items
        for length in (k, k + 7)
    )
    assert short.tolist() == long[:, :k].tolist()


@modest
@given(question=questions())
def test_tied_says_whether_the_last_place_could_have_gone_elsewhere(
    question: tuple[FloatArray, ItemLists, int],
) -> None:
    scores, excluded, k = question
    n_items = scores.shape[1] - 1
    ranked = rank(lambda rows: scores[rows].copy(), len(scores), n_items, k, excluded)
    longer = rank(lambda rows: scores[rows].copy(), len(scores), n_items, k + 1, excluded)
    last, next_one = longer.scores[:, k - 1], longer.scores[:, k]
    assert ranked.tied.tolist() == ((last == next_one) & (next_one > -np.inf)).tolist()
