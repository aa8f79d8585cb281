"""Gowalla in the published split beside published figures of one inner product: in order, and shuffled.

    python -m benchmarks.recipe_published --check      both rows
    python -m benchmarks.recipe_published shuffled     one of them

In order, the places in the published lists may be read, which the papers do not do. Shuffled, each list is
permuted first with a fixed seed: nothing but sets is left, as the papers have it. Both are experiments of
`configs/experiment`, fit on training and validation, and read test once. Their settings were chosen on
validation; dimensions, passes and rate of `gowalla-128` by the time that they take.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.experiments import compose_config, run_experiment
from benchmarks.fits import is_there
from marquee.errors import MarqueeError

DATA = "gowalla"
SEED = 0


@dataclass(frozen=True)
class Row:
    """One published figure to reach.

    Attributes:
        experiment: Of `configs/experiment`.
        least: Metric → figure that must be reached.
        most_seconds: Of training, wall time; None for no bound.
        is_shuffled: Whether lists are permuted beforehand.
    """

    experiment: str
    least: Mapping[str, float]
    most_seconds: float | None = None
    is_shuffled: bool = False


ROWS: Mapping[str, Row] = {
    "in-order": Row("gowalla-128", {"recall@20": 0.1925, "ndcg@20": 0.1635}, most_seconds=300),
    # LightGCN + BSL, 64 dimensions (Wu et al. 2024, logs of the authors).
    "shuffled": Row("gowalla-64", {"recall@20": 0.1892, "ndcg@20": 0.1590}, is_shuffled=True),
}


def shuffle_lists(source: Path, folder: Path) -> None:
    """Writes the lists of a published split with the items of each user permuted.

    Args:
        source: Folder with lists of `user item item …` in files that end in `.txt`.
        folder: Gets files of the same names.
    """
    draw = np.random.default_rng(SEED)
    for path in sorted(source.glob("*.txt")):
        lines = path.read_text(encoding="utf8").splitlines()
        words = (line.split(" ") for line in lines)
        shuffled = [" ".join([user, *draw.permutation(items).tolist()]) for user, *items in words]
        (folder / path.name).write_text("\n".join(shuffled) + "\n", encoding="utf8")


def run_row(row: Row, seed: int) -> tuple[bool, str]:
    """Returns whether a row is reached, and its line."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"seed={seed}"]
        if row.is_shuffled:
            shuffle_lists(Path(compose_config([f"data={DATA}"]).data.root), Path(folder))
            overrides += [f"data.root={folder}"]
        result = run_experiment(row.experiment, overrides)
    found = {metric: result.means["model"][metric] for metric in row.least}
    is_reached = all(found[metric] >= least for metric, least in row.least.items())
    said = ", ".join(f"{metric} {found[metric]:.4f} (at least {row.least[metric]:.4f})" for metric in found)
    said += f", {result.train_seconds:.0f} s of training"
    if row.most_seconds is not None:
        said += f" (at most {row.most_seconds:.0f})"
        is_reached &= result.train_seconds <= row.most_seconds
    return is_reached, said + ("" if is_reached else "   MISSED")


def main() -> int:
    """Prints each row beside what it must reach; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; both if left out")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="exit status 1 where a row is missed")
    options = parser.parse_args()
    if not is_there(DATA):
        print(f"not on this machine: {DATA}")
        return int(options.check)
    verdicts = []
    try:
        for name in options.rows or ROWS:
            for seed in range(1, options.seeds + 1):
                is_reached, said = run_row(ROWS[name], seed)
                verdicts.append(is_reached)
                print(f"{name}, seed {seed}: {said}", flush=True)
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("passed" if all(verdicts) else "FAILED")
    return int(options.check and not all(verdicts))


if __name__ == "__main__":
    sys.exit(main())
