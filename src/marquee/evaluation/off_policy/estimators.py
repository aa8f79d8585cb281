"""The value of a policy from the log of another: direct, inverse propensity, self-normalised, doubly robust.

All are means over decisions with intervals over users, for decisions of one user have to do with each other.
None knows a model: predicted rewards come in as arrays, fitted on other users than they are used on.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from marquee.core.arrays import Float64Array, IndexArray
from marquee.errors import DataError, ShapeError
from marquee.evaluation.intervals import CONFIDENCE, Estimate
from marquee.evaluation.off_policy.weights import (
    Support,
    importance_weights,
    measure_support,
    validate_propensities,
)

_NO_SKEW = 1e-9  # below it the cube root cancels to rounding


class Estimator(StrEnum):
    """How a value is estimated."""

    direct = "direct"
    inverse_propensity = "inverse_propensity"
    self_normalised = "self_normalised"
    doubly_robust = "doubly_robust"


@dataclass(frozen=True, slots=True)
class LoggedDecisions:
    """The decisions of a logging policy and their rewards.

    Attributes:
        reward: Of each decision, (n,) float64.
        propensity: Probability with which it was made, (n,), in (0, 1].
        target: Probability with which the candidate would have made it, (n,).
        user: Number of the user of each decision, (n,) int64.
        unsupported: Probability of the candidate on actions that the log could not show, (n,); None for 0.
        predicted: Reward that a model predicts for the decision, (n,); None without a model.
        expected: Reward that the model predicts for the candidate, mean over its actions, (n,).

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If there are no decisions, a reward is not finite, or propensities cannot be used.
    """

    reward: Float64Array
    propensity: Float64Array
    target: Float64Array
    user: IndexArray
    unsupported: Float64Array | None = None
    predicted: Float64Array | None = None
    expected: Float64Array | None = None

    def __post_init__(self) -> None:
        n = len(self.reward)
        for name in ("propensity", "target", "user", "unsupported", "predicted", "expected"):
            values = getattr(self, name)
            if values is not None and values.shape != (n,):
                raise ShapeError(f"{name} must have one value per decision, ({n},), got {values.shape}")
        n_wrong = int((~np.isfinite(self.reward)).sum())
        if not n or n_wrong:
            raise DataError(f"rewards must be finite and one or more, got {n}, {n_wrong} of them not finite")
        if (self.predicted is None) != (self.expected is None):
            raise DataError("predicted and expected rewards belong together, got only one of them")
        validate_propensities(self.propensity)


@dataclass(frozen=True, slots=True)
class Value:
    """The estimated reward of a candidate per decision.

    Attributes:
        support: How far the log speaks about it.
        estimates: Estimator → value with its 95 % interval over users.
        logged: What the logging policy earned, with its interval.
        gains: Estimator → value less what the log earned, with the interval of that difference: both are of
            the same users, so it is shorter than the two would let one think.
    """

    support: Support
    estimates: Mapping[Estimator, Estimate]
    logged: Estimate
    gains: Mapping[Estimator, Estimate]

    @property
    def headline(self) -> Estimator | None:
        """The estimator that verdicts rest on; None where the log cannot speak.

        Never the direct one: it is as wrong as its model.
        """
        if not self.support.is_identifiable:
            return None
        for name in (Estimator.doubly_robust, Estimator.self_normalised):
            if name in self.estimates:
                return name
        return None


def estimate_value(log: LoggedDecisions, clip: float | None = None) -> Value:
    """Estimates what a candidate would have earned per decision.

    * direct: mean of the expected rewards; as wrong as the model is.
    * inverse propensity: mean of w r. Unbiased, and as noisy as the weights.
    * self-normalised: Σ w r / Σ w. Steadier; exact for the logging policy on its own log.
    * doubly robust: mean of expected + w (r - predicted). Right if the model or the propensities are.

    Args:
        log: The decisions; direct and doubly robust need predicted rewards.
        clip: Largest weight allowed; what it takes away is in `support`.

    Source:
        Horvitz and Thompson 1952; Swaminathan and Joachims 2015, NeurIPS, "The Self-Normalized Estimator
        for Counterfactual Learning"; Dudík, Langford and Li 2011, ICML, "Doubly Robust Policy Evaluation".

    Example:
        >>> own = np.array([0.5, 0.25, 0.5, 0.25])
        >>> log = LoggedDecisions(np.array([1.0, 0, 1, 1]), own, own, np.arange(4))
        >>> estimate_value(log).estimates[Estimator.self_normalised].mean
        0.75
    """
    weights, clipped = importance_weights(log.target, log.propensity, clip)
    support = measure_support(weights, log.unsupported, clipped)
    n, total = len(weights), float(weights.sum())
    per_decision = {Estimator.inverse_propensity: weights * log.reward}
    if log.predicted is not None and log.expected is not None:
        per_decision[Estimator.direct] = log.expected
        per_decision[Estimator.doubly_robust] = log.expected + weights * (log.reward - log.predicted)
    estimates = {name: over_users(values, log.user) for name, values in per_decision.items()}
    gains = {name: over_users(values - log.reward, log.user) for name, values in per_decision.items()}
    # All weights 0: the log never did what the candidate would, and there is no ratio.
    if total:
        value = float(weights @ log.reward) / total
        # Influence of a ratio: its mean is 0, so the value is added back.
        influence = value + weights * (log.reward - value) * (n / total)
        estimates[Estimator.self_normalised] = over_users(influence, log.user, value)
        gain = value - float(log.reward.mean())
        gains[Estimator.self_normalised] = over_users(influence - log.reward, log.user, gain)
    return Value(support, estimates, over_users(log.reward, log.user), gains)


def over_users(values: Float64Array, user: IndexArray, mean: float | None = None) -> Estimate:
    """Returns the mean of one value per decision with its 95 % interval over users.

    Few users with large weights make most of the variance, and so it is known badly: the interval is that of
    Student's t, with as many degrees of freedom as users of a normal distribution would need to know it so.
    They also make its estimate small where they are missing, and the mean with it: the interval is moved by
    the third moment, or most of what it misses would lie above it.

    Args:
        values: One per decision, (n,).
        user: Number of the user of each, (n,).
        mean: The mean where it is known more exactly than by adding up.

    Source:
        Satterthwaite 1946, Biometrics Bulletin 2(6), for degrees of freedom that match the variance of a
        variance; here it follows from the fourth moment. Hall 1992, Journal of the Royal Statistical
        Society B 54(1), "On the Removal of Skewness by Transformation", for the third.
    """
    mean = float(values.mean()) if mean is None else mean
    _, number = np.unique(user, return_inverse=True)
    n_users = int(number.max()) + 1
    if n_users < 2:
        return Estimate(mean, float("-inf"), float("inf"))  # one user says nothing about others
    # Summed within users first: decisions of one user are not independent.
    sums = np.bincount(number, values - mean, minlength=n_users).astype(np.float64)
    squares = float(np.square(sums).sum())
    error = float(np.sqrt(squares * n_users / (n_users - 1))) / len(values)
    quantile = _quantile(sums, squares)
    # Of equal sums there is no third moment, and the interval has no length.
    skew = float((sums**3).sum()) / squares**1.5 if squares else 0.0
    return Estimate(mean, mean - error * _unskewed(quantile, skew), mean - error * _unskewed(-quantile, skew))


def _unskewed(quantile: float, skew: float) -> float:
    """Returns the quantile of a studentised mean whose sums are skewed; longer below than above for skew > 0.

    Args:
        quantile: Of a symmetric one.
        skew: Third standardised moment of the sums over the root of their number.
    """
    if abs(skew) < _NO_SKEW:
        return quantile
    # Monotone, as the cube root is: the lower end never passes the upper one.
    return 3 / skew * (math.cbrt(1 + skew * (quantile - skew / 6)) - 1)


def _quantile(sums: Float64Array, squares: float) -> float:
    """Returns the quantile of Student's t for sums of users about their mean, (n_users,)."""
    from scipy.special import stdtrit

    n_users = len(sums)
    # Of equal sums nothing is to be known; of normal ones 2, whatever their scale.
    excess = n_users * float((sums**4).sum()) / squares**2 - 1 if squares else 2.0
    freedom = min(2 * n_users / excess if excess > 0 else n_users, n_users - 1.0)
    return float(stdtrit(max(freedom, 1.0), (1 + CONFIDENCE) / 2))
