"""Builds the module that a config asks for, and says early whether this machine can train it."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from marquee.core.cooccurrence import ItemNeighbours
from marquee.errors import ConfigError
from marquee.nn.losses import Loss
from marquee.nn.models import ModelInputs
from marquee.nn.ranks.files import RowFiles
from marquee.nn.ranks.group import ALONE, Ranks
from marquee.nn.ranks.tables import Tables
from marquee.nn.towers import TowersConfig
from training.config import TablePlacement, TrainConfig, TrainerConfig
from training.fitting.checkpoints import AVERAGED, CHECKPOINTS, read_parts
from training.fitting.examples import TrainingBatches
from training.fitting.module import RetrievalModule
from training.fitting.ranks.rows import RowKeeper
from training.fitting.ranks.sharing import TrainingPart

COMPILERS = ("g++", "clang++", "c++")


def validate_hardware(config: TrainerConfig) -> None:
    """Raises ConfigError if this machine cannot train as the config says, before anything is read."""
    try:
        # Lightning itself is the judge of what this machine has: a trainer is made and thrown away.
        L.Trainer(
            accelerator=config.accelerator,
            devices=1,  # of this process
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


def build_module(
    dataset: TrainingPart,
    config: TrainConfig,
    ranks: Ranks = ALONE,
    mapped: Mapping[str, RowFiles] = MappingProxyType({}),
) -> RetrievalModule:
    """Returns the untrained module of a config; the same seed gives the same weights.

    Args:
        dataset: Training part.
        config: Of the run.
        ranks: Who trains together; a part of each table is this rank's where the config shards them.
        mapped: Trained tables that stay in files, by name.
    """
    is_sharded = config.trainer.tables is TablePlacement.sharded and ranks.size > 1
    # Right before the build: whatever drew before must not move the first weights.
    torch.manual_seed(config.seed)
    model = config.model.build(
        ModelInputs(
            n_users=dataset.n_users,
            n_trained_items=dataset.n_trained_items,
            query_encoder=dataset.query_encoder,
            item_encoder=dataset.item_encoder,
            item_features=dataset.item_features,
            n_kinds=len(dataset.kinds.names),
            history_length=dataset.history_length,
            neighbours=_neighbours(dataset, config.model.towers()),
            tables=Tables(ranks, is_sharded, mapped),
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
        lambda epoch: TrainingBatches(
            dataset, config.examples, config.seed, 0 if is_one_epoch else epoch, ranks
        ),
        config.seed,
        config.trainer.workers,
        ranks,
    )


def _neighbours(dataset: TrainingPart, towers: TowersConfig) -> ItemNeighbours | None:
    """Returns the graph of items that a model leans on, from the training part; None if it leans on none."""
    if not towers.item_neighbours:
        return None
    return ItemNeighbours.find(
        dataset.train,
        dataset.n_items,
        n_neighbours=towers.item_neighbours,
        user_damping=towers.neighbour_user_damping,
    )


def trained_module(
    part: TrainingPart, config: TrainConfig, checkpoint: Path
) -> tuple[RetrievalModule, dict[str, Tensor]]:
    """Returns the module of a checkpoint, and its weights, which are not in it yet.

    Tables that the checkpoint names stay in their files.
    """
    state, kept = read_parts(checkpoint)
    return build_module(part, config, mapped={} if kept is None else kept.mapped()), state


def module_to_train(part: TrainingPart, config: TrainConfig, folder: Path, ranks: Ranks) -> RetrievalModule:
    """Returns the module to be trained by the threads that the config allows.

    Args:
        part: Training part.
        config: Of the run.
        folder: Of the run.
        ranks: Who trains together.
    """
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    module = build_module(part, config, ranks)
    module.rows = RowKeeper(folder / CHECKPOINTS, module, ranks, AVERAGED)
    if config.trainer.compile:
        module.loss = compiled(module.loss)
    return module


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
