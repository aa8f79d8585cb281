"""The effect of an arm beside the control: its size, two intervals, and what could have been found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import NormalDist

import numpy as np

from marquee.core.arrays import Float64Array
from marquee.errors import DataError
from marquee.evaluation.comparison import POWER, SIGNIFICANCE, holm
from marquee.evaluation.experiments.adjustment import AdjustedArm, Adjustment, adjust
from marquee.evaluation.experiments.sequences import TUNED_FOR, sequence_half_width
from marquee.evaluation.experiments.units import ArmUnits

_NORMAL = NormalDist()
_QUANTILE = _NORMAL.inv_cdf(1 - SIGNIFICANCE / 2)


@dataclass(frozen=True, slots=True)
class Effect:
    """One arm minus the control, in one metric.

    Attributes:
        arm: Name of the arm.
        control: The metric of the control.
        treated: The metric of the arm.
        difference: Treated minus control, after adjustment for the past.
        low: Lower end of the fixed 95 % interval: holds if it is read once, at the declared end.
        high: Upper end of it.
        always_low: Lower end of the confidence sequence: holds at all looks and for all arms together.
        always_high: Upper end of it.
        p_value: Of the fixed test; after `corrected`, over all metrics and arms.
        detectable: Size of a true difference that this test finds in 80 % of the cases; None where neither
            arm varies.
        relative: Difference over the control; NaN where the control is 0.
        relative_low: Lower end of its fixed interval.
        relative_high: Upper end of it.
        removed: Share of the variance that the past took away.
    """

    arm: str
    control: float
    treated: float
    difference: float
    low: float
    high: float
    always_low: float
    always_high: float
    p_value: float
    detectable: float | None
    relative: float
    relative_low: float
    relative_high: float
    removed: float


@dataclass(frozen=True, slots=True)
class MetricEffects:
    """The effects of every arm on one metric.

    Attributes:
        name: Of the metric.
        effects: One per arm but the control.
        adjustment: How the past was taken out.
    """

    name: str
    effects: tuple[Effect, ...]
    adjustment: Adjustment


def measure_effects(
    name: str, arms: Mapping[str, ArmUnits], control: str, tuned_for: int = TUNED_FOR
) -> MetricEffects:
    """Measures the effect of each arm beside the control.

    Args:
        name: Of the metric, for messages.
        arms: Arm → its units.
        control: Name of the control.
        tuned_for: Units of two arms together at which the confidence sequence is shortest.

    Raises:
        DataError: If the control is no arm, there is no other, an arm has fewer than two units, or the
            metric is the same for all units, so that there is nothing to test.
    """
    if control not in arms or len(arms) < 2:
        raise DataError(f"{name} needs the control {control!r} and another arm, got {list(arms)}")
    # A variance needs two units.
    small = {arm: len(units) for arm, units in arms.items() if len(units) < 2}
    if small:
        raise DataError(f"{name} needs two units in each arm, got {small}; wait, or leave the arm out")
    # The control first: `adjust` takes the first arm for it.
    names = [control, *(arm for arm in arms if arm != control)]
    adjustment = adjust([arms[arm] for arm in names])
    base = adjustment.arms[0]
    if not any(arm.variance > 0 for arm in adjustment.arms):
        raise DataError(
            f"{name} is {base.mean:g} for every unit of every arm: without variance there is nothing to test"
        )
    widths = partial(sequence_half_width, tuned_for=tuned_for, n_arms=len(names) - 1)
    return MetricEffects(
        name,
        tuple(
            _effect(arm, base, own, arms[control].mean, arms[arm].mean, adjustment.removed, widths)
            for arm, own in zip(names[1:], adjustment.arms[1:], strict=True)
        ),
        adjustment,
    )


def _effect(
    arm: str,
    base: AdjustedArm,
    own: AdjustedArm,
    control_mean: float,
    own_mean: float,
    removed: float,
    half_width: Callable[[float, int], float],
) -> Effect:
    """Compares one arm with the control; `half_width` is that of the confidence sequence."""
    difference = own.mean - base.mean
    error = (own.variance + base.variance) ** 0.5
    half = _QUANTILE * error
    # By the units of both arms: the sequence is that of their difference.
    always = half_width(error, own.n_units + base.n_units)
    relative, relative_half = _relative(base, own)
    # Without variance there is no test: equal means have 1, others 0.
    p_value = 2 * (1 - _NORMAL.cdf(abs(difference) / error)) if error else float(difference == 0)
    return Effect(
        arm=arm,
        control=control_mean,
        treated=own_mean,
        difference=difference,
        low=difference - half,
        high=difference + half,
        always_low=difference - always,
        always_high=difference + always,
        p_value=p_value,
        detectable=(_QUANTILE + _NORMAL.inv_cdf(POWER)) * error if error else None,
        relative=relative,
        relative_low=relative - relative_half,
        relative_high=relative + relative_half,
        removed=removed,
    )


def _relative(base: AdjustedArm, own: AdjustedArm) -> tuple[float, float]:
    """Returns the difference over the control, and half its 95 % interval by the delta method."""
    if not base.mean:
        return float("nan"), float("nan")
    ratio = own.mean / base.mean
    # Of the ratio of two independent means; subtracting 1 does not change it.
    variance = own.variance / base.mean**2 + ratio**2 * base.variance / base.mean**2
    return ratio - 1, _QUANTILE * variance**0.5


def corrected(metrics: Sequence[MetricEffects]) -> tuple[MetricEffects, ...]:
    """Returns the metrics with p-values corrected by Holm's method over all metrics and arms."""
    p_values = iter(holm([effect.p_value for metric in metrics for effect in metric.effects]))
    return tuple(
        replace(metric, effects=tuple(replace(effect, p_value=next(p_values)) for effect in metric.effects))
        for metric in metrics
    )


def quantile_effect(
    control: Float64Array, treated: Float64Array, quantile: float
) -> tuple[float, float, float]:
    """Returns the difference of a quantile over units, and the ends of its 95 % interval.

    Args:
        control: One value per unit, (n_units,).
        treated: The same of the arm.
        quantile: In (0, 1).

    Raises:
        DataError: If the quantile is out of range, or an arm has too few units to bracket it.

    Source:
        Price and Bonett 2002, Journal of Statistical Computation and Simulation 72(2): standard errors from
        order statistics, which assume no form of the distribution.
    """
    if not 0 < quantile < 1:
        raise DataError(f"a quantile must lie in (0, 1), got {quantile}")
    (at_control, error_control), (at_treated, error_treated) = (
        _quantile(values, quantile) for values in (control, treated)
    )
    half = _QUANTILE * (error_control**2 + error_treated**2) ** 0.5
    difference = at_treated - at_control
    return difference, difference - half, difference + half


def _quantile(values: Float64Array, quantile: float) -> tuple[float, float]:
    """Returns a quantile and its standard error."""
    n = len(values)
    # The number of units below a quantile is binomial.
    spread = _QUANTILE * (n * quantile * (1 - quantile)) ** 0.5
    low, high = int(np.floor(n * quantile - spread)), int(np.ceil(n * quantile + spread))
    if low < 0 or high >= n:
        raise DataError(
            f"the {quantile:g} quantile of {n} units has no interval; it needs about "
            f"{round(4 / min(quantile, 1 - quantile))} units or more"
        )
    ordered = np.sort(values)
    # The interval between order statistics, read back as a standard error: those of two arms can be added.
    return float(np.quantile(values, quantile)), float(ordered[high] - ordered[low]) / (2 * _QUANTILE)
