"""Training on a GPU, for `train_speed`: examples per second, and how much of the device a step uses.

What the device can do is measured and not looked up: one large product, and one large copy, in the same
process. What a step does is counted as the least that any implementation must: the three products of queries
and candidates, and passes over the logits and over the rows that the batch looks up.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from benchmarks.train_speed_growth import fit_synthetic

NCF_SAMPLES_PER_S = 34.1e6
NCF = "NVIDIA's NCF on one A100, mixed precision, samples with their negatives"
N_INTERACTIONS, N_ITEMS = 4 * 10**6, 10**6
SETTINGS = (("as tuned",), ("as a GPU wants it", "examples.batch_size=8192", "trainer.workers=4"))
LOGIT_PASSES = 5  # written, read by the loss, written as a gradient, read by two products
ROW_PASSES = 6  # looked up, its gradient, both moments read and written, roughly
BYTES = 4
TRIES = 5


@dataclass(frozen=True)
class Limits:
    """The measured speed of a device: floating-point operations and bytes per second."""

    flop_per_s: float
    bytes_per_s: float

    @classmethod
    def measure(cls, device: torch.device, width: int, n_values: int) -> "Limits":
        """Returns the limits, by products of `width`² matrices and copies of `n_values` numbers."""
        left, right = (torch.randn(width, width, device=device) for _ in range(2))
        source = torch.zeros(n_values, device=device)
        product = _seconds(lambda: left @ right, device)
        copy = _seconds(source.clone, device)
        return cls(2 * width**3 / product, 2 * BYTES * n_values / copy)


@dataclass(frozen=True)
class Throughput:
    """The speed of training, per second: interactions, pairs of query and candidate, least work."""

    interactions: float
    pairs: float
    flop: float
    bytes: float


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Returns the shortest time of some tries; the device is waited for."""
    times = []
    for _ in range(TRIES):
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - began)
    return min(times)


def _wait(device: torch.device) -> None:
    """Returns once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(n_interactions: int, n_items: int, overrides: Sequence[str], device: torch.device) -> Throughput:
    """Returns the rates of training per second of wall time in the last of its epochs."""

    def clock() -> float:
        _wait(device)
        return time.perf_counter()

    timed = fit_synthetic(n_interactions, n_items, overrides, clock)
    dataset, dim, seconds = timed.dataset, timed.dim, timed.epoch_seconds
    sampler = timed.config.negatives.build(torch.ones(n_items + 1))
    n_candidates = len(
        sampler.sample(torch.ones(1, dtype=torch.int64), torch.Generator().manual_seed(0)).items
    )
    pairs = dataset.n_users * n_candidates
    rows = (
        2 * len(dataset.train) + dataset.n_users + timed.n_steps * n_candidates
    )  # targets, histories, users
    return Throughput(
        interactions=len(dataset.train) / seconds,
        pairs=pairs / seconds,
        flop=3 * 2 * dim * pairs / seconds,
        bytes=BYTES * (LOGIT_PASSES * pairs + ROW_PASSES * dim * rows) / seconds,
    )


def report(throughput: Throughput, limits: Limits, show: Callable[[str], None]) -> None:
    """Shows what training did beside what the device can do, and beside the published figure."""
    show(f"{throughput.interactions:18,.0f} interactions/s")
    show(f"{throughput.pairs:18,.0f} pairs of a query and a candidate/s")
    show(f"{NCF_SAMPLES_PER_S:18,.0f} samples/s  reference: {NCF}")
    for done, limit, unit in (
        (throughput.flop, limits.flop_per_s, "GFLOP/s"),
        (throughput.bytes, limits.bytes_per_s, "GB/s"),
    ):
        show(f"{done / 1e9:18,.0f} {unit}, {done / limit:.1%} of the {limit / 1e9:,.0f} measured here")


def show_gpu(overrides: Sequence[str], show: Callable[[str], None]) -> bool:
    """Shows the section, or that there is no GPU; there is no tolerance, so it returns True."""
    if not torch.cuda.is_available():
        show("no GPU here: nothing is measured, and nothing is claimed of one")
        return True
    device = torch.device("cuda")
    limits = Limits.measure(device, width=8192, n_values=2**28)
    show(f"device: {torch.cuda.get_device_name(device)}")
    for words, *own in SETTINGS:
        show(f"{words}: {' '.join(own) or 'batches for a CPU'}")
        found = measure(N_INTERACTIONS, N_ITEMS, [*overrides, "trainer.accelerator=gpu", *own], device)
        report(found, limits, show)
    return True
