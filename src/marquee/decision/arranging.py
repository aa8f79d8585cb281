"""Chooses and orders the answer among more candidates than it has room for: variety, rules, freshness.

Everything here is a pure function of a few hundred candidates and off by default. Decides the order and
which candidates stay out; leaves to others where candidates come from (see `recommender`). It changes no
score: an answer tells the inner product of every item, in whatever order the items stand.

```
candidates   best first, n_candidates of them
relevance    their scores, stretched to 0 … 1, plus freshness and what rules of people boost
pins         stand at their places before any other is filled
place 1, 2 …  the candidate of the highest gain among those that caps and spacing permit
gain         relevance; MMR: less the likeness to what stands above; DPP: plus the log of what is new in it
```

What is promised: caps and spacing are never broken, and an answer ends early rather than break one. Without
spacing and diversity, and with one capped attribute of one value per item, the answer is the best that the
caps permit: they form a partition matroid, on which greedy choice is optimal (Edmonds 1971). Where an item
has up to p values under caps, over all attributes together, its relevance is at least 1/p of the best (Mestre
2006, p-extendible systems). With spacing each place holds the best candidate that those above it permit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from marquee.core.arrays import Float64Array, FloatArray, IndexArray
from marquee.decision.place_rules import PlaceRules
from marquee.decision.policies.choosing import GREEDY, Choice, Chooser
from marquee.decision.reranking import Diversity, Reranking

SECONDS_PER_DAY = 86_400.0
_LEAST_NEWNESS = 1e-9
"""Below this a candidate is a combination of what stands above it: rounding is all that is left of it."""

NO_PINS: Mapping[int, int] = {}


@dataclass(frozen=True, slots=True)
class CandidateTable:
    """The candidates of an answer, best first, with the columns that re-ranking reads.

    Attributes:
        scores: (n_candidates,) float32, finite, descending.
        vectors: What they are like, (n_candidates, dim) float32, of any length; needed for diversity.
        codes: Their values by attribute of caps and spacing: equal numbers for equal values, 0 for none,
            (n_candidates,) or, where an item has several, (n_candidates, n_values) int64.
        births: When each came to be, (n_candidates,) float64, NaN where that is not known; needed for
            freshness.
        boosts: What rules of people add to the relevance of each, (n_candidates,); None for nothing.
        n_ranked: How many of them, from the first, are compared; None for all. The others are pinned and
            were no candidates: their scores, in any order, must not stretch those of the others.
    """

    scores: FloatArray
    vectors: FloatArray | None = None
    codes: Mapping[str, IndexArray] = field(default_factory=dict)
    births: Float64Array | None = None
    boosts: Float64Array | None = None
    n_ranked: int | None = None


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The places of an answer.

    Attributes:
        positions: Which candidate stands at each place, (n_places,) int64, each once.
        propensities: How probable that was, given the places above, (n_places,) float64, in (0, 1].
    """

    positions: IndexArray
    propensities: Float64Array


def rerank(config: Reranking, candidates: CandidateTable, k: int, timestamp: int) -> IndexArray:
    """Returns which candidates are the answer, in its order: at most k positions, each once, int64.

    Equal gains go by the order of the candidates.

    Args:
        config: How.
        candidates: At least what `config` needs of them.
        k: Places of the answer.
        timestamp: The time of the request, seconds since 1970 UTC.

    Example:
        >>> config = Reranking(caps={"brand": 1})
        >>> codes = {"brand": np.array([7, 7, 9])}
        >>> candidates = CandidateTable(np.float32([3.0, 2.0, 1.0]), codes=codes)
        >>> rerank(config, candidates, k=2, timestamp=0).tolist()
        [0, 2]
    """
    return arrange(config, candidates, k, timestamp, GREEDY).positions


def arrange(
    config: Reranking,
    candidates: CandidateTable,
    k: int,
    timestamp: int,
    chooser: Chooser,
    pins: Mapping[int, int] = NO_PINS,
) -> Arrangement:
    """Returns which candidates are the answer, as `rerank`, each drawn by `chooser`, with its propensity.

    Args:
        config: As in `rerank`, and so are candidates, k and timestamp.
        candidates: As above.
        k: As above.
        timestamp: As above.
        chooser: Fills the places that are not pinned.
        pins: Position of a candidate by place, from 0, below k; no candidate twice. It stands there with
            certainty, whatever caps and spacing say. Where the list ends above it, it stands at the end.
    """
    if not len(candidates.scores):
        return Arrangement(np.zeros(0, dtype=np.int64), np.zeros(0))
    if chooser is GREEDY and not (config.rule_attributes or config.diversity):
        return _best_first(relevance_of(config, candidates, timestamp), k, pins)
    rules, objective = _begin(config, candidates, timestamp, pins)
    chosen: list[Choice] = []
    for place in range(min(k, len(candidates.scores))):
        if place in pins:
            chosen.append(Choice(pins[place], 1.0))
            continue
        choice = chooser.choose(objective.gains, rules.permitted(place))
        # Rather a short answer than a broken cap or spacing.
        if choice is None:
            break
        chosen.append(choice)
        rules.take(choice.position, place)
        objective.take(choice.position)
    chosen += [Choice(pins[place], 1.0) for place in sorted(pins) if place >= len(chosen)]
    return Arrangement(
        np.array([choice.position for choice in chosen], dtype=np.int64),
        np.array([choice.propensity for choice in chosen], dtype=np.float64),
    )


