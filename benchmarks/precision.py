"""Half precision and a compiled loss against plain float32, on this machine.

    python -m benchmarks.precision           prints milliseconds per step, by candidates
    python -m benchmarks.precision --check   exit status 1 if half precision does not pay for a whole catalog

One batch of queries against 4,000 drawn candidates and against a whole catalog of 40,000. Processor time of
one thread, the median of steps that the ways take in turns, so that other work slows all of them alike.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from benchmarks.step_cost import Training, start
from marquee.nn.losses import Loss, SampledSoftmaxConfig
from marquee.nn.negatives import CatalogNegativesConfig, MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from marquee.nn.scoring import loss_in_blocks
from training.fitting.building import compiled

N_ITEMS, N_DRAWN, STEPS = 40_000, 4_000, 15
MOST_OF_FLOAT32 = 0.9  # of its time, that half precision may take with a whole catalog

Way = tuple[Callable[[], AbstractContextManager[object]], Loss]


def half() -> AbstractContextManager[object]:
    """Returns the context in which products are computed in bfloat16."""
    return torch.autocast("cpu", dtype=torch.bfloat16)


def step(training: Training, number: int, way: Way) -> None:
    """Takes one step."""
    context, loss = way
    batch = training.batches[number % len(training.batches)]
    negatives = training.sampler.sample(batch.target_item, training.generator)
    with context():
        value = loss_in_blocks(training.model.embed_batch(batch, negatives), batch.weight, loss)
    training.optimizer.zero_grad()
    torch.autograd.backward(value)
    training.optimizer.step()


def measure(training: Training, ways: dict[str, Way]) -> dict[str, float]:
    """Returns the milliseconds of processor time per step, by way."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(STEPS):
        for name, way in ways.items():
            started = time.process_time()
            step(training, number, way)
            if number > 2:  # the first ones compile, and fill caches
                times[name].append(time.process_time() - started)
    return {name: 1000 * statistics.median(seconds) for name, seconds in times.items()}


def main() -> int:
    """Prints what was measured; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    torch.set_num_threads(1)
    loss = SampledSoftmaxConfig().build()
    ways: dict[str, Way] = {
        "float32": (nullcontext, loss),
        "bf16-mixed": (half, loss),
        "float32, compiled loss": (nullcontext, compiled(loss)),
    }
    counts = torch.ones(N_ITEMS + 1)
    samplers = {
        f"{N_DRAWN:,} candidates": MixedNegativesConfig(n_uniform=N_DRAWN, in_batch=False).build(counts),
        f"a catalog of {N_ITEMS:,}": CatalogNegativesConfig().build(counts),
    }
    share = 1.0
    for words, sampler in samplers.items():
        training = start(N_ITEMS, LazyAdamConfig())
        training.sampler = sampler
        found = measure(training, ways)
        for name, cost in found.items():
            print(
                f"{words:24s} {name:24s} {cost:8.1f} ms per step  {cost / found['float32']:5.2f} of float32"
            )
        share = found["bf16-mixed"] / found["float32"]
    passed = share <= MOST_OF_FLOAT32
    print(
        f"half precision over a whole catalog: {share:.2f} of float32 (required: {MOST_OF_FLOAT32} at most)"
    )
    print("passed" if passed else "FAILED")
    return int(check and not passed)


if __name__ == "__main__":
    sys.exit(main())
