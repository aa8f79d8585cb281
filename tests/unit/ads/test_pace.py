import numpy as np
import pytest

from marquee.ads.pace import CampaignPace, Outlook
from marquee.ads.pacing import Pacer
from marquee.ads.prices import PriceCurve
from marquee.core.arrays import Float64Array
from marquee.store.campaigns.campaign import Delivery

EURO = 1_000_000
DAY_S = 86_400
STEP_S = 120
PER_STEP = 12
N_STEPS = DAY_S // STEP_S


def curve_of(prices: Float64Array) -> PriceCurve:
    distinct, counts = np.unique(prices.astype(np.int64), return_counts=True)
    return PriceCurve(distinct.tolist(), counts.astype(float).tolist())


def spend(delivery: Delivery, budget: int, dearer: float = 1.0) -> tuple[list[int], list[float]]:
    """Returns the spend after each step of a day, and the multipliers."""
    rng = np.random.default_rng(0)
    prices = rng.lognormal(np.log(2 * EURO), 0.6, size=(N_STEPS, PER_STEP)) * dearer
    values = rng.lognormal(np.log(4 * EURO), 0.5, size=(N_STEPS, PER_STEP))
    curve = curve_of(rng.lognormal(np.log(2 * EURO), 0.6, 500))
    pace, left, spent, multipliers = CampaignPace(delivery), budget, [], []
    for step in range(N_STEPS):
        for value, price in zip(values[step].tolist(), prices[step].tolist(), strict=True):
            charge = int(price) // 1000
            pace.note([value])
            if value * pace.multiplier >= price and charge <= left:
                left -= charge
                pace.paid(price)
        pace.solve(curve, Outlook(left, DAY_S - (step + 1) * STEP_S, PER_STEP / STEP_S))
        spent.append(budget - left)
        multipliers.append(pace.multiplier)
    return spent, multipliers


@pytest.mark.parametrize("dearer", [0.7, 1.0, 1.4])
def test_budget_of_a_day_is_spent_evenly_and_to_its_end(dearer: float) -> None:
    spent, multipliers = spend(Delivery.even, 4 * EURO, dearer=dearer)
    assert 0.98 * 4 * EURO <= spent[-1] <= 4 * EURO
    plan = np.linspace(0, 1, N_STEPS + 1)[1:]
    assert np.abs(np.array(spent) / (4 * EURO) - plan).max() < 0.06
    assert all(0.0 <= one <= 1.0 for one in multipliers)


def test_front_loaded_runs_ahead_and_fast_does_not_wait() -> None:
    half = N_STEPS // 2
    of = {delivery: spend(delivery, 4 * EURO)[0] for delivery in Delivery}
    assert of[Delivery.even][half] < of[Delivery.front_loaded][half] < of[Delivery.fast][half]
    assert (
        of[Delivery.fast][half] == 4 * EURO - of[Delivery.fast][half] % 1
        or of[Delivery.fast][half] > 3.99 * EURO
    )


def test_budget_that_cannot_be_spent_bids_the_whole_bid() -> None:
    spent, multipliers = spend(Delivery.even, 10_000 * EURO)
    assert set(multipliers[20:]) == {1.0}
    assert spent[-1] > 0


def test_nothing_is_bid_before_there_is_a_plan_and_after_the_money_is_gone() -> None:
    pace = CampaignPace(Delivery.even)
    assert pace.multiplier == 0.0
    pace.note([4 * EURO])
    pace.solve(curve_of(np.array([2.0 * EURO])), Outlook(EURO, 3600, 1.0))
    assert pace.multiplier > 0.0
    pace.note([4 * EURO])
    pace.solve(curve_of(np.array([2.0 * EURO])), Outlook(0, 3600, 1.0))
    assert pace.multiplier == 0.0


def test_without_opportunities_the_plan_stays() -> None:
    pace = CampaignPace(Delivery.even)
    pace.note([4 * EURO])
    curve = curve_of(np.array([2.0 * EURO]))
    pace.solve(curve, Outlook(EURO, 3600, 1.0))
    before = pace.multiplier
    pace.solve(curve, Outlook(EURO // 2, 1800, 1.0))
    assert pace.multiplier == before


def test_one_auction_at_a_time_is_what_the_pacer_does_itself() -> None:
    rng = np.random.default_rng(1)
    curve = curve_of(rng.lognormal(np.log(2 * EURO), 0.6, 500))
    one, other = Pacer(curve, 1e6), Pacer(curve, 1e6)
    paid = 0.0
    for left, ratio in zip(range(300, 0, -1), rng.lognormal(0, 0.5, 300).tolist(), strict=True):
        single = one.bid(ratio, 10**9, left)
        # What the average expects is of the bid there, and of the mean over all ratios here.
        several = other.pace(curve, [ratio], 10**9, left, paid)
        one.settle(0)
        assert several == pytest.approx(single.multiplier, rel=0.05)
