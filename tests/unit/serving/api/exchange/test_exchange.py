"""The bidder of an exchange: what it bids, on whose terms, and what a notice charges."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from marquee.ads.openrtb.recorded import bids_of
from marquee.core.reasons import Reason
from marquee.core.targeting.customer import Customer
from marquee.decision.explaining.explanation import explain
from marquee.decision.explaining.sentences import Words
from marquee.store.campaigns.campaign import (
    BidType,
    CapScope,
    Creative,
    Exclusions,
    FrequencyCap,
    Priority,
    Targeting,
)
from marquee.store.log.event_rows import EventLimits, judge_row
from marquee.store.people.consent import Tier
from serving.api.customers.deciding import CustomersAtDecision
from serving.api.exchange.bidder import Bidder
from serving.recording.users import PlainUsers
from tests.support.ad_service import EURO, booking
from tests.support.asgi import JSON_HEADERS
from tests.support.exchange_service import (
    BANNER,
    OTHER,
    ExchangeService,
    bid_request,
)

USER = {"buyeruid": "u1"}
CAPPED = (FrequencyCap(per=CapScope.campaign, limit=1, window_s=3600),)
FLOORED = {"id": "1", "banner": BANNER, "bidfloorcur": "USD"}

Open = Callable[..., ExchangeService]


def test_bid_is_the_worth_where_the_next_one_is_paid_and_a_share_where_its_own(opened: Open) -> None:
    service = opened()
    assert service.bids(at=2)[0]["price"] == 2.0
    assert service.bids(at=1)[0]["price"] == 1.0
    assert service.bids(at=2, cur=["USD"])[0]["price"] == 4.0
    assert service.bids(cur=["JPY"]) == []


def test_floor_is_converted_once(opened: Open) -> None:
    service = opened()
    for at, floor, price in (
        (2, 3.0, 4.0),
        (1, 3.0, 3.0),  # a share would be below the floor, which it is worth
        (1, 4.0, 4.0),
        (2, 4.01, None),
        (1, 4.01, None),
    ):
        bids = service.bids(at=at, cur=["USD"], imp=[FLOORED | {"bidfloor": floor}])
        assert [bid["price"] for bid in bids] == ([] if price is None else [price])


def test_deal_does_not_inherit_the_currency_of_the_floor(opened: Open) -> None:
    service = opened()
    deals = {"private_auction": 1, "deals": [{"id": "ours", "bidfloor": 3.0}, {"id": "theirs"}]}
    imp = {"id": "1", "banner": BANNER, "bidfloor": 9.0, "bidfloorcur": "EUR", "pmp": deals}
    (bid,) = service.bids(imp=[imp])
    assert (bid["dealid"], bid["price"]) == ("ours", 2.0)
    imp = imp | {"pmp": {"private_auction": 1, "deals": [{"id": "theirs"}]}}
    assert service.bids(imp=[imp]) == []


def test_price_of_nothing_is_bid_only_where_a_deal_admits_it(opened: Open) -> None:
    service = opened(booking(bid=None, total_budget=0, priority=Priority.house))
    assert service.bids() == []
    imp = {"id": "1", "banner": BANNER, "pmp": {"deals": [{"id": "ours"}]}}
    (bid,) = service.bids(imp=[imp])
    assert (bid["dealid"], bid["price"]) == ("ours", 0.0)


def test_blocked_categories_advertisers_and_sizes(opened: Open) -> None:
    service = opened()
    for n_bids, fields in (
        (1, {"bcat": ["IAB3"]}),
        (0, {"bcat": ["IAB18"]}),
        (0, {"bcat": ["53"], "cattax": 7}),  # of another taxonomy: nobody can compare
        (0, {"badv": ["acme.example"]}),
        (0, {"wseat": ["513"]}),
        (0, {"imp": [{"id": "1", "banner": {"w": 728, "h": 90}}]}),
    ):
        assert len(service.bids(**fields)) == n_bids, fields


def test_campaign_bids_once_and_the_highest_first(opened: Open) -> None:
    service = opened(booking(), booking("autumn", bid=3 * EURO, creatives=(Creative(item_id="i004"),)))
    imps = [{"id": name, "banner": BANNER} for name in "abc"]
    bids = service.bids(imp=imps)
    assert [(bid["impid"], bid["cid"], bid["price"]) for bid in bids] == [
        ("a", "autumn", 3.0),
        ("b", "spring", 2.0),
    ]
    (decision,) = service.decisions()
    assert [(sale.campaign_id, sale.price, sale.reserve) for sale in decision.sales] == [
        ("autumn", 3_000, 3_000),
        ("spring", 2_000, 2_000),
    ]
    assert (decision.source, decision.surface) == ("openrtb", "openrtb")


def test_bid_on_record_is_explained_by_who_is_behind_it(opened: Open) -> None:
    service = opened()
    service.bids(imp=[{"id": "1", "banner": BANNER}, {"id": "2", "banner": {"w": 1, "h": 1}}])
    (decision,) = service.decisions()
    (bid,) = bids_of(decision.auction)
    assert (bid.imp_id, bid.price, bid.advertiser) == ("1", 2 * EURO, "by-spring")
    explained = explain(decision, None, None, Words())
    assert [one.text for one in explained.sentences] == ["Ad of by-spring, paid for by Payer of spring"]
    assert "exchange" in explained.why
    assert explained.auction.lost == {"size": 1}


def test_click_is_bid_for_by_its_probability(opened: Open) -> None:
    service = opened(
        booking(bid_type=BidType.cpc, bid=EURO // 5),
        # Nobody says how likely a conversion is.
        booking("autumn", bid_type=BidType.cpa, bid=50 * EURO, creatives=(Creative(item_id="i004"),)),
    )
    (bid,) = service.bids()
    assert (bid["cid"], bid["price"]) == ("spring", 2.0)
    assert service.counted("silent", "no_probability") >= 1
    (decision,) = service.decisions()
    assert decision.sales[0].price == EURO // 5


def test_targeting_reads_place_and_device(opened: Open) -> None:
    service = opened(booking(targeting=Targeting(geography=("DE-BE",), devices=("mobile",))))
    there = {"devicetype": 4, "geo": {"country": "DEU", "region": "BE"}}
    service.post(bid_request(test=1, device=there))
    service.ads.paces.solve()
    assert service.bids() == []
    assert len(service.bids(device=there)) == 1
    assert service.bids(device=there | {"devicetype": 2}) == []


def test_cap_of_a_user_is_told_by_its_number(opened: Open) -> None:
    often = booking("often", frequency_caps=CAPPED, creatives=(Creative(item_id="i004"),))
    service = opened(booking(), often)
    service.post(bid_request(test=1, user=USER))
    service.ads.paces.solve()
    service.ads.change("spring", state="paused")
    (bid,) = service.bids(user=USER)
    assert bid["cid"] == "often"
    reply = service.post(bid_request(user=USER))
    assert (reply.status, reply.json()) == (200, {"id": "r", "nbr": 9})
    # Who may not be counted is not shown it at all: no cap was reached.
    assert service.post(bid_request(user=USER, regs={"coppa": 1})).status == 204
    assert service.post(bid_request()).status == 204
    assert service.counted("barred", "coppa") == 1


def test_what_a_user_has_said_here_binds_as_well(opened: Open) -> None:
    service = opened(
        booking(frequency_caps=CAPPED),
        booking("autumn", creatives=(Creative(item_id="i004"),)),
        users=PlainUsers(Tier.segment),
    )
    (bid,) = service.bids(user=USER)
    assert bid["cid"] == "autumn"
    (decision,) = service.decisions()
    assert (decision.tier, decision.user_id) == ("segment", None)


def test_what_is_not_on_record_is_not_sold(opened: Open) -> None:
    service = opened()
    service.recorder.close()
    assert service.post(bid_request()).status == 204
    assert service.counted("requests", "not_recorded") == 1
    assert service.spent() == (0, 0, 0)


def test_nobody_bids_beside_whom_a_campaign_excludes(opened: Open) -> None:
    alone = Exclusions(advertisers=("by-autumn",))
    autumn = booking("autumn", bid=EURO, creatives=(Creative(item_id="i004"),))
    service = opened(booking(exclusions=alone), autumn)
    bids = service.bids(imp=[{"id": name, "banner": BANNER} for name in "ab"])
    assert [bid["cid"] for bid in bids] == ["spring"]


class _Vips(CustomersAtDecision):
    """Everybody is in one audience."""

    def named(self, user_id: str, erased: int | None) -> Customer | None:
        assert (user_id, erased) == ("u1", None)
        return Customer({}, frozenset(("vip",)))


def test_audiences_of_a_user_are_looked_up_where_they_may_be(opened: Open) -> None:
    service = opened(booking(exclusions=Exclusions(audiences=("vip",))), customers=_Vips())
    assert service.bids(user=USER) == []
    assert len(service.bids()) == 1
    assert len(service.bids(user=USER, device={"lmt": 1})) == 1


def test_too_little_time_is_told_by_its_number(opened: Open) -> None:
    service = opened()
    reply = service.post(bid_request(tmax=19))
    assert (reply.status, reply.json()) == (200, {"id": "r", "nbr": 15})
    assert service.post(bid_request(tmax=10_000)).json()["seatbid"]


def test_test_is_answered_and_never_charged(opened: Open) -> None:
    service = opened()
    (bid,) = service.bids(test=1)
    assert service.call(bid["burl"]).status == 204
    assert service.decisions() == []
    assert service.spent() == (0, 0, 0)
    assert service.counted("notices", "billing", "test") == 1


def test_notice_of_billing_charges_once_what_was_bid(opened: Open) -> None:
    service = opened()
    (bid,) = service.bids()
    for method in ("GET", "POST", "GET"):
        reply = service.call(bid["burl"], method)
        assert (reply.status, reply.body) == (204, b"")
        assert "content-length" not in reply.headers
    assert service.call(bid["nurl"]).status == 204
    charged, _, n_charged = service.spent()
    assert (charged, n_charged) == (2_000, 1)
    assert service.counted("notices", "billing", "repeated") == 2


def test_what_the_exchange_settled_is_charged_and_the_rest_is_free(opened: Open) -> None:
    service = opened(booking(total_budget=2_000))
    (bid,) = service.bids()
    assert service.call(bid["nurl"], price="1.5").status == 204
    for price in ("1.5", "1.6", "1.5"):
        assert service.call(bid["burl"], price=price).status == 204
    assert service.spent() == (1_500, 0, 1)
    assert service.counted("notices", "billing", "repeated") == 2


@pytest.mark.parametrize("price", ["2.6", "-1", "nan", "much"])
def test_price_above_the_bid_or_none_is_refused_and_counted(opened: Open, price: str) -> None:
    service = opened()
    (bid,) = service.bids()
    assert service.call(bid["burl"], price=price).error["code"] == "invalid_request"
    assert service.call(bid["nurl"], price=price).status == 422
    for kind in ("billing", "win"):
        assert service.counted("notices", kind, "impossible_price") == 1
    assert service.spent()[0] == 0
    assert service.call(bid["burl"], price="1").status == 204
    service.ads.spending.follow()
    assert service.ads.spending.accounts("spring")[0].charged == 1_000


@pytest.mark.parametrize("is_booked", [False, True])
def test_loss_frees_the_money_at_once_and_once(opened: Open, is_booked: bool) -> None:
    service = opened(booking(total_budget=2_000))
    (bid,) = service.bids(imp=[{"id": "1", "banner": BANNER, "exp": 60}])
    assert service.bids() == []  # the whole budget is held
    if is_booked:
        assert service.spent()[1] == 2_000
    for _ in range(2):
        assert service.call(bid["lurl"]).status == 204
    assert service.spent() == (0, 0, 0)
    assert service.counted("notices", "loss", "taken") == 1
    assert service.counted("notices", "loss", "repeated") == 1


@pytest.mark.parametrize("is_booked", [False, True])
@pytest.mark.parametrize("order", [("burl", "lurl"), ("lurl", "burl"), ("burl", "nurl", "lurl", "burl")])
def test_impression_that_is_billed_and_lost_is_charged_in_any_order(
    opened: Open, order: tuple[str, ...], is_booked: bool
) -> None:
    service = opened(booking(total_budget=2_000))
    (bid,) = service.bids()
    if is_booked:
        service.spent()
    for notice in order:
        assert service.call(bid[notice], price="1.6").status == 204
        service.ads.spending.follow()
    assert service.spent() == (1_600, 0, 1)


def test_bid_that_nobody_tells_of_lapses(opened: Open) -> None:
    service = opened(booking(total_budget=2_000))
    (bid,) = service.bids(imp=[{"id": "1", "banner": BANNER, "exp": 60}])
    assert service.spent()[1] == 2_000
    service.ads.now += 60 + 11
    late = service.call(bid["burl"])
    assert late.error["code"] == "invalid_request"
    assert service.counted("notices", "billing", "lapsed") == 1
    assert service.call(bid["lurl"]).status == 422
    service.ads.spending.follow()
    assert service.spent() == (0, 0, 0)


def test_price_of_an_impression_is_said_by_nobody_but_the_exchange(opened: Open) -> None:
    service = opened()
    (bid,) = service.bids()
    decision_id, item_id = bid["id"].rsplit(".", 1)[0], bid["crid"]
    row = {"event_id": f"openrtb.{decision_id}.{item_id}", "kind": "exposure", "item_id": item_id}
    row |= {"decision_id": decision_id, "timestamp": int(service.ads.now), "value": 0.0}
    assert judge_row(row, int(service.ads.now), EventLimits()) == (Reason.impossible_value, "event_id")


def test_advertiser_bids_for_one_impression_of_a_request(opened: Open) -> None:
    autumn = booking("autumn", bid=EURO, advertiser="by-spring", creatives=(Creative(item_id="i004"),))
    two = [{"id": name, "banner": BANNER} for name in "ab"]
    assert [bid["cid"] for bid in opened(booking(), autumn).bids(imp=two)] == ["spring"]


def test_advertiser_bids_for_several_where_the_exchange_is_declared_so(opened: Open) -> None:
    autumn = booking("autumn", bid=EURO, advertiser="by-spring", creatives=(Creative(item_id="i004"),))
    two = [{"id": name, "banner": BANNER} for name in "ab"]
    service = opened(booking(), autumn, advertisers_apart=False)
    assert [bid["cid"] for bid in service.bids(imp=two)] == ["spring", "autumn"]


def test_forged_notices_are_refused_and_counted(opened: Open) -> None:
    service = opened()
    (bid,) = service.bids()
    forged = [
        bid["nurl"].replace("/win/", "/billing/"),
        bid["burl"].replace("/billing/", "/billing/A"),
        "https://ads.example/v1/openrtb2/notices/billing/%C3%BC",
    ]
    assert [service.call(one).status for one in forged] == [422, 422, 422]
    assert service.counted("notices", "billing", "forged") == 3
    assert service.call(bid["burl"].replace("/billing/", "/gift/")).status == 404
    assert service.spent()[0] == 0


def test_what_no_bid_could_answer_is_refused_without_content(opened: Open) -> None:
    service = opened()
    bodies: list[object] = [
        b"{",
        b"\xff",
        b"[]",
        b'{"id": "r", "imp": [{"id": "1"}], "ext": {"deep": ' + b"[" * 5_000,
        {"id": "r", "imp": []},
        {"id": "r"},
        bid_request(imp=[{"id": "1", "banner": BANNER}] * 2),
        bid_request(site={}, app={}),
        bid_request(imp=[{"id": "1", "banner": {"w": -1, "h": 250}}]),
    ]
    for body in bodies:
        reply = service.post(body)
        assert (reply.status, reply.body) == (400, b"")
    assert service.counted("requests", "malformed") == len(bodies)


def test_what_goes_wrong_within_costs_no_more_than_a_bid(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = opened()

    def fail(*_given: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(Bidder, "answer", fail)
    assert service.post(bid_request()).status == 204
    assert service.counted("requests", "failed") == 1


def test_name_that_no_store_can_hold_is_nobodys(opened: Open) -> None:
    service = opened()
    for name in ("u\0", "u" * 257, ""):
        assert len(service.bids(user={"buyeruid": name})) == 1
    assert {decision.user_id for decision in service.decisions()} == {None}


def test_only_a_key_of_its_own_asks_for_bids(opened: Open) -> None:
    service = opened()
    assert service.post(bid_request(), JSON_HEADERS).status == 401
    other = JSON_HEADERS | {"authorization": f"Bearer {OTHER}"}
    assert service.post(bid_request(), other).status == 403


def test_disclosure_says_who_is_behind_and_who_paid(opened: Open) -> None:
    autumn = booking("autumn", bid=EURO, creatives=(Creative(item_id="i004"),))
    service = opened(booking(), autumn)
    # The page does not show it: only an ad that does so itself may stand there.
    (bid,) = service.bids(regs={"ext": {"dsa": {"dsarequired": 2, "pubrender": 0}}})
    assert bid["ext"]["dsa"] == {"behalf": "by-autumn", "paid": "Payer of autumn", "adrender": 1}


def test_requests_of_the_specification_and_of_prebid_answer_as_they_must(
    opened: Open, data_root: Path
) -> None:
    folder = data_root / "openrtb"
    if not (folder / "manifest.json").is_file():
        pytest.skip(f"there are no bid requests in {folder}: they are not published with the project")
    banner = {"w": 300, "h": 250, "markup": "<b>spring</b>"}
    creatives = {"i008": {"adomain": ["acme.example"], "banner": banner, "discloses": True}}
    service = opened(creatives=creatives)
    statuses = {}
    for one in json.loads((folder / "manifest.json").read_bytes()):
        reply = service.post((folder / one["file"]).read_bytes())
        statuses[one["file"][:2]] = reply.status
        assert str(reply.status) in one["expected"]
        if reply.status != 200:
            assert reply.body == b""
    assert [name for name, status in statuses.items() if status == 200] == ["01", "02", "06"]
    assert [name for name, status in statuses.items() if status == 400] == ["09", "10"]
    dsa = json.loads((folder / "08-dsa-required.json").read_bytes())
    dsa["imp"][0] = {"id": "1", "banner": BANNER}
    (bid,) = service.post(dsa).json()["seatbid"][0]["bid"]
    assert bid["ext"]["dsa"]["behalf"] == "by-spring"
    assert service.counted("barred", "gdpr") == 1
