"""Draws one candidate per place and says how probable it was, given the places above.

```
chances      what the policy gives each permitted candidate; the others have none. Greedy and epsilon need
             no array: a part on the best candidate, and a part spread evenly
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

from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.policies.softmax import SoftmaxChances
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
        """Returns the probability of each permitted candidate, (n_permitted,), summing to 1."""


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


class _Parts(NamedTuple):
    """The parts of which the exploring part of a decision is made; they sum to 1.

    Attributes:
        drawn: By the chances of the policy.
        even: Spread evenly over what is permitted.
        best: On the highest gain.
    """

    drawn: float
    even: float
    best: float

    @classmethod
    def of(cls, exploration: Exploration) -> "_Parts":
        """Returns the parts of a policy with its floor."""
        floor, rest = exploration.floor, 1.0 - exploration.floor
        if exploration.policy is PolicyName.greedy:
            return cls(0.0, floor, rest)
        if exploration.policy is PolicyName.epsilon:
            return cls(0.0, floor + rest * exploration.epsilon, rest * (1.0 - exploration.epsilon))
        return cls(rest, floor, 0.0)


class _Mixture(NamedTuple):
    """The probabilities of one place; all arrays are of the permitted candidates alone.

    Attributes:
        positions: Theirs, ascending, (n_permitted,) int64.
        chances: By the policy, (n_permitted,); None where no part is drawn by it.
        best: Index of the highest gain among them.
        cumulative: Of the whole mixture, summed up, (n_permitted,).
        mixed: Of the whole mixture, (n_permitted,).
    """

    positions: IndexArray
    chances: Float64Array | None
    best: int
    cumulative: Float64Array
    mixed: Float64Array


class ExploringChooser:
    """Draws the places of one decision.

    Args:
        exploration: How.
        decision_id: What the draws follow from.
        chances: The policy's probabilities, of this decision alone; None for a policy that draws by none.
    """

    def __init__(self, exploration: Exploration, decision_id: str, chances: Chances | None = None) -> None:
        self._parts = _Parts.of(exploration)
        self._chances = chances
        self._explored = exploration.share  # probability that this decision explores, given the places above
        self._uniforms = uniforms(decision_id)

    def choose(self, gains: Float64Array, permitted: BoolArray) -> Choice | None:
        """Draws the candidate of the next place."""
        mixture = self._mixture(gains, permitted)
        if mixture is None:
            return None
        # Drawn and divided by the sum as it was rounded, which need not be exactly 1.
        drawn = next(self._uniforms) * float(mixture.cumulative[-1])
        index = int(mixture.cumulative.searchsorted(drawn, "right"))
        if index == len(mixture.mixed):  # the product was rounded up to the sum
            index = int(np.flatnonzero(mixture.mixed)[-1])
        return Choice(int(mixture.positions[index]), self._take(mixture, index))

    def weigh(self, gains: Float64Array, permitted: BoolArray, position: int) -> float:
        """Puts a given candidate at the next place and returns its probability there."""
        mixture = self._mixture(gains, permitted) if permitted[position] else None
        return 0.0 if mixture is None else self._take(mixture, int(mixture.positions.searchsorted(position)))

    def spread(self, gains: Float64Array, permitted: BoolArray) -> Float64Array:
        """Returns the probability of each candidate at the next place, as `weigh` would give it."""
        chances, mixture = np.zeros(len(gains)), self._mixture(gains, permitted)
        if mixture is not None:
            chances[mixture.positions] = mixture.mixed / mixture.cumulative[-1]
        return chances

    def _mixture(self, gains: Float64Array, permitted: BoolArray) -> _Mixture | None:
        """Returns the probabilities of the next place, None if no candidate is permitted."""
        (positions,) = permitted.nonzero()
        if not len(positions):
            return None
        parts, explored = self._parts, self._explored
        best = int(gains[positions].argmax())
        chances, even = None, explored * parts.even / len(positions)
        if self._chances is None:
            mixed = np.full(len(positions), even)
        else:
            chances = self._chances.of(gains, permitted)
            mixed = chances * (explored * parts.drawn)
            mixed += even
        mixed[best] += explored * parts.best + (1.0 - explored)
        return _Mixture(positions, chances, best, mixed.cumsum(), mixed)

    def _take(self, mixture: _Mixture, index: int) -> float:
        """Puts a candidate at the place of a mixture and returns its probability there.

        Weighs the exploring part by how well it explains the candidate.
        """
        positions, chances, best, cumulative, mixed = mixture
        propensity = float(mixed[index])
        # Trap: a candidate of probability 0 can only be given by `weigh`; it says nothing of the parts.
        if self._explored != 1.0 and propensity > 0.0:
            explored = self._parts.even / len(positions) + self._parts.best * (index == best)
            if chances is not None:
                explored += self._parts.drawn * float(chances[index])
            self._explored *= explored / propensity
        return propensity / float(cumulative[-1])


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
    return ExploringChooser(exploration, decision_id, _build_chances(exploration, decision_id, counts))


def _build_chances(exploration: Exploration, decision_id: str, counts: ClickCounts | None) -> Chances | None:
    """Returns the probabilities of a policy, for one decision; None for one that draws by none."""
    if exploration.policy in (PolicyName.greedy, PolicyName.epsilon):
        return None
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
