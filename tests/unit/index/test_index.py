"""Search under masks and exclusions, and how well an ANN index is measured to do it."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from marquee.core.arrays import FloatArray
from marquee.core.catalog import ItemMask
from marquee.errors import BundleError, ConfigError, DataError, ShapeError
from marquee.index.building import build_index, measure_recall
from marquee.index.faiss_index import IndexConfig, IndexKind
from marquee.index.index import Index

ANN_KINDS = [kind for kind in IndexKind if kind not in (IndexKind.flat, IndexKind.auto)]


def clustered(n_items: int, dim: int, seed: int = 0) -> FloatArray:
    """Returns item vectors as trained ones tend to be: in clusters, of unequal length."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(50, dim))
    vectors = centres[rng.integers(0, 50, n_items + 1)] + 0.5 * rng.normal(size=(n_items + 1, dim))
    vectors *= rng.uniform(0.5, 1.5, (n_items + 1, 1))
    vectors[0] = 0.0
    return vectors.astype(np.float32)


@cache
def built(kind: IndexKind) -> Index:
    """Returns an ANN index of 4000 clustered items that is asked whatever it costs."""
    return build_index(clustered(4000, 16), IndexConfig(kind=kind, max_ann_cost=1e9, ef_search=50))


def mask_of(n_items: int, *items: int) -> ItemMask:
    """Returns the mask that allows some items."""
    flags = np.zeros(n_items + 1, dtype=np.bool_)
    flags[list(items)] = True
    return ItemMask(flags)


def test_best_items_come_first_and_equal_ones_in_index_order() -> None:
    vectors = np.array([[9, 9], [1, 0], [2, 0], [0, 5], [2, 0]], dtype=np.float32)
    result = build_index(vectors, IndexConfig()).search(np.array([[1, 0]], dtype=np.float32), 3)
    assert result.items.tolist() == [[2, 4, 1]]
    assert result.scores.tolist() == [[2.0, 2.0, 1.0]]


def test_missing_places_hold_no_item() -> None:
    index = build_index(np.ones((4, 2), dtype=np.float32), IndexConfig())
    result = index.search(np.ones((1, 2), dtype=np.float32), 4, mask_of(3, 1, 3), [np.array([1])])
    assert result.items.tolist() == [[3, 0, 0, 0]]
    assert result.scores.tolist() == [[2.0, -np.inf, -np.inf, -np.inf]]


def test_each_query_has_exclusions_of_its_own() -> None:
    index = build_index(np.array([[0], [3], [2], [1]], dtype=np.float32), IndexConfig())
    exclusions = [np.array([1, 1, 0]), np.array([], dtype=np.int64), np.array([1, 2, 3])]
    result = index.search(np.ones((3, 1), dtype=np.float32), 2, None, exclusions)
    assert result.items.tolist() == [[2, 3], [1, 2], [0, 0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_query_without_finite_scores_finds_nothing_and_spoils_nothing(bad: float) -> None:
    index = build_index(np.array([[0, 0], [3, 2], [2, 2]], dtype=np.float32), IndexConfig())
    result = index.search(np.array([[1, 1], [bad, bad], [1, 0]], dtype=np.float32), 1)
    assert result.items.tolist() == [[1], [0], [1]]


def test_many_equal_items_are_still_returned_in_index_order() -> None:
    vectors = np.ones((5001, 4), dtype=np.float32)
    vectors[4000] = 2.0
    result = build_index(vectors, IndexConfig()).search(np.full((2, 4), 0.3, dtype=np.float32), 6)
    assert result.items.tolist() == [[4000, 1, 2, 3, 4, 5]] * 2


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.95])
@pytest.mark.parametrize("batch", [1, 5])
def test_every_way_to_search_gives_the_exact_answer(share: float, batch: int) -> None:
    vectors = clustered(20_000, 8)
    rng = np.random.default_rng(1)
    flags = rng.random(20_001) < share
    queries = rng.normal(size=(batch, 8)).astype(np.float32)
    seen = [rng.integers(1, 20_001, 300) for _ in range(batch)]
    result = build_index(vectors, IndexConfig()).search(queries, 10, ItemMask(flags), seen)
    for row in range(batch):
        scores = vectors.astype(np.float64) @ queries[row].astype(np.float64)
        scores[~flags] = scores[seen[row]] = scores[0] = -np.inf
        assert result.items[row].tolist() == np.argsort(-scores, kind="stable")[:10].tolist()


