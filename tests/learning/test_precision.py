"""Half precision and compilation change how steps are computed, not what is kept."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from marquee.errors import ConfigError
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.export import export_towers
from marquee.nn.losses import Loss, SampledSoftmaxConfig
from marquee.nn.negatives import CatalogNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from marquee.world import World
from tests.support.small_data import Prepared, write_tiny_world
from training.config import ExamplesConfig, TrainConfig, TrainerConfig
from training.fitting.building import compiled
from training.fitting.callbacks import read_epochs
from training.fitting.fit import EPOCHS_FILE, fit


@pytest.fixture(scope="module")
def prepared(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.read(write_tiny_world(tiny_world, tmp_path_factory.mktemp("tiny") / "world"))


def config_of(prepared: Prepared, trainer: TrainerConfig) -> TrainConfig:
    return TrainConfig(
        data=prepared.config,
        model=TwoTowerConfig(dim=8, hidden=8, item_neighbours=3),
        loss=SampledSoftmaxConfig(),
        negatives=CatalogNegativesConfig(),
        optimizer=LazyAdamConfig(learning_rate=0.02),
        examples=ExamplesConfig(batch_size=64),
        trainer=replace(trainer, epochs=3, accelerator="cpu"),
    )


def losses(folder: Path) -> list[float]:
    return [float(row["loss"]) for row in read_epochs(folder / EPOCHS_FILE)]


def test_half_precision_trains_and_what_is_exported_is_float32(prepared: Prepared, tmp_path: Path) -> None:
    whole = fit(prepared.dataset, None, config_of(prepared, TrainerConfig()), tmp_path / "whole")
    half = fit(
        prepared.dataset, None, config_of(prepared, TrainerConfig(precision="bf16-mixed")), tmp_path / "half"
    )
    assert losses(tmp_path / "half")[-1] < losses(tmp_path / "half")[0] - 0.1
    assert losses(tmp_path / "half") == pytest.approx(losses(tmp_path / "whole"), rel=0.02)
    assert not torch.equal(half.model.item_table.weight, whole.model.item_table.weight)  # it was in use
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.float32}
    queries = prepared.dataset.known_users(prepared.tables.events).queries
    graphs = export_towers(half.model, queries)  # proves parity, or raises
    assert graphs.item_vectors.dtype == graphs.user_vectors.dtype == "float32"


def test_compilation_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler, found none of \['no-such-compiler'\]"):
        compiled(SampledSoftmaxConfig().build())


def test_nothing_is_compiled_unless_asked_for(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def compile_nothing(loss: Loss, dynamic: bool) -> Loss:
        asked.append(dynamic)
        return loss

    monkeypatch.setenv("CXX", "sh")  # stands for a compiler that is there
    monkeypatch.setattr(torch, "compile", compile_nothing)
    fit(prepared.dataset, None, config_of(prepared, TrainerConfig()), tmp_path / "plain")
    assert asked == []
    fit(prepared.dataset, None, config_of(prepared, TrainerConfig(compile=True)), tmp_path / "compiled")
    assert asked == [True]
    assert losses(tmp_path / "plain") == losses(tmp_path / "compiled")
