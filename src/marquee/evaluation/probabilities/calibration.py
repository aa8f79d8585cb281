"""Turns scores into probabilities: small heads fitted on outcomes that the judged ones do not hold.

A score says only which of two stands higher; a head learns from outcomes how often each score comes true.
Both heads keep the order of the scores, so they change an AUC by new ties alone.
Does not judge the result (see `metrics` beside it).
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array
from marquee.core.cooccurrence import SCIPY_INSTALL
from marquee.errors import ConfigError, DataError, ShapeError
from marquee.evaluation.probabilities.metrics import tied_groups

RIDGE = 1e-3
MAX_STEPS = 50
STEP_TOLERANCE = 1e-9


@dataclass(frozen=True)
class LogisticHead:
    """A logistic regression: of a score alone it is Platt's scaling.

    Attributes:
        coefficients: One per feature, then the intercept, (n_features + 1,).
        means: Of the features in fitting, (n_features,).
        scales: Their standard deviations, 1 for a constant, (n_features,).

    Source:
        Platt 1999, "Probabilistic Outputs for Support Vector Machines". Differs from it: outcomes are not
        smoothed; a ridge of `RIDGE` on standardised features keeps what is separable finite.
    """

    coefficients: Float64Array
    means: Float64Array
    scales: Float64Array

    @classmethod
    def fit(cls, features: Float64Array, outcome: BoolArray, ridge: float = RIDGE) -> "LogisticHead":
        """Returns the head by Newton's method.

        Args:
            features: (n, n_features); of a score, (n, 1).
            outcome: (n,) bool.
            ridge: Penalty on the square of each coefficient but the intercept.

        Raises:
            ShapeError: If rows differ in number.
            DataError: If both outcomes do not occur.
        """
        _validate(features, outcome)
        means, scales = features.mean(axis=0), features.std(axis=0)
        scales = np.where(scales > 0, scales, 1.0)
        columns = _with_intercept((features - means) / scales)
        penalty = np.full(columns.shape[1], ridge)
        # The intercept is free: the mean probability of the fit is then the rate.
        penalty[-1] = 0.0
        rate = outcome.mean()
        coefficients = np.zeros(columns.shape[1])
        # Starts at the mean rate: clicks are rare, and a start at one half is far from it.
        coefficients[-1] = np.log(rate / (1 - rate))
        for _ in range(MAX_STEPS):
            probability = _sigmoid(columns @ coefficients)
            gradient = columns.T @ (probability - outcome) + penalty * coefficients
            curvature = (columns.T * (probability * (1 - probability))) @ columns + np.diag(penalty)
            step = np.asarray(np.linalg.solve(curvature, gradient), dtype=np.float64)
            step *= _length(columns, outcome, coefficients, step, penalty)
            coefficients = coefficients - step
            if np.abs(step).max() < STEP_TOLERANCE:
                break
        return cls(coefficients, means, scales)

    def probabilities(self, features: Float64Array) -> Float64Array:
        """Returns the probability of each row, (n,)."""
        return _sigmoid(_with_intercept((features - self.means) / self.scales) @ self.coefficients)


@dataclass(frozen=True)
class IsotonicHead:
    """The best step function that never falls: no shape is assumed, and much data needed.

    Attributes:
        scores: Of each step, ascending, (n_steps,): where it begins.
        rates: Probability of each step, ascending, (n_steps,).

    Source:
        Zadrozny and Elkan 2002, KDD, section 4; pool adjacent violators: Ayer et al. 1955, Annals of
        Mathematical Statistics 26(4). Differs from them: no probability is nearer to 0 or 1 than half an
        event of the fit.
    """

    scores: Float64Array
    rates: Float64Array

    @classmethod
    def fit(cls, score: Float64Array, outcome: BoolArray) -> "IsotonicHead":
        """Fits the head by pooling adjacent violators.

        Args:
            score: (n,).
            outcome: (n,) bool.

        Raises:
            ShapeError: If lengths differ.
            DataError: If both outcomes do not occur.
            ConfigError: If scipy is not installed.
        """
        _validate(score[:, None], outcome)
        try:
            from scipy.optimize import isotonic_regression
        except ImportError as error:
            raise ConfigError(
                f"an isotonic head needs the package scipy, got {error}; run: {SCIPY_INSTALL}"
            ) from error
        # Equal scores must get one probability: they go in as one point that weighs as many as they are.
        order, starts = tied_groups(score)
        n = np.diff(np.append(starts, len(order))).astype(np.float64)
        rate = np.add.reduceat(outcome[order].astype(np.float64), starts) / n
        fitted = isotonic_regression(rate, weights=n)
        begins = fitted.blocks[:-1]  # the last one is the end of the last block
        # A step of 0 or 1 would claim a certainty that one event can refute.
        smallest = 0.5 / len(score)
        return cls(score[order][starts][begins], np.clip(fitted.x[begins], smallest, 1 - smallest))

    def probabilities(self, score: Float64Array) -> Float64Array:
        """Returns the probability of each score, (n,); below the lowest step it is that of the lowest."""
        step = np.searchsorted(self.scores, score, side="right") - 1
        return self.rates[np.maximum(step, 0)]


def logit(probability: Float64Array) -> Float64Array:
    """Returns ln(p / (1 − p)), of the shape of `probability`; finite, also for 0 and 1."""
    kept = np.clip(probability, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def _sigmoid(logits: Float64Array) -> Float64Array:
    """Returns 1 / (1 + exp(−logits)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


def _length(
    columns: Float64Array,
    outcome: BoolArray,
    coefficients: Float64Array,
    step: Float64Array,
    penalty: Float64Array,
) -> float:
    """Returns how much of a step to take: halved until the penalised loss falls; Newton may jump too far."""
    length = 1.0
    before = _penalised_loss(columns, outcome, coefficients, penalty)
    while _penalised_loss(columns, outcome, coefficients - length * step, penalty) > before:
        length /= 2
        # At the optimum rounding alone may make the loss rise.
        if length < STEP_TOLERANCE:
            return 0.0
    return length


def _penalised_loss(
    columns: Float64Array, outcome: BoolArray, coefficients: Float64Array, penalty: Float64Array
) -> float:
    """Returns the sum of the log losses of all rows, and half the penalty on squares."""
    logits = columns @ coefficients
    loss = np.logaddexp(0.0, logits).sum() - logits[outcome].sum()
    return float(loss + 0.5 * (penalty * coefficients**2).sum())


def _with_intercept(features: Float64Array) -> Float64Array:
    """Returns the features with a column of ones behind them."""
    return np.concatenate([features, np.ones((len(features), 1))], axis=1)


def _validate(features: Float64Array, outcome: BoolArray) -> None:
    """Raises unless there is a row of features per outcome, and both outcomes."""
    if features.ndim != 2 or outcome.shape != features.shape[:1]:
        raise ShapeError(
            f"features must be (n, n_features) and outcome (n,), got {features.shape} and {outcome.shape}"
        )
    if not 0 < outcome.sum() < len(outcome):
        raise DataError(
            f"a head needs both outcomes to be fitted, got {int(outcome.sum())} true of {len(outcome)}; "
            "fit it on more events"
        )
