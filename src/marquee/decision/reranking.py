"""Chooses and orders the answer among more candidates than it has room for: variety, rules, freshness.

Everything here is a pure function of a few hundred candidates and off by default. Decides the order and
which candidates stay out; leaves to others where candidates come from (see `recommender`). It changes no
score: an answer tells the inner product of every item, in whatever order the items stand.

```
candidates   best first, n_candidates of them
relevance    their scores, stretched to 0 … 1, plus the freshness boost
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
from enum import StrEnum
from functools import cached_property
from typing import Protocol

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
from marquee.errors import ConfigError

MAX_CANDIDATES = 1000
MAX_RULES = 8
LARGEST_RULE = 1000
SECONDS_PER_DAY = 86_400.0
_LEAST_NEWNESS = 1e-9
"""Below this a candidate is a combination of what stands above it: rounding is all that is left of it."""


class Diversity(StrEnum):
    """How a list is kept from saying the same thing twice."""

    mmr = "mmr"  # maximal marginal relevance: unlike the item that it resembles most
    dpp = "dpp"  # determinantal point process: spans as much as possible with all that stands above


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """How candidates become an answer; the defaults leave the order as it is.

    Attributes:
        n_candidates: How many of the best items are considered; at least k are.
        diversity: How variety is measured; None for not at all.
        diversity_weight: What variety counts beside relevance, from 0 (nothing) to 1 (everything).
        caps: Most items of an answer with the same value, by attribute.
        spacing: Of so many places in a row no two hold the same value, by attribute.
        freshness_weight: What a brand-new item gains; relevance runs from 0 to 1.
        freshness_half_life_days: After so many days it gains half of that.
        freshness_attribute: Where the birth of an item stands, seconds since 1970 UTC.

    Raises:
        ConfigError: If a number is out of range or an attribute has no name.
    """

    n_candidates: int = 200
    diversity: Diversity | None = None
    diversity_weight: float = 0.3
    caps: Mapping[str, int] = field(default_factory=dict)
    spacing: Mapping[str, int] = field(default_factory=dict)
    freshness_weight: float = 0.0
    freshness_half_life_days: float = 7.0
    freshness_attribute: str = "available_from"

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError that names the key whose value is impossible."""
        ranges = {
            "n_candidates": (1, MAX_CANDIDATES),
            "diversity_weight": (0.0, 1.0),
            "freshness_weight": (0.0, 1000.0),
            "freshness_half_life_days": (1e-3, 1e5),
        }
        for key, (lowest, highest) in ranges.items():
            if not lowest <= getattr(self, key) <= highest:  # False for NaN too
                raise ConfigError(
                    f"{key} must be between {lowest} and {highest}, got {getattr(self, key)} "
                    f"(reranking.{key})"
                )
        for key, least in (("caps", 1), ("spacing", 2)):
            _validate_rules(key, getattr(self, key), least)
        if not self.freshness_attribute:
            raise ConfigError(
                "freshness_attribute must name an attribute, got '' (reranking.freshness_attribute)"
            )

    @property
    def rule_attributes(self) -> tuple[str, ...]:
        """The attributes that caps and spacing look at, each once."""
        return tuple(dict.fromkeys((*self.caps, *self.spacing)))

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """What this does to an answer, one word each; empty if it leaves every order as it is."""
        is_on = {
            "freshness": self.freshness_weight > 0.0,
            str(self.diversity): self.diversity is not None and self.diversity_weight > 0.0,
            "caps": bool(self.caps),
            "spacing": bool(self.spacing),
        }
        return tuple([step for step, on in is_on.items() if on])


