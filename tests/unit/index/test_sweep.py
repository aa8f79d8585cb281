"""Recall and latency over the search effort, against brute force and with a clock that is known."""

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from marquee.core.arrays import FloatArray
from marquee.core.catalog import ItemMask
from marquee.errors import ShapeError
from marquee.index.building import build_index
from marquee.index.faiss_index import IndexConfig, IndexKind
from marquee.index.index import Index
from marquee.index.sweep import EFFORT_KEYS, OpenIndex, Questions, efforts_around, sweep, with_effort

N_ITEMS, DIM, K = 3000, 8, 10


@pytest.fixture(scope="module")
def vectors() -> FloatArray:
    return np.random.default_rng(0).normal(size=(N_ITEMS + 1, DIM)).astype(np.float32)


def _queries(n_queries: int) -> FloatArray:
    return np.random.default_rng(1).normal(size=(n_queries, DIM)).astype(np.float32)


def _built(vectors: FloatArray, config: IndexConfig, folder: Path) -> OpenIndex:
    """Opens one file with any effort, as a bundle is opened."""
    index = build_index(vectors, config)
    path = folder / "index.faiss" if index.has_file else None
    if path is not None:
        with path.open("wb") as file:
            index.write(file)
    return lambda changed: Index.read(path, vectors, changed)


def _searching(kind: IndexKind, **settings: int) -> IndexConfig:
    return IndexConfig(kind=kind, max_ann_cost=1e9, n_lists=50, **settings)


def _ticks() -> float:
    return float(next(_seconds))


_seconds = count()


def _brute_force_recall(index: Index, questions: Questions) -> float:
    """Sorts all scores of each query in plain numpy and counts what the index returns of the best."""
    shares = []
    for row, query in enumerate(questions.queries.astype(np.float64)):
        scores = index.item_vectors.astype(np.float64) @ query
        allowed = questions.allowed[row]
        forbidden = np.zeros(len(scores), dtype=bool) if allowed is None else ~allowed.flags
        forbidden[[0, *questions.exclusions[row].tolist()]] = True
        best = [item for item in np.argsort(-scores).tolist() if not forbidden[item]][: questions.k]
        found = set(questions.ask(index, row).items[0].tolist())
        shares.append(len(found & set(best)) / len(best))
    return float(np.mean(shares))


@pytest.mark.parametrize("kind", EFFORT_KEYS)
def test_recall_at_each_effort_is_that_of_brute_force(
    kind: IndexKind, vectors: FloatArray, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    masks = [None, ItemMask(np.append(False, rng.random(N_ITEMS) < 0.6))] * 15
    exclusions = [rng.integers(1, N_ITEMS + 1, n) for n in range(30)]
    questions = Questions(_queries(30), K, masks, exclusions)
    config = with_effort(_searching(kind, n_links=2, ef_construction=2), 4)
    open_index = _built(vectors, config, tmp_path)
    measured = sweep(open_index, config, questions, _ticks, efforts=(1, 200))
    assert [point.effort for point in measured.points] == [1, 4, 200]
    for point in measured.points:
        expected = _brute_force_recall(open_index(with_effort(config, point.effort)), questions)
        assert point.recall == pytest.approx(expected)
    assert measured.points[0].recall <= measured.points[-1].recall
    assert measured.points[0].recall < 1.0 or kind is IndexKind.sq8  # 8 bits lose next to nothing


def test_an_exact_index_has_one_point_that_misses_nothing(vectors: FloatArray, tmp_path: Path) -> None:
    config = IndexConfig()
    measured = sweep(_built(vectors, config, tmp_path), config, Questions.of_all(_queries(3), K), _ticks)
    assert (measured.kind, measured.parameter) == ("flat", "")
    assert [(point.effort, point.recall) for point in measured.points] == [(0, 1.0)]


def test_times_are_the_shortest_of_each_query_by_the_given_clock(vectors: FloatArray, tmp_path: Path) -> None:
    config = IndexConfig()
    # Two queries, asked twice each, by the exact search first: 1 s and 3 s, 2 s and 2 s; then by the index.
    spent = [1, 3, 2, 2, 4, 5, 9, 8]
    moments = iter([moment for seconds in spent for moment in (0.0, seconds)])
    questions = Questions.of_all(_queries(2), K)
    measured = sweep(_built(vectors, config, tmp_path), config, questions, lambda: next(moments))
    assert measured.exact_ms == 1500.0  # median of 1 and 2
    assert measured.points[0].median_ms == 6000.0  # of 4 and 8
    assert measured.points[0].p95_ms == pytest.approx(4000 + 0.95 * 4000)


def test_the_configured_effort_is_measured_and_marked(vectors: FloatArray, tmp_path: Path) -> None:
    config = _searching(IndexKind.ivf, n_probe=7)
    open_index = _built(vectors, config, tmp_path)
    measured = sweep(open_index, config, Questions.of_all(_queries(4), K), _ticks, efforts=(1, 50))
    assert measured.chosen_point == measured.points[1]
    assert (measured.parameter, measured.chosen_point.effort) == ("n_probe", 7)
    assert json.loads(json.dumps(measured.to_json_dict()))["points"][2]["recall"] == 1.0


def test_fewer_items_than_wanted_are_found_whole(vectors: FloatArray, tmp_path: Path) -> None:
    few = np.zeros(N_ITEMS + 1, dtype=bool)
    few[[5, 6, 7]] = True
    none = np.zeros(N_ITEMS + 1, dtype=bool)
    excluded = [np.array([6]), np.zeros(0, dtype=np.int64)]
    questions = Questions(_queries(2), K, [ItemMask(few), ItemMask(none)], excluded)
    config = _searching(IndexKind.ivf)
    assert sweep(_built(vectors, config, tmp_path), config, questions, _ticks).chosen_point.recall == 1.0


@pytest.mark.parametrize(("kind", "key"), EFFORT_KEYS.items())
def test_efforts_lie_around_the_configured_one(kind: IndexKind, key: str) -> None:
    config = with_effort(IndexConfig(kind=kind), 8)
    assert getattr(config, key) == 8
    assert efforts_around(config) == (1, 2, 4, 8, 16, 32)
    assert efforts_around(IndexConfig()) == ()


def test_questions_without_queries_or_masks_are_refused(vectors: FloatArray) -> None:
    with pytest.raises(ShapeError, match="got 0 queries, 0 masks and 0 exclusions"):
        Questions.of_all(vectors[:0], K)
    with pytest.raises(ShapeError, match="got 2 queries, 1 masks and 2 exclusions"):
        Questions(vectors[:2], K, [None], [np.zeros(0, dtype=np.int64)] * 2)
