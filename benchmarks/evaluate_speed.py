"""Ranking everything for everybody: speed beside the bare matrix products, and peak memory.

    python -m benchmarks.evaluate_speed            a few seconds
    python -m benchmarks.evaluate_speed --full     100,000 users x 100,000 items
    python -m benchmarks.evaluate_speed --check    exit status 1 outside the tolerances

The reference is the least that any full ranking must do: the same products in the same blocks, written
into the same memory, and nothing after them. Ranking adds exclusions, the k best and their order.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from marquee.ranking import ItemLists, ScoreBlock, block_rows, inner_product_scores, rank

DIM = 64
N_EXCLUDED = 30
K = 20
N_REPEATS = 3
MIN_SHARE = 0.5
MAX_PEAK_GIB = 2.0
KIB_PER_GIB = 2**20  # ru_maxrss is in KiB on Linux


@dataclass(frozen=True)
class Measured:
    """One run of the benchmark: seconds of each way, and the peak of the process."""

    products_seconds: float
    rank_seconds: float
    peak_gib: float

    @property
    def share(self) -> float:
        """Speed of ranking as a share of the speed of the bare products."""
        return self.products_seconds / self.rank_seconds


def measure(n_users: int, n_items: int, memory_mb: int) -> Measured:
    """Returns times and memory for random vectors; both ways take turns, the best of each counts."""
    generator = np.random.default_rng(0)
    items = generator.standard_normal((n_items + 1, DIM), dtype=np.float32)
    queries = generator.standard_normal((n_users, DIM), dtype=np.float32)
    excluded = ItemLists(
        np.arange(n_users + 1) * N_EXCLUDED, generator.integers(1, n_items + 1, n_users * N_EXCLUDED)
    )
    score = inner_product_scores(queries, items)
    n_rows = block_rows(n_items, memory_mb)
    products, ranking = [], []
    for _ in range(N_REPEATS):
        products.append(_seconds(lambda: _multiply(score, n_users, n_rows)))
        ranking.append(_seconds(lambda: rank(score, n_users, n_items, K, excluded, memory_mb=memory_mb)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_GIB
    return Measured(min(products), min(ranking), peak)


def _multiply(score: ScoreBlock, n_users: int, n_rows: int) -> None:
    """Does every product, block by block, and forgets it."""
    for start in range(0, n_users, n_rows):
        score(slice(start, min(start + n_rows, n_users)))


def _seconds(work: Callable[[], object]) -> float:
    """Returns the wall time of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> int:
    """Prints measured beside reference; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="100,000 users x 100,000 items")
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--memory-mb", type=int, default=512, help="memory of one block of scores")
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    options = parser.parse_args()
    n_users, n_items = (100_000, 100_000) if options.full else (options.users, options.items)
    measured = measure(n_users, n_items, options.memory_mb)
    print(
        f"{n_users:,} users x {n_items:,} items x {DIM} dimensions, top {K}, {N_EXCLUDED} excluded per user"
    )
    print(f"{'':<34}{'measured':>12}{'reference':>14}")
    print(f"{'bare matrix products':<34}{measured.products_seconds:>10.2f} s")
    print(f"{'full ranking':<34}{measured.rank_seconds:>10.2f} s")
    print(f"{'speed, share of the products':<34}{measured.share:>12.2f}{f'≥ {MIN_SHARE}':>14}")
    print(f"{'peak memory of the process':<34}{measured.peak_gib:>8.2f} GiB{f'≤ {MAX_PEAK_GIB} GiB':>14}")
    is_within = measured.share >= MIN_SHARE and measured.peak_gib <= MAX_PEAK_GIB
    if not is_within:
        print("outside the tolerances")
    return int(options.check and not is_within)


if __name__ == "__main__":
    sys.exit(main())
