"""Runs Lightning's trainer over a module: in one process, or in each of several that step together.

The ranks behind the first train as it does, and decide nothing: what is kept and when to stop, rank 0 says.
"""

import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from marquee.nn.ranks.files import RowFiles, own_rows
from marquee.nn.ranks.group import Ranks
from training.config import TrainConfig
from training.fitting.building import module_to_train
from training.fitting.callbacks import (
    AverageWeights,
    CentreBiases,
    HearValidation,
    KeepBest,
    StopEarly,
    keep_last,
)
from training.fitting.checkpoints import CHECKPOINTS, LAST, WholeCheckpoints
from training.fitting.module import RetrievalModule
from training.fitting.ranks.sharing import TrainingPart
from training.fitting.ranks.strategy import RanksStrategy
from training.fitting.ranks.team import Order


def trainer_of(
    module: RetrievalModule,
    config: TrainConfig,
    callbacks: list[Callback],
    logger: TensorBoardLogger | bool,
    device: torch.device | None,
) -> L.Trainer:
    """Returns Lightning's trainer.

    Args:
        module: To be trained.
        config: Of the run.
        callbacks: In the order in which they must run.
        logger: False for none.
        device: Of this process, where several train together; None for what the config says.
    """
    n_batches = len(module.batches(0))
    own: dict[str, Any] = {"accelerator": config.trainer.accelerator, "plugins": [WholeCheckpoints()]}
    if device is not None:
        own = {
            "strategy": RanksStrategy(device, module.ranks, WholeCheckpoints()),
            "accelerator": device.type,
        }
    return L.Trainer(
        **own,
        max_epochs=config.trainer.n_epochs(n_batches),
        devices=1,
        precision=config.trainer.precision,  # type: ignore[arg-type] # Lightning lists the words, the config holds one
        logger=logger,
        callbacks=callbacks,
        # Examples are drawn anew in each epoch.
        reload_dataloaders_every_n_epochs=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10,
        limit_train_batches=config.trainer.overfit_batches or None,
        # `RankValidation` ranks the whole catalog, which is no validation by batches.
        limit_val_batches=0,
        num_sanity_val_steps=0,
        # Batches come in parts already.
        use_distributed_sampler=False,
    )


@torch.no_grad()
def share_start(module: RetrievalModule, folder: str = "") -> None:
    """Gives every rank the weights of rank 0, which alone has applied a start.

    Args:
        module: Of this rank.
        folder: That rank 0 has written whole tables into; '' where each rank's own rows are the start.
    """
    folder = module.ranks.broadcast_text(folder)
    for parameter in (*module.shared.whole, *module.shared.tables):
        module.ranks.broadcast_(parameter)
    if folder and module.rows is not None:
        for name, table in module.rows.tables.items():
            rows = own_rows(table.n_rows, module.ranks.rank, module.ranks.size)
            taken = RowFiles(Path(folder) / name, 1, table.n_rows).take(rows)
            table.weight.copy_(torch.from_numpy(taken))
    # Rank 0 deletes the folder in the end.
    module.ranks.barrier()


def run_trainer(
    trainer: L.Trainer, module: RetrievalModule, last: Path, is_resumed: bool | None = None
) -> None:
    """Runs the trainer, from the last checkpoint if there is one, until it ends or a person stops it."""
    is_resumed = last.exists() if is_resumed is None else is_resumed
    with warnings.catch_warnings():
        # Lightning 2.6 reads torch's tree specs in the old way; nothing here could change that.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        # A resumed run finds its own folder; that is what it is for.
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        # It knows a machine's cores and not what a batch is: slices of arrays; see `trainer.workers`.
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        # Few batches make few points within an epoch; its mean is logged all the same.
        warnings.filterwarnings("ignore", message="The number of training batches")
        # The module itself sums what is logged over ranks.
        warnings.filterwarnings("ignore", message="It is recommended to use `self.log")
        try:
            trainer.fit(module, ckpt_path=str(last) if is_resumed else None)
        except SystemExit:  # what Lightning makes of Ctrl-C, after it has shut down
            if not trainer.interrupted:
                raise


def follow_fit(
    part: TrainingPart, config: TrainConfig, order: Order, ranks: Ranks, device: torch.device
) -> None:
    """Trains the part of one rank behind the first, which judges and keeps what comes of it.

    Args:
        part: The training part.
        config: Of the run.
        order: What rank 0 has told.
        ranks: All of them.
        device: Of this process.
    """
    folder = Path(order.folder)
    module = module_to_train(part, config, folder, ranks)
    trainer = trainer_of(module, config, _callbacks_behind(config, order), False, device)
    if not order.resumes:
        share_start(module)
    run_trainer(trainer, module, folder / CHECKPOINTS / f"{LAST}.ckpt", is_resumed=order.resumes)


def _callbacks_behind(config: TrainConfig, order: Order) -> list[Callback]:
    """Returns the callbacks of ranks behind the first, in the order in which rank 0 runs its own."""
    checkpoints, every = Path(order.folder) / CHECKPOINTS, config.trainer.validate_every
    averages = None
    if config.trainer.average_half_life_epochs:
        averages = AverageWeights(config.trainer.average_half_life_epochs)
    callbacks: list[Callback] = [CentreBiases(config.loss.odds_unit, averages)]
    if order.is_ranked:
        callbacks.append(HearValidation(every, averages))
        if config.trainer.patience:
            callbacks.append(StopEarly(config.trainer.patience, every))
        callbacks.append(KeepBest(checkpoints, every))
    return [*callbacks, *([averages] if averages else []), keep_last(checkpoints)]
