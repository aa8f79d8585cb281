"""The Gamma-Gamma model beside integrals over the rates of customers."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import gamma

from marquee.bundle.traits.spend import SpendModel
from marquee.errors import DataError
from marquee.marketing.value.spend import _negative_likelihood, fit_spend

P, Q, GAMMA = 6.25, 3.74, 15.4


def density_of_mean(x: float, mean: float, rate: float) -> float:
    """Density of the mean of x purchases, each Gamma(p, rate)."""
    return float(gamma.pdf(mean, P * x, scale=1 / (rate * x)))


@pytest.mark.parametrize(("x", "mean"), [(1.0, 12.0), (3.0, 40.0)])
def test_likelihood_and_expectation_are_integrals_over_rates(x: float, mean: float) -> None:
    def weighted(rate: float) -> float:
        return density_of_mean(x, mean, rate) * float(gamma.pdf(rate, Q, scale=1 / GAMMA))

    likelihood, _ = quad(weighted, 0, np.inf)
    spend, _ = quad(lambda rate: P / rate * weighted(rate), 0, np.inf)
    found = -_negative_likelihood(np.log([P, Q, GAMMA]), np.array([x]), np.array([mean]))[0]
    assert found == pytest.approx(np.log(likelihood), abs=1e-6)
    model = SpendModel(P, Q, GAMMA, 0.0)
    assert model.expected_spend(np.array([x]), np.array([mean]))[0] == pytest.approx(
        spend / likelihood, rel=1e-6
    )


def test_gradient_is_the_slope_of_the_likelihood() -> None:
    x, mean, at = np.array([1.0, 2.0, 7.0]), np.array([0.5, 2.0, 1.1]), np.array([0.8, 1.2, 0.3])
    _, gradient = _negative_likelihood(at, x, mean)
    for place in range(3):
        step = np.eye(3)[place] * 1e-5
        slope = (
            _negative_likelihood(at + step, x, mean)[0] - _negative_likelihood(at - step, x, mean)[0]
        ) / 2e-5
        assert gradient[place] == pytest.approx(slope, abs=1e-8)


def test_fit_finds_the_parameters_that_amounts_were_drawn_with_in_any_currency() -> None:
    generator = np.random.default_rng(5)
    rates = generator.gamma(Q, 1 / GAMMA, 20_000)
    x = generator.integers(1, 9, 20_000).astype(np.float64)
    mean = generator.gamma(P * x, 1 / rates) / x
    model, in_yen = fit_spend(x, mean), fit_spend(x, mean * 150)
    assert (model.p, model.q, model.gamma) == pytest.approx((P, Q, GAMMA), rel=0.06)
    assert (in_yen.p, in_yen.q, in_yen.gamma / 150) == pytest.approx(
        (model.p, model.q, model.gamma), rel=1e-3
    )
    assert model.mean_spend == pytest.approx(P * GAMMA / (Q - 1), rel=0.02)


def test_unseen_customer_spends_the_mean_and_one_seen_often_what_was_seen() -> None:
    model = SpendModel(P, Q, GAMMA, 0.0)
    unseen, often = model.expected_spend(np.array([0.0, 1e6]), np.array([0.0, 70.0]))
    assert unseen == pytest.approx(model.mean_spend)
    assert often == pytest.approx(70.0, rel=1e-4)


@pytest.mark.parametrize(
    ("n", "value", "words"),
    [(10, 5.0, "10 customers have repeat purchases"), (40, 0.0, "40 customers have a mean value")],
)
def test_too_few_customers_and_amounts_not_above_nothing_are_refused(
    n: int, value: float, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        fit_spend(np.ones(n), np.full(n, value))
