"""Whether the arms of an experiment hold the shares of units that were declared.

A mismatch means that units were lost or counted twice on the way, and not at random: no effect of such an
experiment can be believed, however small its p-value.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from marquee.errors import DataError

MISMATCH_P_VALUE = 0.001
"""Below this the shares are no accident; lower than for effects, for every experiment is looked at."""

# Weights are floats: 0.7 + 0.2 + 0.1 is not exactly 1.
_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """The units of each arm beside those that the declared weights lead to expect.

    Attributes:
        observed: Arm → units that were seen.
        expected: Arm → units in proportion to the weights.
        p_value: How often chance alone strays as far; 0 where an arm with a weight has nobody.
    """

    observed: Mapping[str, int]
    expected: Mapping[str, float]
    p_value: float

    @property
    def is_mismatch(self) -> bool:
        """Whether no effect may be shown."""
        return self.p_value < MISMATCH_P_VALUE

    def shares(self) -> dict[str, tuple[float, float]]:
        """Returns arm → share that was observed, and share that was declared."""
        total = max(1, sum(self.observed.values()))
        return {arm: (self.observed[arm] / total, self.expected[arm] / total) for arm in self.observed}


def validate_weights(weights: Mapping[str, float]) -> None:
    """Raises DataError unless there are two arms or more, with positive weights that sum to 1."""
    if len(weights) < 2:
        raise DataError(f"an experiment needs two arms or more, got {list(weights)}; declare the others")
    wrong = {arm: weight for arm, weight in weights.items() if not 0 < weight <= 1}
    if wrong or abs(sum(weights.values()) - 1) > _SUM_TOLERANCE:
        raise DataError(
            f"the weights of the arms must each lie in (0, 1] and sum to 1, got {dict(weights)}; correct them"
        )


def sample_ratio(observed: Mapping[str, int], weights: Mapping[str, float]) -> SampleRatio:
    """Compares the units of each arm with the declared weights, by Pearson's χ².

    Args:
        observed: Arm → units; an arm of `weights` that is not named has none.
        weights: Arm → declared share.

    Raises:
        DataError: If weights are wrong, an arm was not declared, or there are no units at all.

    Source:
        Pearson 1900; Fabijan et al. 2019, KDD, "Diagnosing Sample Ratio Mismatch in Online Controlled
        Experiments", for the level.

    Example:
        >>> ratio = sample_ratio({"a": 49_000, "b": 51_000}, {"a": 0.5, "b": 0.5})
        >>> ratio.is_mismatch, sample_ratio({"a": 95, "b": 5}, {"a": 0.95, "b": 0.05}).is_mismatch
        (True, False)
    """
    validate_weights(weights)
    unknown = sorted(set(observed) - set(weights))
    if unknown:
        raise DataError(f"the log holds the arms {unknown}, declared are {sorted(weights)}; declare them")
    counts = {arm: int(observed.get(arm, 0)) for arm in weights}
    total = sum(counts.values())
    if not total:
        raise DataError(f"no unit was seen in any of the arms {sorted(weights)}; is it the right log?")
    expected = {arm: total * weight for arm, weight in weights.items()}
    # χ² is an approximation that fails for an empty arm of few units: nobody there is a mismatch by itself.
    if min(counts.values()) == 0:
        return SampleRatio(counts, expected, 0.0)
    statistic = sum((counts[arm] - expected[arm]) ** 2 / expected[arm] for arm in weights)
    return SampleRatio(counts, expected, float(chi2.sf(np.float64(statistic), len(weights) - 1)))
