"""BG/NBD and MBG/NBD beside integrals over rates and chances to stop, and the closed forms of the papers."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import beta as beta_function
from scipy.special import gamma as gamma_function
from scipy.special import hyp2f1
from scipy.stats import beta

from marquee.bundle.traits.purchases import Dropout, PurchaseModel, Purchases, beta_quadrature
from marquee.errors import DataError
from marquee.marketing.value.purchases import (
    _Likelihood,
    fit_purchases,
    vuong_statistic,
)

PARAMETERS = (0.7, 4.0, 0.8, 2.4)


def histories(*rows: tuple[float, float, float]) -> Purchases:
    columns = np.array(rows, dtype=np.float64).T
    return Purchases(columns[0], columns[1], columns[2])


def integrated_likelihood(dropout: Dropout, row: tuple[float, float, float]) -> float:
    """Likelihood of one history, given a rate and a probability to stop, integrated over both."""
    x, recency, age = row
    r, alpha, a, b = PARAMETERS
    # The trapezoid in log-rates and log-odds converges faster than any power: all ends vanish.
    log_rate, log_odds = np.linspace(-40, 6, 1500)[:, np.newaxis], np.linspace(-60, 60, 1500)
    rate, log_p, log_stay = np.exp(log_rate), -np.logaddexp(0, -log_odds), -np.logaddexp(0, log_odds)
    chances = x + (dropout == "mbg")
    given = np.exp(chances * log_stay - rate * age)
    if chances > 0:
        given = given + np.exp(log_p + (chances - 1) * log_stay - rate * recency)
    weight = np.exp(x * log_rate + r * log_rate - alpha * rate + a * log_p + b * log_stay)
    scale = alpha**r / gamma_function(r) / beta_function(a, b)
    return float((given * weight).sum() * (46 / 1499) * (120 / 1499) * scale)


def published_expectation(model: PurchaseModel, row: tuple[float, float, float], horizon: float) -> float:
    """Equation 10 of Fader, Hardie, Lee 2005, and 7 of Batislam et al. 2007: hypergeometric."""
    x, recency, age = row
    r, alpha, a, chances = model.r, model.alpha, model.a, model.b + x + (model.dropout == "mbg")
    hyper = hyp2f1(r + x, chances, a + chances - 1, horizon / (alpha + age + horizon))
    shrunk = ((alpha + age) / (alpha + age + horizon)) ** (r + x)
    ahead = (a + chances - 1) / (a - 1) * (1 - shrunk * hyper)
    can_stop = chances > model.b
    odds = a / (chances - 1) * ((alpha + age) / (alpha + recency)) ** (r + x) if can_stop else 0.0
    return float(ahead / (1 + odds))


ROWS = [(0.0, 0.0, 12.0), (1.0, 5.0, 20.0), (4.0, 18.0, 38.0), (9.0, 37.0, 38.0)]


@pytest.mark.parametrize("dropout", ["bg", "mbg"])
@pytest.mark.parametrize("row", ROWS)
def test_likelihood_is_the_integral_over_rates_and_probabilities(
    dropout: Dropout, row: tuple[float, float, float]
) -> None:
    found = -_Likelihood(histories(row), 1.0, dropout).negative(np.log(PARAMETERS))[0]
    assert found == pytest.approx(np.log(integrated_likelihood(dropout, row)), abs=1e-9)


@pytest.mark.parametrize("dropout", ["bg", "mbg"])
def test_gradient_is_the_slope_of_the_likelihood(dropout: Dropout) -> None:
    likelihood = _Likelihood(histories(*ROWS), 10.0, dropout)
    at = np.array([-0.5, 0.3, 0.2, 0.9])
    _, gradient = likelihood.negative(at)
    for place in range(4):
        step = np.eye(4)[place] * 1e-5
        slope = (likelihood.negative(at + step)[0] - likelihood.negative(at - step)[0]) / 2e-5
        assert gradient[place] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("dropout", ["bg", "mbg"])
@pytest.mark.parametrize("horizon", [1.0, 39.0, 520.0])
def test_expected_purchases_are_those_of_the_closed_form(dropout: Dropout, horizon: float) -> None:
    model = PurchaseModel(dropout, *PARAMETERS, log_likelihood=0.0)
    found = model.expected_purchases(histories(*ROWS), horizon)
    assert found == pytest.approx([published_expectation(model, row, horizon) for row in ROWS], rel=1e-8)


def test_expected_purchases_hold_for_very_many_purchases() -> None:
    # Eight hundred repeats settle rate and chance to stop: what is left is the rate while alive, (1 - e^-pht)
    # / p.
    model = PurchaseModel("bg", *PARAMETERS, log_likelihood=0.0)
    rate, stop = (0.7 + 800) / (4 + 39), 0.8 / (0.8 + 2.4 + 800)
    found = model.expected_purchases(histories((800.0, 39.0, 39.0)), 39.0)[0]
    assert found == pytest.approx(-np.expm1(-rate * stop * 39) / stop, rel=0.1)
    assert found < rate * 39


def test_expected_purchases_are_finite_where_the_closed_form_divides_nothing_by_nothing() -> None:
    near = [
        PurchaseModel("bg", 0.7, 4.0, a, 2.4, 0.0).expected_purchases(histories(*ROWS), 39.0)
        for a in (1 - 1e-6, 1.0, 1 + 1e-6)
    ]
    assert np.isfinite(near).all()
    for one, other in pairwise(near):
        assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize(("a", "b"), [(0.8, 2.4), (1.0, 1.0), (3.5, 900.0), (0.01, 40.0)])
def test_quadrature_gives_the_moments_of_the_beta_distribution(a: float, b: float) -> None:
    nodes, weights = beta_quadrature(a, b)
    for power in (0, 1, 2, 7):
        assert weights @ nodes**power == pytest.approx(
            beta(a, b).moment(power) if power else 1.0, rel=1e-9, abs=1e-10
        )


def test_whoever_bought_once_is_alive_for_certain_under_bg_and_not_under_mbg() -> None:
    once = histories((0.0, 0.0, 38.0))
    assert PurchaseModel("bg", *PARAMETERS, log_likelihood=0.0).alive_probability(once)[0] == 1.0
    assert PurchaseModel("mbg", *PARAMETERS, log_likelihood=0.0).alive_probability(once)[0] < 0.7


def simulated(n_customers: int, seed: int) -> Purchases:
    """Customers who buy at a rate of their own and stop after a purchase with a chance of their own."""
    generator = np.random.default_rng(seed)
    r, alpha, a, b = PARAMETERS
    rates, chances = generator.gamma(r, 1 / alpha, n_customers), generator.beta(a, b, n_customers)
    ages = generator.uniform(30, 60, n_customers)
    rows = []
    for rate, chance, age in zip(rates, chances, ages, strict=True):
        x, last, now = 0, 0.0, 0.0
        while (now := now + generator.exponential(1 / rate)) < age:
            x, last = x + 1, now
            if generator.random() < chance:
                break
        rows.append((float(x), last, float(age)))
    return histories(*rows)


def test_fit_finds_the_parameters_that_customers_were_drawn_with() -> None:
    model = fit_purchases(simulated(20_000, 3), "bg")
    assert (model.r, model.alpha) == pytest.approx(PARAMETERS[:2], rel=0.08)
    assert model.stop_probability == pytest.approx(0.25, abs=0.02)
    assert model.at_bounds == ()


def test_fit_does_not_depend_on_the_unit_of_time() -> None:
    weeks = simulated(2_000, 4)
    days = Purchases(weeks.n_repeats, weeks.recency * 7, weeks.age * 7)
    one, other = fit_purchases(weeks, "mbg"), fit_purchases(days, "mbg")
    assert (other.r, other.alpha / 7, other.a, other.b) == pytest.approx(
        (one.r, one.alpha, one.a, one.b), rel=1e-3
    )
    assert other.log_likelihood == pytest.approx(
        one.log_likelihood - weeks.n_repeats.sum() * np.log(7), abs=1e-3
    )


def test_parameters_of_customers_who_never_stop_run_off() -> None:
    n_repeats = np.tile([3.0, 4.0, 5.0, 6.0], 100)
    always = Purchases(n_repeats, np.full(400, 39.0), np.full(400, 39.5))
    assert {"a", "b"} & set(fit_purchases(always, "bg").at_bounds)


def test_purchases_after_the_moment_are_refused() -> None:
    with pytest.raises(DataError, match="1 customers bought after the moment"):
        histories((1.0, 5.0, 4.0))


def drawn(dropout: Dropout, n: int = 6000) -> Purchases:
    """Histories of 40 weeks of customers of whom most stop soon, by one of the two models."""
    generator = np.random.default_rng(5)
    rates, stops = generator.gamma(1.5, 1 / 3, n), generator.beta(1.0, 1.0, n)
    rows = []
    for rate, stop in zip(rates, stops, strict=True):
        now = repeats = last = 0.0
        is_alive = dropout == "bg" or generator.random() >= stop
        while is_alive and (now := now + generator.exponential(1 / rate)) < 40:
            repeats, last = repeats + 1, now
            is_alive = generator.random() >= stop
        rows.append((repeats, last, 40.0))
    return histories(*rows)


@pytest.mark.parametrize(("dropout", "sign"), [("mbg", 1), ("bg", -1)])
def test_models_are_told_apart_where_one_of_them_is_true(dropout: Dropout, sign: int) -> None:
    purchases = drawn(dropout)
    mbg, bg = fit_purchases(purchases, "mbg"), fit_purchases(purchases, "bg")
    z = vuong_statistic(mbg, bg, purchases)
    assert sign * z > 1.96
    assert vuong_statistic(bg, mbg, purchases) == pytest.approx(-z)
    # By the definition, from the likelihood of each customer.
    rows = list(zip(purchases.n_repeats, purchases.recency, purchases.age, strict=True))[:4]
    assert vuong_statistic(mbg, mbg, histories(*rows)) == 0.0


def test_statistic_is_the_mean_gain_over_its_error() -> None:
    purchases = histories(*ROWS)
    mbg, bg = PurchaseModel("mbg", *PARAMETERS, 0.0), PurchaseModel("bg", *PARAMETERS, 0.0)
    gain = np.log([integrated_likelihood("mbg", row) / integrated_likelihood("bg", row) for row in ROWS])
    expected = gain.sum() / (gain.std() * 2)
    assert vuong_statistic(mbg, bg, purchases) == pytest.approx(expected, rel=1e-4)
