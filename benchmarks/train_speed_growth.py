"""How the cost of training grows, for `train_speed`: in interactions, and in items.

Every size is trained by `training.fitting.fit`, with the settings of the race, in a process of its own. Time
is the processor time of a whole epoch after the first one (which makes the optimizer's state): cutting
batches, shuffling, steps and logs included, checkpoints not. Linear in interactions means that a pass costs
so much per interaction however many there are; flat in items, that a step costs what its batch touches,
however long the tables are.
"""

import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback

from benchmarks.experiments import compose_config
from benchmarks.peers.protocol import peak_mib
from benchmarks.train_speed_data import synthesize
from marquee.data.dataset import Dataset
from training.config import TrainConfig
from training.fitting.fit import fit
from training.fitting.recipe import settle

EPOCHS = 2
TIME_EXPONENTS = (0.85, 1.1)
"""Bounds on the growth of an epoch's time in interactions."""
MAX_STEP_EXPONENT = 0.1
MAX_PEAK_GIB = 16.0
MIB_PER_GIB = 1024


@dataclass(frozen=True)
class Size:
    """The cost of one size.

    Attributes:
        interactions: In training.
        items: In the catalog.
        steps: Of one epoch.
        setup_seconds: From the arrays to the first step.
        epoch_seconds: Of the last epoch.
        peak_mib: Of the process, making the data included.
    """

    interactions: int
    items: int
    steps: int
    setup_seconds: float
    epoch_seconds: float
    peak_mib: float

    @property
    def step_ms(self) -> float:
        """Milliseconds per step, everything of an epoch included."""
        return 1000 * self.epoch_seconds / self.steps

    @property
    def per_second(self) -> float:
        """Interactions per second."""
        return self.interactions / self.epoch_seconds

    def __str__(self) -> str:
        return (
            f"{self.interactions:12,d} {self.items:10,d} {self.setup_seconds:6.1f} s "
            f"{self.epoch_seconds:7.2f} s {self.step_ms:7.1f} ms {self.per_second:15,.0f} "
            f"{self.peak_mib / MIB_PER_GIB:5.2f} GiB"
        )


class TimeEpochs(Callback):
    """Keeps the time of each epoch, and when the first one began, by a clock in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.began: list[float] = []
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Starts the clock."""
        self.began.append(self.clock())

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Stops it."""
        self.seconds.append(self.clock() - self.began[-1])


@dataclass(frozen=True)
class TimedFit:
    """A fit on synthetic data.

    Attributes:
        config: Of the fit.
        dataset: What was fitted.
        dim: Length of the vectors.
        setup_seconds: From the call to the first step.
        epoch_seconds: Of the last epoch; the first one fills caches.
    """

    config: TrainConfig
    dataset: Dataset
    dim: int
    setup_seconds: float
    epoch_seconds: float

    @property
    def n_steps(self) -> int:
        """Steps of an epoch."""
        return -(-self.dataset.n_users // self.config.examples.batch_size)


def fit_synthetic(
    n_interactions: int, n_items: int, overrides: Sequence[str], clock: Callable[[], float]
) -> TimedFit:
    """Times a fit of a few epochs, by a clock in seconds."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    config = compose_config([*overrides, f"trainer.epochs={EPOCHS}"])
    dataset = synthesize(n_interactions, n_items, history_length=config.data.history_length)
    config = settle(config, dataset).config
    times = TimeEpochs(clock)
    with tempfile.TemporaryDirectory() as folder:
        started = clock()
        fitted = fit(dataset, None, config, Path(folder), [times])
    return TimedFit(config, dataset, fitted.model.out_dim, times.began[0] - started, times.seconds[-1])


def measure_here(n_interactions: int, n_items: int, overrides: Sequence[str]) -> Size:
    """Measures one size in this process, in processor time."""
    timed = fit_synthetic(n_interactions, n_items, overrides, time.process_time)
    n_events = len(timed.dataset.train)
    return Size(n_events, n_items, timed.n_steps, timed.setup_seconds, timed.epoch_seconds, peak_mib())


def measure(n_interactions: int, n_items: int, overrides: Sequence[str]) -> Size:
    """Measures one size in a process of its own."""
    asked = json.dumps([n_interactions, n_items, list(overrides)])
    command = [sys.executable, "-m", "benchmarks.train_speed", "--one-size", asked]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Size(**json.loads(process.stdout.splitlines()[-1]))


def print_one_size(asked: str) -> None:
    """Prints what a size costs in this process, as JSON."""
    print(json.dumps(asdict(measure_here(*json.loads(asked)))))


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Returns the slope of log(cost) over log(size).

    Example:
        >>> round(exponent([1, 10, 100], [5.0, 50.0, 500.0]), 3)
        1.0
    """
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def report(
    interactions: Sequence[int], items: Sequence[int], overrides: Sequence[str], show: Callable[[str], None]
) -> bool:
    """Shows both growths; returns whether both are within their bounds.

    Args:
        interactions: Sizes of the first table, over the middle one of `items`.
        items: Sizes of the second table, over the middle one of `interactions`.
        overrides: Of the training command.
        show: Told each line.
    """
    n_interactions, n_items = interactions[len(interactions) // 2], items[len(items) // 2]
    show(
        f"{'interactions':>12s} {'items':>10s} {'set up':>8s} {'epoch':>9s} {'per step':>10s} "
        f"{'interactions/s':>15s} {'peak':>9s}"
    )
    found: dict[tuple[int, int], Size] = {}
    for asked in (*((n, n_items) for n in interactions), *((n_interactions, n) for n in items)):
        if asked not in found:
            found[asked] = measure(*asked, overrides)
            show(str(found[asked]))
    return show_growth(
        [found[n, n_items] for n in interactions], [found[n_interactions, n] for n in items], show
    )


def show_growth(
    in_interactions: Sequence[Size], in_items: Sequence[Size], show: Callable[[str], None]
) -> bool:
    """Shows the exponents of two series beside what is required; returns whether all is within it."""
    epochs = exponent(
        [size.interactions for size in in_interactions], [size.epoch_seconds for size in in_interactions]
    )
    steps = exponent([size.items for size in in_items], [size.step_ms for size in in_items])
    peak = max(size.peak_mib for size in (*in_interactions, *in_items)) / MIB_PER_GIB
    low, high = TIME_EXPONENTS
    show(f"an epoch's time grows as interactions^{epochs:.3f} (required: {low} to {high})")
    show(f"a step's time grows as items^{steps:.3f} (required: {MAX_STEP_EXPONENT} at most)")
    show(f"peak memory {peak:.2f} GiB (required: {MAX_PEAK_GIB:.0f} at most)")
    return low <= epochs <= high and steps <= MAX_STEP_EXPONENT and peak <= MAX_PEAK_GIB
