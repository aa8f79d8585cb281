"""How many units and days an experiment needs to find an effect of a given size."""

import math
from dataclasses import dataclass
from statistics import NormalDist

from marquee.errors import DataError
from marquee.evaluation.comparison import POWER, SIGNIFICANCE
from marquee.evaluation.experiments.adjustment import adjust
from marquee.evaluation.experiments.sequences import sequence_half_width
from marquee.evaluation.experiments.units import ArmUnits

# Ends the search for an effect too small to be found.
_MAX_UNITS = 10**12


@dataclass(frozen=True, slots=True)
class Plan:
    """The size that an experiment needs.

    Attributes:
        n_units: Units of each arm for the fixed test, read once at the end.
        n_units_always: Units of each arm at which the confidence sequence leaves out 0, on average, when
            looked at daily.
        days: Days for the fixed test; infinite where no unit comes.
        days_always: The same for the sequence.
    """

    n_units: int
    n_units_always: int
    days: float
    days_always: float


def plan(
    variance: float, effect: float, units_per_day: float, *, n_arms: int = 2, removed: float = 0.0
) -> Plan:
    """Plans an experiment with arms of equal weight.

    Args:
        variance: Of the metric between units, from the log.
        effect: Smallest difference that matters, in the metric's unit.
        units_per_day: New units of all arms together.
        n_arms: Arms, the control included.
        removed: Share of the variance that the past takes away.

    Raises:
        DataError: If a number is out of range.

    Source:
        Lehr 1992, Statistics in Medicine 11(8), for the fixed test.

    Example:
        >>> plan(0.1 * 0.9, 0.015, 1000).n_units  # a rate of 10 % and 1.5 points
        6280
    """
    if not (variance > 0 and effect != 0 and units_per_day >= 0 and n_arms >= 2 and 0 <= removed < 1):
        raise DataError(
            "a plan needs a variance above 0, an effect other than 0, units_per_day of 0 or more, 2 arms or "
            f"more and a removed share in [0, 1), got {variance}, {effect}, {units_per_day}, {n_arms}, "
            f"{removed}"
        )
    left = variance * (1 - removed)
    factor = NormalDist().inv_cdf(1 - SIGNIFICANCE / 2) + NormalDist().inv_cdf(POWER)
    # Twice, for the difference of two arms varies as both together.
    fixed = math.ceil(2 * left * (factor / effect) ** 2)
    always = _smallest(left, abs(effect))
    per_arm = units_per_day / n_arms
    return Plan(
        n_units=fixed,
        n_units_always=always,
        days=fixed / per_arm if per_arm else math.inf,
        days_always=always / per_arm if per_arm else math.inf,
    )


def _smallest(variance: float, effect: float) -> int:
    """Returns the fewest units per arm at which the confidence sequence is shorter than the effect."""
    # By doubling, then bisection: the length of the sequence has no closed inverse.
    low, high = 1, 2
    while high < _MAX_UNITS and _half_width(variance, high) > effect:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _half_width(variance, middle) > effect else (low, middle)
    return high


def _half_width(variance: float, n_units: int) -> float:
    """Returns half the length of the sequence at so many units per arm."""
    return sequence_half_width(math.sqrt(2 * variance / n_units), 2 * n_units)


@dataclass(frozen=True, slots=True)
class PlannedEffect:
    """Units and days that find an effect of one size, the past of units taken out.

    Attributes:
        effect: In the metric's unit.
        plan: Units and days.
    """

    effect: float
    plan: Plan


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """The needs of an experiment, by the variance of its own table.

    Attributes:
        metric: That decides.
        mean: Of it, now.
        n_units: Units that the variance is of.
        variance: Between units.
        removed: Share of it that the past takes away.
        units_per_day: New units of all arms together.
        n_arms: Arms, the control included.
        effects: Half the smallest that matters, that, and double.
    """

    metric: str
    mean: float
    n_units: int
    variance: float
    removed: float
    units_per_day: float
    n_arms: int
    effects: tuple[PlannedEffect, ...]


def plan_experiment(
    metric: str, units: ArmUnits, minimum_effect: float, units_per_day: float, n_arms: int
) -> ExperimentPlan:
    """Plans an experiment from the units of a log, whatever arm they were in.

    Args:
        metric: Its name, for messages.
        units: Their sums.
        minimum_effect: Smallest effect that matters.
        units_per_day: New units of all arms together.
        n_arms: Arms, the control included.

    Raises:
        DataError: If there is nothing to plan with: no effect that matters, no units, no variance.
    """
    if not minimum_effect > 0:
        raise DataError(
            f"a plan needs the smallest effect on {metric} that matters, got {minimum_effect:g}; set "
            "minimum_effect in the unit of the metric"
        )
    # Between units: that of `ArmUnits` is of their mean.
    variance = units.variance * len(units)
    if not variance > 0:
        raise DataError(
            f"{metric} does not vary between {len(units)} units: a plan needs two units or more that differ"
        )
    removed = adjust([units]).removed
    effects = tuple(
        PlannedEffect(size, plan(variance, size, units_per_day, n_arms=n_arms, removed=removed))
        for size in (minimum_effect / 2, minimum_effect, 2 * minimum_effect)
    )
    return ExperimentPlan(metric, units.mean, len(units), variance, removed, units_per_day, n_arms, effects)
