"""The cost of re-ranking: every step alone and all together, for 200 candidates of 64 numbers.

`python -m benchmarks.reranking --check` fails above the budget. Processor time, the least of several rounds:
what other processes do does not count.
"""

import argparse
import sys
import time

import numpy as np

from benchmarks.probe import slowness
from marquee.decision.arranging import CandidateTable, rerank
from marquee.decision.reranking import Diversity, Reranking

BUDGET_MS = 1.0
N_CANDIDATES = 200
DIM = 64
N_ROUNDS = 30
CALLS_PER_ROUND = 20
NOW = 1_700_000_000

CONFIGS = {
    "mmr": Reranking(diversity=Diversity.mmr),
    "dpp": Reranking(diversity=Diversity.dpp),
    "caps": Reranking(caps={"category": 2}),
    "spacing": Reranking(spacing={"advertiser": 3}),
    "freshness": Reranking(freshness_weight=0.2),
    "all with mmr": Reranking(
        diversity=Diversity.mmr, caps={"category": 3}, spacing={"advertiser": 3}, freshness_weight=0.2
    ),
    "all with dpp": Reranking(
        diversity=Diversity.dpp, caps={"category": 3}, spacing={"advertiser": 3}, freshness_weight=0.2
    ),
}


def candidates() -> CandidateTable:
    """Returns candidates in clusters, as those of one query are."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, DIM))
    vectors = centres[rng.integers(0, 12, N_CANDIDATES)] + 0.5 * rng.normal(size=(N_CANDIDATES, DIM))
    return CandidateTable(
        scores=np.sort(rng.normal(size=N_CANDIDATES).astype(np.float32))[::-1].copy(),
        vectors=vectors.astype(np.float32),
        codes={
            "category": rng.integers(1, 20, N_CANDIDATES),
            "advertiser": rng.integers(0, 60, N_CANDIDATES),
        },
        births=NOW - rng.integers(0, 90 * 86_400, N_CANDIDATES).astype(np.float64),
    )


def cost_ms(config: Reranking, given: CandidateTable, k: int) -> float:
    """Returns the processor time of one call, in ms: the least of several rounds' means."""
    rounds = []
    for _ in range(N_ROUNDS):
        started = time.process_time()
        for _ in range(CALLS_PER_ROUND):
            rerank(config, given, k, NOW)
        rounds.append((time.process_time() - started) / CALLS_PER_ROUND * 1000)
    return min(rounds)


def main() -> int:
    """Prints the table; returns 1 under --check if a figure is above the budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail above the budget")
    arguments = parser.parse_args()
    given = candidates()
    budget_ms = BUDGET_MS * slowness()
    print(
        f"{N_CANDIDATES} candidates of {DIM} numbers, ms of processor time per answer, budget {budget_ms:.2f}"
    )
    print(f"{'':14}" + "".join(f"{f'k = {k}':>10}" for k in (10, 20)))
    worst = 0.0
    for name, config in CONFIGS.items():
        costs = [cost_ms(config, given, k) for k in (10, 20)]
        worst = max(worst, *costs)
        print(f"{name:14}" + "".join(f"{cost:10.3f}" for cost in costs))
    return int(arguments.check and worst > budget_ms)


if __name__ == "__main__":
    sys.exit(main())