def test_many_queries_are_searched_by_blocks() -> None:
    index = build_index(clustered(300, 4), IndexConfig())
    queries = clustered(600, 4, seed=1)
    exclusions = [np.array([row % 300 + 1]) for row in range(len(queries))]
    together = index.search(queries, 3, None, exclusions)
    alone = [
        index.search(queries[[row]], 3, None, [exclusions[row]]).items[0].tolist()
        for row in (0, 255, 256, 600)
    ]
    assert together.items.shape == together.scores.shape == (601, 3)
    assert together.items[[0, 255, 256, 600]].tolist() == alone


@pytest.mark.parametrize("kind", ANN_KINDS)
def test_ann_index_finds_nearly_all_of_the_exact_answer(kind: IndexKind) -> None:
    recall = measure_recall(built(kind), clustered(100, 16, seed=1), 10)
    assert 0.95 <= recall <= 1.0


def test_recall_is_the_share_of_the_exact_list_that_is_found() -> None:
    vectors = clustered(4000, 16)
    index = build_index(vectors, IndexConfig(kind=IndexKind.ivf, max_ann_cost=1e9, n_probe=1))
    queries = clustered(50, 16, seed=1)[1:]
    exact = np.argsort(-(queries @ vectors[1:].T), axis=1)[:, :10] + 1
    found = index.search(queries, 10).items
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
    assert 0.0 < np.mean(shares) < 0.95
    assert measure_recall(index, queries, 10) == pytest.approx(np.mean(shares))


def test_equal_scores_are_no_miss() -> None:
    vectors = np.ones((4001, 16), dtype=np.float32)
    index = build_index(vectors, IndexConfig(kind=IndexKind.ivf, max_ann_cost=1e9, n_probe=1))
    assert measure_recall(index, vectors[:3], 10) == 1.0


@pytest.mark.parametrize("effort", ["n_probe", "ef_search", "candidates_per_item"])
def test_more_effort_finds_more(effort: str) -> None:
    kind = {"n_probe": IndexKind.ivf, "ef_search": IndexKind.hnsw, "candidates_per_item": IndexKind.pq}[
        effort
    ]
    vectors, queries = clustered(4000, 16), clustered(100, 16, seed=1)
    lazy, eager = (
        IndexConfig(kind=kind, max_ann_cost=1e9, n_links=4, **{effort: value}) for value in (1, 64)
    )
    recalls = [measure_recall(build_index(vectors, config), queries, 10) for config in (lazy, eager)]
    assert recalls[0] < recalls[1]


def test_search_is_exact_where_an_ann_index_does_not_pay() -> None:
    vectors, queries = clustered(4000, 16), clustered(50, 16, seed=1)
    mask = ItemMask(np.arange(4001) % 50 > 0)
    expected = build_index(vectors, IndexConfig()).search(queries, 10, mask).items
    answers = [
        build_index(vectors, IndexConfig(kind=IndexKind.ivf, n_probe=1, max_ann_cost=cost))
        .search(queries, 10, mask)
        .items
        for cost in (0.0, 1e9)
    ]
    assert (answers[0] == expected).all()
    assert (answers[1] != expected).any()


@pytest.mark.parametrize("kind", ANN_KINDS)
@pytest.mark.parametrize("n_hidden", [40, 400])
def test_filter_that_hides_the_neighbourhood_costs_no_recall(kind: IndexKind, n_hidden: int) -> None:
    queries, index = clustered(20, 16, seed=1)[1:], built(kind)
    n_found = 0
    for query in queries:
        order = np.argsort(-(index.item_vectors[1:] @ query), kind="stable") + 1
        mask = mask_of(4000, *order[n_hidden:].tolist())
        found = index.search(query[None], 10, mask).items[0]
        n_found += len(set(found.tolist()) & set(order[n_hidden : n_hidden + 10].tolist()))
    assert n_found / (10 * len(queries)) >= 0.95


