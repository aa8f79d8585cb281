"""Ads in rows of a page: each row sells its own slots, and what may not stand together is on no page."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marquee.ads.trace import replayed
from marquee.store.campaigns.campaign import CapScope, Creative, Exclusions, FrequencyCap
from marquee.store.log.event_log import Decision
from tests.support.ad_service import EURO, AdService, booking
from tests.support.bundles import make_tiny, publish_tiny

SLOTS = "{first: 1, every: 2}"
OTHERS = {
    "side": "slots: {first: 0, every: 3, max_ads: 1}",
    "apart": "slots: {first: 1, every: 2, apart: [genre]}",
    "quiet": "defaults: {k: 4}",
}
CREATIVES = ("i004", "i008", "i012", "i016")
FOUR = tuple(
    booking(f"c{number}", bid=(2 + number) * EURO, creatives=(Creative(item_id=item_id),))
    for number, item_id in enumerate(CREATIVES)
)
HOME: dict[str, Any] = {"surface": "home", "k": 4}

Open = Callable[..., AdService]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    catalog = make_tiny(0).contents.catalog
    attributes = catalog.attributes.with_columns(pl.col("tags").alias("category"))
    return publish_tiny(tmp_path_factory.mktemp("bundles"), catalog=replace(catalog, attributes=attributes))


@pytest.fixture
def opened(home: Path, tmp_path: Path) -> Iterator[Open]:
    made: list[AdService] = []

    def open_service(*campaigns: Any) -> AdService:
        made.append(AdService(home, tmp_path, SLOTS, others=OTHERS))
        made[-1].book(*(campaigns or FOUR))
        made[-1].warm(k=4, user_id="u1")
        return made[-1]

    yield open_service
    for one in made:
        one.endpoints.close()
        one.close()


def page(service: AdService, *rows: dict[str, Any], **more: Any) -> list[Any]:
    """Returns the rows of a page for one user."""
    found: list[Any] = service.post("/v1/page", **{"user_id": "u1", "rows": rows, **more})["rows"]
    return found


def campaigns_of(rows: list[Any]) -> list[dict[int, str]]:
    """Returns the campaign of each ad of each row by its place."""
    return [{ad["place"]: ad["campaign_id"] for ad in row.get("ads", [])} for row in rows]


def rows_on_record(service: AdService) -> list[Decision]:
    """Ends the service and returns the rows of its pages."""
    return [one for one in service.written() if "row" in one.asked]


def test_each_row_sells_the_slots_of_its_own_surface(opened: Open) -> None:
    service = opened()
    rows = page(
        service, HOME, {"row": "popular", "surface": "side", "k": 3}, {"surface": "quiet", "kind": "content"}
    )
    # The best two where two are sold, then the next, and none where nothing is.
    assert campaigns_of(rows) == [{1: "c3", 3: "c2"}, {0: "c1"}, {}]
    kinds = [[item["kind"] for item in row["items"]] for row in rows]
    assert kinds[:2] == [["content", "ad", "content", "ad"], ["ad", "content", "content"]]
    (told,) = rows[1]["ads"]
    assert told["is_ad"]
    assert (told["item_id"], told["on_behalf_of"], told["paid_by"]) == ("i008", "by-c1", "Payer of c1")
    item_ids = [item["item_id"] for row in rows for item in row["items"]]
    assert len(set(item_ids)) == len(item_ids)
    assert [len(one.sales) for one in rows_on_record(service)] == [2, 1, 0]


def test_row_of_one_kind_and_row_that_shows_the_item_sell_nothing_of_it(opened: Open) -> None:
    service = opened(FOUR[0])
    assert campaigns_of(page(service, {**HOME, "kind": "content"})) == [{}]
    # A row without slots may show any item, that of a campaign as well: then it is no ad of the page.
    rows = page(service, HOME, {"surface": "quiet", "kind": "ad", "k": 6})
    assert "i004" in [item["item_id"] for item in rows[1]["items"]]
    assert campaigns_of(rows) == [{}, {}]
    assert service.lost("not_apart") == 1


def test_no_campaign_and_no_advertiser_stands_on_a_page_twice(opened: Open) -> None:
    same = replace(FOUR[1], advertiser="by-c0")
    service = opened(FOUR[0], same)
    assert campaigns_of(page(service, HOME, HOME, HOME)) == [{1: "c1"}, {}, {}]
    # The second row finds one of the same campaign, and one of the same advertiser.
    assert service.lost("same_campaign") == 2
    assert service.lost("not_apart") >= 2


def test_what_one_surface_keeps_apart_is_apart_over_all_rows(opened: Open) -> None:
    # All ads of the tiny bundle are comedies.
    service = opened(*FOUR[:2])
    assert campaigns_of(page(service, HOME, HOME)) == [{1: "c1", 3: "c0"}, {}]
    assert campaigns_of(page(service, HOME, {"surface": "apart", "k": 4})) == [{1: "c1"}, {}]


def test_campaign_stands_on_no_page_with_content_that_it_excludes(opened: Open) -> None:
    service = opened(replace(FOUR[0], exclusions=Exclusions(categories=("by 5",))))
    of_two = {"filters": {"tags": {"any_of": ["by 2"], "none_of": ["by 5"]}}}
    of_five = {"filters": {"tags": {"any_of": ["by 5"]}}, "surface": "quiet", "k": 2}
    assert campaigns_of(page(service, {**HOME, **of_two})) == [{1: "c0"}]
    # The row below is composed before anything above it is sold.
    assert campaigns_of(page(service, {**HOME, **of_two}, of_five)) == [{}, {}]


def test_what_a_page_shows_counts_for_the_caps_of_the_next(opened: Open) -> None:
    cap = FrequencyCap(per=CapScope.campaign, limit=1, window_s=3600)
    service = opened(*(replace(one, frequency_caps=(cap,)) for one in FOUR[:2]))
    shown = campaigns_of(page(service, HOME, HOME))
    assert shown == [{1: "c1", 3: "c0"}, {}]
    assert campaigns_of(page(service, HOME, HOME)) == [{}, {}]
    assert [len(one) for one in campaigns_of(page(service, HOME, user_id="u2"))] == [2]
    # Nobody may be counted: nothing with a cap is shown.
    assert campaigns_of(page(service, HOME, consent="segment")) == [{}]


def test_auction_and_content_of_each_row_are_explained_again(opened: Open) -> None:
    service = opened()
    rows = page(service, HOME, {"row": "popular", "surface": "side", "k": 3}, {**HOME, "row": "similar"})
    assert [len(one) for one in campaigns_of(rows)] == [2, 1, 1]
    for row in rows:
        told = service.why(row["decision_id"])
        assert told["replay"]["outcome"] == "agrees", told
        ads = [item["item_id"] for item in told["items"] if item.get("ad")]
        assert ads == [ad["item_id"] for ad in row["ads"]]
    for one in rows_on_record(service):
        won = {filled.entry.item_id: filled.due for filled in replayed(one.auction).filled}
        assert won == {sale.item_id: sale.price for sale in one.sales}


def test_parts_of_a_batch_count_for_the_caps_of_each_other(opened: Open) -> None:
    cap = FrequencyCap(per=CapScope.campaign, limit=2, window_s=3600)
    service = opened(replace(FOUR[0], frequency_caps=(cap,)))
    parts = [{"user_id": user_id, "k": 4} for user_id in ("u1", "u1", "u2", "u1")]
    answers = service.post("/v1/recommend/batch", requests=parts)["answers"]
    assert [len(one.get("ads", [])) for one in answers] == [1, 1, 1, 0]
    assert [len(one.sales) for one in service.written()][-4:] == [1, 1, 1, 0]


def test_similar_items_are_answered_without_ads(opened: Open) -> None:
    answer = opened().post("/v1/similar", item_id="i001", k=4)
    assert "ads" not in answer
