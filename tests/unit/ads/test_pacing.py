import numpy as np
import pytest

from marquee.ads import Pacer, PacingConfig, PriceCurve
from marquee.errors import ConfigError

PRICES = list(range(5, 301))
SHARES = (1 / np.arange(5, 301)).tolist()
CURVE = PriceCurve(PRICES, SHARES)
N_AUCTIONS = 1_000


def play(budget: int, dearer: float = 1.0, forecast: float = 1.0, seed: int = 0) -> tuple[int, list[int]]:
    """Returns the spend of a budget and when it was spent; prices follow the curve times `dearer`."""
    rng = np.random.default_rng(seed)
    shares = np.array(SHARES) / np.sum(SHARES)
    pacer, left, paid_at = Pacer(CURVE, planned=budget / N_AUCTIONS), budget, []
    for number in range(N_AUCTIONS):
        price = int(rng.choice(PRICES, p=shares) * dearer)
        bid = pacer.bid(float(rng.lognormal(0, 0.5)), left, (N_AUCTIONS - number) * forecast)
        assert bid.amount <= left
        paid = price if bid.amount >= price else 0
        left -= paid
        pacer.settle(paid)
        paid_at.append(paid)
    return budget - left, paid_at


@pytest.mark.parametrize(("dearer", "forecast"), [(1.0, 1.0), (1.5, 1.0), (0.7, 1.0), (1.0, 0.7), (1.0, 1.3)])
def test_budget_is_spent_and_never_exceeded(dearer: float, forecast: float) -> None:
    budget = 5_000
    spent, _ = play(budget, dearer, forecast)
    assert 0.97 * budget <= spent <= budget


def test_spend_is_even() -> None:
    _, paid_at = play(5_000)
    quarters = np.add.reduceat(paid_at, [0, 250, 500, 750])
    assert quarters.min() > 0.7 * 1_250
    assert quarters.max() < 1.3 * 1_250


def test_better_opportunities_get_higher_bids() -> None:
    pacer = Pacer(CURVE, planned=5)
    low = pacer.bid(0.5, 5_000, 1_000)
    high = pacer.bid(2.0, 5_000, 1_000)
    assert high.amount > low.amount


def test_multiplier_solves_the_equation_of_spend() -> None:
    rng = np.random.default_rng(1)
    ratios = rng.lognormal(0, 0.7, 300)
    pacer = Pacer(CURVE, planned=5)
    for ratio in ratios:
        bid = pacer.bid(float(ratio), 8_000, 1_000)
        pacer.settle(0)
    target = 8 / pacer.real_to_expected
    # Nothing was settled after the last bid but one auction lost: the ratio hardly moved since.
    below, above = bid.multiplier * 0.995, bid.multiplier * 1.005
    assert CURVE.expected_payment(ratios * below).mean() < target * 1.01
    assert CURVE.expected_payment(ratios * above).mean() > target * 0.99


def test_ceiling_holds() -> None:
    pacer = Pacer(CURVE, planned=1_000, ceiling=20.0)
    assert pacer.bid(1.0, 10**9, 10).multiplier == pytest.approx(20.0)
    assert Pacer(CURVE, planned=1_000).bid(1.0, 10**9, 10).multiplier > 300


def test_empty_budget_bids_nothing() -> None:
    assert Pacer(CURVE, planned=5).bid(1.0, 0, 100).amount == 0
    assert Pacer(CURVE, planned=5).bid(1.0, -3, 100).amount == 0


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), float("inf")])
def test_ratio_that_is_no_worth_is_refused(ratio: float) -> None:
    with pytest.raises(ConfigError, match="ratio must be a number above 0"):
        Pacer(CURVE, planned=5).bid(ratio, 100, 10)


def test_wrong_settings_are_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="planned spend"):
        Pacer(CURVE, planned=0)
    with pytest.raises(ConfigError, match="ceiling"):
        Pacer(CURVE, planned=1, ceiling=0)
    with pytest.raises(ConfigError, match="n_ratios=0"):
        PacingConfig(n_ratios=0)
    with pytest.raises(ConfigError, match="weight=0"):
        PacingConfig(weight=0)
