"""The chance draws behind every reaction: one set per request and item, the same for every policy.

Whoever shows an item to a request meets the same luck, at whichever position and whatever stands beside it.
So two policies that show the same differ in nothing, and the difference of two others is theirs alone.

What the market's own policy has shown was drawn when it was shown, and is kept. For all other pairs the draws
follow from the seed, the request and the item, so that no table of all pairs is ever held.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import IndexArray
from marquee.world.truth import RealArray

N_DRAWS = 5
"""Uniform in [0, 1): whether it is looked at, clicked, viewed, converted; then the wait, exponential."""

_Bits = npt.NDArray[np.uint64]
# Of SplitMix64: the step between states, and the multipliers of its finaliser.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def draw_luck(n: int, rng: np.random.Generator) -> RealArray:
    """Draws the luck of n exposures, (n, N_DRAWS)."""
    uniforms = [rng.random(n) for _ in range(N_DRAWS - 1)]
    return np.column_stack([*uniforms, rng.standard_exponential(n)])


@dataclass(frozen=True)
class Luck:
    """The luck of every request with every item.

    Attributes:
        seed: What the draws follow from where nothing was shown.
        n_items: Items of the market.
        pairs: `request * n_items + item` of what was shown, ascending, (n_exposures,).
        drawn: The luck of each of these, (n_exposures, N_DRAWS).
    """

    seed: int
    n_items: int
    pairs: IndexArray
    drawn: RealArray

    @classmethod
    def recorded(
        cls, seed: int, n_items: int, request: IndexArray, item: IndexArray, drawn: RealArray
    ) -> "Luck":
        """Returns the luck of a market that has shown these items, each once per request, in any order."""
        pairs = request * n_items + item
        order = np.argsort(pairs)
        return cls(seed, n_items, pairs[order], drawn[order])

    def of(self, request: IndexArray, item: IndexArray) -> RealArray:
        """Returns the luck of pairs, element by element, (n, N_DRAWS)."""
        pairs = request * self.n_items + item
        luck = _follow(self.seed, pairs)
        if len(self.pairs):
            place = np.minimum(np.searchsorted(self.pairs, pairs), len(self.pairs) - 1)
            was_shown = self.pairs[place] == pairs
            luck[was_shown] = self.drawn[place[was_shown]]
        return luck


def _follow(seed: int, pairs: IndexArray) -> RealArray:
    """Returns the luck that follows from a seed and pairs, (n, N_DRAWS).

    Source:
        Steele, Lea and Flood 2014, OOPSLA, "Fast Splittable Pseudorandom Number Generators", SplitMix64.
        Differs from the paper: the state is mixed from seed and pair, as a counter entered anywhere.
    """
    # Twice mixed: neighbouring seeds and pairs must not share a state.
    start = _mix(_mix(np.full(1, seed, dtype=np.uint64) + _STEP) ^ pairs.astype(np.uint64))
    luck = np.empty((len(pairs), N_DRAWS))
    state = start
    for draw in range(N_DRAWS):
        state = state + _STEP
        bits = _mix(state)
        luck[:, draw] = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    luck[:, -1] = -np.log1p(-luck[:, -1])
    return luck


def _mix(bits: _Bits) -> _Bits:
    """Returns the bits after the finaliser of SplitMix64; overflow is part of it."""
    bits = (bits ^ (bits >> np.uint64(30))) * _FIRST
    bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
    mixed: _Bits = bits ^ (bits >> np.uint64(31))
    return mixed
