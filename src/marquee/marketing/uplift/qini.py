"""How well an order finds those whom a treatment changes: the Qini coefficient and uplift at k.

One definition, with the random order at 0 and an order that knows every outcome at 1.
"""

from collections.abc import Iterator

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array
from marquee.errors import DataError

SHARES = (0.1, 0.2, 0.3, 0.5)


def qini_curve(
    score: Float64Array, outcome: BoolArray, treated: BoolArray, weight: Float64Array | None = None
) -> tuple[Float64Array, Float64Array]:
    """Returns how many customers were reached, and how many outcomes the treatment added among them.

    Equal scores are one step: their order would be made up.

    Args:
        score: (n,), highest first in line.
        outcome: (n,) bool.
        treated: (n,) bool.
        weight: Times that each customer counts, (n,); None for once.

    Returns:
        x and y, both beginning with 0.

    Source:
        Radcliffe 2007, "Using control groups to target on predicted lift", with controls scaled to the
        number of treated.
    """
    weight = np.ones(len(score)) if weight is None else weight
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    weight, outcome, treated = weight[order], outcome[order], treated[order]
    sums = [
        np.cumsum(weight * is_counted)[ends]
        for is_counted in (treated, ~treated, outcome & treated, outcome & ~treated)
    ]
    n_treated, n_control, won, won_anyway = sums
    scaled = np.divide(won_anyway * n_treated, n_control, out=np.zeros_like(won), where=n_control > 0)
    return np.append(0.0, n_treated + n_control), np.append(0.0, won - scaled)


def qini(
    score: Float64Array, outcome: BoolArray, treated: BoolArray, weight: Float64Array | None = None
) -> float:
    """Returns the area between the curve of an order and the straight line, over that of perfect knowledge.

    Args:
        score: (n,).
        outcome: (n,) bool.
        treated: (n,) bool.
        weight: Times that each customer counts, (n,); None for once.

    Raises:
        DataError: If one arm is empty.

    Source:
        As `qini_curve`; perfect knowledge puts those first who were treated and won, and those last who won
        without (as scikit-uplift does with negative effects).
    """
    if treated.all() or not treated.any():
        raise DataError(f"Qini needs both arms, got {int(treated.sum())} treated of {len(treated)}")
    perfect = outcome.astype(np.float64) * np.where(treated, 1.0, -1.0)
    area, best = (_area_above_line(*qini_curve(one, outcome, treated, weight)) for one in (score, perfect))
    return area / best if best > 0 else 0.0


def uplift_at(
    score: Float64Array,
    outcome: BoolArray,
    treated: BoolArray,
    share: float,
    weight: Float64Array | None = None,
) -> float:
    """Returns the difference in outcome rates of the two arms among the first of an order; NaN without one.

    Args:
        score: (n,).
        outcome: (n,) bool.
        treated: (n,) bool.
        share: Of the customers.
        weight: Times that each customer counts, (n,); None for once.
    """
    weight = np.ones(len(score)) if weight is None else weight
    order = np.argsort(-score, kind="stable")
    first = order[np.cumsum(weight[order]) <= share * weight.sum()]
    rates = []
    for arm in (True, False):
        own = first[treated[first] == arm]
        total = float(weight[own].sum())
        rates.append(float((weight[own] * outcome[own]).sum()) / total if total else float("nan"))
    return rates[0] - rates[1]


def resample_weights(n: int, n_resamples: int, generator: np.random.Generator) -> Iterator[Float64Array]:
    """Yields how often each customer is drawn, with replacement, (n,).

    Args:
        n: Customers.
        n_resamples: Number of draws.
        generator: Of the draws.
    """
    for _ in range(n_resamples):
        yield np.bincount(generator.integers(0, n, n), minlength=n).astype(np.float64)


def _area_above_line(x: Float64Array, y: Float64Array) -> float:
    """Returns the area between a curve and the straight line from its first to its last point."""
    return float(np.trapezoid(y, x) - 0.5 * x[-1] * y[-1])
