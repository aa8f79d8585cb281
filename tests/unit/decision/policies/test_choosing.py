"""Policies: what is drawn agrees with what is logged, place by place, and a decision can be replayed."""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import chisquare

from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.decision.arranging import CandidateTable, arrange, propensities_of, rerank
from marquee.decision.policies.choosing import GREEDY, Choice, ExploringChooser, build_chooser, uniforms
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.policies.thompson import ClickCounts
from marquee.decision.reranking import Diversity, Reranking
from marquee.errors import ConfigError

NOW = 1_700_000_000
N, K = 8, 3
N_DECISIONS = 100_000
POLICIES = [name for name in PolicyName if name is not PolicyName.greedy]
CAPS = Reranking(caps={"brand": 1})
COUNTS = ClickCounts(np.array([3.0, 9, 2, 0, 5, 1, 0, 4]), np.array([40.0, 90, 30, 2, 60, 9, 0, 45]))


def candidates(n: int = N, seed: int = 0) -> CandidateTable:
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.normal(size=n).astype(np.float32))[::-1].copy()
    vectors = rng.normal(size=(n, 4)).astype(np.float32)
    return CandidateTable(scores, vectors, {"brand": np.array([1, 1, 2, 2, 0, 3, 3, 0] * 9)[:n]})


def settings(policy: PolicyName, share: float = 0.3, floor: float = 0.05) -> Exploration:
    return Exploration(policy=policy, share=share, floor=floor, temperature=0.2)


class Recording(ExploringChooser):
    """Sums up the probabilities of all candidates, by place."""

    sums: npt.NDArray[np.float64]
    place: int

    def choose(self, gains: Float64Array, permitted: BoolArray) -> Choice | None:
        self.sums[self.place] += self.spread(gains, permitted)
        self.place += 1
        return super().choose(gains, permitted)


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
def test_drawn_shares_agree_with_logged_propensities(policy: PolicyName) -> None:
    given, expected, drawn = candidates(), np.zeros((K, N)), np.zeros((K, N))
    least = 1.0
    for number in range(N_DECISIONS):
        chooser = build_chooser(settings(policy), f"decision-{number}", COUNTS)
        chooser.__class__ = Recording
        assert isinstance(chooser, Recording)
        chooser.sums, chooser.place = expected, 0
        answer = arrange(CAPS, given, K, NOW, chooser)
        drawn[range(K), answer.positions] += 1
        least = min(least, float(answer.propensities.min()))
    assert least > 0.0
    for place in range(K):
        is_possible = expected[place] > 0
        assert not drawn[place, ~is_possible].any()
        assert chisquare(drawn[place, is_possible], expected[place, is_possible]).pvalue > 0.01


def explored_chances(policy: PolicyName, gains: list[float], left: list[int]) -> dict[int, float]:
    best = max(left, key=lambda i: (gains[i], -i))
    if policy is PolicyName.epsilon:
        own = {i: 0.1 / len(left) + 0.9 * (i == best) for i in left}
    else:
        weights = {i: np.exp(gains[i] / 0.2) for i in left}
        own = {i: float(weights[i] / sum(weights.values())) for i in left}
    return {i: 0.95 * own[i] + 0.05 / len(left) for i in left}


@pytest.mark.parametrize("policy", [PolicyName.epsilon, PolicyName.softmax])
def test_propensities_are_those_of_the_mixture_of_whole_lists(policy: PolicyName) -> None:
    given = candidates(5)
    scores = given.scores.astype(np.float64)
    gains = ((scores - scores.min()) / np.ptp(scores)).tolist()
    for answer in itertools.permutations(range(5), 3):
        explored, greedy, before, expected = 0.3, 0.7, 1.0, []
        for place, item in enumerate(answer):
            left = [i for i in range(5) if i not in answer[:place]]
            explored *= explored_chances(policy, gains, left)[item]
            greedy *= item == min(left)
            expected.append((explored + greedy) / before)
            before = explored + greedy
        chooser = build_chooser(settings(policy), "any")
        found = propensities_of(Reranking(), given, np.array(answer), NOW, chooser)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("diversity", [None, Diversity.mmr, Diversity.dpp])
def test_policy_weighed_on_its_own_log_gives_the_plain_mean(
    policy: PolicyName, diversity: Diversity | None
) -> None:
    config = Reranking(caps={"brand": 2}, spacing={"brand": 2}, diversity=diversity)
    weights, rewards = [], []
    for number in range(100):
        given = candidates(40, seed=number)
        counts = ClickCounts(np.arange(40.0) % 7, np.full(40, 50.0))
        answer = arrange(config, given, 10, NOW, build_chooser(settings(policy), str(number), counts))
        again = build_chooser(settings(policy), str(number), counts)
        asked = propensities_of(config, given, answer.positions, NOW, again)
        weights.append(asked / answer.propensities)
        rewards.append((answer.positions % 3 == 0).astype(float))
    weight, reward = np.concatenate(weights), np.concatenate(rewards)
    assert (weight * reward).sum() / weight.sum() == reward.mean()


