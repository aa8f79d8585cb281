"""Weights for lists of several places, from propensities that are conditional on the places above.

A whole list is never drawn twice, so its weight says nothing. Two assumptions make a list comparable place by
place: that people look at each place by itself, or that what they do at a place depends on those above it.
"""

from enum import StrEnum

import numpy as np

from marquee.core.arrays import Float64Array, IndexArray
from marquee.errors import ShapeError
from marquee.evaluation.off_policy.estimators import Estimator, Value, over_users
from marquee.evaluation.off_policy.weights import importance_weights, measure_support, validate_propensities


class Browsing(StrEnum):
    """The assumption on which places a reward depends."""

    independent = "independent"  # on the item there alone
    cascade = "cascade"  # on that item and those above it


def place_weights(target: Float64Array, propensity: Float64Array, browsing: Browsing) -> Float64Array:
    """Returns the weight of each place of each list, (n, k).

    Args:
        target: Probability with which the candidate would have put the item at its place, given those above,
            (n, k); 1 where a list has no such place.
        propensity: The same of the log, (n, k); 1 where a list has no such place.
        browsing: What a reward depends on.

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
    validate_propensities(propensity)
    weights, _ = importance_weights(target, propensity)
    if browsing is Browsing.independent:
        return weights
    # Times the weights of the places above, on which a reward depends as well.
    return np.cumprod(weights, axis=1, dtype=np.float64)


def estimate_slates(
    reward: Float64Array,
    target: Float64Array,
    propensity: Float64Array,
    user: IndexArray,
    browsing: Browsing,
) -> Value:
    """Estimates what a candidate would have earned per list, the rewards of its places added up.

    Args:
        reward: Of each place of each list, (n, k); NaN where a list has no such place.
        target: See `place_weights`.
        propensity: See `place_weights`.
        user: Number of the user of each list, (n,) int64.
        browsing: What a reward at a place depends on.

    Returns:
        Inverse propensity and, place by place, self-normalised; the support is that of the worst place.

    Raises:
        ShapeError: If shapes differ.
        DataError: If propensities cannot be used.
    """
    if reward.shape != target.shape:
        raise ShapeError(f"reward must have the shape of target, {target.shape}, got {reward.shape}")
    is_there = ~np.isnan(reward)
    filled = np.where(is_there, reward, 0.0)
    # 0 where a list has no such place, or the place would count as a decision without reward.
    weights = np.where(is_there, place_weights(target, propensity, browsing), 0.0)
    n_lists = len(reward)
    n_there, total = is_there.sum(axis=0), weights.sum(axis=0)
    value = np.divide((weights * filled).sum(axis=0), total, out=np.zeros(len(total)), where=total > 0)
    # Influence of each place's ratio, weighed by how many lists have the place.
    scale = np.divide(n_there, total, out=np.zeros(len(total)), where=total > 0)
    influence = (is_there * value + weights * (filled - value) * scale).sum(axis=1)
    together = float(value @ n_there) / n_lists
    supports = [
        measure_support(weights[is_there[:, place], place], None, 0.0) for place in range(weights.shape[1])
    ]
    return Value(
        # A list is known no better than its worst place.
        min(supports, key=lambda support: support.effective),
        {
            Estimator.inverse_propensity: over_users((weights * filled).sum(axis=1), user),
            Estimator.self_normalised: over_users(influence, user, together),
        },
        over_users(filled.sum(axis=1), user),
    )
