import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marquee.ads.openrtb.reading import read_bid_request
from marquee.ads.openrtb.terms import Currencies, Terms, price_of, terms_of
from marquee.errors import ConfigError

EURO = 1_000_000
CURRENCIES = Currencies(own="EUR", rates={"USD": 1.25, "JPY": 160.0})


def terms(imp: dict[str, Any], currencies: Currencies = CURRENCIES, **fields: Any) -> list[Terms]:
    request = read_bid_request(json.dumps({"id": "r", "imp": [{"id": "1"} | imp]} | fields).encode())
    return terms_of(request.imp[0], request, currencies, {"ours": ()}, "seat")


def deal(**fields: Any) -> dict[str, Any]:
    return {"id": "ours", "bidfloor": 2.5} | fields


def test_floor_is_converted_once() -> None:
    assert terms({"bidfloor": 2.5}) == [Terms(None, 2 * EURO, False)]  # US dollars where nothing is said
    assert terms({"bidfloor": 2.5, "bidfloorcur": "EUR"}, at=1) == [Terms(None, 2_500_000, True)]
    assert terms({"bidfloor": 0.07, "bidfloorcur": "EUR"}) == [Terms(None, 70_000, False)]


def test_deal_does_not_inherit_the_currency_of_the_impression() -> None:
    imp = {"bidfloor": 1, "bidfloorcur": "EUR", "pmp": {"deals": [deal()]}}
    assert terms(imp) == [Terms("ours", 2 * EURO, False), Terms(None, EURO, False)]


def test_unknown_currency_makes_no_terms() -> None:
    assert terms({"bidfloor": 1, "bidfloorcur": "CHF"}) == []
    assert terms({"pmp": {"private_auction": 1, "deals": [deal(bidfloorcur="CHF")]}}) == []


def test_private_auction_takes_our_deals_alone() -> None:
    assert terms({"pmp": {"private_auction": 1, "deals": [deal(), deal(id="theirs")]}}) == [
        Terms("ours", 2 * EURO, False)
    ]
    assert terms({"pmp": {"private_auction": 1, "deals": [deal(wseat=["other"])]}}) == []


def test_deal_has_its_own_auction_type_and_advertisers() -> None:
    imp = {"pmp": {"private_auction": 1, "deals": [deal(at=1, wadomain=["shop.example"])]}}
    assert terms(imp, at=2) == [Terms("ours", 2 * EURO, True, ("shop.example",))]


@pytest.mark.parametrize("seats", [{"wseat": ["other"]}, {"bseat": ["seat"]}])
def test_seat_that_is_not_wanted_has_no_terms(seats: dict[str, Any]) -> None:
    assert terms({"bidfloor": 1}, **seats) == []


def test_price_of_zero_needs_a_deal() -> None:
    assert Terms("ours", 0, False).may_bid(0)
    assert not Terms(None, 0, False).may_bid(0)
    assert not Terms("ours", 1, False).may_bid(0)


@pytest.mark.parametrize(
    ("allowed", "chosen"),
    [([], "USD"), (["USD", "EUR"], "EUR"), (["CHF", "JPY"], "JPY"), (["CHF"], None)],
)
def test_currency_of_a_bid(allowed: list[str], chosen: str | None) -> None:
    assert CURRENCIES.chosen(allowed) == chosen


def test_nothing_said_means_dollars_not_any_currency() -> None:
    assert Currencies(own="EUR").chosen([]) is None


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_rate_must_be_one(rate: float) -> None:
    with pytest.raises(ConfigError, match="rate of USD"):
        Currencies(own="EUR", rates={"USD": rate})


@given(
    floor=st.integers(0, 10**8).map(lambda units: units / 10_000),
    rate=st.floats(0.001, 1_000, allow_nan=False),
)
def test_bid_at_the_floor_reaches_it_in_the_currency_of_the_exchange(floor: float, rate: float) -> None:
    currencies = Currencies(own="EUR", rates={"QQQ": rate})
    ours = currencies.floor_of(floor, "QQQ")
    assert ours is not None
    # A millionth of ours is the least step; it may be several of theirs, never too little.
    assert floor - 1e-6 <= price_of(ours, rate) <= floor + rate * 1e-6 + 1e-6
