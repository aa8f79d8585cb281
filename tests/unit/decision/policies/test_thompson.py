"""Thompson sampling: draws that follow the Beta posterior, and winners among what is left."""

import numpy as np
import pytest
from scipy.stats import beta, kstest

from marquee.decision.policies.thompson import N_DRAWS, ClickCounts, ThompsonChances, _cube_roots, _normals

CLICKS = np.array([4.0, 0.0, 9.0, 1.0, 30.0])
SHOWN = np.array([50.0, 3.0, 80.0, 5.0, 400.0])
EVERYONE = np.ones(5, dtype=np.bool_)
GAINS = np.zeros(5)


def chances(decision_id: str = "d") -> ThompsonChances:
    return ThompsonChances(ClickCounts(CLICKS, SHOWN), 1.0, 1.0, decision_id)


@pytest.mark.parametrize(("clicks", "passes"), [(1.0, 1.0), (1.0, 60.0), (7.0, 2.0), (40.0, 900.0)])
def test_draws_follow_the_beta_distribution(clicks: float, passes: float) -> None:
    normals = _normals("any", 40_000).reshape(2, 20_000, 1)
    x = np.maximum(_cube_roots(np.array([clicks]), normals[0]), 0.0) ** 3
    y = np.maximum(_cube_roots(np.array([passes]), normals[1]), 0.0) ** 3
    rates = np.asarray(x / (x + y), dtype=np.float64)[:, 0]
    assert kstest(rates, beta(clicks, passes).cdf).statistic < 0.03


def test_probability_is_the_chance_to_be_the_best() -> None:
    rng = np.random.default_rng(0)
    draws = rng.beta(CLICKS + 1, SHOWN - CLICKS + 1, (100_000, 5))
    expected = np.bincount(draws.argmax(axis=1), minlength=5) / 100_000
    found = np.mean([chances(str(number)).of(GAINS, EVERYONE) for number in range(400)], axis=0)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_draws_of_a_taken_candidate_go_to_the_best_that_is_left() -> None:
    first, again = chances(), chances()
    whole = first.of(GAINS, EVERYONE)
    left = EVERYONE.copy()
    left[int(whole.argmax())] = False
    rest = first.of(GAINS, left)
    assert len(rest) == 4
    assert rest.sum() == 1.0
    assert (rest >= whole[left]).all()
    np.testing.assert_array_equal(rest, again.of(GAINS, left))


def test_candidate_that_may_come_again_wins_its_draws_back() -> None:
    policy = chances()
    whole = policy.of(GAINS, EVERYONE)
    policy.of(GAINS, np.arange(5) > 2)
    np.testing.assert_array_equal(policy.of(GAINS, EVERYONE), whole)


def test_likeness_to_what_stands_above_costs_draws() -> None:
    policy = chances()
    before = policy.of(GAINS, EVERYONE)
    after = policy.of(GAINS - np.array([2.0, 0, 0, 0, 0]), EVERYONE)
    assert before[0] > 0.0
    assert after[0] == 0.0
    assert after.sum() == 1.0


def test_every_probability_is_a_whole_number_of_draws() -> None:
    found = chances().of(GAINS, EVERYONE) * N_DRAWS
    np.testing.assert_array_equal(found, np.round(found))
