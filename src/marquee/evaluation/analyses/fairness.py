"""Gaps between groups of people: whether a metric differs, by how much, and whether chance may have made it.

Rows without a group are a group of their own. Groups that are too small are named with their size, and not
compared: their numbers would be noise, and might tell of single people.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import combinations

import numpy as np

from marquee.core.arrays import Float64Array
from marquee.errors import DataError, ShapeError
from marquee.evaluation.analyses.slices import MIN_USERS
from marquee.evaluation.experiments.units import ArmUnits
from marquee.evaluation.intervals import Estimate, widening, wilson

NO_GROUP = "(none)"
_QUANTILE = 1.959963984540054  # of the normal distribution, 95 % two-sided

IntervalAt = Callable[[float], Estimate]
"""A value with its interval at a quantile of the normal distribution."""


class GapFinding(StrEnum):
    """Whether a gap is one, or passes a bound."""

    differs = "differs"
    cannot_tell = "cannot tell"


class BoundFinding(StrEnum):
    """Whether a bound on the gap holds."""

    holds = "holds"
    fails = "fails"
    cannot_tell = "cannot tell"


@dataclass(frozen=True, slots=True)
class Group:
    """One group, judged by itself."""

    name: str
    n: int
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Gap:
    """The largest difference between two groups.

    Attributes:
        higher: Group with the higher value.
        lower: Group with the lower one.
        difference: Higher minus lower; its interval is widened for having looked at all pairs.
    """

    higher: str
    lower: str
    difference: Estimate

    @property
    def finding(self) -> GapFinding:
        """`differs` only where the whole interval lies above 0."""
        return GapFinding.differs if self.difference.low > 0 else GapFinding.cannot_tell

    def against(self, bound: float) -> BoundFinding:
        """Returns whether the gap is within a bound: it fails only with its whole interval beyond it."""
        if self.difference.low > bound:
            return BoundFinding.fails
        return BoundFinding.holds if self.difference.high <= bound else BoundFinding.cannot_tell


@dataclass(frozen=True)
class GroupGaps:
    """One metric by one protected attribute.

    Attributes:
        attribute: E.g. `gender`.
        metric: E.g. `ndcg@10`, `selection rate`, `calibration ratio`.
        groups: Those that are large enough, by name.
        small: Groups too small to show → their size.
        largest: The largest gap; None with fewer than two groups.
        reasons: Why a group cannot be judged, one sentence each.
    """

    attribute: str
    metric: str
    groups: tuple[Group, ...]
    small: Mapping[str, int]
    largest: Gap | None
    reasons: tuple[str, ...] = ()


def measure_gaps(
    attribute: str,
    metric: str,
    numerator: Float64Array,
    groups: Sequence[object],
    denominator: Float64Array | None = None,
    min_size: int = MIN_USERS,
) -> GroupGaps:
    """Measures a metric by group, and the largest gap.

    A mean needs a numerator alone: NDCG of each user, or 1 for who was selected. A ratio has both, such as
    the calibration ratio: probabilities over outcomes.

    Args:
        attribute: Name of what parts people.
        metric: Name of the metric.
        numerator: Of each row, (n,); NaN where a row has no value, and does not count.
        groups: Group of each row; None, or an empty text, for none.
        denominator: Of each row, for a ratio, (n,).
        min_size: Rows that a group needs.

    Raises:
        ShapeError: If the arrays differ in length.

    Source:
        Welch 1947, Biometrika 34, for the difference of two means; Newcombe 1998, Statistics in Medicine 17,
        method 10, for that of two shares, of which one may be 0; Bonferroni's correction over all pairs.

    Example:
        >>> values = np.array([0.0, 1.0] * 100 + [1.0, 1.0, 1.0, 0.0] * 50)
        >>> gaps = measure_gaps("region", "share", values, ["north"] * 200 + ["south"] * 200)
        >>> gaps.largest.higher, gaps.largest.finding.value
        ('south', 'differs')
    """
    if len(groups) != len(numerator):
        raise ShapeError(f"each row needs a group, got {len(groups)} groups for {len(numerator)} rows")
    # None and an empty text are one group: a CSV does not tell them apart.
    names = np.array([NO_GROUP if value in (None, "") else str(value) for value in groups], dtype=object)
    is_there = ~np.isnan(numerator)
    found: dict[str, IntervalAt] = {}
    sizes: dict[str, int] = {}
    small: dict[str, int] = {}
    reasons = []
    for name in sorted(set(names.tolist())):
        is_in = (names == name) & is_there
        n = int(is_in.sum())
        if n < min_size:
            # Named with its size and not compared: few rows are noise, and might tell of single people.
            small[name] = n
            continue
        try:
            found[name] = _interval(numerator[is_in], None if denominator is None else denominator[is_in])
            sizes[name] = n
        except DataError as error:
            # Such as denominators that are all 0: this group has no metric, the others have.
            reasons.append(f"{attribute} = {name}: {error}")
    return GroupGaps(
        attribute,
        metric,
        tuple(Group(name, sizes[name], at(_QUANTILE)) for name, at in found.items()),
        small,
        _largest(found),
        tuple(reasons),
    )


def _interval(numerator: Float64Array, denominator: Float64Array | None) -> IntervalAt:
    """Returns the interval of a group's metric.

    Raises:
        DataError: If a value is not finite, or all denominators are 0.
    """
    units = ArmUnits(numerator, denominator)
    if denominator is None and bool(np.isin(numerator, (0.0, 1.0)).all()):
        # Of a group of which nobody was selected the variance is 0, which would make its share certain.
        return partial(share_at, float(numerator.sum()), float(len(numerator)))
    return partial(_normal_at, units.mean, units.variance**0.5)


def share_at(n_found: float, n_all: float, quantile: float) -> Estimate:
    """Returns a share with its interval at a quantile of the normal distribution."""
    low, high = (float(end[0]) for end in wilson(np.array([n_found]), np.array([n_all]), quantile))
    return Estimate(n_found / n_all, low, high)


def _normal_at(mean: float, error: float, quantile: float) -> Estimate:
    """Returns a mean with its interval at a quantile of the normal distribution."""
    return Estimate(mean, mean - quantile * error, mean + quantile * error)


def difference_of(higher: Estimate, lower: Estimate) -> Estimate:
    """Returns the difference of two values of different people, from the intervals of both.

    Source:
        Zou and Donner 2008, Statistics in Medicine 27, "Construction of confidence limits about effect
        measures"; for normal intervals it is Welch's.

    Example:
        >>> difference_of(Estimate(0.5, 0.25, 1.0), Estimate(0.5, 0.0, 0.5))  # √0.5² + 0.5² up
        Estimate(mean=0.0, low=-0.25, high=0.7071067811865476)
    """
    difference = higher.mean - lower.mean
    return Estimate(
        difference,
        difference - math.hypot(higher.mean - higher.low, lower.high - lower.mean),
        difference + math.hypot(higher.high - higher.mean, lower.mean - lower.low),
    )


def gap_between(estimates: Mapping[str, Estimate]) -> Gap | None:
    """Returns the largest gap between groups that were judged already; None with fewer than two.

    Args:
        estimates: Group → its value with a 95 % interval, of people that no two groups share; one without
            an interval is left out.

    Example:
        >>> gap = gap_between({"a": Estimate(0.5, 0.4, 0.6), "b": Estimate(0.1, 0.0, 0.2)})
        >>> gap.higher, round(gap.difference.low, 2)
        ('a', 0.26)
    """
    known = {
        # The standard error is read back from the interval, whose half is a quantile of it.
        name: partial(_normal_at, found.mean, (found.high - found.low) / (2 * _QUANTILE))
        for name, found in estimates.items()
        if np.isfinite([found.mean, found.low, found.high]).all()
    }
    return _largest(known)


def quantile_of_pairs(n_groups: int) -> float:
    """Returns the quantile for a pair that was picked among all pairs of some groups for its size."""
    return widening(n_groups * (n_groups - 1) // 2) * _QUANTILE


def _largest(found: Mapping[str, IntervalAt]) -> Gap | None:
    """Returns the largest gap that differs for sure, else the largest."""
    # All pairs are looked at: the one picked for its size needs the wider interval.
    quantile = quantile_of_pairs(len(found))
    at = {name: interval(quantile) for name, interval in found.items()}
    gaps = []
    for first, second in combinations(at, 2):
        higher, lower = sorted((first, second), key=lambda name: -at[name].mean)
        gaps.append(Gap(higher, lower, difference_of(at[higher], at[lower])))
    # A pair that differs for sure comes before a larger one that may be chance.
    return max(gaps, key=lambda gap: (gap.difference.low > 0, gap.difference.mean), default=None)
