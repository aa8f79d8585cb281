"""One LightningModule for every model, sampler and loss: it steps, and knows none of them by name."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable  # Any: a checkpoint holds whatever Lightning keeps

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from marquee.nn.batches import TrainingBatch
from marquee.nn.logits import Logits
from marquee.nn.losses import Loss
from marquee.nn.models import TwoTower
from marquee.nn.negatives import NegativeSampler
from marquee.nn.optimizers import OptimizerConfig
from marquee.nn.ranks.gradients import Shared, sum_gradients
from marquee.nn.ranks.group import ALONE, Ranks
from marquee.nn.ranks.tables import ShardedTable
from marquee.nn.scoring import loss_in_blocks
from training.fitting.ranks.rows import RowKeeper

RANK_SEEDS = 1 << 40
"""Between the seeds of two ranks: above those of any epoch."""


class SizedBatches(Dataset[TrainingBatch]):
    """Batches that know how many they are."""

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must say how many batches it has")


@runtime_checkable
class Releasable(Protocol):
    """Batches of an epoch that hold much."""

    def release(self) -> None:
        """Lets what they hold go; none is asked for again."""


class RetrievalModule(L.LightningModule):
    """Steps a model.

    Args:
        model: Embeds queries and items.
        loss: Sees logits, corrections and weights.
        sampler: Draws candidates.
        optimizer: Its config.
        batches: Returns the batches of an epoch, counted from 0.
        seed: Of the run. Everything random in an epoch follows from the seed and the epoch's number, so
            that a resumed run draws what an uninterrupted one would have drawn.
        workers: Processes that cut batches ahead of the steps; 0 cuts each when it is wanted.
        ranks: Who steps together, each with a part of the batch.
    """

    def __init__(
        self,
        model: TwoTower,
        loss: Loss,
        sampler: NegativeSampler,
        optimizer: OptimizerConfig,
        batches: Callable[[int], SizedBatches],
        seed: int,
        workers: int = 0,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.sampler = sampler
        self.optimizer_config = optimizer
        self.batches = batches
        self.of_epoch: Dataset[TrainingBatch] | None = None
        self.seed = seed
        self.workers = workers
        self.ranks = ranks
        # Of sharded tables each rank has rows of its own, whose gradients come to it on the way back.
        parts = [table.weight for table in model.modules() if isinstance(table, ShardedTable)]
        self.shared = Shared.of(model, parts)
        self.rows: RowKeeper | None = None
        self.part_of_loss, self.n_targets = torch.zeros(()), 0
        self.generator = torch.Generator()

    def train_dataloader(self) -> DataLoader[TrainingBatch]:
        """Returns the batches of the current epoch; the trainer asks anew for every epoch."""
        # No batch size and no shuffling here: an example of this data set is a batch already.
        self.of_epoch = self.batches(self.current_epoch)
        return DataLoader(self.of_epoch, batch_size=None, num_workers=self.workers)

    def on_train_epoch_end(self) -> None:
        """Lets the examples of the epoch go."""
        # Lightning holds a loader until it has the next, and the last one as long as the trainer lives.
        if isinstance(self.of_epoch, Releasable):
            self.of_epoch.release()

    def on_fit_start(self) -> None:
        """Has the sampler draw where the batches are."""
        # It is no part of the model: Lightning does not move it, and checkpoints do not hold it.
        self.sampler = self.sampler.to(self.device)

    def on_train_batch_start(self, batch: TrainingBatch, batch_idx: int) -> None:  # noqa: ARG002 - Lightning's signature
        """Seeds, before an epoch's first step, what it draws: dropout through torch, candidates by generator.

        Trap: not when the epoch starts. Making the iterator over batches draws from torch as well, and in a
        resumed run that happens earlier; test_resumed_run_ends_where_an_uninterrupted_one_does.
        """
        if batch_idx == 0:
            # A prime above any number of epochs: no epoch of another seed draws the same.
            epoch_seed = self.seed * 1_000_003 + self.current_epoch + self.ranks.rank * RANK_SEEDS
            torch.manual_seed(epoch_seed)
            self.generator = torch.Generator(self.device).manual_seed(epoch_seed)

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:  # noqa: ARG002 - Lightning's signature
        """Returns the loss of one batch."""
        negatives = self.sampler.sample(batch.target_item, self.generator, batch.all_targets)
        loss = loss_in_blocks(self.model.embed_batch(batch, negatives), batch.weight, self._narrowed_loss)
        if batch.whole is not None:
            # Of a mean over the whole batch: the parts then add up, and so do their gradients.
            loss = loss * (batch.weight.sum() / batch.whole.weight.clamp_min(torch.finfo(torch.float32).tiny))
            self.part_of_loss, self.n_targets = loss.detach(), len(batch.all_targets)
            return loss
        self.log("loss", loss, on_step=True, on_epoch=True, batch_size=len(batch.target_item))
        return loss

    def on_after_backward(self) -> None:
        """Sums gradients and loss over the ranks, before anybody looks at them."""
        if self.ranks.size > 1:
            loss = sum_gradients(self.shared, self.part_of_loss, self.ranks)
            self.log("loss", loss, on_step=True, on_epoch=True, batch_size=self.n_targets)

    def _narrowed_loss(self, logits: Logits, weight: Tensor) -> Tensor:
        """Returns the loss of the logits that the sampler leaves."""
        return self.loss(self.sampler.narrow(logits, self.generator), weight)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the rows of sharded tables beside the checkpoint."""
        if self.rows is not None:
            self.rows.take_out(self.trainer.global_step, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the rows of this rank, however many ranks there were."""
        if self.rows is not None:
            self.rows.put_in(checkpoint)

    def transfer_batch_to_device(
        self,
        batch: TrainingBatch,
        device: torch.device,
        dataloader_idx: int,  # noqa: ARG002 - Lightning's signature
    ) -> TrainingBatch:
        """Returns the batch on `device`."""
        return batch.to(device)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Returns the optimizer with its schedule over the steps of the whole run."""
        optimizer = self.optimizer_config.build(self.model.parameters())
        n_steps = max(int(self.trainer.estimated_stepping_batches), 1)
        # By the share of the run that is done: longer runs sink as far, more slowly.
        schedule = LambdaLR(optimizer, lambda step: self.optimizer_config.rate(step / n_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
