"""Off-policy values against worlds whose truth is known, and what a log cannot say."""

import numpy as np
import pytest

from marquee.core.arrays import Float64Array
from marquee.errors import DataError
from marquee.evaluation.off_policy.estimators import Estimator, LoggedDecisions, estimate_value
from marquee.evaluation.off_policy.weights import importance_weights, measure_support

N_ACTIONS = 4
RATES = np.array([0.1, 0.2, 0.3, 0.6])
LOGGING = np.array([0.4, 0.3, 0.2, 0.1])
CANDIDATE = np.array([0.1, 0.2, 0.3, 0.4])
TRUTH = float(CANDIDATE @ RATES)


def world(rng: np.random.Generator, n: int, model: Float64Array | None = None) -> LoggedDecisions:
    """Returns decisions of the logging policy by a third as many users."""
    action = rng.choice(N_ACTIONS, n, p=LOGGING)
    return LoggedDecisions(
        reward=(rng.random(n) < RATES[action]).astype(np.float64),
        propensity=LOGGING[action],
        target=CANDIDATE[action],
        user=rng.integers(0, n // 3, n),
        predicted=None if model is None else model[action],
        expected=None if model is None else np.full(n, CANDIDATE @ model),
    )


def test_intervals_hold_the_truth_in_95_of_100_worlds() -> None:
    rng = np.random.default_rng(5)
    wrong_model = RATES + np.array([0.2, 0.1, -0.1, -0.2])
    held = dict.fromkeys(Estimator, 0)
    for _ in range(300):
        for name, estimate in estimate_value(world(rng, 900, wrong_model)).estimates.items():
            held[name] += estimate.low <= TRUTH <= estimate.high
    for name in (Estimator.inverse_propensity, Estimator.self_normalised, Estimator.doubly_robust):
        assert 0.92 <= held[name] / 300 <= 0.98
    assert held[Estimator.direct] == 0  # it is as wrong as the model is


def test_good_model_makes_doubly_robust_steadier() -> None:
    value = estimate_value(world(np.random.default_rng(2), 2000, RATES))
    lengths = {name: estimate.high - estimate.low for name, estimate in value.estimates.items()}
    assert lengths[Estimator.doubly_robust] < 0.9 * lengths[Estimator.inverse_propensity]


def test_logging_policy_on_its_own_log_earns_the_mean_exactly() -> None:
    log = world(np.random.default_rng(3), 1000)
    own = LoggedDecisions(log.reward, log.propensity, log.propensity, log.user)
    value = estimate_value(own)
    assert value.estimates[Estimator.self_normalised].mean == log.reward.mean()
    assert value.support.effective == pytest.approx(1000)


def test_decisions_of_one_user_are_not_independent() -> None:
    log = world(np.random.default_rng(4), 1000)
    rows = np.repeat(np.arange(1000), 3)
    tripled = LoggedDecisions(log.reward[rows], log.propensity[rows], log.target[rows], log.user[rows])
    (once, thrice) = (estimate_value(one).estimates[Estimator.inverse_propensity] for one in (log, tripled))
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


def test_few_effective_decisions_are_not_identifiable() -> None:
    weights = np.array([1000.0, 1000.0, *np.full(9998, 0.01)])
    support = measure_support(weights, None, 0.0)
    assert support.effective == pytest.approx(2.2, abs=0.1)
    assert not support.is_identifiable
    assert "2 of 10,000 logged decisions speak about the candidate" in support.reason


def test_candidate_without_support_is_not_identifiable() -> None:
    support = measure_support(np.ones(1000), np.full(1000, 0.3), 0.0)
    assert not support.is_identifiable
    assert "30.0% of what the candidate would do was never possible" in support.reason


def test_clipping_says_what_it_took() -> None:
    kept, clipped = importance_weights(np.array([0.9, 0.1]), np.array([0.1, 0.1]), clip=4.0)
    assert kept.tolist() == [4.0, 1.0]
    assert clipped == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("propensity", "message"),
    [
        ([1.0, 1.0], "never explores"),
        ([0.0, 0.5], "0 of 2 logged actions have no propensity and 1 have one outside"),
        ([np.nan, 0.5], "1 of 2 logged actions have no propensity"),
        ([-0.1, 1.5], "2 have one outside"),
    ],
)
def test_log_without_usable_propensities_is_refused(propensity: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        LoggedDecisions(np.ones(2), np.array(propensity), np.ones(2), np.arange(2))


def test_candidate_that_is_no_distribution_is_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 probabilities of the candidate"):
        importance_weights(np.array([1.5, 0.5]), np.array([0.5, 0.5]))
