"""The probabilities of softmax, which looks at gains alone."""

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array


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
        """Returns the probability of each permitted candidate, (n_permitted,)."""
        # Selected, not worked out anew: without diversity all places have the same gains.
        chances: Float64Array = self._weights_of(gains)[permitted]
        total = float(chances.sum())
        if total > 0.0:
            chances /= total
            return chances
        # All permitted candidates lie so far below the best one that their weights vanish: start at theirs.
        left = gains[permitted]
        chances = np.exp((left - left.max()) / self._temperature)
        return np.asarray(chances / chances.sum())

    def _weights_of(self, gains: Float64Array) -> Float64Array:
        """Returns exp((gain - largest gain) / temperature); kept while the gains stay the same array."""
        # By identity: an objective whose gains change gives a new array.
        if gains is not self._gains:
            self._gains = gains
            # Less the largest gain: exp would overflow at a low temperature.
            self._weights = np.exp((gains - gains.max()) / self._temperature)
        return self._weights
