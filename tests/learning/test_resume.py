"""A run is a function of its config: repeated, interrupted and resumed, it comes to the same numbers."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor

from marquee.data.dataset import JudgedPart
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.batches import TrainingBatch
from marquee.nn.initialisation.tables import SpectralInitialisationConfig
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.models import TwoTower
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig, OptimizerConfig, RowwiseAdagradConfig
from marquee.world import World
from tests.support.small_data import Prepared, write_tiny_world
from training.config import ExamplesConfig, TrainConfig, TrainerConfig
from training.fitting.callbacks import RankValidation, read_epochs
from training.fitting.examples import TrainingBatches
from training.fitting.fit import EPOCHS_FILE, Fitted, fit, load_model

EPOCHS = 4


@pytest.fixture(scope="module")
def prepared(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.read(write_tiny_world(tiny_world, tmp_path_factory.mktemp("tiny") / "world"))


@pytest.fixture(scope="module")
def validation(prepared: Prepared) -> JudgedPart:
    return prepared.dataset.judged_part(prepared.split.train, prepared.split.validation)


def config_of(prepared: Prepared, optimizer: OptimizerConfig | None = None, seed: int = 1) -> TrainConfig:
    return TrainConfig(
        seed=seed,
        data=prepared.config,
        model=TwoTowerConfig(dim=8, hidden=8),
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(n_uniform=10),
        optimizer=optimizer or LazyAdamConfig(learning_rate=0.02, warmup_fraction=0.3),
        examples=ExamplesConfig(batch_size=64, max_gap=2),
        trainer=TrainerConfig(epochs=EPOCHS, patience=0, accelerator="cpu"),
    )


def weights(fitted: Fitted) -> dict[str, Tensor]:
    return fitted.model.state_dict()


def are_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def last_weights(folder: Path) -> dict[str, Tensor]:
    """Returns the weights of the last epoch, whichever was the best."""
    state: dict[str, Tensor] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)[
        "state_dict"
    ]
    return state


def interrupt(monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int) -> None:
    """Makes a person press Ctrl-C while the given batch of the given epoch, from 0, is being cut."""
    cut, numbers = TrainingBatches.__getitem__, count()

    def pressed(self: TrainingBatches, number: int) -> TrainingBatch:
        if next(numbers) == epoch * len(self) + batch:
            raise KeyboardInterrupt
        return cut(self, number)

    monkeypatch.setattr(TrainingBatches, "__getitem__", pressed)


@pytest.mark.parametrize(
    "optimizer",
    [LazyAdamConfig(learning_rate=0.02, warmup_fraction=0.3), RowwiseAdagradConfig(learning_rate=0.1)],
    ids=["adam", "adagrad"],
)
@pytest.mark.parametrize("batch", [0, 2], ids=["between_epochs", "within_an_epoch"])
def test_resumed_run_ends_where_an_uninterrupted_one_does(
    prepared: Prepared,
    validation: JudgedPart,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    optimizer: OptimizerConfig,
    batch: int,
) -> None:
    config = config_of(prepared, optimizer)
    whole = fit(prepared.dataset, validation, config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=2, batch=batch)
        stopped = fit(prepared.dataset, validation, config, tmp_path / "stopped")
    assert (stopped.interrupted, stopped.epochs) == (True, 2)
    resumed = fit(prepared.dataset, validation, config, tmp_path / "stopped")
    assert (resumed.interrupted, resumed.epochs) == (False, EPOCHS)
    assert are_equal(weights(resumed), weights(whole))
    assert are_equal(last_weights(tmp_path / "stopped"), last_weights(tmp_path / "whole"))
    assert resumed.checkpoint.relative_to(tmp_path / "stopped") == whole.checkpoint.relative_to(
        tmp_path / "whole"
    )


def test_workers_cut_the_same_batches(prepared: Prepared, tmp_path: Path) -> None:
    config = config_of(prepared)
    ahead = replace(config, trainer=replace(config.trainer, workers=2))
    alone, beside = (
        fit(prepared.dataset, None, own, tmp_path / str(own.trainer.workers)) for own in (config, ahead)
    )
    assert are_equal(weights(beside), weights(alone))


def test_resumed_run_does_not_start_anew(
    prepared: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = replace(config_of(prepared), start=SpectralInitialisationConfig())
    whole = fit(prepared.dataset, None, config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=2, batch=0)
        fit(prepared.dataset, None, config, tmp_path / "stopped")
    assert capsys.readouterr().err.count("spectral start: ") == 2
    resumed = fit(prepared.dataset, None, config, tmp_path / "stopped")
    assert "spectral start: " not in capsys.readouterr().err
    assert are_equal(weights(resumed), weights(whole))
    assert not are_equal(weights(whole), weights(fit(prepared.dataset, None, config_of(prepared), tmp_path)))


def test_averaged_run_is_resumed_exactly_and_keeps_its_averages(
    prepared: Prepared, validation: JudgedPart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(prepared)
    config = replace(config, trainer=replace(config.trainer, average_half_life_epochs=1.0))
    whole = fit(prepared.dataset, validation, config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=2, batch=1)
        fit(prepared.dataset, validation, config, tmp_path / "stopped")
    resumed = fit(prepared.dataset, validation, config, tmp_path / "stopped")
    assert are_equal(weights(resumed), weights(whole))
    kept = load_model(prepared.dataset, config, whole.checkpoint).state_dict()
    assert are_equal(kept, weights(whole))
    checkpoint = torch.load(whole.checkpoint, weights_only=True)
    assert not torch.equal(kept["item_table.weight"], checkpoint["state_dict"]["model.item_table.weight"])


def test_validation_ranks_the_averages(prepared: Prepared, validation: JudgedPart, tmp_path: Path) -> None:
    config = config_of(prepared)
    slow = replace(config, trainer=replace(config.trainer, average_half_life_epochs=1e9))
    fit(prepared.dataset, validation, slow, tmp_path)
    ndcg = {row["validation_ndcg"] for row in read_epochs(tmp_path / EPOCHS_FILE)}
    assert len(ndcg) == 1  # averages that stand still rank alike, whatever the weights do


@pytest.mark.parametrize("half_life_epochs", [0.0, 1.0], ids=["weights", "averages"])
def test_new_items_have_their_share_in_what_is_ranked_and_kept(
    prepared: Prepared,
    validation: JudgedPart,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    half_life_epochs: float,
) -> None:
    config = config_of(prepared)
    trainer = replace(config.trainer, average_half_life_epochs=half_life_epochs)
    config = replace(config, trainer=trainer, loss=SampledSoftmaxConfig(temperature=0.1))
    rank, above_base = RankValidation.rank, []

    def noted(self: RankValidation, model: TwoTower) -> tuple[float, float]:
        assert model.bias_table is not None
        above_base.append(model.bias_table.weight[1:].detach().clone())
        return rank(self, model)

    monkeypatch.setattr(RankValidation, "rank", noted)
    fitted = fit(prepared.dataset, validation, config, tmp_path)
    kept = load_model(prepared.dataset, config, fitted.checkpoint)
    assert kept.bias_table is not None
    for biases in (*above_base[-EPOCHS:], kept.bias_table.weight[1:].detach()):
        assert biases.std() > 0.003
        assert torch.exp(biases / 0.1).mean().item() == pytest.approx(1.0, abs=1e-5)


def test_seed_reproduces_a_run(prepared: Prepared, tmp_path: Path) -> None:
    first, again = (fit(prepared.dataset, None, config_of(prepared), tmp_path / name) for name in "ab")
    other = fit(prepared.dataset, None, config_of(prepared, seed=2), tmp_path / "c")
    assert are_equal(weights(first), weights(again))
    assert not are_equal(weights(first), weights(other))


def test_checkpoint_holds_the_model_that_was_returned(
    prepared: Prepared, validation: JudgedPart, tmp_path: Path
) -> None:
    config = config_of(prepared)
    fitted = fit(prepared.dataset, validation, config, tmp_path)
    assert are_equal(load_model(prepared.dataset, config, fitted.checkpoint).state_dict(), weights(fitted))
    assert not fitted.model.training


def test_finished_run_is_not_trained_again(prepared: Prepared, tmp_path: Path) -> None:
    config = config_of(prepared)
    first = fit(prepared.dataset, None, config, tmp_path)
    again = fit(prepared.dataset, None, config, tmp_path)
    assert again.epochs == EPOCHS
    assert are_equal(weights(first), weights(again))


def every_other_epoch(config: TrainConfig, patience: int) -> TrainConfig:
    return replace(config, trainer=replace(config.trainer, validate_every=2, patience=patience))


def test_validation_may_be_ranked_every_other_epoch(
    prepared: Prepared, validation: JudgedPart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = every_other_epoch(config_of(prepared), patience=5)
    whole = fit(prepared.dataset, validation, config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=1, batch=0)  # the epoch that runs first after the resumption is not ranked
        fit(prepared.dataset, validation, config, tmp_path / "stopped")
    resumed = fit(prepared.dataset, validation, config, tmp_path / "stopped")
    assert are_equal(weights(resumed), weights(whole))
    ranked = [row["validation_ndcg"] != "" for row in read_epochs(tmp_path / "whole" / EPOCHS_FILE)]
    assert ranked == [True, False, True, True]  # and the last one always
    assert ranked == [row["validation_ndcg"] != "" for row in read_epochs(tmp_path / "stopped" / EPOCHS_FILE)]


def test_run_stops_after_as_many_rankings_as_it_has_patience(
    prepared: Prepared, validation: JudgedPart, tmp_path: Path
) -> None:
    standing_still = LazyAdamConfig(learning_rate=1e-12)
    config = config_of(prepared, standing_still)
    config = replace(config, trainer=replace(config.trainer, epochs=9, validate_every=2, patience=2))
    fitted = fit(prepared.dataset, validation, config, tmp_path)
    assert fitted.epochs == 5  # ranked after epochs 1, 3 and 5: the latter two no better
    assert fitted.checkpoint.name == "best.ckpt"


def test_every_epoch_leaves_a_checkpoint_to_resume_from(
    prepared: Prepared, validation: JudgedPart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing_still = LazyAdamConfig(learning_rate=1e-12)
    interrupt(monkeypatch, epoch=3, batch=1)
    fit(prepared.dataset, validation, config_of(prepared, standing_still), tmp_path)
    kept = {
        path.name: torch.load(path, weights_only=True)["epoch"]
        for path in (tmp_path / "checkpoints").iterdir()
    }
    assert kept == {"best.ckpt": 0, "last.ckpt": 2}


def test_without_validation_the_last_epoch_is_chosen(prepared: Prepared, tmp_path: Path) -> None:
    fitted = fit(prepared.dataset, None, config_of(prepared), tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    assert fitted.checkpoint == tmp_path / "checkpoints" / "last.ckpt"
    assert {f"model.{name}" for name in weights(fitted)} <= last_weights(tmp_path).keys()
