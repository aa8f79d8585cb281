"""The logging policy: what the market showed, and exactly how likely each choice was.

A slate is drawn one position after the other, each time among the items not yet chosen, with chances in
proportion to their weights. A race draws the same slates at once: each item waits for an exponential time
that is shorter the larger its weight, and the first to arrive stands on top. The propensity of a position
is the chance of its item **given what stood above it**; the chance of a whole slate is the product of its
propensities.

Source:
    Plackett 1975 and Luce 1959 for the model; Kool et al. 2019, ICML, "Stochastic Beams and Where to Find
    Them", section 2, for drawing it in one go. Differs from the paper: exponential times rank as its
    Gumbel noise does (one is minus the logarithm of the other), and need no logarithms.
"""

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import FloatArray, IndexArray
from marquee.world.truth import RealArray

POLICY = "popularity_taste_mix"
TASTE_GAIN = 7.0
POPULARITY_POWER = 0.4
# No item: fewer candidates than places.
EMPTY = -1


def believed_liking(believed_tastes: RealArray, item_vectors: RealArray) -> FloatArray:
    """Returns how much the policy believes each user likes each item, more than 0, (n_users, n_items).

    Args:
        believed_tastes: Unit length, (n_users, latent_dim).
        item_vectors: Unit length, (n_items, latent_dim).
    """
    # Single precision is four times as quick, and exact enough: propensities follow from the result.
    affinity = believed_tastes.astype(np.float32) @ item_vectors.astype(np.float32).T
    return np.asarray(np.exp(TASTE_GAIN * affinity))


def slate_weights(
    clicks: RealArray, liking: FloatArray, is_candidate: npt.NDArray[np.bool_], exploration: float
) -> RealArray:
    """Returns the weights of the policy: popularity times believed liking, mixed with uniform noise.

    Args:
        clicks: Recent clicks of each item, more than 0, (n_items,).
        liking: Of each request's user for each item, more than 0, (requests, n_items).
        is_candidate: Whether an item may be shown, (requests, n_items).
        exploration: Share of the uniform noise.

    Returns:
        (requests, n_items), rows sum to 1; 0 for what may not be shown. A row without candidates is 0.
    """
    # A power below 1: in full, popular items would be shown so often that no other gains clicks.
    wanted = liking * clicks**POPULARITY_POWER
    wanted *= is_candidate
    # A request without candidates needs a divisor all the same; its row stays 0.
    n_candidates = np.maximum(np.count_nonzero(is_candidate, axis=1), 1)
    wanted *= ((1.0 - exploration) / np.maximum(wanted.sum(axis=1), np.finfo(np.float64).tiny))[:, None]
    wanted += is_candidate * (exploration / n_candidates)[:, None]
    return wanted


def sample_slates(
    weights: RealArray, n_positions: int, rng: np.random.Generator
) -> tuple[IndexArray, RealArray]:
    """Draws slates without replacement, each choice in proportion to the weights that are left.

    Args:
        weights: 0 or more, (requests, n_items); 0 is never chosen.
        n_positions: Length of a slate.
        rng: Where the noise comes from.

    Returns:
        Columns chosen, best position first, (requests, n_positions) int64, `EMPTY` where the candidates
        ran out; and the propensity of each choice given those before it, in (0, 1], 0 where `EMPTY`.
    """
    n_positions = min(n_positions, weights.shape[1])
    with np.errstate(divide="ignore"):  # weight 0 = never arrives
        # The first k of exponential races are a draw without replacement (Efraimidis and Spirakis 2006).
        arrival = rng.standard_exponential(weights.shape) / weights
    chosen = np.argpartition(arrival, n_positions - 1, axis=1)[:, :n_positions]
    order = np.argsort(np.take_along_axis(arrival, chosen, axis=1), axis=1)
    chosen = np.take_along_axis(chosen, order, axis=1)  # (requests, n_positions)
    weight = np.take_along_axis(weights, chosen, axis=1)
    # What is left before a choice, added up from the smallest part: the total less what is gone would
    # lose the last choices to rounding.
    unchosen = np.maximum(weights.sum(axis=1) - weight.sum(axis=1), 0.0)
    left = np.cumsum(weight[:, ::-1], axis=1)[:, ::-1] + unchosen[:, None]
    is_chosen = weight > 0
    propensity = np.divide(weight, left, out=np.zeros_like(weight), where=is_chosen)
    # Rounding may leave a share just above 1.
    return np.where(is_chosen, chosen, EMPTY), np.minimum(propensity, 1.0)
