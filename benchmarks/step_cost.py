"""A training step costs what the batch touches, not what the embedding tables hold.

    python -m benchmarks.step_cost           prints the cost at 10⁴, 10⁵ and 10⁶ items (and as many users)
    python -m benchmarks.step_cost --check   exit status 1 if the largest size costs too much more

Every size sees batches that touch the same number of rows, spread over its whole tables. Processor time of
one thread, the median of many short turns that the sizes take one after the other: other work on the
machine then slows all of them alike.
"""

import argparse
import math
import statistics
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch.optim import Optimizer

from marquee.features import FeatureArrays, FeatureConfig, FeatureEncoder
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.averages import WeightAverages
from marquee.nn.batches import QueryBatch, TrainingBatch
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.models import ModelInputs, TwoTower
from marquee.nn.negatives import MixedNegativesConfig, NegativeSampler
from marquee.nn.optimizers import LazyAdamConfig, OptimizerConfig, RowwiseAdagradConfig
from training.judging.writing import peak_memory_mb

SIZES = (10_000, 100_000, 1_000_000)
LARGEST_RATIO = (
    1.5  # caches hold less of a larger table; a cost that grew with the table would be a ratio of 100
)
DIM, BATCH, LENGTH, N_UNIFORM = 32, 256, 20, 1000
N_ACTIVE = 2000  # items and users that batches draw from
TURNS, STEPS_PER_TURN = 15, 4
COLOURS = ("red", "green", "blue")


@dataclass
class Training:
    """A model of one size in training."""

    model: TwoTower
    sampler: NegativeSampler
    optimizer: Optimizer
    batches: list[TrainingBatch]
    generator: torch.Generator
    averages: WeightAverages | None = None

    def step(self, number: int) -> None:
        """Takes one step."""
        batch = self.batches[number % len(self.batches)]
        logits = self.model(batch, self.sampler.sample(batch.target_item, self.generator))
        self.optimizer.zero_grad()
        torch.autograd.backward(SampledSoftmaxConfig().build()(logits, batch.weight))
        if self.averages is not None:
            self.averages.before_step()
        self.optimizer.step()


def start(n_items: int, optimizer: OptimizerConfig, *, is_averaged: bool = False) -> Training:
    """Returns a training with `n_items` items and as many users; its first step has been taken.

    Args:
        n_items: Rows of the tables.
        optimizer: Its config.
        is_averaged: Whether the moving average of the weights is kept along the way.
    """
    torch.manual_seed(0)
    encoder = FeatureEncoder.fit({"colour": FeatureConfig()}, {"colour": COLOURS})
    colours = encoder.encode({"colour": COLOURS}, len(COLOURS))
    features = FeatureArrays(
        np.resize(colours.tokens, (n_items + 1, 1)), np.zeros((n_items + 1, 0), dtype=np.float32)
    )
    inputs = ModelInputs(n_items, n_items, encoder, encoder, features, n_kinds=1, history_length=LENGTH)
    model = TwoTowerConfig(dim=DIM, hidden=DIM).build(inputs).train()
    training = Training(
        model,
        MixedNegativesConfig(n_uniform=N_UNIFORM).build(torch.ones(n_items + 1)),
        optimizer.build(model.parameters()),
        [draw_batch(n_items, seed) for seed in range(STEPS_PER_TURN)],
        torch.Generator().manual_seed(0),
        WeightAverages(model, 0.999) if is_averaged else None,
    )
    training.step(0)  # makes the optimizer's state, once and for all
    return training


def draw_batch(n_items: int, seed: int) -> TrainingBatch:
    """Returns a batch over `N_ACTIVE` users and items that are spread evenly over their tables."""
    rng = np.random.default_rng(seed)
    active = 1 + np.arange(N_ACTIVE) * (n_items // N_ACTIVE)
    history = torch.from_numpy(rng.choice(active, size=(BATCH, LENGTH)))
    query = QueryBatch(
        torch.from_numpy(rng.choice(active, size=BATCH)),
        torch.ones(BATCH, 1, dtype=torch.int64),
        torch.zeros(BATCH, 0),
        history,
        torch.ones_like(history),
    )
    return TrainingBatch(
        query, torch.from_numpy(rng.choice(active, size=BATCH)), torch.arange(BATCH), torch.ones(BATCH)
    )


def measure(optimizer: OptimizerConfig, *, is_averaged: bool = False) -> dict[int, float]:
    """Returns the milliseconds of processor time per step, by number of items."""
    trainings = {n_items: start(n_items, optimizer, is_averaged=is_averaged) for n_items in SIZES}
    times: dict[int, list[float]] = {n_items: [] for n_items in SIZES}
    for _ in range(TURNS):
        for n_items, training in trainings.items():
            started = time.process_time()
            for number in range(STEPS_PER_TURN):
                training.step(number)
            times[n_items].append((time.process_time() - started) / STEPS_PER_TURN)
    return {n_items: 1000 * statistics.median(seconds) for n_items, seconds in times.items()}


def report(name: str, milliseconds: dict[int, float]) -> float:
    """Prints the cost of each size beside that of the smallest; returns the ratio of the largest."""
    smallest, largest = min(milliseconds), max(milliseconds)
    for n_items, cost in milliseconds.items():
        ratio = cost / milliseconds[smallest]
        print(f"{name:16s} {n_items:>9,d} items  {cost:7.2f} ms per step  {ratio:5.2f} times the smallest")
    ratio = milliseconds[largest] / milliseconds[smallest]
    exponent = math.log(ratio) / math.log(largest / smallest)
    print(f"{name:16s} cost grows as items^{exponent:.3f} (required: a ratio of {LARGEST_RATIO} at most)")
    return ratio


def main() -> int:
    """Prints measured beside required; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    torch.set_num_threads(1)
    configs: dict[str, OptimizerConfig] = {
        "lazy_adam": LazyAdamConfig(),
        "rowwise_adagrad": RowwiseAdagradConfig(),
    }
    ratios = [report(name, measure(config)) for name, config in configs.items()]
    ratios.append(report("lazy_adam, mean", measure(LazyAdamConfig(), is_averaged=True)))
    print(f"peak memory {peak_memory_mb():,.0f} MiB")
    passed = max(ratios) <= LARGEST_RATIO
    print("passed" if passed else "FAILED")
    return int(check and not passed)


if __name__ == "__main__":
    sys.exit(main())
