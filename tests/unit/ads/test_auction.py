from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.ads.auctions import is_monotone, is_truthful, measure, prices_hold
from marquee.ads import BidType, Offer, PriceRule, run_auction
from marquee.errors import ConfigError

EURO = 1_000_000
N_CASES = 300


def cpm(name: str, euros: float, multiplier: float = 1.0) -> Offer:
    return Offer(name, f"of-{name}", BidType.cpm, round(euros * EURO), multiplier=multiplier)


def test_winner_pays_what_kept_the_next_one_below() -> None:
    outcome = run_auction([cpm("a", 5), cpm("b", 3), cpm("c", 2)], 2)
    assert [(sold.offer.item_id, sold.price) for sold in outcome.sold] == [("a", 3 * EURO), ("b", 2 * EURO)]
    assert [(lost.offer.item_id, lost.reason) for lost in outcome.lost] == [("c", "outbid")]


def test_last_winner_pays_the_floor() -> None:
    outcome = run_auction([cpm("a", 5), cpm("b", 1)], 1, floor=2 * EURO)
    assert [(sold.offer.item_id, sold.price) for sold in outcome.sold] == [("a", 2 * EURO)]
    assert [(lost.offer.item_id, lost.reason) for lost in outcome.lost] == [("b", "below_floor")]


def test_first_price_pays_its_own_value() -> None:
    outcome = run_auction([cpm("a", 5, multiplier=0.5), cpm("b", 1)], 1, rule=PriceRule.first)
    assert outcome.sold[0].price == 2_500_000


def test_click_is_charged_the_price_of_its_impressions() -> None:
    click = Offer("a", "of-a", BidType.cpc, EURO // 2, probability=0.02)
    outcome = run_auction([click, cpm("b", 4)], 1)
    # 0.50 a click at 2 % is worth 10.00 a thousand; 4.00 a thousand at 20 clicks is 0.20 a click.
    assert outcome.sold[0].offer.value == 10 * EURO
    assert outcome.sold[0].charge == EURO // 5


def test_campaign_with_two_creatives_does_not_raise_its_own_price() -> None:
    best, second = cpm("a", 5), Offer("b", "of-a", BidType.cpm, 4 * EURO)
    outcome = run_auction([second, best, cpm("c", 1)], 2)
    assert [(sold.offer.item_id, sold.price) for sold in outcome.sold] == [("a", EURO), ("c", 0)]
    assert [(lost.offer.item_id, lost.reason) for lost in outcome.lost] == [("b", "same_campaign")]


def test_equal_values_go_to_the_lower_id_whatever_the_order() -> None:
    for offers in ([cpm("a", 5), cpm("b", 5)], [cpm("b", 5), cpm("a", 5)]):
        outcome = run_auction(offers, 1)
        assert outcome.sold[0].offer.item_id == "a"
        assert outcome.sold[0].price == 5 * EURO


def test_nobody_wins_without_places_or_offers() -> None:
    assert run_auction([], 3).sold == ()
    assert [lost.reason for lost in run_auction([cpm("a", 1)], 0).lost] == ["outbid"]


@pytest.mark.parametrize("holds", [prices_hold, is_monotone, is_truthful])
def test_property_holds_in_random_auctions(holds: Callable[[np.random.Generator], bool]) -> None:
    assert measure(holds, N_CASES).is_within


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bid": 0}, "bid above 0"),
        ({"probability": 0.0}, "probability"),
        ({"probability": float("nan")}, "probability"),
        ({"probability": 1.5}, "probability"),
        ({"multiplier": float("inf")}, "multiplier"),
    ],
)
def test_impossible_offer_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Offer(**{"item_id": "a", "campaign_id": "c", "bid_type": BidType.cpc, "bid": 1, **wrong})  # type: ignore[arg-type]


def test_negative_floor_and_places_are_refused() -> None:
    for n_places, floor in ((-1, 0), (1, -1)):
        with pytest.raises(ConfigError, match="0 or more"):
            run_auction([], n_places, floor)
