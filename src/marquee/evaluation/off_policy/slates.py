"""The value of a candidate by lists of several places, from propensities conditional on the places above.

A whole list is never drawn twice, so its weight says nothing. Two assumptions make a list comparable place by
place: that people look at each place by itself, or that what they do at a place depends on those above it.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.errors import DataError, ShapeError
from marquee.evaluation.off_policy.estimators import Estimator, Value, over_users
from marquee.evaluation.off_policy.weights import (
    Support,
    clip_weights,
    importance_weights,
    measure_support,
    validate_propensities,
)


class Browsing(StrEnum):
    """The assumption on which places a reward depends."""

    independent = "independent"  # on the item there alone
    cascade = "cascade"  # on that item and those above it


@dataclass(frozen=True, slots=True)
class LoggedSlates:
    """Lists of a logging policy, the rewards of their places, and a candidate's probabilities of them.

    Attributes:
        reward: Of each place of each list, (n, k) float64; NaN where a list has no such place.
        propensity: Probability with which the log put the item there, given those above, (n, k), in (0, 1]; 1
            where a list has no such place.
        target: The same of the candidate, (n, k).
        user: Number of the user of each list, (n,) int64.
        unsupported: Probability of the candidate on items that the log could not show there, (n, k); None for
            0.
        predicted: Reward that a model predicts for the place as it is, (n, k); None without a model.
        expected: Reward that it predicts for the candidate there, given the places above, (n, k).

    Raises:
        ShapeError: If the arrays do not fit together.
        DataError: If there are no lists, a reward is infinite, or propensities cannot be used.
    """

    reward: Float64Array
    propensity: Float64Array
    target: Float64Array
    user: IndexArray
    unsupported: Float64Array | None = None
    predicted: Float64Array | None = None
    expected: Float64Array | None = None

    def __post_init__(self) -> None:
        shape = self.reward.shape
        if len(shape) != 2 or self.user.shape != shape[:1]:
            raise ShapeError(
                f"rewards must be lists of one length, (n, k), with a user each, got {shape} and users "
                f"{self.user.shape}"
            )
        for name in ("propensity", "target", "unsupported", "predicted", "expected"):
            values = getattr(self, name)
            if values is not None and values.shape != shape:
                raise ShapeError(f"{name} must have one value per place, {shape}, got {values.shape}")
        n_wrong = int(np.isinf(self.reward).sum())
        if not self.is_there.any() or n_wrong:
            raise DataError(
                f"lists must have places with finite rewards, got {int(self.is_there.sum())} places, "
                f"{n_wrong} of them infinite"
            )
        if (self.predicted is None) != (self.expected is None):
            raise DataError("predicted and expected rewards belong together, got only one of them")
        validate_propensities(self.propensity[self.is_there])

    @property
    def is_there(self) -> BoolArray:
        """Which places each list has, (n, k) bool."""
        return np.asarray(~np.isnan(self.reward))


@dataclass(frozen=True, slots=True)
class PlaceValue:
    """The value of one place.

    Attributes:
        place: From 1.
        support: How far the log speaks about it; with `cascade` about all that stands above as well.
        value: Of the candidate, self-normalised; 0 where no list did what it would.
        logged: What the log earned there.
    """

    place: int
    support: Support
    value: float
    logged: float


@dataclass(frozen=True, slots=True)
class SlateValue:
    """The value of a candidate per list, and place by place."""

    value: Value
    places: tuple[PlaceValue, ...]


def place_weights(
    target: Float64Array, propensity: Float64Array, browsing: Browsing, is_there: BoolArray | None = None
) -> Float64Array:
    """Returns the weight of each place of each list, (n, k).

    Args:
        target: Probability with which the candidate would have put the item at its place, given those above,
            (n, k).
        propensity: The same of the log, (n, k).
        browsing: What a reward depends on. With `independent`, a weight speaks of the candidate's choice at
            the place below what the log put above: exact if those above do not matter to what is left.
        is_there: Which places each list has, (n, k); None for all. The others have weight 0.

    Raises:
        ShapeError: If the two differ in shape, or are no lists.
        DataError: If propensities cannot be used.

    Source:
        Li et al. 2018, KDD, "Offline Evaluation of Ranking Policies with Click Models" (independent);
        McInerney et al. 2020, KDD, "Counterfactual Evaluation of Slate Recommendations with Sequential Reward
        Interactions" (cascade).

    Example:
        >>> target, propensity = np.array([[0.5, 0.5]]), np.array([[0.25, 0.5]])
        >>> place_weights(target, propensity, Browsing.cascade).tolist()
        [[2.0, 2.0]]
    """
    if target.ndim != 2 or target.shape != propensity.shape:
        raise ShapeError(f"both must be lists of one shape (n, k), got {target.shape} and {propensity.shape}")
    there = np.ones(target.shape, dtype=np.bool_) if is_there is None else is_there
    validate_propensities(propensity[there])
    weights, _ = importance_weights(target, propensity)
    weights = np.where(there, weights, 0.0)
    if browsing is Browsing.independent:
        return weights
    # Times the weights of the places above, on which a reward depends as well.
    return np.cumprod(weights, axis=1, dtype=np.float64)


def estimate_slates(log: LoggedSlates, browsing: Browsing, clip: float | None = None) -> SlateValue:
    """Estimates what a candidate would have earned per list, the rewards of its places added up.

    * inverse propensity: mean over lists of Σ w r.
    * self-normalised: place by place Σ w r / Σ w, times how many lists have the place.
    * doubly robust: the same with a model; what is below a place is in the model's value of it as a constant,
      so that the weights of a list cost less precision.
    * direct: what the model predicts, with the places above as they were logged.

    Args:
        log: The lists.
        browsing: What a reward at a place depends on.
        clip: Largest weight allowed; None for no bound.

    Returns:
        The support is that of the worst place: a list is known no better.

    Raises:
        DataError: If a target cannot be used, or `clip` is not positive.

    Source:
        Kiyohara et al. 2022, WSDM, "Doubly Robust Off-Policy Evaluation for Ranking Policies under the
        Cascade Behavior Model", for the doubly robust estimate.
    """
    there = log.is_there
    raw = place_weights(log.target, log.propensity, browsing, there)
    weights, _ = clip_weights(raw, clip)
    filled = np.where(there, log.reward, 0.0)
    supports = [_support(raw, weights, log.unsupported, there, place) for place in range(raw.shape[1])]
    ratios, influence = _self_normalised(weights, filled, there)
    per_list = {Estimator.inverse_propensity: (weights * filled).sum(axis=1)}
    if log.predicted is not None and log.expected is not None:
        expected = np.where(there, log.expected, 0.0)
        per_list[Estimator.direct] = expected.sum(axis=1)
        per_list[Estimator.doubly_robust] = _doubly_robust(
            weights, filled, np.where(there, log.predicted, 0.0), expected, there, browsing
        )
    together = float(ratios @ there.sum(axis=0)) / len(filled)
    estimates = {name: over_users(values, log.user) for name, values in per_list.items()}
    logged = filled.sum(axis=1)
    gains = {name: over_users(values - logged, log.user) for name, values in per_list.items()}
    # No list did what the candidate would: there is no ratio, and no value.
    if weights.any():
        estimates[Estimator.self_normalised] = over_users(influence, log.user, together)
        gain = together - float(logged.mean())
        gains[Estimator.self_normalised] = over_users(influence - logged, log.user, gain)
    worst = min(supports, key=lambda support: (support.effective, -support.unsupported))
    worst_unsupported = max(support.unsupported for support in supports)
    return SlateValue(
        Value(
            # Each number from the place where it is worst.
            Support(
                worst.n_decisions,
                worst.effective,
                max(support.largest for support in supports),
                worst_unsupported,
                max(support.clipped for support in supports),
            ),
            estimates,
            over_users(logged, log.user),
            gains,
        ),
        tuple(
            PlaceValue(place + 1, support, float(ratios[place]), float(filled[there[:, place], place].mean()))
            for place, support in enumerate(supports)
            if there[:, place].any()
        ),
    )


def _support(
    raw: Float64Array,
    weights: Float64Array,
    unsupported: Float64Array | None,
    there: BoolArray,
    place: int,
) -> Support:
    """Returns how far the log speaks about one place."""
    rows = there[:, place]
    total = float(raw[rows, place].sum())
    clipped = 1 - float(weights[rows, place].sum()) / total if total else 0.0
    without = None if unsupported is None else unsupported[rows, place]
    return measure_support(weights[rows, place], without, clipped)


def _self_normalised(
    weights: Float64Array, filled: Float64Array, there: BoolArray
) -> tuple[Float64Array, Float64Array]:
    """Returns the ratio of each place, (k,), and the influence of each list on their sum, (n,)."""
    n_there, total = there.sum(axis=0), weights.sum(axis=0)
    ratios = np.divide((weights * filled).sum(axis=0), total, out=np.zeros(len(total)), where=total > 0)
    # Influence of each place's ratio, weighed by how many lists have the place.
    scale = np.divide(n_there, total, out=np.zeros(len(total)), where=total > 0)
    return ratios, (there * ratios + weights * (filled - ratios) * scale).sum(axis=1)


def _doubly_robust(
    weights: Float64Array,
    filled: Float64Array,
    predicted: Float64Array,
    expected: Float64Array,
    there: BoolArray,
    browsing: Browsing,
) -> Float64Array:
    """Returns the doubly robust value of each list, (n,)."""
    if browsing is Browsing.independent:
        return np.asarray((expected + weights * (filled - predicted)).sum(axis=1))
    # The candidate's own share of the place, given that it would have put what stands above.
    above = np.hstack([np.ones((len(weights), 1)), weights[:, :-1]]) * there
    # Expected below each place, a constant per place: whatever it is, it cancels on average.
    means = expected.mean(axis=0)
    later = np.cumsum(means[::-1])[::-1] - means
    return np.asarray((above * (expected + later) + weights * (filled - predicted - later)).sum(axis=1))
