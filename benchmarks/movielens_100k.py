"""MovieLens 100K, the last 20 % of each user's ratings by time held out: the two-tower beside known results.

    python -m benchmarks.movielens_100k            one seed
    python -m benchmarks.movielens_100k --seeds 3  mean and spread
    python -m benchmarks.movielens_100k --check    exit status 1 outside the tolerances

Settings were chosen on the validation part (the 10 % before); this fits on train and validation together
and reads test once per seed. NDCG@10 over all films that the user has not rated before.
"""

import argparse
import sys

import numpy as np

from benchmarks.experiments import Result, run_experiment

METRIC = "ndcg@10"
REQUIRED = 0.205
MAX_SECONDS = 180.0
# Measured on this split by short NumPy programs, untuned or tuned on test as said: orientation, not ours.
REFERENCES = {
    "popularity": 0.119,
    "truncated SVD, 32 dimensions, untuned": 0.178,
    "EASE, tuned": 0.203,
    "EASE on a history weighted by recency, tuned": 0.248,
}


def main() -> int:
    """Prints measured beside reference; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    results = [run_experiment("movielens-100k", [f"seed={seed}"]) for seed in range(1, options.seeds + 1)]
    return report(results, check=options.check)


def report(results: list[Result], *, check: bool) -> int:
    """Prints the table; returns 1 if `check` and a tolerance is missed."""
    ours = np.array([result.means["model"][METRIC] for result in results])
    seconds = max(result.seconds for result in results)
    print(f"\n{METRIC}, MovieLens 100K, last 20 % of each user's ratings, {len(results)} seed(s)")
    for name, value in REFERENCES.items():
        print(f"  {value:.4f}  reference: {name}")
    for name, metrics in results[0].means.items():
        if name != "model":
            print(f"  {metrics[METRIC]:.4f}  measured: {name}")
    spread = f" ± {ours.std(ddof=1):.4f}" if len(ours) > 1 else ""
    print(f"  {ours.mean():.4f}{spread}  measured: two-tower (required: {REQUIRED})")
    print(f"  {seconds:.0f} s for the slowest run, everything included (required: {MAX_SECONDS:.0f} s)")
    passed = ours.mean() >= REQUIRED and seconds <= MAX_SECONDS
    print("passed" if passed else "FAILED")
    return int(check and not passed)


if __name__ == "__main__":
    sys.exit(main())
