"""Our whole step beside the bare products that it cannot do without, for `train_speed`.

The bare loop takes real batches and does with their shapes what any implementation must: look up the rows of
the batch, pool histories and neighbours, multiply queries by candidates, and on the way back the two products
and the lookups' transposes. It draws no candidates, normalises nothing, has no softmax and no optimizer. It
takes turns with epochs of `training.fitting.fit`, in one process, inside a callback. All times are processor
times.
"""

import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from torch import Tensor

from benchmarks.experiments import compose_config
from marquee.data.dataset import Dataset
from marquee.nn.batches import TrainingBatch
from training.config import TrainConfig
from training.fitting.examples import TrainingBatches
from training.fitting.fit import fit
from training.fitting.module import RetrievalModule
from training.fitting.recipe import settle
from training.runs.prepare import prepare

EPOCHS = 6  # the first does not count
N_BATCHES = 8  # whose shapes the bare loop goes through
MAX_FACTOR = 2.0


@dataclass(frozen=True)
class BareStep:
    """The products and lookups of one batch.

    Attributes:
        users: Rows of the user table, (batch, dim).
        rows: Rows of the item table that the batch needs, neighbours included, (n_rows,).
        table: The item table, (n_items + 1, dim).
        around: Place in `rows` of each distinct item and of its neighbours, (n_distinct, 1 + n_neighbours).
        past: Place of each past event among the distinct items, (batch, length).
        candidate: Place of each candidate, (n_candidates,).
        target: Place of each target, (n_targets,).
        target_row: Query of each target, (n_targets,).
    """

    users: Tensor
    rows: Tensor
    table: Tensor
    around: Tensor
    past: Tensor
    candidate: Tensor
    target: Tensor
    target_row: Tensor

    @classmethod
    def of(cls, batch: TrainingBatch, module: RetrievalModule) -> "BareStep":
        """Returns the rows of a model's tables that a batch needs."""
        model = module.model
        candidates = module.sampler.sample(batch.target_item, torch.Generator().manual_seed(0)).items
        past = batch.query.history_items if model.config.history else batch.query.history_items[:, :0]
        parts = (past.reshape(-1), candidates, batch.target_item)
        distinct, place = torch.unique(torch.cat(parts), return_inverse=True)
        around = distinct[:, None]
        if model.config.item_neighbours:
            around = torch.cat([around, model.neighbour_items[distinct]], dim=1)
        rows, around = torch.unique(around, return_inverse=True)
        past_place, candidate, target = place.split([len(part) for part in parts])
        table = model.item_table.weight.detach()
        users = torch.randn(len(past), table.shape[1])
        return cls(
            users, rows, table, around, past_place.reshape(past.shape), candidate, target, batch.target_row
        )

    def take(self) -> None:
        """Does the lookups and the products, forward and backward."""
        own = self.table[self.rows].requires_grad_()  # (n_rows, dim)
        vectors = F.embedding_bag(self.around, own, mode="sum") if self.around.shape[1] > 1 else own
        queries = self.users.clone().requires_grad_()
        if self.past.shape[1]:
            queries = queries + F.embedding_bag(self.past, vectors, mode="sum")
        logits = queries @ F.embedding(self.candidate, vectors).T  # (batch, n_candidates)
        positive = (queries[self.target_row] * F.embedding(self.target, vectors)).sum(dim=1)  # (n_targets,)
        torch.autograd.backward([logits, positive], [logits.detach(), positive.detach()])

    def multiply(self) -> None:
        """Does the three products alone."""
        candidates = self.table[: len(self.candidate)]
        logits = self.users @ candidates.T
        logits @ candidates
        logits.T @ self.users


@dataclass(frozen=True)
class StepCost:
    """Milliseconds of processor time per step.

    Attributes:
        whole: Of ours, everything of an epoch but its checkpoint included.
        bare: Of the bare loop.
        products: Of its three products alone.
        flop: Floating-point operations of the three products.
    """

    whole: float
    bare: float
    products: float
    flop: float


class TakeTurns(Callback):
    """Times each epoch, and after it a round of the bare loop."""

    def __init__(self, dataset: Dataset, config: TrainConfig) -> None:
        self.batches = TrainingBatches(dataset, config.examples, config.seed, epoch=0)
        self.bare: list[BareStep] = []
        self.began = 0.0
        self.times: dict[str, list[float]] = {"whole": [], "bare": [], "products": []}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Prepares the bare loop."""
        assert isinstance(pl_module, RetrievalModule), f"expected a RetrievalModule, got {type(pl_module)}"
        numbers = range(min(N_BATCHES, len(self.batches)))
        self.bare = [BareStep.of(self.batches[number], pl_module) for number in numbers]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Starts the clock."""
        self.began = time.process_time()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Stops it, and lets the bare loop have its turn."""
        self.times["whole"].append((time.process_time() - self.began) / len(self.batches))
        self.times["bare"].append(self._round(BareStep.take))
        self.times["products"].append(self._round(BareStep.multiply))

    def _round(self, take: Callable[[BareStep], None]) -> float:
        """Returns the seconds per step of all steps of the bare loop."""
        began = time.process_time()
        for step in self.bare:
            take(step)
        return (time.process_time() - began) / len(self.bare)


def measure(dataset: Dataset, config: TrainConfig) -> StepCost:
    """Returns the cost of a step; the first epoch, which makes the optimizer's state, does not count."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    config = settle(config, dataset).config
    turns = TakeTurns(dataset, config)
    with tempfile.TemporaryDirectory() as folder:
        fit(dataset, None, config, Path(folder), [turns])
    cost = {name: 1000 * statistics.median(seconds[1:]) for name, seconds in turns.times.items()}
    step = turns.bare[0]
    flop = 3 * 2 * len(step.candidate) * step.users.numel()
    return StepCost(**cost, flop=flop)


def report(cost: StepCost, show: Callable[[str], None]) -> bool:
    """Shows a step's cost; returns whether it is within its bound."""
    show(f"{'our whole step':30s} {cost.whole:8.2f} ms")
    for name, reference, required in (
        ("bare products and lookups", cost.bare, f" (required: {MAX_FACTOR} at most)"),
        ("the three products alone", cost.products, ""),
    ):
        show(f"{name:30s} {reference:8.2f} ms   ours is {cost.whole / reference:.2f} times that{required}")
    show(f"the products run at {cost.flop / cost.products / 1e6:.0f} GFLOP/s")
    return cost.whole / cost.bare <= MAX_FACTOR


def measure_and_report(overrides: Sequence[str], show: Callable[[str], None]) -> bool:
    """Shows the cost of a step on the data of a training command; returns whether it is within its bound."""
    config = compose_config([*overrides, f"trainer.epochs={EPOCHS}"])
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare(config, Path(folder), Console(stderr=True, quiet=True)).dataset
    return report(measure(dataset, config), show)