@pytest.mark.parametrize("kind", ANN_KINDS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_filtered_search_finds_as_much_as_one_of_everything(kind: IndexKind, share: float) -> None:
    queries, index = clustered(100, 16, seed=1)[1:], built(kind)
    mask = ItemMask(np.random.default_rng(2).random(4001) < share)
    exact = build_index(index.item_vectors, IndexConfig()).search(queries, 10, mask)
    assert (index.search(queries, 10, mask).scores >= exact.scores[:, -1:]).mean() >= 0.95


def test_seen_items_may_be_all_that_is_near() -> None:
    queries, index = clustered(20, 16, seed=1)[1:], built(IndexKind.hnsw)
    order = np.argsort(-(queries @ index.item_vectors[1:].T), axis=1, kind="stable") + 1
    found = index.search(queries, 5, None, list(order[:, :300])).items
    shares = [
        len(set(a) & set(b)) / 5 for a, b in zip(found.tolist(), order[:, 300:305].tolist(), strict=True)
    ]
    assert np.mean(shares) >= 0.9


def test_index_to_be_chosen_cannot_be_built() -> None:
    with pytest.raises(ConfigError, match="an index of kind auto cannot be built, choose one first"):
        build_index(clustered(5, 2), IndexConfig(kind=IndexKind.auto))


@pytest.mark.parametrize("kind", ANN_KINDS)
def test_ann_index_survives_the_disk(kind: IndexKind, tmp_path: Path) -> None:
    vectors, queries = clustered(3000, 9), clustered(20, 9, seed=1)
    config = IndexConfig(kind=kind, max_ann_cost=1e9)
    built = build_index(vectors, config)
    with (tmp_path / "index.faiss").open("wb") as file:
        built.write(file)
    read = Index.read(tmp_path / "index.faiss", vectors, config)
    assert read.search(queries, 5).items.tolist() == built.search(queries, 5).items.tolist()


def test_flat_index_has_nothing_to_write() -> None:
    index = build_index(clustered(10, 4), IndexConfig())
    assert not index.has_file
    with pytest.raises(DataError, match="an index of kind flat has nothing to write"):
        index.write(io.BytesIO())


def test_index_of_other_vectors_is_refused(tmp_path: Path) -> None:
    config = IndexConfig(kind=IndexKind.sq8)
    with (tmp_path / "index.faiss").open("wb") as file:
        build_index(clustered(30, 4), config).write(file)
    with pytest.raises(BundleError, match=r"index\.faiss must hold 31 vectors of 4 numbers, got 30 of 4"):
        Index.read(tmp_path / "index.faiss", clustered(31, 4), config)


def test_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.faiss").write_bytes(b"no index at all")
    with pytest.raises(BundleError, match=r"index\.faiss is no index that FAISS can read"):
        Index.read(tmp_path / "index.faiss", clustered(3, 4), IndexConfig(kind=IndexKind.sq8))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((1, 4), dtype=np.float32), r"with at least one item, got float32 \(1, 4\)"),
        (np.zeros((3, 4)), r"got float64 \(3, 4\)"),
        (np.zeros(3, dtype=np.float32), r"got float32 \(3,\)"),
    ],
)
def test_vectors_of_another_form_are_refused(vectors: FloatArray, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        build_index(vectors, IndexConfig())


def test_vectors_that_are_not_finite_are_refused() -> None:
    vectors = clustered(5, 2)
    vectors[3, 1] = np.inf
    with pytest.raises(DataError, match="got 1 rows that are not, first item_index 3"):
        build_index(vectors, IndexConfig())


def test_arguments_that_do_not_fit_are_refused() -> None:
    index, query = build_index(clustered(5, 2), IndexConfig()), np.zeros((1, 2), dtype=np.float32)
    with pytest.raises(ShapeError, match=r"queries must have shape \(batch, 2\), got \(1, 3\)"):
        index.search(np.zeros((1, 3), dtype=np.float32), 1)
    with pytest.raises(ShapeError, match="k must be 1 or more, got 0"):
        index.search(query, 0)
    with pytest.raises(ShapeError, match="allowed must have 6 rows, got 5"):
        index.search(query, 1, mask_of(4, 1))
    with pytest.raises(ShapeError, match=r"exclusions must be one per query \(1\), got 2"):
        index.search(query, 1, None, [np.array([1])] * 2)
    with pytest.raises(ShapeError, match="recall needs at least one query, got 0"):
        measure_recall(index, query[:0], 1)


@pytest.mark.parametrize(
    ("key", "value"),
    [("n_links", 1), ("ef_search", 0), ("n_lists", -1), ("max_ann_cost", -1), ("target_recall", 1.5)],
)
def test_impossible_setting_is_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{key} must be .*, got {value} \(config index.{key}\)"):
        IndexConfig(**{key: value})  # type: ignore[arg-type]  # int and float mixed
