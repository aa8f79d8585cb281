"""Faults that users of exchanges and of their bidders report, each with where it was told."""

from collections.abc import Callable
from typing import Any

import pytest

from marquee.store.campaigns.campaign import Priority
from tests.support.ad_service import booking
from tests.support.exchange_service import BANNER, DECLARED, ExchangeService, bid_request

Open = Callable[..., ExchangeService]
DEAL = {"id": "1", "banner": BANNER, "pmp": {"deals": [{"id": "ours"}]}}


@pytest.mark.parametrize(
    "fields",
    [
        {"imp": [{"id": "1", "banner": {"w": 728, "h": 90}}]},
        {"imp": [{"id": "1", "banner": BANNER, "bidfloor": 100.0, "bidfloorcur": "EUR"}]},
        {"badv": ["acme.example"]},
        {"cur": ["JPY"]},
        {"wseat": ["513"]},
    ],
    ids=["size", "floor", "advertiser", "currency", "seat"],
)
def test_ordinary_no_is_told_without_a_number(opened: Open, fields: dict[str, Any]) -> None:
    """prebid-server#1116: an ordinary no-bid came with `nbr` 2, which says that the request is invalid."""
    reply = opened().post(bid_request(**fields))
    assert (reply.status, reply.body) == (204, b"")


def test_bid_of_nothing_keeps_its_deal(opened: Open) -> None:
    """prebid-server#1308: a bid of price 0 was dropped although it had a deal."""
    house = booking(bid=None, total_budget=0, priority=Priority.house)
    service = opened(house)
    (bid,) = service.bids(imp=[DEAL])
    assert (bid["dealid"], bid["price"]) == ("ours", 0.0)
    # Free, and on record all the same: who was shown what is counted.
    (decision,) = service.decisions()
    assert [(sale.campaign_id, sale.price, sale.reserve) for sale in decision.sales] == [("spring", 0, 0)]
    assert service.spent() == (0, 0, 0)


@pytest.mark.parametrize(
    ("taxonomy", "cat", "fields", "is_shown"),
    [
        (1, ["IAB18"], {"bcat": ["IAB3"]}, True),
        (1, ["IAB18"], {"bcat": ["IAB18"]}, False),
        # 18 of one taxonomy is not 18 of another, and neither tells whether the ad is among what is blocked.
        (1, ["18"], {"bcat": ["53"], "cattax": 7}, False),
        (7, ["53"], {"bcat": ["53"]}, False),
        (7, ["53"], {"bcat": ["52"], "cattax": 7}, True),
        (7, ["53"], {"bcat": ["53"], "cattax": 7}, False),
        # Nothing is blocked, so nothing has to be compared.
        (7, ["53"], {"cattax": 1}, True),
    ],
)
def test_categories_are_compared_within_one_taxonomy(
    opened: Open, taxonomy: int, cat: list[str], fields: dict[str, Any], is_shown: bool
) -> None:
    """prebid-server#4040: `bcat` was compared with categories of another taxonomy."""
    spring = DECLARED["creatives"]["i008"] | {"cat": cat, "cattax": taxonomy}
    service = opened(creatives={"i008": spring})
    assert len(service.bids(**fields)) == int(is_shown)


@pytest.mark.parametrize(("floor", "price"), [(1.99, 4.0), (3.99, 4.0), (4.0, 4.0), (4.000001, None)])
def test_floor_in_the_currency_of_the_bid_is_not_converted(
    opened: Open, floor: float, price: float | None
) -> None:
    """Prebid.js#8565: a floor was converted twice, here from euros to dollars and by a rate of two."""
    imp = {"id": "1", "banner": BANNER, "bidfloor": floor, "bidfloorcur": "USD"}
    bids = opened().bids(at=2, cur=["USD"], imp=[imp])
    assert [bid["price"] for bid in bids] == ([] if price is None else [price])


@pytest.mark.parametrize(("floor", "price"), [(2.0, 4.0), (2.000001, None)])
def test_floor_of_another_currency_is_converted_once(opened: Open, floor: float, price: float | None) -> None:
    """Prebid.js#8565: the same of a floor in euros, for which twice as many dollars must be bid."""
    imp = {"id": "1", "banner": BANNER, "bidfloor": floor, "bidfloorcur": "EUR"}
    bids = opened().bids(at=2, cur=["USD"], imp=[imp])
    assert [bid["price"] for bid in bids] == ([] if price is None else [price])
