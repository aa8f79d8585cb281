"""The probabilities of the policies that look at gains alone: greedy, epsilon and softmax."""

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array


class GreedyChances:
    """All on the highest gain; the first of equal ones."""

    def of(self, gains: Float64Array, permitted: BoolArray) -> Float64Array:
        """Returns 1 for the best permitted candidate and 0 for the others, (n_candidates,)."""
        chances = np.zeros(len(gains))
        chances[int(np.where(permitted, gains, -np.inf).argmax())] = 1.0
        return chances


class EpsilonChances:
    """The highest gain, except for a part that is spread evenly over what is permitted.

    Args:
        epsilon: That part, in [0, 1].
    """

    def __init__(self, epsilon: float) -> None:
        self._epsilon = epsilon

    def of(self, gains: Float64Array, permitted: BoolArray) -> Float64Array:
        """Returns a probability per candidate, (n_candidates,)."""
        chances: Float64Array = permitted * (self._epsilon / np.count_nonzero(permitted))
        # Added: the best one has its part of the even share as well.
        chances[int(np.where(permitted, gains, -np.inf).argmax())] += 1.0 - self._epsilon
        return chances


class SoftmaxChances:
    """In proportion to exp(gain / temperature); place after place that is a Plackett-Luce list.

    Source:
        Plackett 1975 and Luce 1959. Differs from the model: gains may change with what stands above, where
        variety is asked for, and caps and spacing take candidates out of the draw.

    Args:
        temperature: Above 0, in units of gain.
    """

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature
        self._gains: Float64Array | None = None
        self._weights = np.zeros(0)

    def of(self, gains: Float64Array, permitted: BoolArray) -> Float64Array:
        """Returns a probability per candidate, (n_candidates,)."""
        # Masked, not worked out anew: without diversity all places have the same gains.
        chances: Float64Array = self._weights_of(gains) * permitted
        total = float(chances.sum())
        if total > 0.0:
            chances /= total
            return chances
        # All permitted candidates lie so far below the best one that their weights vanish: start at theirs.
        shifted = np.where(permitted, gains, -np.inf)
        chances = np.exp((shifted - shifted.max()) / self._temperature)
        return np.asarray(chances / chances.sum())

    def _weights_of(self, gains: Float64Array) -> Float64Array:
        """Returns exp((gain - largest gain) / temperature); kept while the gains stay the same array."""
        # By identity: an objective whose gains change gives a new array.
        if gains is not self._gains:
            self._gains = gains
            # Less the largest gain: exp would overflow at a low temperature.
            self._weights = np.exp((gains - gains.max()) / self._temperature)
        return self._weights
