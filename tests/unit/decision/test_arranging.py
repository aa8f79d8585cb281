"""Re-ranking against slow, obvious versions: the definition, the determinant, every subset there is."""

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.decision.arranging import CandidateTable, rerank
from marquee.decision.reranking import Diversity, Reranking
from marquee.errors import ConfigError

Array = npt.NDArray[np.float32]

NOW = 1_700_000_000
DAY = 86_400


def descending(rng: np.random.Generator, n: int) -> Array:
    return np.sort(rng.integers(-8, 9, n).astype(np.float32))[::-1].copy()


def made(seed: int, n: int, dim: int = 5) -> CandidateTable:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, dim)).astype(np.float32)
    codes = {"brand": rng.integers(0, 4, n), "tags": rng.integers(0, 5, (n, 2))}
    return CandidateTable(descending(rng, n), vectors, codes)


def stretched(scores: Array) -> list[float]:
    low, high = float(scores.min()), float(scores.max())
    return [(float(score) - low) / (high - low) if high > low else 0.0 for score in scores]


def cosine(a: Array, b: Array) -> float:
    x, y = a.astype(np.float64), b.astype(np.float64)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def values_of(codes: npt.NDArray[np.int64], position: int) -> set[int]:
    return set(np.atleast_1d(codes[position]).tolist()) - {0}


def test_defaults_leave_the_order_alone() -> None:
    assert Reranking().steps == ()
    assert rerank(Reranking(), made(0, 9), 4, NOW).tolist() == [0, 1, 2, 3]


def test_nothing_becomes_nothing() -> None:
    config = Reranking(diversity=Diversity.dpp, caps={"brand": 1}, freshness_weight=1.0)
    empty = CandidateTable(
        np.zeros(0, np.float32), np.zeros((0, 3), np.float32), {"brand": np.zeros(0, np.int64)}, np.zeros(0)
    )
    assert rerank(config, empty, 5, NOW).tolist() == []


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("weight", [0.1, 0.5, 1.0])
def test_mmr_follows_its_definition(seed: int, weight: float) -> None:
    candidates = made(seed, 8)
    assert candidates.vectors is not None
    relevance, vectors = stretched(candidates.scores), candidates.vectors
    expected: list[int] = []
    while len(expected) < 6:
        rest = [i for i in range(8) if i not in expected]
        gains = [
            (1 - weight) * relevance[i]
            - (weight * max(cosine(vectors[i], vectors[j]) for j in expected) if expected else 0.0)
            for i in rest
        ]
        expected.append(rest[int(np.argmax(np.round(gains, 9)))])
    config = Reranking(diversity=Diversity.mmr, diversity_weight=weight)
    assert rerank(config, candidates, 6, NOW).tolist() == expected


def log_objective(chosen: Sequence[int], relevance: list[float], likeness: Array, weight: float) -> float:
    _, log_determinant = np.linalg.slogdet(likeness[np.ix_(chosen, chosen)])
    return (1 - weight) * sum(relevance[i] for i in chosen) + weight * float(log_determinant)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("weight", [0.1, 0.5, 1.0])
def test_dpp_follows_the_determinant(seed: int, weight: float) -> None:
    candidates = made(seed, 8, dim=8)
    assert candidates.vectors is not None
    relevance, vectors = stretched(candidates.scores), candidates.vectors
    likeness = np.array([[(1 + cosine(a, b)) / 2 for b in vectors] for a in vectors])
    expected: list[int] = []
    while len(expected) < 6:
        rest = [i for i in range(8) if i not in expected]
        gains = [log_objective([*expected, i], relevance, likeness, weight) for i in rest]
        expected.append(rest[int(np.argmax(np.round(gains, 9)))])
    config = Reranking(diversity=Diversity.dpp, diversity_weight=weight)
    assert rerank(config, candidates, 6, NOW).tolist() == expected


def test_dpp_puts_copies_behind_everything_new() -> None:
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    candidates = CandidateTable(np.array([4, 3, 2, 1], dtype=np.float32), vectors)
    config = Reranking(diversity=Diversity.dpp, diversity_weight=0.5)
    assert rerank(config, candidates, 4, NOW).tolist() == [0, 3, 1, 2]


