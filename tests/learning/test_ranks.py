"""Two processes train what one does: the same batches, the same sums, one run."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from marquee.data.dataset import JudgedPart
from marquee.errors import ConfigError
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.embed import embed_catalog
from marquee.nn.initialisation.tables import InitialisationConfig, SpectralInitialisationConfig
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig, OptimizerConfig, RowwiseAdagradConfig
from marquee.nn.ranks.group import Ranks
from marquee.nn.ranks.tables import MappedTable
from marquee.world import World
from tests.support.small_data import Prepared, write_tiny_world
from training.config import ExamplesConfig, ExampleUnit, TablePlacement, TrainConfig, TrainerConfig
from training.fitting.callbacks import MONITOR, read_epochs
from training.fitting.examples import TrainingBatches
from training.fitting.fit import EPOCHS_FILE, Fitted, fit, load_model
from training.fitting.ranks.team import Children, Team, open_team

TABLES = ("user_table", "item_table", "bias_table")
UNSEEN = "item_tower.base_bias"
"""It moves all scores alike, which no softmax sees: its gradient is rounding, which Adam makes a step of."""


@pytest.fixture(scope="module")
def prepared(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.read(write_tiny_world(tiny_world, tmp_path_factory.mktemp("tiny") / "world"))


@pytest.fixture(scope="module")
def validation(prepared: Prepared) -> JudgedPart:
    return prepared.dataset.judged_part(prepared.split.train, prepared.split.validation)


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    """One pair of processes for all tests: to start one takes longer than most trainings here."""
    with open_team(TrainerConfig(devices=2, accelerator="cpu")) as opened:
        assert opened is not None
        yield opened


def config_of(prepared: Prepared, n_ranks: int, **trainer: object) -> TrainConfig:
    """Returns a config without dropout whose candidates are the batch's own: nothing is left to chance."""
    settings: dict[str, object] = {"epochs": 6, "patience": 0, "accelerator": "cpu", "devices": n_ranks}
    return TrainConfig(
        data=prepared.config,
        model=TwoTowerConfig(
            dim=8, hidden=8, dropout=0.0, history_dropout=0.0, user_id_dropout=0.0, item_id_dropout=0.0
        ),
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(n_uniform=0),
        optimizer=LazyAdamConfig(learning_rate=0.02, warmup_fraction=0.3),
        examples=ExamplesConfig(batch_size=64, max_gap=2),
        trainer=TrainerConfig(**{**settings, **trainer}),  # type: ignore[arg-type] # names of its own fields
    )


