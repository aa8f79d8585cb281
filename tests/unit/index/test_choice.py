"""Which index is chosen for a catalog: by what its own users find, and never by assumption."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from marquee.core.arrays import FloatArray
from marquee.errors import ShapeError
from marquee.index.choice import EFFORTS, choose_index, kinds_worth_trying
from marquee.index.faiss_index import IndexConfig, IndexKind
from marquee.index.index import Index
from marquee.index.sweep import Questions

AUTO = IndexConfig(kind=IndexKind.auto, n_links=8, ef_construction=40, max_ann_cost=1e9)
N_ITEMS, DIM = 6000, 8


def vectors_of(n_items: int, seed: int = 0) -> FloatArray:
    vectors = np.random.default_rng(seed).normal(size=(n_items + 1, DIM)).astype(np.float32)
    vectors[0] = 0.0
    return vectors


ITEM_VECTORS = vectors_of(N_ITEMS)
QUESTIONS = Questions.of_all(vectors_of(60, seed=1)[1:], 10)


class Clock:
    """A clock by which an exact search takes `exact_s`, and any other one second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, exact_s: float) -> None:
        self.now = 0.0
        search = Index.search

        def timed(index: Index, *arguments: object) -> object:
            self.now += exact_s if index.config.kind is IndexKind.flat else 1.0
            return search(index, *arguments)  # type: ignore[arg-type]  # handed on as they come

        monkeypatch.setattr(Index, "search", timed)

    def __call__(self) -> float:
        return self.now


def test_least_effort_that_reaches_the_target_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = choose_index(ITEM_VECTORS, AUTO, QUESTIONS, Clock(monkeypatch, exact_s=9.0))
    (curve,) = choice.sweeps
    effort = choice.index.config.ef_search
    assert choice.index.config.kind is IndexKind.hnsw
    assert next(point.effort for point in curve.points if point.recall >= 0.98) == effort == curve.chosen
    assert EFFORTS[0] < effort
    assert choice.recall == curve.chosen_point.recall >= 0.98
    assert choice.reason == (
        f"hnsw with ef_search {effort} finds {choice.recall:.4f}, at least 0.98, in 1000.000 ms; an exact "
        "search takes 9000.000 ms"
    )


def test_higher_target_takes_more_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, exact_s=9.0)
    efforts = [
        choose_index(
            ITEM_VECTORS, replace(AUTO, target_recall=target), QUESTIONS, clock
        ).index.config.ef_search
        for target in (0.7, 0.98)
    ]
    assert efforts[0] < efforts[1]


def test_graph_slower_than_an_exact_search_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = choose_index(ITEM_VECTORS, AUTO, QUESTIONS, Clock(monkeypatch, exact_s=0.5))
    assert choice.index.config.kind is IndexKind.flat
    assert not choice.index.has_file
    assert [curve.kind for curve in choice.sweeps] == ["hnsw", "hnsw_sq8", "flat"]
    assert choice.recall == 1.0
    assert choice.reason.startswith(
        "flat finds everything, in 500.000 ms; hnsw takes 1000.000 ms where it finds enough and hnsw_sq8 "
    )


def test_graph_that_never_finds_enough_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marquee.index.choice.EFFORTS", (1, 2))
    config = replace(AUTO, ef_search=1, target_recall=0.9999)
    choice = choose_index(ITEM_VECTORS, config, QUESTIONS, Clock(monkeypatch, exact_s=9.0))
    assert choice.index.config.kind is IndexKind.flat
    assert "hnsw finds at most 0." in choice.reason


def test_small_catalog_is_searched_exactly_without_trying() -> None:
    choice = choose_index(vectors_of(500), AUTO, QUESTIONS, clock=count().__next__)
    assert choice.index.config.kind is IndexKind.flat
    assert [curve.kind for curve in choice.sweeps] == ["flat"]
    assert choice.reason.endswith("500 items are too few for a graph to pay")


def test_kind_that_was_asked_for_is_taken_and_measured() -> None:
    config = IndexConfig(kind=IndexKind.ivf, n_probe=4, max_ann_cost=1e9)
    choice = choose_index(ITEM_VECTORS, config, QUESTIONS, clock=count().__next__)
    assert choice.index.config == config
    assert choice.reason == "ivf was asked for"
    (curve,) = choice.sweeps
    assert (curve.kind, curve.chosen) == ("ivf", 4)
    assert choice.recall == curve.chosen_point.recall < 1.0


@pytest.mark.parametrize(
    ("n_items", "dim", "target", "kinds"),
    [
        (1000, 64, 0.98, ()),
        (100_000, 64, 0.98, ("hnsw", "hnsw_sq8")),
        (100_000, 64, 1.0, ()),
        (2_000_000, 64, 0.98, ("hnsw_sq8", "hnsw")),
        (600_000, 256, 0.98, ("hnsw_sq8", "hnsw")),
    ],
)
def test_kinds_follow_from_size_dimension_and_target(
    n_items: int, dim: int, target: float, kinds: tuple[str, ...]
) -> None:
    config = IndexConfig(kind=IndexKind.auto, target_recall=target)
    assert kinds_worth_trying(n_items, dim, config) == kinds


def test_nothing_to_ask_is_refused() -> None:
    with pytest.raises(ShapeError, match="needs at least one query"):
        choose_index(ITEM_VECTORS, AUTO, Questions.of_all(ITEM_VECTORS[:0], 10), clock=count().__next__)
