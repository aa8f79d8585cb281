"""Ads beside content: slots are sold within the answer, told with who is behind them, and put on record."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from marquee.ads.objective import Objective
from marquee.ads.trace import replayed
from marquee.ads.wallet import Wallet
from marquee.bundle.bundle import Bundle
from marquee.core.filters import Filters
from marquee.decision.ads.search import AdFinder
from marquee.decision.recommender import Recommender
from marquee.store.campaigns.campaign import (
    CampaignSet,
    CapScope,
    Creative,
    Exclusions,
    FrequencyCap,
    Priority,
    State,
    Targeting,
)
from serving.api.ads import sales
from serving.api.ads.wanted import Indexes
from tests.support.ad_service import EURO, AdService, booking
from tests.support.bundles import NOW, make_tiny, publish_tiny
from tests.support.campaigns import set_of

GROWN = Targeting(attributes=Filters.of({"age": {"min": 18}}))
AGED: dict[str, Any] = {"features": {"age": 20}}
FLOOR = "{first: 1, every: 2, floor: 1000000}"
SLOTS = "{first: 1, every: 2, max_load: 0.5}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_tiny(tmp_path_factory.mktemp("bundles"))


Open = Callable[..., AdService]


@pytest.fixture
def opened(home: Path, tmp_path: Path) -> Iterator[Open]:
    made: list[AdService] = []

    def open_service(slots: str = SLOTS, objective: Objective | None = None) -> AdService:
        made.append(AdService(home, tmp_path, slots, objective))
        return made[-1]

    yield open_service
    for one in made:
        one.endpoints.close()
        one.close()


def ads(answer: Any) -> dict[int, str]:
    """Returns the campaign of each ad by its place."""
    return {one["place"]: one["campaign_id"] for one in answer["ads"]} if "ads" in answer else {}


def test_content_and_ads_stand_in_one_answer_with_who_is_behind(opened: Open) -> None:
    service = opened()
    service.book(booking())
    service.warm(k=4)
    answer = service.ask(k=4, user_id="u1")
    assert [item["kind"] for item in answer["items"]] == ["content", "ad", "content", "content"]
    assert answer["items"][1]["item_id"] == "i008"
    assert answer["ads"] == [
        {
            "place": 1,
            "item_id": "i008",
            "is_ad": True,
            "campaign_id": "spring",
            "on_behalf_of": "by-spring",
            "paid_by": "Payer of spring",
            "main_parameters": ["surface", "history"],
            "how_to_change": "PUT /v1/users/{user_id}/consent",
        }
    ]
    (warm, decision) = service.written()
    assert (warm.sales, warm.auction["lost"]) == ((), {"paced": 1})
    assert [place.item_id for place in decision.places] == [item["item_id"] for item in answer["items"]]
    (sale,) = decision.sales
    assert (sale.item_id, sale.campaign_id, sale.bid_type, sale.price) == ("i008", "spring", "cpm", 0)
    (filled,) = replayed(decision.auction).filled
    assert (filled.place, filled.entry.item_id) == (1, "i008")


def test_surface_without_campaigns_answers_content_alone(opened: Open) -> None:
    answer = opened().ask(k=4)
    assert {item["kind"] for item in answer["items"]} == {"content"}
    assert "ads" not in answer


def test_request_for_one_kind_sells_nothing(opened: Open) -> None:
    service = opened()
    service.book(booking())
    service.warm(k=4)
    assert "ads" not in service.ask(k=4, kind="ad")


def test_floor_second_price_and_reserve_by_content(opened: Open) -> None:
    service = opened(FLOOR)
    service.book(
        booking(),
        booking("autumn", bid=3 * EURO, creatives=(Creative(item_id="i004"),)),
        booking("cheap", bid=1),
    )
    service.warm(k=2)
    service.ask(k=2)
    sale = service.written()[-1].sales[0]
    # The next value is two euros for a thousand, two tenths of a cent for one.
    assert (sale.campaign_id, sale.price) == ("autumn", 2_000)


def test_content_that_is_worth_more_keeps_its_place(opened: Open) -> None:
    service = opened(objective=Objective(click=100.0))
    service.book(booking())
    service.warm(k=4)
    assert ads(service.ask(k=4)) == {1: "spring"}  # an ad is worth as many clicks as the content
    service.change("spring", bid=1)
    assert service.lost("below_content") == 0


def test_no_ad_twice_and_no_two_of_an_advertiser(opened: Open) -> None:
    service = opened()
    service.book(
        booking(advertiser="one"),
        booking("again", advertiser="one", creatives=(Creative(item_id="i004"),)),
        booking("other", creatives=(Creative(item_id="i016"),)),
    )
    service.warm(k=6)
    found = ads(service.ask(k=6))
    assert sorted(found) == [1, 3]
    assert "other" in found.values()
    assert service.lost("not_apart") > 0


def test_pause_holds_at_the_next_answer(opened: Open) -> None:
    service = opened()
    service.book(booking())
    service.warm(k=4)
    assert ads(service.ask(k=4)) == {1: "spring"}
    service.change("spring", state=State.paused)
    assert ads(service.ask(k=4)) == {}


def test_many_campaigns_are_made_ready_beside_the_answers(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sales, "AT_ONCE", 0)
    service = opened()
    service.book(booking())
    service.warm(k=4)
    assert ads(service.ask(k=4)) == {}
    service.sales.follow()
    service.warm(k=4)
    assert ads(service.ask(k=4)) == {1: "spring"}
    # Whoever is found by what was is judged by what is.
    service.change("spring", state=State.paused)
    assert ads(service.ask(k=4)) == {}


def test_many_campaigns_are_ready_as_a_service_begins(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sales, "AT_ONCE", 0)
    service = opened()
    service.book(booking())
    service.sales.open()
    service.warm(k=4)
    assert ads(service.ask(k=4)) == {1: "spring"}
    service.sales.close()


def test_campaigns_of_a_store_that_was_restored_have_numbers_of_their_own() -> None:
    table = Recommender(Bundle.of(make_tiny().contents, NOW)).item_pool.table
    both = set_of(booking("first"), booking("second", creatives=(Creative(item_id="i004"),)))
    indexes = Indexes(both)
    assert indexes.of(table).n_unknown == 0
    found = indexes.after(CampaignSet(1, {"second": both.held["second"]}))
    assert found.columns.numbers == {"second": 0}
    shown = found.of(table).shown(np.ones(1, dtype=bool), NOW)
    assert table.decode(np.flatnonzero(found.of(table).flags(shown))) == ["i004"]


@pytest.mark.parametrize(
    ("changes", "body", "is_shown"),
    [
        ({"surfaces": ("other",)}, {}, False),
        ({"targeting": Targeting(devices=("phone",))}, {"context": {"device": "phone"}}, True),
        ({"targeting": Targeting(devices=("phone",))}, {"context": {"device": "tv"}}, False),
        ({"targeting": Targeting(geography=("DE",))}, {"context": {"country": "DE-BE"}}, True),
        (
            {"targeting": GROWN},
            {"features": {"age": 20}},
            True,
        ),
        (
            {"targeting": GROWN},
            {**AGED, "consent": "none"},
            False,
        ),
        ({"exclusions": Exclusions(surfaces=("home",))}, {}, False),
    ],
)
def test_targeting_within_consent(
    opened: Open, changes: dict[str, Any], body: dict[str, Any], is_shown: bool
) -> None:
    service = opened()
    service.book(booking(**changes))
    service.warm(k=4, **body)
    assert bool(ads(service.ask(k=4, user_id="u1", **body))) is is_shown


def test_cap_holds_over_reloads_and_needs_a_user(opened: Open) -> None:
    service = opened()
    caps = (FrequencyCap(per=CapScope.ad, limit=1, window_s=3600),)
    service.book(booking(frequency_caps=caps))
    service.warm(k=4, user_id="u9")
    assert [len(ads(service.ask(k=4, user_id="u1"))) for _ in range(3)] == [1, 0, 0]
    assert ads(service.ask(k=4)) == {}
    assert ads(service.ask(k=4, user_id="u2", consent="segment")) == {}
    assert len(ads(service.ask(k=4, user_id="u2"))) == 1
    service.now += 3601
    assert len(ads(service.ask(k=4, user_id="u1"))) == 1


def test_budget_is_spent_to_the_last_affordable_impression_and_not_above(opened: Open) -> None:
    service = opened("{first: 1, every: 2, rule: first}")
    service.book(booking(total_budget=10_500))
    service.warm(k=2)
    shown = sum(len(ads(service.ask(k=2, user_id=f"u{number}"))) for number in range(12))
    # Two tenths of a cent each.
    assert shown == 5


def test_ad_whose_probability_is_not_finite_leaves_its_place_to_content(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = opened()
    service.book(booking())
    service.warm(k=4)

    def chances(_self: object, *asked: Any) -> Any:
        n_items = len(asked[3])
        return SimpleNamespace(click=np.full(n_items, np.nan), conversion=np.full(n_items, 0.5))

    monkeypatch.setattr(AdFinder, "_chances", chances)
    answer = service.ask(k=4)
    assert [item["kind"] for item in answer["items"]] == ["content"] * 4
    # The ad, and the content of both slots.
    assert service.lost("broken") == 3


def test_priority_decides_before_the_bid(opened: Open) -> None:
    service = opened()
    service.book(
        booking(),
        booking("sold", bid=1000, priority=Priority.guaranteed, creatives=(Creative(item_id="i004"),)),
        booking(
            "house",
            bid=None,
            total_budget=0,
            priority=Priority.house,
            creatives=(Creative(item_id="i016"),),
        ),
    )
    service.warm(k=6)
    assert ads(service.ask(k=6)) == {1: "sold", 3: "spring", 5: "house"}
    assert [sale.price for sale in service.written()[-1].sales][-1] == 0


def test_creatives_of_a_campaign_are_drawn_and_their_chance_is_on_record(opened: Open) -> None:
    service = opened()
    service.book(booking(creatives=tuple(Creative(item_id=f"i0{number}") for number in ("04", "08", "16"))))
    service.warm(k=2)
    shown = {service.ask(k=2, user_id=f"u{number}")["items"][1]["item_id"] for number in range(20)}
    assert len(shown) > 1
    for decision in service.written()[1:]:
        assert decision.places[0].propensity == 1.0
        assert 0.1 < decision.places[1].propensity < 0.7


def test_ad_never_stands_without_content(opened: Open) -> None:
    service = opened("{first: 0, every: 1, max_load: 1.0}")
    service.book(booking())
    content = [f"i{number:03d}" for number in range(1, 41) if number % 4]
    service.warm(k=4)
    assert ads(service.ask(k=4)) == {0: "spring"}
    assert ads(service.ask(k=4, exclude=content)) == {}


def test_campaign_without_a_lease_leaves_its_place_once_and_goes_on_bidding(
    home: Path, tmp_path: Path
) -> None:
    service = AdService(home, tmp_path, FLOOR, make_wallet=Wallet)
    try:
        service.book(booking())
        service.warm(k=4)
        assert ads(service.ask(k=4)) == {}
        assert (service.lost("no_lease"), service.lost("no_money")) == (1, 0)
        service.spending.refill()
        assert ads(service.ask(k=4)) == {1: "spring"}
    finally:
        service.endpoints.close()
        service.close()


def test_campaigns_that_bid_hold_money_before_they_win(home: Path, tmp_path: Path) -> None:
    service = AdService(home, tmp_path, FLOOR, make_wallet=Wallet)
    try:
        service.book(booking())
        service.ask(k=4)
        service.sales.paces.prepare = service.spending.prepare
        service.beside()
        assert ads(service.ask(k=4)) == {1: "spring"}
    finally:
        service.endpoints.close()
        service.close()
