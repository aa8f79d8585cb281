"""Takes out of a metric what units brought along: less variance, the same effect (CUPED).

What a unit did before its first exposure cannot be the arm's doing. The part of the metric that it foretells
is removed, and intervals become shorter by as much as it foretells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array
from marquee.evaluation.experiments.units import ArmUnits

_FLAT = 1e-12  # a variance below this share of the mean square is that of equal values


@dataclass(frozen=True, slots=True)
class AdjustedArm:
    """The metric of one arm, adjusted or as it is.

    Attributes:
        mean: The metric.
        variance: Of the metric.
        n_units: Units of the arm.
    """

    mean: float
    variance: float
    n_units: int


@dataclass(frozen=True, slots=True)
class Adjustment:
    """All arms adjusted by the same rule.

    Attributes:
        arms: In the order in which they were given.
        removed: Share of the variance that the past took away, in [0, 1]; 0 where there was none to use.
        is_on: Whether anything was adjusted.
        differed_before: p-value of the hypothesis that the arms were alike before, by the largest
            difference to the first arm; NaN where nothing is known of before.
    """

    arms: tuple[AdjustedArm, ...]
    removed: float
    is_on: bool
    differed_before: float


def adjust(arms: Sequence[ArmUnits]) -> Adjustment:
    """Adjusts the metric of each arm for what its units did before.

    A unit without history is told apart by a column of its own: absent is not the same as nothing done.

    Args:
        arms: The control first. Adjusted if all of them know `before`, and it varies.

    Source:
        Deng, Xu, Kohavi and Walker 2013, WSDM, "Improving the Sensitivity of Online Controlled
        Experiments by Utilizing Pre-Experiment Data", equations 4 to 6; for ratios and several columns by
        least squares on the influence of units. Differs from the paper: units without history have a column.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> before = rng.normal(size=1000)
        >>> arm = ArmUnits(before + 0.5 * rng.normal(size=1000), before=before)
        >>> 0.7 < adjust([arm, arm]).removed < 0.9
        True
    """
    plain = tuple(AdjustedArm(arm.mean, arm.variance, len(arm)) for arm in arms)
    columns = [_columns(arm) for arm in arms]
    # An arm without a past would stand unadjusted beside adjusted ones.
    if any(part is None for part in columns):
        return Adjustment(plain, 0.0, is_on=False, differed_before=float("nan"))
    known = [part for part in columns if part is not None]
    together = np.concatenate(known)
    varying = _varying(together)
    if not varying.any():
        return Adjustment(plain, 0.0, is_on=False, differed_before=float("nan"))
    overall = together[:, varying].mean(axis=0)
    own = [part[:, varying] for part in known]
    centred = np.concatenate([part - part.mean(axis=0) for part in own])  # within arms: no effect leaks in
    influence = np.concatenate([arm.influence for arm in arms])
    # One slope for all arms: they must be adjusted by the same rule.
    slope, *_ = np.linalg.lstsq(centred, influence, rcond=None)
    adjusted = tuple(
        _adjusted(arm, part, slope, overall) if len(arm) > 1 else as_it_was
        for arm, part, as_it_was in zip(arms, own, plain, strict=True)
    )
    spread_before = float(np.square(influence).sum())
    spread_after = float(np.square(influence - centred @ slope).sum())
    removed = 1 - spread_after / spread_before if spread_before else 0.0
    # Rounding may leave the share a bit below 0.
    return Adjustment(adjusted, max(0.0, removed), is_on=True, differed_before=_differed(known))


def _columns(arm: ArmUnits) -> Float64Array | None:
    """Returns the past of each unit, (n_units, 2): its value, 0 where absent, and whether there is one."""
    if arm.before is None:
        return None
    is_there = np.isfinite(arm.before)
    return np.stack([np.where(is_there, arm.before, 0.0), is_there.astype(np.float64)], axis=1)


def _varying(columns: Float64Array) -> BoolArray:
    """Returns which columns are not the same for all units."""
    # Centred, a constant column is 0 and explains nothing.
    is_varying: BoolArray = columns.var(axis=0) > _FLAT * np.maximum(np.square(columns).mean(axis=0), _FLAT)
    return is_varying


def _adjusted(arm: ArmUnits, past: Float64Array, slope: Float64Array, overall: Float64Array) -> AdjustedArm:
    """Returns the metric of an arm as if its units had had the average past."""
    own_mean = past.mean(axis=0)
    rest = arm.influence - (past - own_mean) @ slope
    mean = arm.mean - float((own_mean - overall) @ slope)
    return AdjustedArm(mean, float(rest.var(ddof=1)) / len(arm), len(arm))


def _differed(known: Sequence[Float64Array]) -> float:
    """Returns the p-value of the largest difference to the first arm in the past, corrected for arms."""
    # The value before, not the column that says whether there is one.
    control = known[0][:, 0]
    p_values = [1.0]
    for other in known[1:]:
        values = other[:, 0]
        error = np.sqrt(control.var() / len(control) + values.var() / len(values))
        if error > 0:
            p_values.append(2 * (1 - NormalDist().cdf(abs(values.mean() - control.mean()) / error)))
    # Bonferroni over the arms beside the control.
    return min(1.0, min(p_values) * max(1, len(known) - 1))