@pytest.mark.parametrize("policy", POLICIES)
def test_same_decision_draws_the_same_answer(policy: PolicyName) -> None:
    answers = [
        arrange(CAPS, candidates(), K, NOW, build_chooser(settings(policy), decision_id, COUNTS))
        for decision_id in ("a", "a", *map(str, range(30)))
    ]
    assert answers[0].positions.tolist() == answers[1].positions.tolist()
    assert answers[0].propensities.tolist() == answers[1].propensities.tolist()
    assert len({tuple(answer.positions.tolist()) for answer in answers}) > 2


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(20))
def test_exploration_keeps_caps_and_spacing(policy: PolicyName, seed: int) -> None:
    given = candidates(30, seed)
    counts = ClickCounts(np.zeros(30), np.zeros(30))
    config = Reranking(caps={"brand": 4}, spacing={"brand": 3})
    chooser = build_chooser(settings(policy, share=1.0, floor=0.5), str(seed), counts)
    brands = given.codes["brand"][arrange(config, given, 20, NOW, chooser).positions].tolist()
    assert all(brands.count(brand) <= 4 for brand in {*brands} - {0})
    windows = [[brand for brand in brands[i : i + 3] if brand] for i in range(len(brands))]
    assert all(len(set(window)) == len(window) for window in windows)


@pytest.mark.parametrize(
    "exploration",
    [Exploration(), Exploration(policy=PolicyName.softmax, share=0.0), Exploration(share=0.5)],
)
def test_settings_that_explore_nothing_are_greedy(exploration: Exploration) -> None:
    assert build_chooser(exploration, "any") is GREEDY
    assert exploration.parameters == {}


@pytest.mark.parametrize("seed", range(10))
def test_greedy_answers_as_reranking_alone_with_propensity_one(seed: int) -> None:
    config = Reranking(caps={"brand": 2}, diversity=Diversity.mmr)
    answer = arrange(config, candidates(40, seed), 9, NOW, GREEDY)
    assert answer.positions.tolist() == rerank(config, candidates(40, seed), 9, NOW).tolist()
    assert answer.propensities.tolist() == [1.0] * len(answer.positions)
    asked = propensities_of(config, candidates(40, seed), answer.positions, NOW, GREEDY)
    assert asked.tolist() == [1.0] * len(answer.positions)


def test_full_floor_draws_evenly() -> None:
    exploration = Exploration(floor=1.0)
    answer = arrange(Reranking(), candidates(), N, NOW, build_chooser(exploration, "x"))
    np.testing.assert_allclose(answer.propensities, [1 / left for left in range(N, 0, -1)])


def test_candidates_far_below_the_best_still_add_up_to_one() -> None:
    exploration = Exploration(policy=PolicyName.softmax, temperature=1e-3)
    answer = arrange(CAPS, candidates(), K, NOW, build_chooser(exploration, "x"))
    assert (answer.propensities > 0.5).all()
    assert answer.positions.tolist() == rerank(CAPS, candidates(), K, NOW).tolist()


def test_forbidden_candidate_has_no_probability() -> None:
    chooser = build_chooser(settings(PolicyName.softmax), "x")
    forbidden: IndexArray = np.array([0, 1])  # of the same brand, of which one may come
    assert propensities_of(CAPS, candidates(), forbidden, NOW, chooser)[1] == 0.0


def test_thompson_needs_counts() -> None:
    with pytest.raises(ConfigError, match="thompson needs the click counts of the candidates, got none"):
        build_chooser(Exploration(policy=PolicyName.thompson), "x")


@pytest.mark.parametrize(("key", "value"), [("share", 1.1), ("floor", -0.1), ("temperature", 0.0)])
def test_impossible_number_is_named(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{key} must be between .* got {value} \(exploration\.{key}\)"):
        Exploration(**{key: value})  # type: ignore[arg-type]


def test_parameters_are_those_of_the_policy() -> None:
    assert settings(PolicyName.softmax).parameters == {"share": 0.3, "floor": 0.05, "temperature": 0.2}


def taken(numbers: Iterator[float], n: int) -> list[float]:
    return [next(numbers) for _ in range(n)]


def test_uniforms_follow_from_the_id_and_are_uniform() -> None:
    assert taken(uniforms("a"), 20) == taken(uniforms("a"), 20) != taken(uniforms("b"), 20)
    drawn = np.array(taken(uniforms("c"), 20_000))
    assert 0.0 <= drawn.min() <= drawn.max() < 1.0
    assert chisquare(np.histogram(drawn, bins=20, range=(0, 1))[0]).pvalue > 0.01
