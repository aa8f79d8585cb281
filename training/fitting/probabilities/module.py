"""The LightningModule of a head: it steps, and knows no tower."""

import math
from collections.abc import Iterator

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, IterableDataset

from marquee.nn.probabilities.calibrating import Outcomes
from marquee.nn.probabilities.networks import ClickNetwork, HeadConfig, outcome_loss


class ShuffledExposures(IterableDataset[Outcomes]):
    """The batches of one epoch, with as many exposures without a click as the config keeps.

    Args:
        exposures: Of training.
        config: Gives batch size and share of negatives.
        seed: Of the epoch.
    """

    def __init__(self, exposures: Outcomes, config: HeadConfig, seed: int) -> None:
        self.exposures = exposures
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        is_kept = torch.rand(len(exposures), generator=generator) < kept_negatives(exposures, config)
        rows = torch.nonzero((exposures.is_clicked > 0) | is_kept)[:, 0]
        self.rows = rows[torch.randperm(len(rows), generator=generator)]

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.config.batch_size)

    def __iter__(self) -> Iterator[Outcomes]:
        size = self.config.batch_size
        for start in range(0, len(self.rows), size):
            yield self.exposures.rows(self.rows[start : start + size])


def kept_negatives(exposures: Outcomes, config: HeadConfig) -> float:
    """Returns the share of the exposures without a click that an epoch keeps, in (0, 1]."""
    n_clicks = float(exposures.is_clicked.sum())
    n_others = len(exposures) - n_clicks
    return min(1.0, config.negatives_per_click * n_clicks / max(n_others, 1.0))


class ProbabilityModule(L.LightningModule):
    """Steps a network.

    Args:
        network: Says how likely a click is, and a conversion of one.
        config: How it is trained.
        exposures: Of training.
        seed: Of the run.
        weights: Of the losses of both outcomes.
    """

    def __init__(
        self,
        network: ClickNetwork,
        config: HeadConfig,
        exposures: Outcomes,
        seed: int,
        weights: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        super().__init__()
        self.weights = weights
        self.network = network
        self.config = config
        self.exposures = exposures
        self.seed = seed

    @property
    def n_epochs(self) -> int:
        """Passes over the exposures."""
        n_batches = len(ShuffledExposures(self.exposures, self.config, self.seed))
        return max(self.config.epochs, math.ceil(self.config.steps / n_batches))

    def train_dataloader(self) -> DataLoader[Outcomes]:
        """Returns the batches of the current epoch; the trainer asks anew for every epoch."""
        # A prime above any number of epochs: no epoch of another seed draws the same.
        batches = ShuffledExposures(self.exposures, self.config, self.seed * 1_000_003 + self.current_epoch)
        return DataLoader(batches, batch_size=None)

    def training_step(self, batch: Outcomes, batch_idx: int) -> Tensor:  # noqa: ARG002 - Lightning's signature
        """Returns the loss of one batch."""
        logits = self.network(batch.columns, batch.place)
        return outcome_loss(logits, batch.is_clicked, batch.is_converted, batch.seen_share, self.weights)

    def transfer_batch_to_device(
        self,
        batch: Outcomes,
        device: torch.device,
        dataloader_idx: int,  # noqa: ARG002 - Lightning's signature
    ) -> Outcomes:
        """Returns the batch on `device`."""
        return batch.to(device)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Returns the optimizer; its rate falls to 0 in a straight line."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        n_steps = max(int(self.trainer.estimated_stepping_batches), 1)
        schedule = LambdaLR(optimizer, lambda step: max(1 - step / n_steps, 0.0))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
