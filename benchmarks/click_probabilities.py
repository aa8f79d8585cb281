"""Click probabilities of a real campaign, judged as given and after calibration, in the order of time.

    python -m benchmarks.click_probabilities                 the file under $MARQUEE_DATA
    python -m benchmarks.click_probabilities FILE            another one: `click price probability` per line
    python -m benchmarks.click_probabilities --check         exit status 1 outside the tolerances

Heads are fitted on the earlier half of the auctions and judged on the later half. Every number stands beside
that of scikit-learn on the same auctions; calibration must not make the log loss worse than chance would.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from marquee.core.arrays import BoolArray, Float64Array
from marquee.errors import DataError
from marquee.evaluation.probabilities.calibration import IsotonicHead, LogisticHead, logit
from marquee.evaluation.probabilities.metrics import reliability_curve
from marquee.evaluation.probabilities.outcomes import JudgedOutcome, judge_outcome

FILE = "ipinyou-2997/2997.test.theta.txt"
SAME = 1e-9
METRICS = ("log_loss", "normalised_entropy", "auc", "calibration_error", "calibration_ratio")


@dataclass(frozen=True)
class Auctions:
    """Won auctions in the order of time.

    Attributes:
        is_clicked: (n,) bool.
        price: What was paid, (n,) int64.
        probability: Of a click, as was said before, (n,).
    """

    is_clicked: BoolArray
    price: np.ndarray
    probability: Float64Array


def read_auctions(path: Path) -> Auctions:
    """Returns the auctions of a file with `click price probability` per line.

    Raises:
        DataError: If there is no such file, or a line is none.
    """
    try:
        frame = pl.read_csv(
            path, separator=" ", has_header=False, new_columns=["click", "price", "probability"]
        )
        return Auctions(
            frame["click"].cast(pl.Int64).to_numpy() == 1,
            frame["price"].cast(pl.Int64).to_numpy(),
            frame["probability"].cast(pl.Float64).to_numpy(),
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{path} must hold `click price probability` per line, got {error}; set MARQUEE_DATA, or name "
            "the file"
        ) from error


def judge_auctions(auctions: Auctions, seed: int = 0) -> tuple[JudgedOutcome, dict[str, Float64Array]]:
    """Returns the later half judged as given and as heads of the earlier half say, and all probabilities."""
    half = len(auctions.is_clicked) // 2
    clicked, later = auctions.is_clicked[:half], auctions.is_clicked[half:]
    said, said_later = auctions.probability[:half], auctions.probability[half:]
    sources = {
        "as given": said_later,
        "logistic": LogisticHead.fit(logit(said)[:, None], clicked).probabilities(logit(said_later)[:, None]),
        "isotonic": IsotonicHead.fit(said, clicked).probabilities(said_later),
        "mean rate": np.full(len(later), clicked.mean()),
    }
    price = auctions.price[half:]
    first, second = np.quantile(price, [1 / 3, 2 / 3])
    columns = {
        "price": {
            f"up to {first:.0f}": price <= first,
            f"up to {second:.0f}": (price > first) & (price <= second),
            "above": price > second,
        }
    }
    meaning = (
        f"Is an auction that was won clicked? {len(later):,} later auctions; heads of {half:,} earlier ones."
    )
    judged = judge_outcome(
        "click", meaning, sources, later, np.arange(len(later)), columns, np.random.default_rng(seed)
    )
    return judged, sources


def largest_deviation(judged: JudgedOutcome, sources: dict[str, Float64Array], outcome: BoolArray) -> float:
    """Returns how far any log loss or AUC is from that of scikit-learn, and any curve without ties."""
    off = []
    for source in judged.sources:
        said = sources[source.name]
        off.append(source.metrics["log_loss"].mean - sklearn_log_loss(outcome, said))
        off.append(source.metrics["auc"].mean - roc_auc_score(outcome, said))
    said = sources["as given"] / 2 + 1e-12 * np.arange(len(outcome))  # without ties, bins are the same
    n_in_bins = len(outcome) - len(outcome) % 10
    rate, mean = calibration_curve(outcome[:n_in_bins], said[:n_in_bins], n_bins=10, strategy="quantile")
    curve = reliability_curve(said[:n_in_bins], outcome[:n_in_bins])
    off += [*(curve.rate - rate), *(curve.probability - mean)]
    return float(np.max(np.abs(off)))


def main() -> int:
    """Prints measured beside reference; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("MARQUEE_DATA", "data")) / FILE
    parser.add_argument("file", nargs="?", type=Path, default=default)
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    options = parser.parse_args()
    auctions = read_auctions(options.file)
    judged, sources = judge_auctions(auctions)
    print(f"{judged.meaning}\n{judged.sources[0].n_true:,} clicks among them")
    print(
        f"{'':<12}" + "".join(f"{metric.replace('_', ' '):>32}" for metric in METRICS) + f"{'by chance':>12}"
    )
    for source in judged.sources:
        cells = [
            f"{value.mean:.5f} ({value.low:.5f} to {value.high:.5f})"
            for value in (source.metrics[metric] for metric in METRICS)
        ]
        by_chance = source.calibration_error_by_chance
        print(f"{source.name:<12}" + "".join(f"{cell:>32}" for cell in cells) + f"{by_chance:>12.5f}")
    for column in judged.columns:
        for part in column.slices:
            ratio = part.metrics["calibration_ratio"]
            print(
                f"as given, {column.name} {part.name}: {part.n:,} auctions, said over came {ratio.mean:.3f} "
                f"({ratio.low:.3f} to {ratio.high:.3f})"
            )
    deviation = largest_deviation(judged, sources, auctions.is_clicked[len(auctions.is_clicked) // 2 :])
    given, logistic = (source.metrics["log_loss"] for source in judged.sources[:2])
    print(f"{'largest deviation from scikit-learn':<44}{deviation:>12.2e}   reference ≤ {SAME:.0e}")
    print(f"{'log loss, logistic less as given':<44}{logistic.mean - given.mean:>12.2e}   reference ≤ 0")
    is_within = deviation <= SAME and logistic.mean <= given.mean
    print("passed" if is_within else "outside the tolerances")
    return int(options.check and not is_within)


if __name__ == "__main__":
    sys.exit(main())
