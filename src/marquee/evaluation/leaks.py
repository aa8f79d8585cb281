"""How well a protected attribute can be read off vectors: the leak audit.

A vector that was learned from behaviour alone may still tell gender or age. The audit says how well a plain
classifier reads it, on people that it was not fitted on; 0.5 is nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array
from marquee.errors import DataError, ShapeError
from marquee.evaluation.intervals import Estimate
from marquee.evaluation.probabilities.metrics import auc

N_FOLDS = 5
# With and without the value: fewer leave folds of a handful of people.
MIN_MEMBERS = 50
_RIDGE = 1.0
_N_STEPS = 25
_QUANTILE = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Leak:
    """How well one value of an attribute can be read.

    Attributes:
        attribute: E.g. `gender`.
        value: The value that is told from all others.
        n_members: People who have it.
        n: People whose value is known.
        auc: Out of fold, with its 95 % interval.
    """

    attribute: str
    value: str
    n_members: int
    n: int
    auc: Estimate


def audit_leak(
    vectors: Float64Array, attribute: str, values: Sequence[object], generator: np.random.Generator
) -> tuple[Leak, ...]:
    """Audits each value of an attribute that enough people have and lack; of two values the rarer one.

    Args:
        vectors: Of each person, (n, dim).
        attribute: Its name.
        values: Of each person; None or an empty text where it is not known.
        generator: Draws the folds.

    Raises:
        ShapeError: If there is not one value per vector.
        DataError: If no value parts the people well enough to be judged.
    """
    if len(values) != len(vectors):
        raise ShapeError(f"each vector needs a value, got {len(values)} for {len(vectors)}")
    names = np.array(["" if value is None else str(value) for value in values], dtype=object)
    known = names != ""
    counts = {name: int((names == name).sum()) for name in sorted(set(names[known].tolist()))}
    n = int(known.sum())
    enough = [name for name, count in counts.items() if min(count, n - count) >= MIN_MEMBERS]
    if not enough:
        raise DataError(
            f"{attribute} cannot be audited: its values have {counts} of {n} people, one needs "
            f"{MIN_MEMBERS} with and without it"
        )
    if len(counts) == 2:
        # Of two values each tells as much as the other.
        enough = [min(enough, key=lambda name: counts[name])]
    # Folds of equal size, in any order of people.
    folds = generator.permutation(n) % N_FOLDS
    found = []
    for name in enough:
        has_value = names[known] == name
        scores = _out_of_fold(vectors[known].astype(np.float64), has_value, folds)
        area = auc(scores, has_value)
        reach = _QUANTILE * _auc_error(area, counts[name], n - counts[name])
        interval = Estimate(area, max(0.0, area - reach), min(1.0, area + reach))
        found.append(Leak(attribute, name, counts[name], n, interval))
    return tuple(found)


def _out_of_fold(vectors: Float64Array, has_value: BoolArray, folds: np.ndarray) -> Float64Array:
    """Returns probabilities of people by classifiers that were fitted on the others, (n,)."""
    scores = np.zeros(len(vectors))
    for fold in range(N_FOLDS):
        is_judged = folds == fold
        # Of the people fitted on: the judged ones must not shape their own score.
        mean, spread = vectors[~is_judged].mean(axis=0), vectors[~is_judged].std(axis=0)
        scaled = (vectors - mean) / np.where(spread > 0, spread, 1.0)
        with_one = np.column_stack([scaled, np.ones(len(scaled))])
        slope = _logistic(with_one[~is_judged], has_value[~is_judged])
        # Clipped: `exp` overflows, and beyond 30 a probability is 0 or 1 to 13 digits.
        scores[is_judged] = 1 / (1 + np.exp(-np.clip(with_one[is_judged] @ slope, -30, 30)))
    return scores


def _logistic(features: Float64Array, outcome: BoolArray) -> Float64Array:
    """Returns the slopes of a ridge-penalised logistic regression, by Newton's method; the last is free.

    Source:
        le Cessie and van Houwelingen 1992, Applied Statistics 41(1).
    """
    slope = np.zeros(features.shape[1])
    penalty = np.full(features.shape[1], _RIDGE)
    # The intercept is free; a little keeps the curvature invertible.
    penalty[-1] = 1e-9
    for _ in range(_N_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(features @ slope, -30, 30)))
        gradient = features.T @ (outcome - probability) - penalty * slope
        curvature = (features * (probability * (1 - probability))[:, None]).T @ features + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        slope += step
        if np.abs(step).max() < 1e-8:
            break
    return slope


def _auc_error(area: float, n_positive: int, n_negative: int) -> float:
    """Returns the standard error of an AUC.

    Source:
        Hanley and McNeil 1982, Radiology 143(1).
    """
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (n_positive - 1) * (q1 - area**2) + (n_negative - 1) * (q2 - area**2)
    return float(np.sqrt(max(variance, 0.0) / (n_positive * n_negative)))
