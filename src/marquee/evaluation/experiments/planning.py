"""How many units and days an experiment needs to find an effect of a given size."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from marquee.errors import DataError
from marquee.evaluation.comparison import POWER, SIGNIFICANCE
from marquee.evaluation.experiments.adjustment import adjust
from marquee.evaluation.experiments.sequences import TUNED_FOR, sequence_half_width
from marquee.evaluation.experiments.units import ArmUnits

# Ends the search for an effect too small to be found.
_MAX_UNITS = 10**12


@dataclass(frozen=True, slots=True)
class Plan:
    """The size that an experiment needs.

    Attributes:
        n_units: Units per arm for the fixed test, read once at the end; on average where weights differ.
        n_units_always: Units per arm at which the confidence sequence leaves out 0, on average, when
            looked at daily.
        days: Days for the fixed test; infinite where no unit comes.
        days_always: The same for the sequence.
    """

    n_units: int
    n_units_always: int
    days: float
    days_always: float


def plan(
    variance: float,
    effect: float,
    units_per_day: float,
    *,
    weights: Sequence[float] = (0.5, 0.5),
    removed: float = 0.0,
    tuned_for: int = TUNED_FOR,
) -> Plan:
    """Plans an experiment by its smallest arm, which is the last to be told apart from the control.

    Args:
        variance: Of the metric between units, from the log.
        effect: Smallest difference that matters, in the metric's unit.
        units_per_day: New units of all arms together.
        weights: Share of the units in each arm, the control first.
        removed: Share of the variance that the past takes away.
        tuned_for: As for `sequence_half_width`.

    Raises:
        DataError: If a number is out of range.

    Source:
        Lehr 1992, Statistics in Medicine 11(8), for the fixed test.

    Example:
        >>> plan(0.1 * 0.9, 0.015, 1000).n_units  # a rate of 10 % and 1.5 points
        6280
    """
    n_arms = len(weights)
    if not (variance > 0 and effect != 0 and units_per_day >= 0 and n_arms >= 2 and 0 <= removed < 1):
        raise DataError(
            "a plan needs a variance above 0, an effect other than 0, units_per_day of 0 or more, 2 arms or "
            f"more and a removed share in [0, 1), got {variance}, {effect}, {units_per_day}, {n_arms}, "
            f"{removed}"
        )
    # Of several arms each must pass the first step of Holm's method.
    n_others = n_arms - 1
    factor = NormalDist().inv_cdf(1 - SIGNIFICANCE / (2 * n_others)) + NormalDist().inv_cdf(POWER)
    control, smallest = weights[0], min(weights[1:])
    # Of the difference of two arms, for one unit per arm on average: twice that of units in equal arms.
    spread = (1 / control + 1 / smallest) / n_arms * variance * (1 - removed)
    fixed = math.ceil(spread * (factor / effect) ** 2)

    def half_width(n_units: int) -> float:
        of_both = max(1, round(n_units * n_arms * (control + smallest)))
        return sequence_half_width(math.sqrt(spread / n_units), of_both, tuned_for, n_others)

    always = _smallest(half_width, abs(effect))
    per_arm = units_per_day / n_arms
    return Plan(
        n_units=fixed,
        n_units_always=always,
        days=fixed / per_arm if per_arm else math.inf,
        days_always=always / per_arm if per_arm else math.inf,
    )


def _smallest(half_width: Callable[[int], float], effect: float) -> int:
    """Returns the fewest units per arm at which the confidence sequence is shorter than the effect.

    Args:
        half_width: Of the sequence at so many units per arm.
        effect: Its size.
    """
    # By doubling, then bisection: the length of the sequence has no closed inverse.
    low, high = 1, 2
    while high < _MAX_UNITS and half_width(high) > effect:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if half_width(middle) > effect else (low, middle)
    return high


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
    metric: str,
    units: ArmUnits,
    minimum_effect: float,
    units_per_day: float,
    weights: Sequence[float] = (0.5, 0.5),
    tuned_for: int = TUNED_FOR,
) -> ExperimentPlan:
    """Plans an experiment from the units of a log, whatever arm they were in.

    Args:
        metric: Its name, for messages.
        units: Their sums.
        minimum_effect: Smallest effect that matters.
        units_per_day: New units of all arms together.
        weights: Share of the units in each arm, the control first.
        tuned_for: As for `sequence_half_width`.

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
        PlannedEffect(
            size,
            plan(variance, size, units_per_day, weights=weights, removed=removed, tuned_for=tuned_for),
        )
        for size in (minimum_effect / 2, minimum_effect, 2 * minimum_effect)
    )
    return ExperimentPlan(
        metric, units.mean, len(units), variance, removed, units_per_day, len(weights), effects
    )
