import json
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from marquee.ads.openrtb.answering import (
    Disclosure,
    NoBid,
    Said,
    Won,
    answer_of,
    must_render_disclosure,
    no_bid_of,
)
from marquee.ads.openrtb.creatives import BannerMarkup, ExchangeCreative, Markup, markup_for
from marquee.ads.openrtb.notices import NoticeKind, NoticeSigner
from marquee.ads.openrtb.reading import read_bid_request
from marquee.store.people.consent import Tier

NOW = 1_700_000_000
SIGNER = NoticeSigner(b"k" * 32)
SHOES = ExchangeCreative(
    item_id="sku-1",
    adomain=("shop.example",),
    cat=("IAB18",),
    attr=(6,),
    banner=BannerMarkup(w=300, h=250, markup="<b>Shoes</b>"),
)


def answered(tier: Tier = Tier.personal, deal_id: str | None = None, **fields: Any) -> dict[str, Any]:
    sent = {"id": "r", "imp": [{"id": "1", "banner": {"w": 300, "h": 250}, "exp": 60}]} | fields
    request = read_bid_request(json.dumps(sent).encode())
    markup = markup_for(SHOES, request.imp[0], request)
    assert isinstance(markup, Markup)
    behind = Disclosure(behalf="shop.example", paid="agency.example")
    won = Won(request.imp[0], SHOES, markup, "shoes", 2_000_000, 1_000_000, deal_id, behind)
    said = Said(
        decision_id="d",
        seat="seat",
        currency="USD",
        rate=1.25,
        notices="https://ads.example/v1/openrtb2/notices",
        lapses_s=3600,
        now_s=NOW,
        tier=tier,
    )
    response: dict[str, Any] = json.loads(answer_of(request, [won], said, SIGNER))
    return response


def bid_of(response: dict[str, Any]) -> dict[str, Any]:
    (seat,) = response["seatbid"]
    (bid,) = seat["bid"]
    return dict(bid)


def test_bid_says_what_the_specification_asks_for() -> None:
    response = answered(deal_id="ours")
    bid = bid_of(response)
    assert {name: response[name] for name in ("id", "bidid", "cur")} == {
        "id": "r",
        "bidid": "d",
        "cur": "USD",
    }
    addresses = {name: bid.pop(name) for name in ("nurl", "burl", "lurl")}
    assert bid == {
        "id": "d.1",
        "impid": "1",
        "price": 2.5,
        "cid": "shoes",
        "crid": "sku-1",
        "adomain": ["shop.example"],
        "exp": 60,
        "adm": "<b>Shoes</b>",
        "mtype": 1,
        "w": 300,
        "h": 250,
        "cat": ["IAB18"],
        "cattax": 1,
        "attr": [6],
        "dealid": "ours",
    }
    assert addresses["burl"].endswith("?price=${AUCTION_PRICE}")
    assert addresses["lurl"].endswith("?reason=${AUCTION_LOSS}")


@pytest.mark.parametrize(("field", "kind"), [*zip(["nurl", "burl", "lurl"], NoticeKind, strict=True)])
def test_addresses_carry_what_they_settle(field: str, kind: NoticeKind) -> None:
    path = urlsplit(bid_of(answered(test=1))[field]).path
    *_, named, token = path.split("/")
    settled = SIGNER.read(NoticeKind(named), unquote(token), NOW)
    assert (named, settled.campaign_id, settled.bid, settled.rate, settled.expires_s, settled.is_test) == (
        kind.value,
        "shoes",
        2_000_000,
        1.25,
        NOW + 60,
        True,
    )


def dsa(**fields: int) -> dict[str, Any]:
    return {"ext": {"dsa": fields}}


def test_disclosure_where_it_is_asked_for() -> None:
    assert "ext" not in bid_of(answered())
    said = bid_of(answered(regs=dsa(dsarequired=2, pubrender=0, datatopub=2)))["ext"]["dsa"]
    assert said == {
        "behalf": "shop.example",
        "paid": "agency.example",
        "adrender": 1,
        "transparency": [{"domain": "shop.example", "dsaparams": [1, 2]}],
    }


def test_disclosure_does_not_name_profiling_that_was_not_done() -> None:
    said = bid_of(answered(Tier.none, regs=dsa(dsarequired=1, pubrender=2, datatopub=2)))["ext"]["dsa"]
    assert (said["adrender"], said["transparency"][0]["dsaparams"]) == (0, [2])
    said = bid_of(answered(Tier.none, regs=dsa(dsarequired=1, datatopub=0)))["ext"]["dsa"]
    assert "transparency" not in said


@pytest.mark.parametrize(
    ("fields", "must"),
    [({"dsarequired": 3, "pubrender": 0}, True), ({"dsarequired": 2, "pubrender": 1}, False), ({}, False)],
)
def test_who_shows_the_disclosure(fields: dict[str, int], must: bool) -> None:
    sent = {"id": "r", "imp": [{"id": "1"}], "regs": dsa(**fields)}
    assert must_render_disclosure(read_bid_request(json.dumps(sent).encode())) is must


def test_no_bid_says_why_by_its_number() -> None:
    request = read_bid_request(b'{"id": "r", "imp": [{"id": "1"}]}')
    assert json.loads(no_bid_of(request, NoBid.user_cap)) == {"id": "r", "nbr": 9}
    assert json.loads(no_bid_of(request, NoBid.too_little_time)) == {"id": "r", "nbr": 15}
