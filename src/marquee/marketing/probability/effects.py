"""How each column moves the odds, with 95 % intervals: ratios of categories, curves of numbers."""

from dataclasses import dataclass

import numpy as np

from marquee.bundle.traits.columns import CategoryColumn, Column, NumberColumn, Values
from marquee.core.arrays import Float64Array
from marquee.marketing.scoring.models import FittedLogistic

N_CURVE_POINTS = 25
_QUANTILE = 1.959963984540054
# Fewer people could be told from a cell of the report.
MIN_CELL = 50


@dataclass(frozen=True)
class OddsRatio:
    """The odds of one value beside those of another, all else equal.

    Attributes:
        column: Its name.
        value: The value, or a step between two.
        reference: The value that it is compared with.
        ratio: Of the odds; above 1 the outcome is more likely.
        low: Lower end of the 95 % interval.
        high: Upper end.
        n: Customers with the value.
    """

    column: str
    value: str
    reference: str
    ratio: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Curve:
    """Odds along a number, beside those at its median.

    Attributes:
        column: Its name.
        at: Values, ascending.
        ratio: Of the odds at each.
        low: Lower ends of the 95 % intervals.
        high: Upper ends.
    """

    column: str
    at: tuple[float, ...]
    ratio: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def measure_effects(
    columns: list[Column], fitted: FittedLogistic, values: dict[str, Values]
) -> tuple[tuple[OddsRatio, ...], tuple[Curve, ...]]:
    """Returns the odds ratios of all columns, and a curve per number.

    Args:
        columns: Of the design.
        fitted: The regression and its covariance.
        values: Column → value per row, of the fit.

    Source:
        Hosmer, Lemeshow and Sturdivant 2013, "Applied Logistic Regression", section 3.4 (intervals of
        differences by the covariance).
    """
    weights = np.array(fitted.model.weights)
    ratios: list[OddsRatio] = []
    curves: list[Curve] = []
    start = 0
    for column in columns:
        width = len(column.labels)
        own = slice(start, start + width)
        weight, spread = weights[own], fitted.covariance[own, own]
        if isinstance(column, CategoryColumn):
            ratios += _category(column, weight, spread, values[column.name])
        else:
            known = values[column.name].astype(np.float64)
            known = known[~np.isnan(known)]
            ratios.append(_step(column, weight, spread, known))
            curves.append(_curve(column, weight, spread, known))
        start += width
    return tuple(ratios), tuple(curves)


def _category(
    column: CategoryColumn, weights: Float64Array, spread: Float64Array, values: Values
) -> list[OddsRatio]:
    """Returns the odds of each level beside those of the most common one."""
    design = column.encode(values.astype(object))
    counts = design.sum(axis=0).astype(int)
    found = []
    for place, level in enumerate(column.levels):
        if place == 0 or counts[place] < MIN_CELL:
            continue
        contrast = np.zeros(len(weights))
        contrast[place], contrast[0] = 1.0, -1.0
        ratio, low, high = _ratios(contrast[None, :], weights, spread)
        found.append(
            OddsRatio(column.name, level, column.levels[0], ratio[0], low[0], high[0], int(counts[place]))
        )
    return found


def _step(
    column: NumberColumn, weights: Float64Array, spread: Float64Array, known: Float64Array
) -> OddsRatio:
    """Returns the odds at the upper quartile beside those at the lower one."""
    low_at, high_at = np.quantile(known, [0.25, 0.75])
    if low_at == high_at:
        # Most rows share one value: the whole range is then the step that says something.
        low_at, high_at = known.min(), known.max()
    terms = column.encode(np.array([low_at, high_at]))
    ratio, low, high = _ratios((terms[1] - terms[0])[None, :], weights, spread)
    unit = " days" if column.as_of is not None else ""
    return OddsRatio(
        column.name, f"{high_at:g}{unit}", f"{low_at:g}{unit}", ratio[0], low[0], high[0], len(known)
    )


def _curve(column: NumberColumn, weights: Float64Array, spread: Float64Array, known: Float64Array) -> Curve:
    """Returns the odds along the middle nine tenths of a number."""
    at = np.unique(np.quantile(known, np.linspace(0.05, 0.95, N_CURVE_POINTS)))
    terms = column.encode(at) - column.encode(np.array([column.typical]))
    ratio, low, high = _ratios(terms, weights, spread)
    return Curve(column.name, tuple(at.tolist()), tuple(ratio), tuple(low), tuple(high))


def _ratios(
    contrasts: Float64Array, weights: Float64Array, spread: Float64Array
) -> tuple[list[float], list[float], list[float]]:
    """Returns ratios of odds with the ends of their intervals, one per contrast."""
    moved = contrasts @ weights
    error = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", contrasts, spread, contrasts), 0.0))
    # Bounded, so that a value which is never seen with one outcome gives a large number and no infinity.
    low, ratio, high = (np.exp(np.clip(moved + by * _QUANTILE * error, -30, 30)) for by in (-1, 0, 1))
    return ratio.tolist(), low.tolist(), high.tolist()
