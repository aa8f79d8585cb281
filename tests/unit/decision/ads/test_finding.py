"""Which items are ads of a campaign, which of them are found, and how likely each is clicked."""

from typing import cast

import numpy as np
import pytest

from marquee.ads.campaigns.eligible import EligibleCampaigns
from marquee.bundle.bundle import Bundle
from marquee.bundle.clicks.head import ClickProbabilities
from marquee.core.arrays import BoolArray, IndexArray
from marquee.core.catalog import ItemKind
from marquee.decision.ads.creatives import CreativeIndex, categories_of
from marquee.decision.item_table import ItemTable
from marquee.decision.probabilities.scoring import ProbabilityScorer
from marquee.decision.query_encoder import Queries
from marquee.decision.recommender import Recommender
from marquee.decision.requests import AdCandidates, AdSearch, Request
from marquee.store.campaigns.campaign import Campaign, CampaignSet, Creative, HeldCampaign, HourRange
from marquee.store.live_items import LiveItem
from tests.support.ad_service import booking
from tests.support.bundles import NOW, make_tiny

HOUR = 3_600


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return Recommender(Bundle.of(make_tiny().contents, NOW))


def index(table: ItemTable, *campaigns: Campaign) -> CreativeIndex:
    held = {one.campaign_id: HeldCampaign(one, 1, NOW, "anna", "created", 1) for one in campaigns}
    return CreativeIndex(EligibleCampaigns(CampaignSet(1, held)), table)


def ids(table: ItemTable, flags: BoolArray) -> list[str]:
    return table.decode(np.flatnonzero(flags))


def everything(creatives: CreativeIndex, timestamp: int = NOW) -> BoolArray:
    return creatives.shown(np.ones(len(creatives.eligible.held), dtype=bool), timestamp)


def test_creatives_are_items_and_items_know_their_campaigns(recommender: Recommender) -> None:
    table = recommender.item_pool.table
    made = index(
        table,
        booking("one", creatives=(Creative(item_id="i008"), Creative(item_id="i004"))),
        booking("two", creatives=(Creative(item_id="i008"),)),
    )
    may = everything(made)
    assert ids(table, made.flags(may)) == ["i004", "i008"]
    both = made.pairs(table.encode(["i008", "i001", "i004"]), may)
    assert (both.candidates.tolist(), both.campaigns.tolist()) == ([0, 0, 2], [0, 1, 0])
    only_two = made.shown(np.array([False, True]), NOW)
    assert ids(table, made.flags(only_two)) == ["i008"]
    one = made.pairs(table.encode(["i008", "i004"]), only_two)
    assert (one.candidates.tolist(), one.campaigns.tolist()) == ([0], [1])


def test_creative_is_shown_in_its_hours_by_the_clock_of_its_campaign(recommender: Recommender) -> None:
    table = recommender.item_pool.table
    # NOW is 22:13 UTC, an hour later in Berlin.
    late = Creative(item_id="i008", hours=(HourRange(from_hour=23, until_hour=24),))
    made = index(table, booking(creatives=(late, Creative(item_id="i004")), timezone="Europe/Berlin"))
    assert ids(table, made.flags(everything(made))) == ["i004", "i008"]
    assert ids(table, made.flags(everything(made, NOW + HOUR))) == ["i004"]


def test_creative_of_no_item_is_counted_and_never_shown(recommender: Recommender) -> None:
    table = recommender.item_pool.table
    made = index(table, booking(creatives=(Creative(item_id="nowhere"), Creative(item_id="i008"))))
    assert made.n_unknown == 1
    assert ids(table, made.flags(everything(made))) == ["i008"]


def test_live_item_is_a_creative(recommender: Recommender) -> None:
    live = {"new": LiveItem(item_id="new", kind=ItemKind.ad, attributes={"genre": "drama"})}
    with_live = recommender.with_live_items(live)
    campaign = booking(creatives=(Creative(item_id="new"),))
    assert index(recommender.item_pool.table, campaign).n_unknown == 1
    made = index(with_live.item_pool.table, campaign)
    assert made.n_unknown == 0
    assert ad_ids(with_live, made) == ["new"]


def test_creatives_of_changed_campaigns_are_those_of_all_made_anew(recommender: Recommender) -> None:
    table = recommender.item_pool.table
    late = Creative(item_id="i004", hours=(HourRange(from_hour=23, until_hour=24),))
    one = booking("one", creatives=(Creative(item_id="i008"), late, Creative(item_id="nowhere")))
    two = booking("two", creatives=(Creative(item_id="i008"),))
    three = booking("three", creatives=(Creative(item_id="i008"), Creative(item_id="i004"), late))
    changed = booking("one", creatives=(Creative(item_id="i004"),))
    steps = [(one,), (one, two), (changed, two), (changed, two, three), (one, two, three)]
    found = index(table)
    held: dict[str, HeldCampaign] = {}
    for step in steps:
        for campaign in step:
            if campaign.campaign_id not in held or held[campaign.campaign_id].campaign is not campaign:
                held[campaign.campaign_id] = HeldCampaign(campaign, 1, NOW, "anna", "created", 1)
        found = found.after(EligibleCampaigns(CampaignSet(1, dict(held))))
        assert_equal(found, index(table, *step))


