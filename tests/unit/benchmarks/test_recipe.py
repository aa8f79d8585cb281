"""The benchmark of the recipe on a market of 50 users: the plumbing, not the numbers."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks import recipe
from benchmarks.recipe_data import RandomSplit, core, write_lists
from benchmarks.recipe_references import nearest
from marquee.core.histories import Interactions
from marquee.evaluation.baselines import BaselinesConfig, ItemKNN
from marquee.world import World, write_world


def test_a_core_is_taken_until_nobody_leaves() -> None:
    # i3 leaves, and then u2 has too few.
    pairs = pl.DataFrame({"user_id": ["u1", "u1", "u2", "u2", "u3", "u3"], "item_id": list("abacab")})
    kept = core(pairs, 2)
    assert kept.rows() == [("u1", "a"), ("u1", "b"), ("u3", "a"), ("u3", "b")]


def test_lists_are_the_pairs_of_each_part(tmp_path: Path) -> None:
    pairs = pl.DataFrame(
        {"user_id": ["u 1", "u 1", "u2"], "item_id": ["a", "b", "a"], "test": [False, True, False]}
    )
    write_lists(pairs, tmp_path)
    assert (tmp_path / "train.txt").read_text(encoding="utf8") == "u_1 a\nu2 a\n"
    assert (tmp_path / "test.txt").read_text(encoding="utf8") == "u_1 b\n"


def test_a_share_of_the_users_is_a_core_of_its_own(tiny_world: World, tmp_path: Path) -> None:
    write_world(tiny_world, tmp_path)
    whole = RandomSplit("world", fewest=2).pairs(str(tmp_path))
    half = RandomSplit("half", fewest=2, of="world", user_share=0.5).pairs(str(tmp_path))
    n_users = whole["user_id"].n_unique()
    assert 0 < half["user_id"].n_unique() <= n_users // 2
    assert half["item_id"].value_counts()["count"].min() >= 2  # type: ignore[operator] # of numbers
    assert half.equals(RandomSplit("half", fewest=2, of="world", user_share=0.5).pairs(str(tmp_path)))


def test_thenearest_of_many_neighbours_are_those_of_a_fit_with_few() -> None:
    draw = np.random.default_rng(0)
    users = np.repeat(np.arange(1, 41), 6)
    items = np.concatenate([draw.permutation(np.arange(1, 21))[:6] for _ in range(40)])
    ones = np.ones(len(items), dtype=np.int64)
    train = Interactions.group(users, items, ones, ones, ones.astype(np.float32), n_users=40)
    few = ItemKNN.fit(train, 20, BaselinesConfig(knn_neighbours=3))
    many = ItemKNN.fit(train, 20, BaselinesConfig(knn_neighbours=15))
    np.testing.assert_array_equal(nearest(many.similarity, 3).toarray(), few.similarity.toarray())


def test_ours_stands_beside_searched_references(
    tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tables"
    write_world(tiny_world, folder)
    split = RandomSplit("world", fewest=2)
    pairs = split.pairs(str(folder))
    assert 0.1 < pairs["test"].mean() < 0.2  # type: ignore[operator] # of flags
    # The market above in place of the one that the config would simulate, and few points.
    monkeypatch.setattr(RandomSplit, "pairs", lambda _split: pairs)
    monkeypatch.setattr("benchmarks.recipe_references.EASE_GRID", (30.0, 300.0))
    few = {"als_dim": (4,), "als_regularization": (1.0,), "als_alpha": (10.0,)}
    monkeypatch.setattr("benchmarks.recipe_references.ALS_GRID", few)
    monkeypatch.setattr(recipe, "OVERRIDES", ("trainer.epochs=1", "loss.temperature=0.2", "model.dim=8"))
    outcome = recipe.run_split(split, 1, with_bpr=False)
    assert set(outcome.knobs) == {"item_knn", "als", "ease"}
    assert set(outcome.validation) == {recipe.OURS, *outcome.knobs}
    lines = list(outcome.lines())
    assert len(lines) == 4
    assert sum("s of processor time" in line for line in lines) == 1
    models = outcome.evaluation.models
    best = max(models[name].estimates["ndcg@20"].mean for name in outcome.knobs)
    assert outcome.ratio == pytest.approx(models[recipe.OURS].estimates["ndcg@20"].mean / best)
