"""Search against brute force, over random catalogs, masks, exclusions and k."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.catalog import ItemMask
from marquee.index.building import build_index
from marquee.index.faiss_index import IndexConfig, IndexKind
from marquee.index.index import Index

DIM = 3
MODEST = settings(max_examples=150, deadline=None)


@dataclass(frozen=True)
class Case:
    item_vectors: FloatArray
    queries: FloatArray
    k: int
    mask: ItemMask | None
    exclusions: list[IndexArray]


@st.composite
def cases(draw: st.DrawFn, max_items: int = 60) -> Case:
    """Returns a search over whole numbers, where many scores are equal and every sum is exact."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_items, batch = draw(st.integers(1, max_items)), draw(st.integers(1, 6))
    spread = draw(st.sampled_from([0, 1, 9]))
    flags = rng.random(n_items + 1) < draw(st.sampled_from([0.0, 0.1, 0.6, 1.0]))
    flags[0] = False
    sizes = rng.integers(0, draw(st.sampled_from([1, 5, n_items + 2])), batch)
    return Case(
        item_vectors=rng.integers(-spread, spread + 1, (n_items + 1, DIM)).astype(np.float32),
        queries=rng.integers(-spread, spread + 1, (batch, DIM)).astype(np.float32),
        k=draw(st.integers(1, n_items + 3)),
        mask=draw(st.sampled_from([None, ItemMask(flags)])),
        exclusions=[rng.integers(0, n_items + 1, size) for size in sizes],
    )


def brute_force(case: Case, row: int) -> list[tuple[int, float]]:
    """Returns the best items of one query by sorting all of them."""
    excluded = set(case.exclusions[row].tolist())
    scored = [
        (-float(sum(a * b for a, b in zip(vector.tolist(), case.queries[row].tolist(), strict=True))), item)
        for item, vector in enumerate(case.item_vectors)
        if item > 0 and item not in excluded and (case.mask is None or case.mask.flags[item])
    ]
    return [(item, -score) for score, item in sorted(scored)[: case.k]]


def found(index: Index, case: Case) -> list[list[tuple[int, float]]]:
    """Searches the index and returns the results without the empty places."""
    result = index.search(case.queries, case.k, case.mask, case.exclusions)
    rows = zip(result.items.tolist(), result.scores.tolist(), strict=True)
    return [
        [(item, score) for item, score in zip(items, scores, strict=True) if item] for items, scores in rows
    ]


@MODEST
@given(cases())
def test_flat_search_equals_brute_force(case: Case) -> None:
    index = build_index(case.item_vectors, IndexConfig())
    assert found(index, case) == [brute_force(case, row) for row in range(len(case.queries))]


@MODEST
@given(cases())
def test_batch_equals_one_by_one(case: Case) -> None:
    index = build_index(case.item_vectors, IndexConfig())
    alone = [
        found(index, Case(case.item_vectors, case.queries[[row]], case.k, case.mask, [case.exclusions[row]]))[
            0
        ]
        for row in range(len(case.queries))
    ]
    assert found(index, case) == alone


@pytest.mark.parametrize("kind", [kind for kind in IndexKind if kind not in (IndexKind.flat, IndexKind.auto)])
@settings(max_examples=40, deadline=None)
@given(case=cases(max_items=400))
def test_ann_search_is_never_short_or_forbidden(kind: IndexKind, case: Case) -> None:
    config = IndexConfig(
        kind=kind,
        max_ann_cost=1e9,
        n_probe=1,
        ef_search=4,
    )
    answers = found(build_index(case.item_vectors, config), case)
    for row, answer in enumerate(answers):
        exact = dict(brute_force(Case(**{**vars(case), "k": len(case.item_vectors)}), row))
        assert len(answer) == min(case.k, len(exact))
        assert all(exact[item] == score for item, score in answer)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), scale=st.sampled_from([1e-20, 1.0, 1e15]))
def test_scores_of_any_floats_are_those_of_a_full_sort(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = (scale * rng.normal(size=(300, 8))).astype(np.float32)
    vectors[200:] = vectors[100:200]
    query = rng.normal(size=(1, 8)).astype(np.float32)
    result = build_index(vectors, IndexConfig()).search(query, 40)
    scores = (vectors[1:].astype(np.float64) @ query[0].astype(np.float64)).astype(np.float32)
    order = np.lexsort((np.arange(299), -scores))[:40]
    assert result.items[0].tolist() == (order + 1).tolist()
    assert result.scores[0].tolist() == scores[order].tolist()