def test_creatives_over_other_live_items_are_those_made_anew(recommender: Recommender) -> None:
    live = {"new": LiveItem(item_id="new", kind=ItemKind.ad, attributes={"genre": "drama"})}
    table, with_live = recommender.item_pool.table, recommender.with_live_items(live).item_pool.table
    campaign = booking(creatives=(Creative(item_id="new"), Creative(item_id="i008"), Creative(item_id="no")))
    plain = index(table, campaign)
    over = plain.over(with_live)
    assert over is not None
    assert (over.n_unknown, plain.n_unknown) == (1, 2)
    assert_equal(over, index(with_live, campaign))
    back = over.over(table)
    assert back is not None
    assert_equal(back, plain)
    other = Recommender(Bundle.of(make_tiny().contents, NOW)).item_pool.table
    assert plain.over(other) is None or other.own.catalog.item_ids is table.own.catalog.item_ids


def assert_equal(one: CreativeIndex, other: CreativeIndex) -> None:
    """Two indexes show the same creatives of the same campaigns at every hour."""
    items = np.arange(1, len(other.flags(everything(other))), dtype=np.int64)
    assert one.n_unknown == other.n_unknown
    for timestamp in (NOW, NOW + HOUR, NOW + 2 * HOUR):
        shown, expected = everything(one, timestamp), everything(other, timestamp)
        assert one.flags(shown).tolist() == other.flags(expected).tolist()
        for said, wanted in zip(one.pairs(items, shown), other.pairs(items, expected), strict=True):
            assert said.tolist() == wanted.tolist()


def test_no_campaigns_have_no_creatives(recommender: Recommender) -> None:
    made = index(recommender.item_pool.table)
    assert not made.flags(everything(made)).any()


def test_categories_of_none_one_and_several() -> None:
    assert categories_of([None, "a", ["a", "b"], 3]) == [
        frozenset(),
        frozenset("a"),
        frozenset("ab"),
        frozenset("3"),
    ]


def ads_of(recommender: Recommender, made: CreativeIndex, n_candidates: int = 5) -> AdCandidates:
    search = AdSearch(lambda _table: made.flags(everything(made)), (1, 3), n_candidates)
    asked = Request(timestamp=NOW, k=4, user_id="u1", kind=ItemKind.content, ads=search)
    found = recommender.decide([asked])[0].ads
    assert found is not None
    return found


def ad_ids(recommender: Recommender, made: CreativeIndex) -> list[str]:
    return ads_of(recommender, made).item_ids


def test_only_ads_of_campaigns_are_found_and_no_more_than_wanted(recommender: Recommender) -> None:
    # i001 is content: a campaign cannot make an ad of it.
    creatives = tuple([Creative(item_id=name) for name in ("i001", "i004", "i008", "i012")])
    made = index(recommender.item_pool.table, booking(creatives=creatives))
    assert sorted(ad_ids(recommender, made)) == ["i004", "i008", "i012"]
    best = ads_of(recommender, made, n_candidates=1)
    assert best.item_ids == ad_ids(recommender, made)[:1]
    # A click in a hundred until more is known, for the content whose places these are too.
    assert best.click.tolist() == [0.01]
    assert best.content_click.tolist() == [0.01, 0.01]


class _Broken:
    """A head that knows no finite probability of some items."""

    def __init__(self, broken: IndexArray) -> None:
        self._broken = broken

    def place(self, _surface: str | None, _position: int, n: int) -> IndexArray:
        return np.ones(n, dtype=np.int64)

    def probabilities(
        self, _request: Request, _queries: Queries, _row: int, items: IndexArray, _places: IndexArray
    ) -> ClickProbabilities:
        click = np.full(len(items), 0.5, dtype=np.float32)
        click[np.isin(items, self._broken)] = np.nan
        return ClickProbabilities(click, np.full(len(items), 0.25, dtype=np.float32))


def test_ad_whose_probability_is_not_finite_is_counted_and_left_out(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    creatives = tuple([Creative(item_id=name) for name in ("i004", "i008", "i012")])
    table = recommender.item_pool.table
    made = index(table, booking(creatives=creatives))
    broken = cast(ProbabilityScorer, _Broken(table.encode(["i008"])))
    monkeypatch.setattr(recommender, "scorer", broken)
    found = ads_of(recommender, made)
    assert sorted(found.item_ids) == ["i004", "i012"]
    assert found.n_broken == 1
    # A conversion is paid for by the impression that led to it.
    assert (found.click.tolist(), found.conversion.tolist()) == ([0.5, 0.5], [0.125, 0.125])


def test_content_whose_probability_is_not_finite_is_counted_and_keeps_its_place(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = recommender.item_pool.table
    made = index(table, booking(creatives=(Creative(item_id="i004"),)))
    ads = table.encode(["i004"])
    broken = cast(ProbabilityScorer, _Broken(np.setdiff1d(np.arange(1, table.n_own + 1), ads)))
    monkeypatch.setattr(recommender, "scorer", broken)
    found = ads_of(recommender, made)
    assert found.item_ids == ["i004"]
    n_places = len(found.content_click)
    assert found.n_broken == n_places > 0
    assert (found.content_click.tolist(), found.content_conversion.tolist()) == ([1.0] * n_places,) * 2