def test_diversity_of_weight_zero_is_relevance() -> None:
    for diversity in Diversity:
        config = Reranking(diversity=diversity, diversity_weight=0.0)
        assert config.steps == ()
        assert rerank(config, made(3, 9), 9, NOW).tolist() == list(range(9))


def test_length_of_a_vector_has_no_say_in_diversity() -> None:
    candidates = made(1, 10)
    assert candidates.vectors is not None
    longer = CandidateTable(
        candidates.scores, candidates.vectors * np.arange(1, 11, dtype=np.float32)[:, None]
    )
    for diversity in Diversity:
        config = Reranking(diversity=diversity, diversity_weight=0.6)
        assert rerank(config, longer, 10, NOW).tolist() == rerank(config, candidates, 10, NOW).tolist()


def best_feasible(relevance: list[float], codes: npt.NDArray[np.int64], cap: int, k: int) -> float:
    """Returns the highest relevance of any longest set that a cap permits, found by trying all of them."""
    best = (0, 0.0)
    for size in range(1, k + 1):
        for subset in itertools.combinations(range(len(relevance)), size):
            counts = Counter(value for i in subset for value in values_of(codes, i))
            if all(count <= cap for count in counts.values()):
                best = max(best, (size, sum(relevance[i] for i in subset)))
    return best[1]


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("cap", [1, 2])
def test_caps_on_one_attribute_give_the_best_feasible_answer(seed: int, cap: int) -> None:
    candidates = made(seed, 9)
    relevance = stretched(candidates.scores)
    chosen = rerank(Reranking(caps={"brand": cap}), candidates, 5, NOW).tolist()
    assert sum(relevance[i] for i in chosen) == pytest.approx(
        best_feasible(relevance, candidates.codes["brand"], cap, 5)
    )
    assert chosen == sorted(chosen), "under caps alone the answer keeps the order of the scores"


@pytest.mark.parametrize("seed", range(25))
def test_caps_on_two_values_per_item_keep_half_of_the_best(seed: int) -> None:
    candidates = made(seed, 9)
    relevance = stretched(candidates.scores)
    chosen = rerank(Reranking(caps={"tags": 1}), candidates, 5, NOW).tolist()
    best = best_feasible(relevance, candidates.codes["tags"], 1, 5)
    assert sum(relevance[i] for i in chosen) >= best / 2 - 1e-9


configs = st.builds(
    Reranking,
    diversity=st.sampled_from([None, *Diversity]),
    diversity_weight=st.floats(0, 1),
    caps=st.dictionaries(st.sampled_from(["brand", "tags"]), st.integers(1, 3)),
    spacing=st.dictionaries(st.sampled_from(["brand", "tags"]), st.integers(2, 4)),
    freshness_weight=st.floats(0, 2),
)


@settings(max_examples=300, deadline=None)
@given(configs, st.integers(0, 1000), st.integers(1, 25))
def test_no_rule_is_ever_broken(config: Reranking, seed: int, k: int) -> None:
    made_here = made(seed, 20)
    births = np.random.default_rng(seed).choice([np.nan, NOW - DAY, NOW + DAY, 0.0], 20)
    candidates = CandidateTable(made_here.scores, made_here.vectors, made_here.codes, births)
    chosen = rerank(config, candidates, k, NOW).tolist()
    assert len(chosen) == len(set(chosen)) <= min(k, 20)
    for name, cap in config.caps.items():
        counts = Counter(value for i in chosen for value in values_of(candidates.codes[name], i))
        assert max(counts.values(), default=0) <= cap
    for name, gap in config.spacing.items():
        values = [values_of(candidates.codes[name], i) for i in chosen]
        for first, second in itertools.combinations(range(len(chosen)), 2):
            assert second - first >= gap or not values[first] & values[second]
    if not config.caps and not config.spacing:
        assert len(chosen) == min(k, 20)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 4), st.integers(1, 3))
