"""An earlier run's rows go on by name, whatever has come and gone in between."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

from marquee.data.dataset import Dataset
from marquee.errors import ConfigError
from marquee.features import FeatureConfig, FeatureEncoder, FeatureType
from marquee.nn.architectures import MatrixFactorizationConfig, ModelConfig, TwoTowerConfig
from marquee.nn.embed import embed_catalog
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.models import TwoTower
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from marquee.world import World
from tests.support.small_data import Prepared, write_tiny_world
from training.config import TrainConfig, TrainerConfig
from training.fitting.building import build_module
from training.fitting.checkpoints import CONFIG_FILE
from training.fitting.fit import fit
from training.fitting.names import NAMES_FILE
from training.fitting.warm_start import Pairs, WarmStartConfig, token_pairs

TOWERS = TwoTowerConfig(dim=6, hidden=4)


@pytest.fixture(scope="module")
def later(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.read(write_tiny_world(tiny_world, tmp_path_factory.mktemp("tiny") / "world"))


def without_half_of_the_users_and_some_items(later: Prepared) -> Dataset:
    """Returns the data as they were before some users and items came."""
    train = later.split.train
    users, items = sorted(train["user_id"].unique()), sorted(train["item_id"].unique())
    earlier = train.filter(
        pl.col("user_id").is_in(users[::2]) & ~pl.col("item_id").is_in(items[:3] + items[-2:])
    )
    return Dataset.prepare(later.tables, replace(later.split, train=earlier), later.config)


def config_of(later: Prepared, model: ModelConfig = TOWERS) -> TrainConfig:
    return TrainConfig(
        data=later.config,
        model=model,
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(n_uniform=10),
        optimizer=LazyAdamConfig(learning_rate=0.02),
        trainer=TrainerConfig(epochs=1, accelerator="cpu"),
    )


def earlier_run(later: Prepared, folder: Path, model: ModelConfig = TOWERS) -> tuple[Dataset, TwoTower]:
    """Returns the earlier data and the model that was trained on them into a run folder."""
    dataset = without_half_of_the_users_and_some_items(later)
    fitted = fit(dataset, None, config_of(later, model), folder)
    (folder / CONFIG_FILE).write_text("", encoding="utf-8")
    return dataset, fitted.model


@pytest.fixture(scope="module")
def run(later: Prepared, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset, TwoTower]:
    folder = tmp_path_factory.mktemp("earlier")
    return folder, *earlier_run(later, folder)


def started(later: Prepared, folder: Path, model: ModelConfig = TOWERS) -> tuple[TwoTower, str]:
    module = build_module(later.dataset, config_of(later, model))
    said = WarmStartConfig(run=str(folder)).apply(module.model, later.dataset, seed=1)
    return module.model.eval(), said


def test_known_users_and_items_keep_their_rows(later: Prepared, run: tuple[Path, Dataset, TwoTower]) -> None:
    folder, before, trained = run
    model, said = started(later, folder)
    assert model.bias_table is not None
    assert trained.bias_table is not None
    for item_id in before.item_ids.ids[: before.n_trained_items]:
        old, new = before.item_ids.index(item_id), later.dataset.item_ids.index(item_id)
        assert torch.equal(model.item_table.weight[new], trained.item_table.weight[old])
        assert torch.equal(model.bias_table.weight[new], trained.bias_table.weight[old])
    for user_id in before.user_ids.ids:
        old, new = before.user_ids.index(user_id), later.dataset.user_ids.index(user_id)
        assert torch.equal(model.user_table.weight[new], trained.user_table.weight[old])
    n_new = later.dataset.n_trained_items - before.n_trained_items
    assert n_new >= 5
    assert f"items {before.n_trained_items:,} kept, {n_new} new, 0 dropped" in said


def test_known_items_embed_as_before(later: Prepared, run: tuple[Path, Dataset, TwoTower]) -> None:
    folder, before, trained = run
    model, _ = started(later, folder)
    ids = before.item_ids.ids[: before.n_trained_items]
    old = embed_catalog(trained)[before.item_ids.encode(ids)]
    new = embed_catalog(model)[later.dataset.item_ids.encode(ids)]
    likeness = (old[:, :6] * new[:, :6]).sum(axis=1)
    assert likeness.min() > 0.95  # not the same: numbers are scaled by what the later data say of them
    assert likeness.mean() > 0.99


def test_new_item_has_the_mean_row_of_what_its_users_had(
    later: Prepared, run: tuple[Path, Dataset, TwoTower]
) -> None:
    folder, before, _ = run
    model, _ = started(later, folder)
    train, table = later.dataset.train, model.item_table.weight.detach()
    known = set(later.dataset.item_ids.encode(before.item_ids.ids[: before.n_trained_items]).tolist())
    new = next(item for item in range(1, later.dataset.n_trained_items + 1) if item not in known)
    total = torch.zeros(6)
    for user in range(1, later.dataset.n_users + 1):
        had = set(train.item_index[train.offsets[user] : train.offsets[user + 1]].tolist())
        if new in had and had & known:
            total += table[sorted(had & known)].mean(dim=0)
    length = table[sorted(known)].norm(dim=1).mean()
    torch.testing.assert_close(table[new], total / total.norm() * length, atol=1e-4, rtol=1e-4)


def test_new_user_of_a_history_tower_is_answered_by_it(
    later: Prepared, run: tuple[Path, Dataset, TwoTower]
) -> None:
    folder, before, _ = run
    model, _ = started(later, folder)
    new = [u for u in later.dataset.user_ids.ids if u not in before.user_ids]
    assert new
    assert not model.user_table.weight[later.dataset.user_ids.encode(new)].any()


def test_new_user_without_a_history_tower_lies_amid_its_items(later: Prepared, tmp_path: Path) -> None:
    config = MatrixFactorizationConfig(dim=6)
    before, _ = earlier_run(later, tmp_path, config)
    model, _ = started(later, tmp_path, config)
    new = next(u for u in later.dataset.user_ids.ids if u not in before.user_ids)
    user, train = later.dataset.user_ids.index(new), later.dataset.train
    had = sorted(set(train.item_index[train.offsets[user] : train.offsets[user + 1]].tolist()))
    midst = torch.from_numpy(embed_catalog(model)[had, :6].sum(axis=0))
    got = model.user_table.weight[user]
    torch.testing.assert_close(got / got.norm(), midst / midst.norm(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (replace(TOWERS, dim=8), r"was trained with .* of shape .*, expected .*; give `model` and `data`"),
        (replace(TOWERS, user_id=False), r"was trained with user_table"),
        (replace(TOWERS, hidden=0), r"only the earlier model has .*mlp.*; give `model` as its config\.yaml"),
    ],
    ids=["dim", "no_user_id", "no_hidden"],
)
def test_model_of_another_shape_is_refused(
    later: Prepared, run: tuple[Path, Dataset, TwoTower], model: ModelConfig, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        started(later, run[0], model)


def test_run_that_does_not_say_what_its_rows_are_is_refused(later: Prepared, tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"holds no {NAMES_FILE}, expected a run that says"):
        started(later, tmp_path)
    with pytest.raises(ConfigError, match="run must be a folder that training wrote"):
        started(later, tmp_path / "nowhere")


def test_values_of_features_are_paired_by_value() -> None:
    configs = {"colour": FeatureConfig(), "title": FeatureConfig(type=FeatureType.text, buckets=4)}
    titles = ["a b", "c", "d"]
    earlier = FeatureEncoder.fit(configs, {"colour": ["red", "blue", "green"], "title": titles})
    now = FeatureEncoder.fit(configs, {"colour": ["amber", "red", "green"], "title": titles})
    pairs = token_pairs(earlier, now)

    def row(encoder: FeatureEncoder, colour: str) -> int:
        return int(encoder.encode({"colour": [colour]}, 1).tokens[0, 0])

    both = dict(zip(pairs.earlier.tolist(), pairs.now.tolist(), strict=True))
    assert both[row(earlier, "red")] == row(now, "red")
    assert both[row(earlier, "green")] == row(now, "green")
    assert row(earlier, "blue") not in both
    assert row(now, "amber") in pairs.new.tolist()
    assert both[row(earlier, "unheard of")] == row(now, "unheard of")
    text = earlier.blocks[1]
    assert {both[text.first_row + i] - now.blocks[1].first_row - i for i in range(text.n_rows)} == {0}


def test_pairs_count_what_is_kept_new_and_dropped() -> None:
    assert str(Pairs.of(["a", "b", "c"], ["b", "d", "c", "e"])) == "2 kept, 2 new, 1 dropped"
    assert Pairs.of(["a", "b", "c"], ["b", "d", "c", "e"]).earlier.tolist() == [2, 3]