@dataclass(frozen=True, slots=True)
class CandidateTable:
    """What may come into an answer, best first.

    Attributes:
        scores: (n_candidates,) float32, finite, descending.
        vectors: What they are like, (n_candidates, dim) float32, of any length; needed for diversity.
        codes: Their values by attribute of caps and spacing: equal numbers for equal values, 0 for none,
            (n_candidates,) or, where an item has several, (n_candidates, n_values) int64.
        births: When each came to be, (n_candidates,) float64, NaN where that is not known; needed for
            freshness.
    """

    scores: FloatArray
    vectors: FloatArray | None = None
    codes: Mapping[str, IndexArray] = field(default_factory=dict)
    births: Float64Array | None = None


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
        >>> table = CandidateTable(np.float32([3.0, 2.0, 1.0]), codes=codes)
        >>> rerank(config, table, k=2, timestamp=0).tolist()
        [0, 2]
    """
    if not len(candidates.scores):
        return np.zeros(0, dtype=np.int64)
    relevance = relevance_of(config, candidates, timestamp)
    objective = _build_objective(config, relevance, candidates)
    rules = _Rules(config, candidates.codes, len(relevance))
    chosen: list[int] = []
    for place in range(min(k, len(relevance))):
        gains = np.where(rules.permitted(place), objective.gains, -np.inf)
        best = int(gains.argmax())
        if gains[best] == -np.inf:
            break
        chosen.append(best)
        rules.take(best, place)
        objective.take(best)
    return np.array(chosen, dtype=np.int64)


def relevance_of(config: Reranking, candidates: CandidateTable, timestamp: int) -> Float64Array:
    """Returns the scores stretched to 0 … 1, plus the boost of what is new, (n_candidates,).

    Inner products have no scale of their own; stretched, a weight means the same for every request. Where
    all scores are equal they are 0.
    """
    scores = candidates.scores.astype(np.float64)
    spread = float(np.ptp(scores))
    relevance: Float64Array = (scores - scores.min()) / spread if spread else np.zeros(len(scores))
    if config.freshness_weight and candidates.births is not None:
        age_days = np.maximum(timestamp - candidates.births, 0.0) / SECONDS_PER_DAY
        boost = config.freshness_weight * np.exp2(-age_days / config.freshness_half_life_days)
        relevance = relevance + np.nan_to_num(boost, nan=0.0)
    return relevance


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
    """What a candidate would add to the list as it stands."""

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
        self._likeness = np.full(len(relevance), -np.inf)
        self.gains = self._relevance

    def take(self, position: int) -> None:
        """Compares every candidate with the one that was taken."""
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
        if newness <= _LEAST_NEWNESS:
            return
        row = 0.5 * (1.0 + self._units @ self._units[position])
        for above in self._rows:
            row -= above[position] * above
        row /= np.sqrt(newness)
        self._rows.append(row)
        self._newness = self._newness - row * row
        self.gains = self._relevance + self._weight * np.log(np.maximum(self._newness, _LEAST_NEWNESS))


class _Rules:
    """Which candidates may stand at a place: each once, caps and spacing kept."""

    def __init__(self, config: Reranking, codes: Mapping[str, IndexArray], n_candidates: int) -> None:
        self._is_open = np.ones(n_candidates, dtype=np.bool_)
        self._limits = [_Limit(codes[name], cap) for name, cap in config.caps.items()]
        self._gaps = [_Gap(codes[name], gap) for name, gap in config.spacing.items()]

    def permitted(self, place: int) -> BoolArray:
        """Returns the candidates that may stand at a place, (n_candidates,) bool."""
        permitted = self._is_open.copy()
        for limit in self._limits:
            permitted &= limit.permitted()
        for gap in self._gaps:
            permitted &= gap.permitted(place)
        return permitted

    def take(self, position: int, place: int) -> None:
        """Puts a candidate at a place."""
        self._is_open[position] = False
        for limit in self._limits:
            limit.take(position)
        for gap in self._gaps:
            gap.take(position, place)


class _Limit:
    """How often each value of one attribute may still come."""

    def __init__(self, codes: IndexArray, cap: int) -> None:
        self._codes, n_values = _numbered(codes)
        self._room = np.full(n_values, cap, dtype=np.int64)

    def permitted(self) -> BoolArray:
        """Returns the candidates with room for all of their values."""
        return np.asarray((self._room > 0)[self._codes].all(axis=1))

    def take(self, position: int) -> None:
        """Takes the room of a candidate's values; a value that it states twice counts once."""
        values = np.unique(self._codes[position])
        self._room[values[values > 0]] -= 1


class _Gap:
    """From which place on each value of one attribute may come again."""

    def __init__(self, codes: IndexArray, gap: int) -> None:
        self._codes, n_values = _numbered(codes)
        self._free_from = np.zeros(n_values, dtype=np.int64)
        self._gap = gap

    def permitted(self, place: int) -> BoolArray:
        """Returns the candidates all of whose values may stand at a place."""
        return np.asarray((self._free_from <= place)[self._codes].all(axis=1))

    def take(self, position: int, place: int) -> None:
        """Keeps a candidate's values off the next places."""
        values = self._codes[position]
        self._free_from[values[values > 0]] = place + self._gap


def _numbered(codes: IndexArray) -> tuple[IndexArray, int]:
    """Returns codes as numbers below the second result, (n_candidates, n_values); 0 stays 0."""
    values, numbers = np.unique(np.append(codes, 0), return_inverse=True)
    assert values[0] == 0, f"codes must be 0 or more, got {values[0]}"
    return numbers[:-1].reshape(len(codes), -1), len(values)


def _build_objective(config: Reranking, relevance: Float64Array, candidates: CandidateTable) -> _Objective:
    """Returns what is maximised."""
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


def _validate_rules(key: str, rules: Mapping[str, int], least: int) -> None:
    """Raises ConfigError that names the rule which is none."""
    if len(rules) > MAX_RULES:
        raise ConfigError(
            f"{key} may name at most {MAX_RULES} attributes, got {len(rules)} (reranking.{key})"
        )
    for attribute, number in rules.items():
        if not attribute or isinstance(number, bool) or not isinstance(number, int):
            raise ConfigError(
                f"{key} must map attributes to whole numbers, got {attribute!r}: {number!r} (reranking.{key})"
            )
        if not least <= number <= LARGEST_RULE:
            raise ConfigError(
                f"{key}.{attribute} must be between {least} and {LARGEST_RULE}, got {number} "
                f"(reranking.{key})"
            )


NO_RERANKING = Reranking()
"""Leaves every order as it is."""