def _best_first(relevance: Float64Array, k: int, pins: Mapping[int, int]) -> Arrangement:
    """Returns the places where nothing but relevance orders them: as the loop would, without asking each."""
    order = np.argsort(-relevance, kind="stable")  # equal ones by the order of the candidates
    if pins:
        positions = [one for one in order[: k + len(pins)].tolist() if one not in pins.values()]
        for place in sorted(pins):  # behind the end it appends
            positions.insert(place, pins[place])
        order = np.array(positions, dtype=np.int64)
    return Arrangement(order[:k], np.ones(min(k, len(order))))


def propensities_of(
    config: Reranking,
    candidates: CandidateTable,
    positions: IndexArray,
    timestamp: int,
    chooser: Chooser,
    pins: Mapping[int, int] = NO_PINS,
) -> Float64Array:
    """Returns how probable each place of a given answer is with `chooser`, given those above, (n,)."""
    spreads = spreads_of(config, candidates, positions, timestamp, chooser, pins)
    return np.asarray(spreads[np.arange(len(positions)), positions])


def spreads_of(
    config: Reranking,
    candidates: CandidateTable,
    positions: IndexArray,
    timestamp: int,
    chooser: Chooser,
    pins: Mapping[int, int] = NO_PINS,
) -> Float64Array:
    """Returns how probable each candidate is at each place of a given answer, given those above.

    Args:
        config: As in `arrange`, and so are candidates, timestamp and pins.
        candidates: As above.
        positions: Which candidate stands at each place of the answer, (n_places,) int64; -1 for an item that
            is none of them: it stands there, and changes nothing for the places below.
        timestamp: As above.
        chooser: Of this answer alone: it learns from each place what the policy explored.
        pins: As above.

    Returns:
        (n_places, n_candidates); a row sums to 1, or to 0 where nothing may stand there.
    """
    rules, objective = _begin(config, candidates, timestamp, pins)
    spreads = np.zeros((len(positions), len(candidates.scores)))
    for place, position in enumerate(positions.tolist()):
        if position in pins.values():
            spreads[place, position] = 1.0
            continue
        gains, permitted = objective.gains, rules.permitted(place)
        spreads[place] = chooser.spread(gains, permitted)
        # An item from elsewhere, or one that may not stand here: the policy learns nothing of it.
        if position < 0:
            continue
        chooser.weigh(gains, permitted, position)
        rules.take(position, place)
        objective.take(position)
    return spreads


def _begin(
    config: Reranking, candidates: CandidateTable, timestamp: int, pins: Mapping[int, int]
) -> tuple[PlaceRules, "_Objective"]:
    """Returns the rules and the objective of a list in which nothing but the pins stands."""
    relevance = relevance_of(config, candidates, timestamp)
    objective = _build_objective(config, relevance, candidates)
    rules = PlaceRules(config.caps, config.spacing, candidates.codes, len(relevance))
    for place, position in pins.items():
        rules.reserve(position, place)
        # Before the loop: what stands above a pin must be unlike it as well.
        objective.take(position)
    return rules, objective


def relevance_of(config: Reranking, candidates: CandidateTable, timestamp: int) -> Float64Array:
    """Returns the scores stretched to 0 … 1, plus what is new and what rules boost, (n_candidates,).

    Inner products have no scale of their own; stretched, a weight means the same for every request. Where
    all scores are equal they are 0. Of candidates that are not compared it is 0.
    """
    n_ranked = candidates.n_ranked
    scores = candidates.scores[:n_ranked].astype(np.float64)
    spread = float(np.ptp(scores)) if len(scores) else 0.0
    relevance: Float64Array = (scores - scores.min()) / spread if spread else np.zeros(len(scores))
    if config.freshness_weight and candidates.births is not None:
        relevance = relevance + freshness_of(config, candidates.births[:n_ranked], timestamp)
    if candidates.boosts is not None:
        relevance = relevance + candidates.boosts[:n_ranked]
    n_unranked = len(candidates.scores) - len(scores)
    return np.append(relevance, np.zeros(n_unranked)) if n_unranked else relevance


def freshness_of(config: Reranking, births: Float64Array, timestamp: int) -> Float64Array:
    """Returns the gain in relevance of items for being new, (n,); 0 where the birth, NaN, is not known."""
    # An item from the future is brand-new, not newer.
    age_days = np.maximum(timestamp - births, 0.0) / SECONDS_PER_DAY
    gain: Float64Array = config.freshness_weight * np.exp2(-age_days / config.freshness_half_life_days)
    # No gain where the age is unknown: NaN would spoil every comparison.
    return np.nan_to_num(gain, nan=0.0)


