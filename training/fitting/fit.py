"""Fits a model: from a data set and a config to the best checkpoint, with everything on disk on the way."""

import shutil
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from marquee.data.dataset import Dataset, JudgedPart
from marquee.errors import DataError, TaskError
from marquee.nn.initialisation.tables import InitialisationConfig
from marquee.nn.models import TwoTower
from marquee.nn.ranks.files import write_rows
from marquee.nn.ranks.group import ALONE, Ranks
from marquee.nn.ranks.tables import ShardedTable
from training.cli.console import open_console
from training.config import TrainConfig
from training.fitting.ageing import account_for_targets, half_life_days
from training.fitting.building import build_module, module_to_train, trained_module
from training.fitting.callbacks import (
    AverageWeights,
    CentreBiases,
    KeepBest,
    RankValidation,
    ShowProgress,
    StopEarly,
    WriteEpochs,
    keep_last,
)
from training.fitting.checkpoints import (
    BEST,
    CHECKPOINTS,
    LAST,
    read_linear_part,
    read_parts,
    read_state,
)
from training.fitting.module import RetrievalModule
from training.fitting.names import Names
from training.fitting.ranks.sharing import share, share_config
from training.fitting.ranks.team import Order, Team, open_team
from training.fitting.stepping import run_trainer, share_start, trainer_of

PART = "part"
"""Name of the folder within a run that holds the training part while several processes train."""
EPOCHS_FILE = "logs/epochs.csv"


@dataclass(frozen=True)
class Fitted:
    """A trained model and how it came about.

    Attributes:
        model: With the weights of the best checkpoint, on the CPU.
        checkpoint: Where they are.
        epochs: Epochs that ran, also those of a resumed run.
        seconds: Wall time of the fit, its start included.
        interrupted: Whether a person stopped it.
    """

    model: TwoTower
    checkpoint: Path
    epochs: int
    seconds: float
    interrupted: bool


