"""The campaigns of the demo: what their accounts must say, and a day against its plan."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from demo.advertising import SMALL, SMALL_BUDGET, campaigns_of, told_delivery, wrong_account, wrong_delivery
from demo.pacing import BID, SHARE, Traffic, pace_a_day, show_pacing, traffic_of, wrong_day
from marquee.bundle.bundle import Bundle
from marquee.client import CampaignAnswer, CampaignMessage
from marquee.client.messages.campaigns import AccountAnswer, DeliveryAnswer, ForecastAnswer
from marquee.world import World, WorldConfig, simulate
from tests.support.bundles import NOW, publish_tiny


@pytest.fixture(scope="module")
def market() -> World:
    return simulate(WorldConfig(seed=3, n_users=300, n_content=80, n_ads=40, n_campaigns=20, n_days=20))


def account(**said: Any) -> CampaignAnswer:
    money = {"budget": SMALL_BUDGET, "charged": 0.05, "held": 0, "sold": 25, "billed": 25}
    spent = AccountAnswer(**{**money, "unbilled_events": 0, "unbilled": 0, **said})
    booked = CampaignMessage(campaign_id=SMALL, advertiser="", payer="", starts=0, ends=1, creatives=[])
    return CampaignAnswer(
        campaign=booked,
        version=1,
        state="active",
        changed=0,
        changed_by="",
        change="",
        currency="",
        spent=spent,
    )


def test_budget_is_spent_to_the_last_affordable_impression() -> None:
    assert wrong_account(account(), 25, 0.002) == []
    assert wrong_account(account(charged=0.051), 25, 0.002) == []
    (left,) = wrong_account(account(charged=0.048, billed=24), 24, 0.002)
    assert left == "0.003000 is left, which pays for one at 0.002000"
    assert wrong_account(account(charged=0.052), 25, 0.002) == ["charged 0.052 of a budget of 0.051"]
    assert wrong_account(account(), 26, 0.002) == ["26 ads were seen and 25 charged"]


def test_delivery_is_told_with_every_answer_accounted_for() -> None:
    expected = ForecastAnswer(charged=12.5, shown=100.0, rests_on="")
    found = DeliveryAnswer(looked_at=10, shown=4, not_shown={"outbid": 5, "no_offer": 1}, forecast=expected)
    assert wrong_delivery("a", found) == []
    told = (
        "a: shown by 4 of the last 10 answers, the others 5 outbid, 1 no_offer; 12.50 are expected by its end"
    )
    assert told_delivery("a", found) == told
    assert wrong_delivery("a", None)
    assert wrong_delivery("a", DeliveryAnswer(looked_at=9, shown=9, not_shown={}))
    (lost,) = wrong_delivery("a", DeliveryAnswer(looked_at=9, shown=4, not_shown={}, forecast=expected))
    assert "not each is told of" in lost


def test_campaigns_share_the_ads_that_run(tmp_path: Path) -> None:
    bundle = Bundle.load(publish_tiny(tmp_path))
    booked = campaigns_of(bundle, NOW)
    ads = [creative.item_id for one in booked for creative in one.creatives]
    assert len(booked) == 3
    assert all(one.creatives for one in booked)
    assert len(set(ads)) == len(ads)


def test_day_of_the_market_is_spent_by_its_plan(market: World) -> None:
    assert show_pacing(Console(quiet=True), market) == []
    known, today = traffic_of(market, 0), traffic_of(market, 1)
    day = pace_a_day(known, today, BID, int(known.price.sum() / 1_000 * SHARE))
    assert day.planned.sum() == pytest.approx(day.budget)
    # At any hour as much as planned, within a tenth of the budget; without a plan it would be gone by noon.
    apart = np.abs(np.cumsum(day.spent) - np.cumsum(day.planned))
    assert apart.max() < day.budget / 10


def test_last_impression_that_can_be_paid_is_bought() -> None:
    second = np.arange(0, 86_400, 864)
    same = Traffic(second, np.full(len(second), 2_000_000))
    day = pace_a_day(same, same, BID, 51_000)
    assert (day.n_shown.sum(), day.left) == (25, 1_000)
    assert wrong_day(day) == []


def test_day_above_its_budget_or_half_spent_is_wrong() -> None:
    second = np.arange(0, 86_400, 864)
    dear = Traffic(second, np.full(len(second), 60_000_000))
    unspent = pace_a_day(dear, dear, BID, 51_000)
    assert unspent.n_shown.sum() == 0
    assert "more than 2 %" in wrong_day(unspent)[0]
