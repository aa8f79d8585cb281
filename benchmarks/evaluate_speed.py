"""Judging everybody against everything: speed beside the bare matrix products, and peak memory.

    python -m benchmarks.evaluate_speed            1,000 users x 1,000,000 items, less than a minute
    python -m benchmarks.evaluate_speed --full     100,000 users x 1,000,000 items, about ten minutes
    python -m benchmarks.evaluate_speed --check    exit status 1 outside the tolerances

The reference is the least that any full ranking must do: the same products in the same blocks, written
into the same memory, and nothing after them. The evaluation adds exclusions, availability, the k best in
order, every metric of every user and the bootstrap; its memory is that of the whole process.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from marquee.core.availability import Availability
from marquee.core.catalog import ALWAYS_FROM, ALWAYS_UNTIL
from marquee.core.item_lists import ItemLists
from marquee.evaluation.evaluation import EvaluationTask, evaluate
from marquee.index.ranking import ScoreBlock, block_rows, inner_product_scores

DIM = 64
N_EXCLUDED = 30
N_TARGETS = 10
KS = (5, 10, 20, 50)
PERIOD = 1_000_000  # seconds that the queries are spread over
FULL = (100_000, 1_000_000)
N_REPEATS = 3
MIN_SHARE = 0.5
MAX_PEAK_GIB = 4.0
KIB_PER_GIB = 2**20  # ru_maxrss is in KiB on Linux


@dataclass(frozen=True)
class Spent:
    """Seconds on the wall, and of all processors together."""

    wall: float
    processors: float


@dataclass(frozen=True)
class Measured:
    """One run of the benchmark: both ways, and the peak of the process."""

    products: Spent
    evaluation: Spent
    peak_gib: float

    @property
    def share(self) -> float:
        """Speed of the evaluation as a share of the speed of the bare products."""
        return self.products.wall / self.evaluation.wall

    @property
    def share_of_processors(self) -> float:
        """The same in processor time, which other work on the machine changes less."""
        return self.products.processors / self.evaluation.processors


def measure(n_users: int, n_items: int, memory_mb: int, n_repeats: int) -> Measured:
    """Returns times and memory for random vectors; both ways take turns, the best of each counts."""
    generator = np.random.default_rng(0)
    items = generator.standard_normal((n_items + 1, DIM), dtype=np.float32)
    queries = generator.standard_normal((n_users, DIM), dtype=np.float32)
    task = _task(n_users, n_items, generator)
    score = inner_product_scores(queries, items)
    n_rows = block_rows(n_items, memory_mb)
    products, evaluations = [], []
    for _ in range(n_repeats):
        products.append(_spent(lambda: _multiply(score, n_users, n_rows)))
        evaluations.append(
            _spent(
                lambda: evaluate(
                    {"model": score},
                    task,
                    np.random.default_rng(0),
                    memory_mb=memory_mb,
                    progress=_show_progress,
                )
            )
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GIB
    return Measured(_best(products), _best(evaluations), peak)


def _task(n_users: int, n_items: int, generator: np.random.Generator) -> EvaluationTask:
    """Returns targets, exclusions, and windows of availability for half of the items."""
    starts = generator.integers(-PERIOD, PERIOD, n_items + 1)
    ends = starts + generator.integers(0, 2 * PERIOD, n_items + 1)
    has_window = generator.random(n_items + 1) < 0.5
    return EvaluationTask(
        targets=_random_lists(n_users, n_items, N_TARGETS, generator),
        n_items=n_items,
        ks=KS,
        excluded=_random_lists(n_users, n_items, N_EXCLUDED, generator),
        available=Availability(
            np.where(has_window, starts, ALWAYS_FROM),
            np.where(has_window, ends, ALWAYS_UNTIL),
            generator.integers(0, PERIOD, n_users),
        ),
    )


def _random_lists(n_users: int, n_items: int, length: int, generator: np.random.Generator) -> ItemLists:
    """Returns lists of one length."""
    return ItemLists(np.arange(n_users + 1) * length, generator.integers(1, n_items + 1, n_users * length))


def _multiply(score: ScoreBlock, n_users: int, n_rows: int) -> None:
    """Does every product, block by block, and forgets it."""
    for start in range(0, n_users, n_rows):
        score(slice(start, min(start + n_rows, n_users)))


def _show_progress(name: str, done: int, total: int) -> None:
    """Rewrites one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r{name}: {done:,} of {total:,} users", end="\n" if done == total else "", file=sys.stderr)


def _spent(work: Callable[[], object]) -> Spent:
    """Returns the time of a call."""
    wall, processors = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - processors)


def _best(turns: list[Spent]) -> Spent:
    """Returns the shortest times of all turns."""
    return Spent(min(turn.wall for turn in turns), min(turn.processors for turn in turns))


def main() -> int:
    """Prints measured beside reference; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="{:,} users x {:,} items".format(*FULL))
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--memory-mb", type=int, default=512, help="memory of one block of scores")
    parser.add_argument("--repeats", type=int, help=f"turns of both ways; {N_REPEATS}, with --full 1")
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    options = parser.parse_args()
    n_users, n_items = FULL if options.full else (options.users, options.items)
    n_repeats = options.repeats or (1 if options.full else N_REPEATS)
    measured = measure(n_users, n_items, options.memory_mb, n_repeats)
    print(
        f"{n_users:,} users x {n_items:,} items x {DIM} dimensions, top {KS[-1]}, {N_TARGETS} targets and "
        f"{N_EXCLUDED} exclusions per user, half of the items with a window of availability"
    )
    print(f"{'':<36}{'wall':>10}{'processors':>14}{'reference':>14}")
    for name, spent in (
        ("bare matrix products", measured.products),
        ("evaluation by full ranking", measured.evaluation),
    ):
        print(f"{name:<36}{spent.wall:>8.2f} s{spent.processors:>12.2f} s")
    shares = f"{measured.share:>10.2f}{measured.share_of_processors:>14.2f}"
    print(f"{'speed, share of the products':<36}{shares}{f'≥ {MIN_SHARE}':>14}")
    print(f"{'peak memory of the process':<36}{measured.peak_gib:>6.2f} GiB{f'≤ {MAX_PEAK_GIB} GiB':>28}")
    is_within = measured.share >= MIN_SHARE and measured.peak_gib <= MAX_PEAK_GIB
    if not is_within:
        print("outside the tolerances")
    return int(options.check and not is_within)


if __name__ == "__main__":
    sys.exit(main())