def weights(fitted: Fitted) -> dict[str, Tensor]:
    return fitted.model.state_dict()


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Returns the largest difference of any weight that the loss can see."""
    assert one.keys() == other.keys(), f"expected the same weights, got {one.keys() ^ other.keys()}"
    return max(float((one[name] - other[name]).abs().max()) for name in one if name != UNSEEN)


def test_two_processes_end_where_one_does(
    prepared: Prepared, validation: JudgedPart, team: Team, tmp_path: Path
) -> None:
    alone, together = config_of(prepared, 1), config_of(prepared, 2)

    one = fit(prepared.dataset, validation, alone, tmp_path / "one")
    two = fit(prepared.dataset, validation, together, tmp_path / "two", team=team)

    assert one.epochs == two.epochs == 6
    assert difference(weights(one), weights(two)) < 1e-5
    rows = [read_epochs(tmp_path / run / EPOCHS_FILE) for run in ("one", "two")]
    # Of all examples, not of those of rank 0.
    for alone_row, together_row in zip(*rows, strict=True):
        for name in ("loss", MONITOR):
            assert float(alone_row[name]) == pytest.approx(float(together_row[name]), abs=1e-4)


@pytest.mark.parametrize("optimizer", [LazyAdamConfig, RowwiseAdagradConfig])
def test_tables_in_parts_end_where_whole_ones_do(
    prepared: Prepared,
    validation: JudgedPart,
    team: Team,
    tmp_path: Path,
    optimizer: type[OptimizerConfig],
) -> None:
    def config(n_ranks: int, **trainer: object) -> TrainConfig:
        settings = config_of(prepared, n_ranks, average_half_life_epochs=0.5, epochs=4, **trainer)
        return replace(settings, optimizer=optimizer(learning_rate=0.02))

    sharded = config(2, tables=TablePlacement.sharded)
    whole = fit(prepared.dataset, validation, config(1), tmp_path / "whole")
    parts = fit(prepared.dataset, validation, sharded, tmp_path / "parts", team=team)

    assert isinstance(parts.model.item_table, MappedTable)
    assert difference(weights(whole), all_weights(parts)) < 1e-5
    assert "model.item_table.weight" not in torch.load(parts.checkpoint, weights_only=True)["state_dict"]
    rows = {path.name for path in (tmp_path / "parts" / "checkpoints").glob("rows-*")}
    # Of the best and of the last epoch; what no checkpoint names is deleted.
    assert len(rows) in (1, 2)
    read = load_model(prepared.dataset, sharded, parts.checkpoint)
    assert np.array_equal(embed_catalog(read), embed_catalog(parts.model))
    # But for the column of the bias, which holds what the loss does not see.
    assert np.allclose(embed_catalog(read)[:, :-1], embed_catalog(whole.model)[:, :-1], atol=1e-5)


@pytest.mark.parametrize("start", [InitialisationConfig, SpectralInitialisationConfig])
def test_tables_in_parts_begin_where_whole_ones_do(
    prepared: Prepared, team: Team, tmp_path: Path, start: type[InitialisationConfig]
) -> None:
    """A rate that is next to nothing leaves the start as it is."""
    still = LazyAdamConfig(learning_rate=1e-12)
    found = []
    for n_ranks, tables in ((1, TablePlacement.replicated), (2, TablePlacement.sharded)):
        config = replace(
            config_of(prepared, n_ranks, epochs=1, tables=tables), optimizer=still, start=start()
        )
        folder = tmp_path / tables.value
        found.append(
            all_weights(fit(prepared.dataset, None, config, folder, team=team if n_ranks > 1 else None))
        )

    assert difference(*found) < 1e-9


def test_a_run_goes_on_with_tables_parted_otherwise(
    prepared: Prepared, validation: JudgedPart, team: Team, tmp_path: Path
) -> None:
    def config(n_ranks: int, epochs: int, tables: TablePlacement = TablePlacement.sharded) -> TrainConfig:
        steady = LazyAdamConfig(learning_rate=0.02, cosine=False)
        return replace(config_of(prepared, n_ranks, epochs=epochs, tables=tables), optimizer=steady)

    whole = fit(prepared.dataset, validation, config(1, 5), tmp_path / "whole")
    folder = tmp_path / "parts"
    fit(prepared.dataset, validation, config(2, 1, TablePlacement.replicated), folder, team=team)
    fit(prepared.dataset, validation, config(2, 2), folder, team=team)
    fit(prepared.dataset, validation, config(2, 3), folder, team=team)
    fit(prepared.dataset, validation, config(1, 4), folder)
    parts = fit(prepared.dataset, validation, config(2, 5), folder, team=team)

    assert parts.epochs == 5
    assert difference(weights(whole), all_weights(parts)) < 1e-5


def test_a_checkpoint_whose_rows_are_gone_says_so(
    prepared: Prepared, validation: JudgedPart, team: Team, tmp_path: Path
) -> None:
    sharded = config_of(prepared, 2, epochs=1, tables=TablePlacement.sharded)
    fitted = fit(prepared.dataset, validation, sharded, tmp_path / "run", team=team)
    for path in (tmp_path / "run" / "checkpoints").glob("rows-*/*item_table*"):
        path.unlink()

    with pytest.raises(ConfigError, match=r"names the rows of model\.item_table\.weight in 2 parts"):
        load_model(prepared.dataset, sharded, fitted.checkpoint)


def all_weights(fitted: Fitted) -> dict[str, Tensor]:
    """Returns the weights of a model, also of tables that lie in files."""
    model = fitted.model
    tables = {f"{name}.weight": getattr(model, name).weight.detach() for name in TABLES}
    # In the order of a whole model's.
    return {**model.state_dict(), **tables}


def test_a_run_goes_on_with_another_number_of_processes(
    prepared: Prepared, validation: JudgedPart, team: Team, tmp_path: Path
) -> None:
    def part_of(config: TrainConfig) -> TrainConfig:
        # The schedule is that of the whole run; only the end comes early.
        return replace(config, optimizer=replace(config.optimizer, cosine=False, warmup_fraction=0.0))

    whole = fit(prepared.dataset, validation, part_of(config_of(prepared, 1, epochs=4)), tmp_path / "whole")
    folder = tmp_path / "parts"
    fit(prepared.dataset, validation, part_of(config_of(prepared, 2, epochs=2)), folder, team=team)
    fit(prepared.dataset, validation, part_of(config_of(prepared, 1, epochs=3)), folder)
    parts = fit(prepared.dataset, validation, part_of(config_of(prepared, 2, epochs=4)), folder, team=team)

    assert parts.epochs == 4
    assert difference(weights(whole), weights(parts)) < 1e-5


def test_a_lost_process_costs_an_epoch_and_not_the_run(
    prepared: Prepared, validation: JudgedPart, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    together = config_of(prepared, 2, epochs=4)
    whole = fit(prepared.dataset, validation, config_of(prepared, 1, epochs=4), tmp_path / "whole")

    with open_team(together.trainer) as team:
        assert team is not None
        killer = KillAfter(team, epoch=1)
        again = fit(prepared.dataset, validation, together, tmp_path / "again", [killer], team)

    assert "training goes on from its last checkpoint" in capsys.readouterr().err
    assert again.epochs == 4
    assert difference(weights(whole), weights(again)) < 1e-5


class KillAfter(Callback):
    """Kills the second process, once, in the midst of an epoch."""

    def __init__(self, team: Team, epoch: int) -> None:
        self.team, self.epoch, self.is_done = team, epoch, False

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002 - Lightning's signature
        batch: object,  # noqa: ARG002 - Lightning's signature
        batch_idx: int,
    ) -> None:
        if trainer.current_epoch == self.epoch and batch_idx == 1 and not self.is_done:
            self.is_done = True
            assert isinstance(self.team.members, Children)
            self.team.members.processes[0].kill()


def test_processes_draw_other_candidates_and_part_each_batch(prepared: Prepared) -> None:
    config = config_of(prepared, 2)
    first, second = (
        TrainingBatches(prepared.dataset, config.examples, 1, 0, Ranks(rank, 2)) for rank in range(2)
    )
    whole = TrainingBatches(prepared.dataset, config.examples, 1, 0)

    assert len(first) == len(second) == len(whole)
    for number in range(len(whole)):
        targets = [batches[number].target_item.tolist() for batches in (first, second)]
        assert sorted(targets[0] + targets[1]) == sorted(whole[number].target_item.tolist())
        assert first[number].all_targets.tolist() == whole[number].target_item.tolist()


def test_a_process_without_an_example_steps_and_adds_nothing(prepared: Prepared) -> None:
    examples = ExamplesConfig(batch_size=1, unit=ExampleUnit.next)
    first, second = (TrainingBatches(prepared.dataset, examples, 1, 0, Ranks(rank, 2)) for rank in range(2))

    whole = first[0].whole
    assert whole is not None
    assert first[0].weight.sum() == whole.weight > 0
    assert second[0].weight.tolist() == [0.0]
    assert second[0].target_item.tolist() == first[0].target_item.tolist()


def test_log_q_counts_the_targets_of_all_processes() -> None:
    counts = torch.tensor([0.0, 1.0, 3.0])
    mine, everybody = torch.tensor([1, 2]), torch.tensor([1, 2, 2, 2])
    sampler = MixedNegativesConfig(n_uniform=0).build(counts)

    drawn = sampler.sample(mine, torch.Generator(), everybody)

    assert drawn.items.tolist() == everybody.tolist()
    assert drawn.log_q_target.exp().tolist() == pytest.approx([4 * 0.25, 4 * 0.75])
