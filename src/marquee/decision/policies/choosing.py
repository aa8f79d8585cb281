"""Draws one candidate per place and says how probable it was, given the places above.

```
chances      what the policy gives each permitted candidate; the others have none
+ floor      a part of it spread evenly over what is permitted
+ share      mixed with the greedy choice: the decision explores with probability `share`
```

Which part of the mixture a decision belongs to is never said, so the propensity of a place is that of the
whole mixture. Each part weighs as much as it explains the places above (Bayes' rule): a list that greedy
choice would never have made is known to be explored from its first surprise on.

All that is random follows from the id of the decision: the same id, candidates and settings draw the same
list, so that a decision can be replayed. Decides nothing about what is permitted (see `reranking`).
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array
from marquee.decision.policies.chances import EpsilonChances, GreedyChances, SoftmaxChances
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.policies.thompson import ClickCounts, ThompsonChances
from marquee.errors import ConfigError

_UNIFORM_BYTES = 8
# All that BLAKE2b gives: eight numbers for one hash.
_DIGEST_BYTES = 64


class Choice(NamedTuple):
    """A candidate at a place.

    Attributes:
        position: Its position among the candidates.
        propensity: Probability with which it was chosen, given the places above, in (0, 1].
    """

    position: int
    propensity: float


class Chooser(Protocol):
    """Chooses for the places of one answer, from the first to the last."""

    def choose(self, gains: Float64Array, permitted: BoolArray) -> Choice | None:
        """Returns the candidate of the next place, None if none is permitted.

        Args:
            gains: What each candidate would add to the list as it stands, (n_candidates,), finite.
            permitted: Which may stand here, (n_candidates,) bool.
        """

    def weigh(self, gains: Float64Array, permitted: BoolArray, position: int) -> float:
        """Puts a given candidate at the next place and returns its probability there, in [0, 1]."""

    def spread(self, gains: Float64Array, permitted: BoolArray) -> Float64Array:
        """Returns the probability of each candidate at the next place, (n_candidates,), and puts none there.

        All are 0 where none is permitted.
        """


class Chances(Protocol):
    """Turns gains into probabilities; may remember the places above within one decision."""

    def of(self, gains: Float64Array, permitted: BoolArray) -> Float64Array:
        """Returns a probability per candidate, (n_candidates,), summing to 1, 0 where not permitted."""


class GreedyChooser:
    """Chooses the highest gain; equal gains go by the order of the candidates. Holds nothing."""

    def choose(self, gains: Float64Array, permitted: BoolArray) -> Choice | None:
        """Returns the best permitted candidate, None if there is none."""
        open_gains = np.where(permitted, gains, -np.inf)
        best = int(open_gains.argmax())
        return None if open_gains[best] == -np.inf else Choice(best, 1.0)

    def weigh(self, gains: Float64Array, permitted: BoolArray, position: int) -> float:
        """Returns 1 for the best permitted candidate, else 0."""
        best = self.choose(gains, permitted)
        return float(best is not None and best.position == position)

    def spread(self, gains: Float64Array, permitted: BoolArray) -> Float64Array:
        """Returns 1 for the best permitted candidate, else 0."""
        chances, best = np.zeros(len(gains)), self.choose(gains, permitted)
        if best is not None:
            chances[best.position] = 1.0
        return chances


GREEDY = GreedyChooser()


class ExploringChooser:
    """Draws the places of one decision.

    Args:
        chances: The policy's probabilities, of this decision alone.
        exploration: Gives floor and share.
        decision_id: What the draws follow from.
    """

    def __init__(self, chances: Chances, exploration: Exploration, decision_id: str) -> None:
        self._chances = chances
        self._floor = exploration.floor
        self._explored = exploration.share  # probability that this decision explores, given the places above
        self._uniforms = uniforms(decision_id)

    def choose(self, gains: Float64Array, permitted: BoolArray) -> Choice | None:
        """Draws the candidate of the next place."""
        n_permitted = int(np.count_nonzero(permitted))
        if not n_permitted:
            return None
        explored, mixed = self._mixture(gains, permitted, n_permitted)
        # Drawn and divided by the sum as it was rounded, which need not be exactly 1.
        cumulative = mixed.cumsum()
        position = int(cumulative.searchsorted(next(self._uniforms) * cumulative[-1], side="right"))
        if position == len(mixed):  # the product was rounded up to the sum
            position = int(np.flatnonzero(mixed)[-1])
        propensity = float(mixed[position] / cumulative[-1])
        self._learn(explored, mixed, position)
        return Choice(position, propensity)

    def weigh(self, gains: Float64Array, permitted: BoolArray, position: int) -> float:
        """Puts a given candidate at the next place and returns its probability there."""
        if not permitted[position]:
            return 0.0
        explored, mixed = self._mixture(gains, permitted, int(np.count_nonzero(permitted)))
        # Added up as in `choose`: both must give the same propensity to the last bit.
        propensity = float(mixed[position] / mixed.cumsum()[-1])
        self._learn(explored, mixed, position)
        return propensity

    def spread(self, gains: Float64Array, permitted: BoolArray) -> Float64Array:
        """Returns the probability of each candidate at the next place, as `weigh` would give it."""
        n_permitted = int(np.count_nonzero(permitted))
        if not n_permitted:
            return np.zeros(len(gains))
        _, mixed = self._mixture(gains, permitted, n_permitted)
        return np.asarray(mixed / mixed.cumsum()[-1])

    def _mixture(
        self, gains: Float64Array, permitted: BoolArray, n_permitted: int
    ) -> tuple[Float64Array, Float64Array]:
        """Returns the exploring part's probabilities and those of the whole, (n_candidates,) each."""
        explored = self._chances.of(gains, permitted)
        if self._floor:
            # Not in place: the array may be the policy's own.
            explored = explored * (1.0 - self._floor)
            explored += permitted * (self._floor / n_permitted)
        if self._explored == 1.0:
            return explored, explored
        mixed = explored * self._explored
        mixed[int(np.where(permitted, gains, -np.inf).argmax())] += 1.0 - self._explored
        return explored, mixed

    def _learn(self, explored: Float64Array, mixed: Float64Array, position: int) -> None:
        """Weighs the exploring part by how well it explains the candidate that was taken."""
        # Trap: a candidate of probability 0 can only be given by `weigh`; it says nothing of the parts.
        if self._explored != 1.0 and mixed[position] > 0.0:
            self._explored *= float(explored[position] / mixed[position])