def fit(
    dataset: Dataset,
    validation: JudgedPart | None,
    config: TrainConfig,
    folder: Path,
    extra: Sequence[Callback] = (),
    team: Team | None = None,
) -> Fitted:
    """Trains and returns the model of the best validation NDCG, or of the last epoch without validation.

    Args:
        dataset: Training part.
        validation: Users that pick the checkpoint; None after a merge of validation into training.
        config: Of the run.
        folder: Run folder; an interrupted run in it is continued from its last checkpoint.
        extra: Callbacks that run after ours have ranked and before the last checkpoint is kept.
        team: The processes that train; None to start those that the config asks for, and end them.
    """
    started = time.perf_counter()
    days = half_life_days(dataset.train.timestamp, config.examples)
    # Filled in once, for batches, account and loss alike; the run's config keeps what was asked for.
    config = replace(config, examples=replace(config.examples, half_life_days=days))
    account = account_for_targets(dataset.train, config.examples)
    # Beside the results: standard output may be read by a program.
    open_console(stderr=True).print(account.line)
    task = FitTask(dataset, validation, config, folder, tuple(extra))
    with open_team(config.trainer) if team is None else nullcontext(team) as together:
        fitted = _fit_here(task) if together is None else _fit_together(task, together)
    return replace(fitted, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class FitTask:
    """A model to be fitted; see `fit`."""

    dataset: Dataset
    validation: JudgedPart | None
    config: TrainConfig
    folder: Path
    extra: tuple[Callback, ...]

    @property
    def last(self) -> Path:
        """The checkpoint to go on from, if it is there."""
        return self.folder / CHECKPOINTS / f"{LAST}.ckpt"


def _fit_together(task: FitTask, team: Team) -> Fitted:
    """Fits on several processes; starts them again from the last checkpoint if one is lost."""
    config, part = task.config, task.folder / PART
    share(task.dataset, part)
    share_config(config, part)
    for n_left in range(config.trainer.restarts, -1, -1):
        order = Order(str(part), str(task.folder), task.last.exists(), task.validation is not None)
        is_whole = False
        try:
            fitted = _fit_here(task, team.begin(order), team.device)
            is_whole = not fitted.interrupted
            break
        # As torch raises for a connection that ended; every other fault ends the command.
        except RuntimeError as error:
            how = team.lost()
            if not how:
                raise
            if not n_left:
                raise TaskError(
                    f"training lost a process {config.trainer.restarts + 1} times, the last time because "
                    f"{how}; the run goes on with resume={task.folder}"
                ) from error
            open_console(stderr=True).print(
                f"{how}; training goes on from its last checkpoint", highlight=False, soft_wrap=True
            )
        finally:
            team.end(is_whole=is_whole)
    shutil.rmtree(part)
    return fitted


def _fit_here(task: FitTask, ranks: Ranks = ALONE, device: torch.device | None = None) -> Fitted:
    """Fits in this process, which is rank 0; see `fit`."""
    dataset, config, folder, last = task.dataset, task.config, task.folder, task.last
    module = module_to_train(dataset, config, folder, ranks)
    callbacks = _callbacks(dataset, task.validation, config, folder, task.extra)
    logger = TensorBoardLogger(folder, name="logs", version="tensorboard")
    trainer = trainer_of(module, config, callbacks, logger, device)
    if last.exists():
        read_parts(last)  # a damaged one is named here; Lightning would show its insides
        # Other data would go on under the same rows, in silence.
        Names.read(folder).require_same(Names.of(dataset), f"resuming {folder}")
    else:
        Names.of(dataset).write(folder)
        share_start(module, _begin(module, task))
    run_trainer(trainer, module, last)
    # The best ranking, or the last epoch where no part was there to rank.
    best = folder / CHECKPOINTS / f"{BEST}.ckpt"
    chosen = best if best.exists() else last
    # An interrupted run goes on from its latest weights: nothing is chosen yet.
    if chosen.exists() and not trainer.interrupted:
        # Of sharded tables this rank has a part: ranking and export read all parts where they lie.
        module, state = (
            trained_module(dataset, config, chosen) if _parts(module) else (module, read_state(chosen))
        )
        module.load_state_dict(state)
    return Fitted(
        model=module.model.cpu().eval(),
        checkpoint=chosen,
        epochs=trainer.current_epoch,
        seconds=0.0,
        interrupted=trainer.interrupted,
    )


def _parts(module: RetrievalModule) -> dict[str, ShardedTable]:
    """Returns the tables of which a module holds a part."""
    return {} if module.rows is None else module.rows.tables


def _begin(module: RetrievalModule, task: FitTask) -> str:
    """Applies the start; returns the folder of the tables that each rank takes its rows of, if it must."""
    dataset, config, parts = task.dataset, task.config, _parts(module)
    if not parts:
        _start(module.model, dataset, task.validation, config)
    # Random rows are the same in parts: each rank has drawn its own.
    if not parts or type(config.start) is InitialisationConfig:
        return ""
    # A start places rows among all others: it needs them whole, once, in the memory of the CPU.
    whole = build_module(dataset, config)
    _start(whole.model, dataset, task.validation, config)
    found, folder = whole.state_dict(), task.folder / PART / "start"
    for name in parts:
        write_rows(folder / name, found.pop(name).numpy(), rank=0, size=1)
    module.load_state_dict(found, strict=False)
    return str(folder)


def _start(model: TwoTower, dataset: Dataset, validation: JudgedPart | None, config: TrainConfig) -> None:
    """Applies the config's start, and says what was done and how well it ranks before any step."""
    started = time.perf_counter()
    done = config.start.apply(model, dataset, config.seed)
    if not done:
        return
    said = f"{done}, {time.perf_counter() - started:.1f} s"
    if validation is not None:
        # A start that ranks as badly as chance has failed, which the first epoch would hide.
        ndcg, _ = ranking(dataset, validation, config).rank(model)
        said += f"; validation ndcg@{config.evaluation.headline_k} {ndcg:.4f} before the first step"
    open_console(stderr=True).print(said, highlight=False, soft_wrap=True)


def load_model(dataset: Dataset, config: TrainConfig, checkpoint: Path) -> TwoTower:
    """Returns the model of a checkpoint, on the CPU, in evaluation mode.

    Raises:
        ConfigError: If its run does not say what its rows stand for.
        DataError: If the data set has other rows than those that it was trained on.
    """
    trained, now = Names.read(checkpoint.parents[1]), Names.of(dataset)
    if config.model.towers().item_neighbours:
        # The graph of items is no part of the checkpoint: other events would make it another one.
        trained.require_same(now, f"the model of {checkpoint}")
    elif differences := trained.differences(now):
        raise DataError(
            f"{checkpoint} does not fit the data: {'; '.join(differences)}; put back the data that it was "
            "trained on, or train again"
        )
    module, state = trained_module(dataset, config, checkpoint)
    found = {name: tuple(weights.shape) for name, weights in state.items()}
    expected = {name: tuple(weights.shape) for name, weights in module.state_dict().items()}
    # Told by name and shape; torch's own message lists every difference without a cause.
    different = [name for name in expected if found.get(name) != expected[name]]
    if different:
        name = different[0]
        raise DataError(
            f"{checkpoint} does not fit the data: {name} has shape {found.get(name)}, expected "
            f"{expected[name]}; put back the data that it was trained on, or train again"
        )
    module.load_state_dict(state)
    if rank := config.model.towers().linear_rank:
        model, run = module.model, checkpoint.parents[1]
        model.attach_linear(read_linear_part(run, (model.n_trained_items + 1, rank)))
    return module.model.eval()


def _callbacks(
    dataset: Dataset,
    validation: JudgedPart | None,
    config: TrainConfig,
    folder: Path,
    extra: Sequence[Callback],
) -> list[Callback]:
    """Returns the callbacks in the order in which they must run: centre, rank, show, stop, save."""
    checkpoints, every = folder / CHECKPOINTS, config.trainer.validate_every
    averages = None
    if config.trainer.average_half_life_epochs:
        averages = AverageWeights(config.trainer.average_half_life_epochs)
        extra = [averages, *extra]
    callbacks: list[Callback] = [ShowProgress(), WriteEpochs(folder / EPOCHS_FILE, every)]
    if validation is not None:
        callbacks.insert(0, ranking(dataset, validation, config, averages))
        if config.trainer.patience:
            callbacks.append(StopEarly(config.trainer.patience, every))
        callbacks.append(KeepBest(checkpoints, every))
    # First: what is ranked and what is saved must be the same weights.
    centre = CentreBiases(config.loss.odds_unit, averages)
    return [centre, *callbacks, *extra, keep_last(checkpoints)]


def ranking(
    dataset: Dataset, validation: JudgedPart, config: TrainConfig, averages: AverageWeights | None = None
) -> RankValidation:
    """Returns the callback that ranks the validation users."""
    task = config.evaluation.task(validation, dataset.n_items, [config.evaluation.headline_k])
    queries, n_ranked = validation.queries, config.trainer.validation_users
    if 0 < n_ranked < len(queries):
        # The same users each time: else one ranking could not be told from another.
        rows = np.sort(np.random.default_rng(config.seed).choice(len(queries), n_ranked, replace=False))
        task, queries = task.rows(rows), queries.rows(rows)
    return RankValidation(task, queries, config.trainer.validate_every, averages)