def test_each_place_holds_the_best_that_the_rules_permit(seed: int, gap: int, cap: int) -> None:
    candidates = made(seed, 14)
    chosen = rerank(Reranking(spacing={"brand": gap}, caps={"tags": cap}), candidates, 8, NOW).tolist()
    brand, tags = candidates.codes["brand"], candidates.codes["tags"]

    def is_permitted(candidate: int, above: list[int]) -> bool:
        near = {value for i in above[max(0, len(above) - gap + 1) :] for value in values_of(brand, i)}
        counts = Counter(value for i in [*above, candidate] for value in values_of(tags, i))
        is_capped = all(count <= cap for count in counts.values())
        return candidate not in above and not near & values_of(brand, candidate) and is_capped

    for place in range(8):
        permitted = [i for i in range(14) if is_permitted(i, chosen[:place])]
        assert chosen[place : place + 1] == permitted[:1]
        if not permitted:
            break


def test_items_without_a_value_are_bound_by_no_rule() -> None:
    candidates = CandidateTable(np.array([3, 2, 1], np.float32), codes={"brand": np.zeros(3, np.int64)})
    config = Reranking(caps={"brand": 1}, spacing={"brand": 3})
    assert rerank(config, candidates, 3, NOW).tolist() == [0, 1, 2]


def test_freshness_halves_with_every_half_life() -> None:
    # Relevance 1, 0.5, 0; the boosts: unknown 0, two half-lives 0.8 / 4 = 0.2, brand-new 0.8.
    births = np.array([np.nan, NOW - 6 * DAY, NOW], dtype=np.float64)
    candidates = CandidateTable(np.array([3, 2, 1], np.float32), births=births)

    def order(weight: float) -> list[int]:
        config = Reranking(freshness_weight=weight, freshness_half_life_days=3.0)
        return list(rerank(config, candidates, 3, NOW))

    assert order(0.8) == [0, 2, 1]  # 1, 0.7, 0.8
    assert order(0.6) == [0, 1, 2]  # 1, 0.65, 0.6
    assert order(3.0) == [2, 1, 0]  # 1, 1.25, 3


def test_item_of_the_future_is_as_fresh_as_can_be_and_no_more() -> None:
    births = np.array([np.nan, NOW + 100 * DAY, NOW], dtype=np.float64)
    candidates = CandidateTable(np.array([2, 1, 1], np.float32), births=births)
    assert rerank(Reranking(freshness_weight=0.5), candidates, 3, NOW).tolist() == [0, 1, 2]


def test_steps_name_what_is_on() -> None:
    config = Reranking(diversity=Diversity.mmr, caps={"a": 1}, spacing={"b": 2}, freshness_weight=0.1)
    assert config.steps == ("freshness", "mmr", "caps", "spacing")
    assert config.rule_attributes == ("a", "b")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_candidates": 0}, r"n_candidates must be between 1 and 1000, got 0"),
        ({"diversity_weight": 1.5}, r"diversity_weight must be between 0.0 and 1.0, got 1.5"),
        ({"diversity_weight": float("nan")}, r"diversity_weight must be .* got nan"),
        ({"freshness_weight": -1.0}, r"freshness_weight must be .* got -1.0"),
        ({"freshness_half_life_days": 0.0}, r"freshness_half_life_days must be .* got 0.0"),
        ({"freshness_attribute": ""}, r"freshness_attribute must name an attribute, got ''"),
        ({"caps": {"brand": 0}}, r"caps\.brand must be between 1 and 1000, got 0"),
        ({"spacing": {"brand": 1}}, r"spacing\.brand must be between 2 and 1000, got 1"),
        ({"caps": {"": 1}}, r"caps must map attributes to whole numbers, got '': 1"),
        ({"caps": {"brand": True}}, r"caps must map attributes to whole numbers, got 'brand': True"),
        ({"caps": {f"a{i}": 1 for i in range(9)}}, r"caps may name at most 8 attributes, got 9"),
    ],
)
def test_impossible_value_is_refused_by_name(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Reranking(**fields)  # type: ignore[arg-type]  # of any type, to be refused