def build_chooser(exploration: Exploration, decision_id: str, counts: ClickCounts | None = None) -> Chooser:
    """Returns who chooses for the places of one decision.

    Args:
        exploration: How.
        decision_id: What all draws follow from.
        counts: What came of earlier exposures of the candidates; needed for Thompson sampling.

    Raises:
        ConfigError: If Thompson sampling has no counts.
    """
    if not exploration.explores:
        return GREEDY
    return ExploringChooser(_build_chances(exploration, decision_id, counts), exploration, decision_id)


def _build_chances(exploration: Exploration, decision_id: str, counts: ClickCounts | None) -> Chances:
    """Returns the probabilities of a policy, for one decision."""
    if exploration.policy is PolicyName.greedy:
        return GreedyChances()
    if exploration.policy is PolicyName.epsilon:
        return EpsilonChances(exploration.epsilon)
    if exploration.policy is PolicyName.softmax:
        return SoftmaxChances(exploration.temperature)
    if counts is None:
        raise ConfigError(
            f"exploration.policy {exploration.policy} needs the click counts of the candidates, got none; "
            "give counts, or choose softmax"
        )
    return ThompsonChances(counts, exploration.prior_clicks, exploration.prior_passes, decision_id)


def uniforms(decision_id: str) -> Iterator[float]:
    """Yields numbers in [0, 1) that follow from an id alone, without end.

    BLAKE2b of the id and a block number: the same on every machine and with every release of NumPy, which
    does not promise that of its distributions.
    """
    block = 0
    while True:
        digest = hashlib.blake2b(f"{decision_id}:{block}".encode(), digest_size=_DIGEST_BYTES).digest()
        for start in range(0, _DIGEST_BYTES, _UNIFORM_BYTES):
            # 53 bits, as many as a double holds: rounding could make 1.0 of more.
            yield (int.from_bytes(digest[start : start + _UNIFORM_BYTES]) >> 11) * 2.0**-53
        block += 1