def codes_of(values: Sequence[object]) -> IndexArray:
    """Returns values as `CandidateTable.codes`: (n_candidates,), or with n_values columns if one is a list.

    Example:
        >>> codes_of(["a", None, "b", "a"]).tolist(), codes_of([["a", "b"], ["b"], None]).tolist()
        ([1, 0, 2, 1], [[1, 2], [2, 0], [0, 0]])
    """
    codes: dict[object, int] = {None: 0}
    if not any(isinstance(value, list) for value in values):
        return np.array([codes.setdefault(value, len(codes)) for value in values], dtype=np.int64)
    rows = [value if isinstance(value, list) else [] for value in values]
    table = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for row, entries in zip(table, rows, strict=True):
        row[: len(entries)] = [codes.setdefault(entry, len(codes)) for entry in entries]
    return table


class _Objective(Protocol):
    """The gain of each candidate, given the list so far."""

    gains: Float64Array
    """(n_candidates,), finite."""

    def take(self, position: int) -> None:
        """Puts a candidate on the list."""


class _Relevance:
    """Gain is relevance, whatever stands above."""

    def __init__(self, relevance: Float64Array) -> None:
        self.gains = relevance

    def take(self, position: int) -> None:
        """Nothing changes."""


class _MaximalMarginalRelevance:
    """Gain is relevance less the cosine with the item above that is most alike.

    Source:
        Carbonell and Goldstein 1998, SIGIR, "The use of MMR", the formula of section 2, with lambda = 1 -
        diversity_weight; the first place, where nothing stands above, goes by relevance alone.
    """

    def __init__(self, relevance: Float64Array, units: Float64Array, weight: float) -> None:
        self._relevance = (1.0 - weight) * relevance
        self._units = units
        self._weight = weight
        # Below every cosine: the first item taken counts even where it is unlike all.
        self._likeness = np.full(len(relevance), -np.inf)
        self.gains = self._relevance

    def take(self, position: int) -> None:
        """Compares every candidate with the one that was taken."""
        # Only the latest item can raise it: a place costs one product, not one for each item above.
        np.maximum(self._likeness, self._units @ self._units[position], out=self._likeness)
        self.gains = self._relevance - self._weight * self._likeness


class _DeterminantalPointProcess:
    """Gain is what a candidate adds to (1 - weight) * sum of relevance + weight * log det S of the list.

    S is (1 + cosine) / 2 between the items. The part of a candidate that those above do not span comes from
    a Cholesky factor which grows by a row per place, so that no determinant is ever worked out.

    Source:
        Chen, Zhang and Zhou 2018, NeurIPS, "Fast Greedy MAP Inference for Determinantal Point Process",
        algorithm 1 and equation 13. Differs from the paper: quality and likeness stay apart under the
        logarithm, which is the same gain and never overflows; a candidate that those above span is not
        refused but comes after all others, by relevance.
    """

    def __init__(self, relevance: Float64Array, units: Float64Array, weight: float) -> None:
        self._relevance = (1.0 - weight) * relevance
        self._units = units
        self._weight = weight
        self._newness = np.ones(len(relevance))  # the diagonal of S, less what is spanned
        self._rows: list[Float64Array] = []
        self.gains = self._relevance

    def take(self, position: int) -> None:
        """Adds the row of a candidate to the factor."""
        newness = self._newness[position]
        # Its row would be rounding divided by almost 0.
        if newness <= _LEAST_NEWNESS:
            return
        row = 0.5 * (1.0 + self._units @ self._units[position])  # (n_candidates,)
        for above in self._rows:
            row -= above[position] * above
        row /= np.sqrt(newness)
        self._rows.append(row)
        self._newness = self._newness - row * row
        self.gains = self._relevance + self._weight * np.log(np.maximum(self._newness, _LEAST_NEWNESS))


def _build_objective(config: Reranking, relevance: Float64Array, candidates: CandidateTable) -> _Objective:
    """Returns the objective that the config names."""
    if config.diversity is None or config.diversity_weight == 0.0:
        return _Relevance(relevance)
    assert candidates.vectors is not None, f"{config.diversity} needs the vectors of the candidates"
    units = _unit_rows(candidates.vectors)
    if config.diversity is Diversity.mmr:
        return _MaximalMarginalRelevance(relevance, units, config.diversity_weight)
    return _DeterminantalPointProcess(relevance, units, config.diversity_weight)


def _unit_rows(vectors: FloatArray) -> Float64Array:
    """Returns the rows at length 1, float64; zeros stay zeros, unlike anything."""
    rows = vectors.astype(np.float64)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    return rows / np.where(norms == 0.0, 1.0, norms)[:, None]
