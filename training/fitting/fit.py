"""Fits a model: from a data set and a config to the best checkpoint, with everything on disk on the way."""

import os
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from marquee.core.cooccurrence import ItemNeighbours
from marquee.data.dataset import Dataset, JudgedPart
from marquee.errors import ConfigError, DataError
from marquee.nn.losses import Loss
from marquee.nn.models import ModelInputs, TwoTower
from marquee.nn.towers import TowersConfig
from training.cli.console import open_console
from training.config import TrainConfig, TrainerConfig
from training.fitting.ageing import account_for_targets, half_life_days
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
    WholeCheckpoints,
    read_linear_part,
    read_state,
)
from training.fitting.examples import TrainingBatches
from training.fitting.module import RetrievalModule
from training.fitting.names import Names

COMPILERS = ("g++", "clang++", "c++")
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


def validate_hardware(config: TrainerConfig) -> None:
    """Raises ConfigError if this machine cannot train as the config says, before anything is read."""
    try:
        # Lightning itself is the judge of what this machine has: a trainer is made and thrown away.
        L.Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            precision=config.precision,  # type: ignore[arg-type] # Lightning lists the words, the config holds one
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ImportError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"this machine cannot train with trainer.accelerator={config.accelerator} "
            f"trainer.precision={config.precision}: {error}; trainer.accelerator=auto takes what there is"
        ) from error
    if config.compile:
        _validate_compiler()


def build_module(dataset: Dataset, config: TrainConfig) -> RetrievalModule:
    """Returns the untrained module of a config; the same seed gives the same weights."""
    # Right before the build: whatever drew before must not move the first weights.
    torch.manual_seed(config.seed)
    model = config.model.build(
        ModelInputs(
            n_users=dataset.n_users,
            n_trained_items=dataset.n_trained_items,
            query_encoder=dataset.query_features.encoder,
            item_encoder=dataset.item_encoder,
            item_features=dataset.item_features,
            n_kinds=len(dataset.kinds.names),
            history_length=dataset.history_length,
            neighbours=_neighbours(dataset, config.model.towers()),
        )
    )
    counts = np.bincount(dataset.train.item_index, minlength=dataset.n_items + 1)  # (n_items + 1,)
    sampler = config.negatives.build(torch.from_numpy(counts).float())
    is_one_epoch = config.trainer.overfit_batches > 0
    return RetrievalModule(
        model,
        config.loss.build(),
        sampler,
        config.optimizer,
        # Overfitting needs the very same batches: every epoch is the first one.
        lambda epoch: TrainingBatches(dataset, config.examples, config.seed, 0 if is_one_epoch else epoch),
        config.seed,
        config.trainer.workers,
    )


def _neighbours(dataset: Dataset, towers: TowersConfig) -> ItemNeighbours | None:
    """Returns the graph of items that a model leans on, from the training part; None if it leans on none."""
    if not towers.item_neighbours:
        return None
    return ItemNeighbours.find(
        dataset.train,
        dataset.n_items,
        n_neighbours=towers.item_neighbours,
        user_damping=towers.neighbour_user_damping,
    )


def fit(
    dataset: Dataset,
    validation: JudgedPart | None,
    config: TrainConfig,
    folder: Path,
    extra: Sequence[Callback] = (),
) -> Fitted:
    """Trains and returns the model of the best validation NDCG, or of the last epoch without validation.

    Args:
        dataset: Training part.
        validation: Users that pick the checkpoint; None after a merge of validation into training.
        config: Of the run.
        folder: Run folder; an interrupted run in it is continued from its last checkpoint.
        extra: Callbacks that run after ours have ranked and before the last checkpoint is kept.
    """
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    days = half_life_days(dataset.train.timestamp, config.examples)
    # Filled in once, for batches, account and loss alike; the run's config keeps what was asked for.
    config = replace(config, examples=replace(config.examples, half_life_days=days))
    account = account_for_targets(dataset.train, config.examples)
    # Beside the results: standard output may be read by a program.
    open_console(stderr=True).print(account.line)
    module = build_module(dataset, config)
    if config.trainer.compile:
        module.loss = compiled(module.loss)
    n_batches = len(TrainingBatches(dataset, config.examples, config.seed, epoch=0))
    best, last = (folder / CHECKPOINTS / f"{name}.ckpt" for name in (BEST, LAST))
    trainer = L.Trainer(
        max_epochs=config.trainer.n_epochs(n_batches),
        accelerator=config.trainer.accelerator,
        devices=config.trainer.devices,
        precision=config.trainer.precision,  # type: ignore[arg-type] # Lightning lists the words, the config holds one
        logger=TensorBoardLogger(folder, name="logs", version="tensorboard"),
        plugins=[WholeCheckpoints()],
        callbacks=_callbacks(dataset, validation, config, folder, extra),
        # Examples are drawn anew in each epoch.
        reload_dataloaders_every_n_epochs=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10,
        limit_train_batches=config.trainer.overfit_batches or None,
        # `RankValidation` ranks the whole catalog, which is no validation by batches.
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
    started = time.perf_counter()
    if last.exists():
        read_state(last)  # a damaged one is named here; Lightning would show its insides
        # Other data would go on under the same rows, in silence.
        Names.read(folder).require_same(Names.of(dataset), f"resuming {folder}")
    else:
        Names.of(dataset).write(folder)
        _start(module.model, dataset, validation, config)
    _run_trainer(trainer, module, last)
    # The best ranking, or the last epoch where no part was there to rank.
    chosen = best if best.exists() else last
    # An interrupted run goes on from its latest weights: nothing is chosen yet.
    if chosen.exists() and not trainer.interrupted:
        module.load_state_dict(read_state(chosen))
    return Fitted(
        model=module.model.cpu().eval(),
        checkpoint=chosen,
        epochs=trainer.current_epoch,
        seconds=time.perf_counter() - started,
        interrupted=trainer.interrupted,
    )


def compiled(loss: Loss) -> Loss:
    """Returns a loss that torch compiles when it is first called.

    Raises:
        ConfigError: If there is no C++ compiler.
    """
    _validate_compiler()
    faster: Loss = torch.compile(loss, dynamic=True)  # batches differ in their numbers of targets
    return faster


def _validate_compiler() -> None:
    # As torch looks for one: the variable first.
    names = [os.environ["CXX"]] if os.environ.get("CXX") else list(COMPILERS)
    if not any(shutil.which(name) for name in names):
        raise ConfigError(
            f"trainer.compile needs a C++ compiler, found none of {names}; install one "
            "(apt-get install g++), or set trainer.compile=false"
        )


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


def _run_trainer(trainer: L.Trainer, module: RetrievalModule, last: Path) -> None:
    """Runs the trainer, from the last checkpoint if there is one, until it ends or a person stops it."""
    with warnings.catch_warnings():
        # Lightning 2.6 reads torch's tree specs in the old way; nothing here could change that.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        # A resumed run finds its own folder; that is what it is for.
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        # It knows a machine's cores and not what a batch is: slices of arrays; see `trainer.workers`.
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        # Few batches make few points within an epoch; its mean is logged all the same.
        warnings.filterwarnings("ignore", message="The number of training batches")
        try:
            trainer.fit(module, ckpt_path=str(last) if last.exists() else None)
        except SystemExit:  # what Lightning makes of Ctrl-C, after it has shut down
            if not trainer.interrupted:
                raise


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
    module = build_module(dataset, config)
    state = read_state(checkpoint)
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
