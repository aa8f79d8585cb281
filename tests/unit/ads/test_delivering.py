"""Delivery beside a plan, and what to expect of the latest auctions held again."""

import pytest

from marquee.ads.auction import Offer, PriceRule
from marquee.ads.delivering import NotShown, cost_of, expect, planned_by, why_not_sold
from marquee.ads.filling import Entry, Loss, Terms, fill_slots
from marquee.ads.slots import SlotConfig
from marquee.ads.trace import trace_of
from marquee.ads.traffic import EVEN, WeighedTime
from marquee.store.campaigns.campaign import BidType, Campaign, Creative, Delivery
from marquee.store.ledger.rows import FLIGHT, Account
from marquee.store.log.event_log import Decision, Place
from marquee.store.log.sales import Sale

EURO, DAY = 1_000_000, 86_400
STARTS = 1_704_067_200
"""A midnight in UTC."""


def booked(name: str = "spring", **changes: object) -> Campaign:
    said: dict[str, object] = {
        "advertiser": f"by {name}",
        "payer": "p",
        "starts": STARTS,
        "ends": STARTS + 10 * DAY,
        "total_budget": 100 * EURO,
        "bid": 4 * EURO,
        "creatives": (Creative(item_id=f"ad of {name}"),),
    }
    return Campaign(campaign_id=name, **{**said, **changes})  # type: ignore[arg-type]


def entry(name: str, bid: int, multiplier: float = 1.0) -> Entry:
    offer = Offer(f"ad of {name}", name, BidType.cpm, bid, 1.0, multiplier)
    return Entry(offer, offer.item_id, name, f"by {name}")


def held(*entries: Entry, floor: int = EURO, sold: str = "", places: tuple[int, ...] = (1,)) -> Decision:
    terms = Terms(floor=floor, rule=PriceRule.second)
    trace = trace_of(entries, places, terms, fill_slots(entries, places, terms))
    sales = (Sale("ad", sold, "cpm", 1, 1, 1, "2024-01-01", 1),) if sold else ()
    return Decision(decision_id="d", time_ms=STARTS * 1000, auction=trace, sales=sales)


def test_reason_is_that_of_the_auction_on_record() -> None:
    spring = booked()
    assert why_not_sold(held(entry("spring", 4 * EURO), sold="spring"), spring) is None
    assert why_not_sold(Decision(decision_id="d", time_ms=0), spring) is NotShown.no_auction
    assert why_not_sold(held(entry("other", 4 * EURO)), spring) is NotShown.no_offer
    assert why_not_sold(held(entry("spring", 4 * EURO)), spring) is NotShown.not_sold
    assert why_not_sold(held(entry("spring", EURO // 2)), spring) is Loss.below_floor
    lost = held(entry("spring", 2 * EURO), entry("other", 3 * EURO))
    assert why_not_sold(lost, spring) is Loss.outbid


def test_auction_is_held_again_at_the_whole_bid() -> None:
    paced = held(entry("spring", 4 * EURO, multiplier=0.3), entry("other", 3 * EURO))
    assert cost_of(paced, booked(), 1.0, None) == 3_000
    assert cost_of(paced, booked(bid=2 * EURO), 1.0, None) is None
    # Somebody who was not there: a click in fifty at 0.20 is 4 euros for a thousand impressions.
    new = booked("new", bid_type=BidType.cpc, bid=EURO // 5)
    assert cost_of(paced, new, 0.02, None) == pytest.approx(3_000, rel=0.01)
    assert cost_of(paced, new, 0.01, None) is None


def test_answer_in_which_nobody_bid_would_have_sold_at_the_floor() -> None:
    places = tuple([Place(f"i{number}", 1.0, 1.0) for number in range(4)])
    empty = Decision(decision_id="d", time_ms=0, places=places)
    slots = SlotConfig(first=1, every=2, floor=EURO)
    assert cost_of(empty, booked(), 1.0, slots) == 1_000
    assert cost_of(empty, booked(), 1.0, None) is None
    asked = Decision(decision_id="d", time_ms=0, places=places, asked={"kind": "content"})
    assert cost_of(asked, booked(), 1.0, slots) is None


def test_plan_is_the_share_of_the_traffic_that_has_come() -> None:
    half = STARTS + 5 * DAY
    assert planned_by(booked(), WeighedTime(), half) == pytest.approx(50 * EURO, abs=1)
    ahead = planned_by(booked(delivery=Delivery.front_loaded), WeighedTime(), half)
    assert ahead is not None
    assert 55 * EURO < ahead < 70 * EURO
    assert planned_by(booked(delivery=Delivery.fast), WeighedTime(), half) is None
    assert planned_by(booked(), WeighedTime(), STARTS - 9) == 0
    assert planned_by(booked(), WeighedTime(), STARTS + 99 * DAY) == 100 * EURO
    night = EVEN.copy()
    night[:84] = 0.0
    never = WeighedTime(0 * EVEN)
    assert planned_by(booked(), never, half) is None
    # Never more than the days let it spend.
    assert planned_by(booked(daily_budget=EURO), WeighedTime(), half) == 5 * EURO


def test_expected_is_what_can_be_bought_and_no_more_than_the_budget() -> None:
    accounts = [Account("spring", FLIGHT, 100 * EURO, 40 * EURO, 0, 0, 0, 0, 0)]
    found = expect(booked(), accounts, 20.0 * EURO, (0.8, 1.3), STARTS)
    assert (found.total, found.low, found.high) == (60 * EURO, 56 * EURO, 66 * EURO)
    found = expect(booked(), accounts, 70.0 * EURO, (0.8, 1.3), STARTS)
    assert (found.total, found.low, found.high) == (100 * EURO, 96 * EURO, 100 * EURO)
    assert expect(booked(), (), 0.0, (None, None), STARTS).low is None
    daily = expect(booked(daily_budget=2 * EURO), (), 1e12, (None, None), STARTS + 8 * DAY)
    assert daily.total == 4 * EURO
