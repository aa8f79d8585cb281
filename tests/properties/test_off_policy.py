"""Every estimator against a slow one that adds up decision by decision."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import t

from marquee.evaluation.off_policy.estimators import Estimator, LoggedDecisions, estimate_value
from marquee.evaluation.off_policy.reward_model import fit_place_model, user_folds
from marquee.evaluation.off_policy.slates import Browsing, LoggedSlates, estimate_slates

Real = npt.NDArray[np.float64]


def slow_interval(values: Real, mean: float, user: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Sums of each user about the mean, as a sample of users."""
    sums: dict[int, float] = {}
    for value, one in zip(values.tolist(), user.tolist(), strict=True):
        sums[one] = sums.get(one, 0.0) + value - mean
    n = len(sums)
    squares = sum(total**2 for total in sums.values())
    error = (squares * n / (n - 1)) ** 0.5 / len(values)
    kurtosis = n * sum(total**4 for total in sums.values()) / squares**2
    # As the variance of a variance of normal values is 2 / n, one of others acts as that of fewer.
    freedom = n - 1.0 if kurtosis <= 1 else min(n - 1.0, 2 * n / (kurtosis - 1))
    quantile = float(t.ppf(0.975, max(1.0, freedom)))
    skew = float(sum(total**3 for total in sums.values()) / squares**1.5)

    def symmetric(studentised: float, of: float) -> float:
        """Hall's transformation: what it makes of the studentised mean of skewed values is not."""
        return (studentised + skew / 3 * studentised**2 + skew**2 / 27 * studentised**3 + skew / 6) - of

    ends = [brentq(symmetric, -1e4, 1e4, args=(of,), xtol=1e-13, rtol=1e-13) for of in (quantile, -quantile)]
    return mean - error * ends[0], mean - error * ends[1]


def slow_lists(log: LoggedSlates, browsing: Browsing, clip: float) -> dict[Estimator, float]:
    """The estimates of `estimate_slates`, list by list and place by place."""
    n, k = log.reward.shape
    assert log.predicted is not None
    assert log.expected is not None
    there = [[not np.isnan(log.reward[row, place]) for place in range(k)] for row in range(n)]
    mean_expected = [
        sum(log.expected[row, place] for row in range(n) if there[row][place]) / n for place in range(k)
    ]
    sums = dict.fromkeys(Estimator, 0.0)
    weighted, total, count = [0.0] * k, [0.0] * k, [0] * k
    for row in range(n):
        product, above = 1.0, 1.0
        for place in range(k):
            if not there[row][place]:
                break
            ratio = log.target[row, place] / log.propensity[row, place]
            product = product * ratio if browsing is Browsing.cascade else ratio
            weight = min(product, clip)
            reward = log.reward[row, place]
            sums[Estimator.inverse_propensity] += weight * reward / n
            sums[Estimator.direct] += log.expected[row, place] / n
            later = sum(mean_expected[place + 1 :]) if browsing is Browsing.cascade else 0.0
            before = above if browsing is Browsing.cascade else 1.0
            own = before * (log.expected[row, place] + later)
            sums[Estimator.doubly_robust] += (own + weight * (reward - log.predicted[row, place] - later)) / n
            weighted[place] += weight * reward
            total[place] += weight
            count[place] += 1
            above = weight
    for place in range(k):
        if total[place]:
            sums[Estimator.self_normalised] += weighted[place] / total[place] * count[place] / n
    return sums


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(4, 20),
    k=st.integers(1, 4),
    browsing=st.sampled_from(list(Browsing)),
    clip=st.sampled_from([1.5, 100.0]),
)
def test_lists_are_worth_what_a_slow_sum_says(
    seed: int, n: int, k: int, browsing: Browsing, clip: float
) -> None:
    rng = np.random.default_rng(seed)
    length = rng.integers(1, k + 1, n)
    length[0] = k
    is_there = np.arange(k) < length[:, None]
    log = LoggedSlates(
        reward=np.where(is_there, rng.random((n, k)), np.nan),
        propensity=np.where(is_there, rng.uniform(0.05, 0.9, (n, k)), 1.0),
        target=rng.random((n, k)),
        user=rng.integers(0, 3, n),
        predicted=rng.random((n, k)),
        expected=rng.random((n, k)),
    )
    found = estimate_slates(log, browsing, clip).value.estimates
    for name, value in slow_lists(log, browsing, clip).items():
        assert found[name].mean == pytest.approx(value, rel=1e-9)


@given(seed=st.integers(0, 10_000), n=st.integers(6, 30))
def test_decisions_are_worth_what_a_slow_sum_says(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    user = np.concatenate([[0, 1], rng.integers(0, 4, n - 2)])
    log = LoggedDecisions(
        rng.random(n), rng.uniform(0.05, 0.9, n), rng.random(n), user, None, rng.random(n), rng.random(n)
    )
    assert log.predicted is not None
    assert log.expected is not None
    weights = [min(target / p, 3.0) for target, p in zip(log.target, log.propensity, strict=True)]
    ips = np.array([w * r for w, r in zip(weights, log.reward, strict=True)])
    robust = np.array(
        [e + w * (r - p) for e, w, r, p in zip(log.expected, weights, log.reward, log.predicted, strict=True)]
    )
    ratio = sum(ips) / sum(weights)
    influence = np.array(
        [ratio + w * (r - ratio) * n / sum(weights) for w, r in zip(weights, log.reward, strict=True)]
    )
    found = estimate_value(log, clip=3.0)
    expected = {
        Estimator.inverse_propensity: (ips, float(ips.mean())),
        Estimator.direct: (log.expected, float(log.expected.mean())),
        Estimator.doubly_robust: (robust, float(robust.mean())),
        Estimator.self_normalised: (influence, ratio),
    }
    for name, (values, mean) in expected.items():
        low, high = slow_interval(values, mean, user)
        estimate = found.estimates[name]
        assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((mean, low, high), rel=1e-8)
        gain = found.gains[name].mean
        assert gain == pytest.approx(mean - float(log.reward.mean()), rel=1e-9, abs=1e-12)
    assert found.support.effective == pytest.approx(sum(weights) ** 2 / sum(w * w for w in weights))


@given(seed=st.integers(0, 10_000), n=st.integers(3, 15))
def test_rewards_of_a_list_are_predicted_from_other_users_alone(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    item, user = rng.integers(0, 3, (n, 2)), rng.integers(0, 4, n)
    reward = rng.random((n, 2))
    fold, n_folds = user_folds(user, np.random.default_rng(seed))
    model = fit_place_model(item, reward, user, 3, np.random.default_rng(seed))
    row = int(rng.integers(n))
    others = [r for r in range(n) if fold[r] != fold[row]] if n_folds > 1 else list(range(n))
    overall = float(reward.mean())
    rate = (sum(reward[r, 1] for r in others) + 10 * overall) / (len(others) + 10)
    rates = [(sum(reward[r, p] for r in others) + 10 * overall) / (len(others) + 10) for p in range(2)]
    came = sum(reward[r, p] for r in others for p in range(2) if item[r, p] == 0)
    usual = sum(rates[p] for r in others for p in range(2) if item[r, p] == 0)
    lift = (came + 10 * overall) / (usual + 10 * overall) if n_folds > 1 else 1.0
    assert model.predict(row, 1, np.array([0]))[0] == pytest.approx(rate * lift, rel=1e-9)
    assert model.predict(row, 1, np.array([-1]))[0] == pytest.approx(rate, rel=1e-9)
