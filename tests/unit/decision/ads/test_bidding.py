"""Who bids for the slots of an answer, with which creative, and why others do not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from marquee.ads.campaigns.columns import CampaignColumns
from marquee.ads.filling import Entry
from marquee.ads.objective import Objective
from marquee.decision.ads.bidding import Known, NoOffer, Pairs, Situation, bidders_of, choose_creative
from marquee.decision.policies.thompson import ClickCounts
from marquee.decision.requests import AdCandidates
from marquee.store.campaigns.campaign import (
    BidType,
    Campaign,
    CampaignSet,
    CapScope,
    Creative,
    FrequencyCap,
    HeldCampaign,
    Priority,
    State,
)
from marquee.store.ledger.caps import key_of
from tests.support.ad_service import EURO, booking
from tests.support.bundles import NOW

NOTHING = np.zeros(0)
CAPPED = (FrequencyCap(per=CapScope.campaign, limit=2, window_s=3600),)
THREE = tuple([Creative(item_id=name) for name in "abc"])


def found(items: str, click: Sequence[float] = (), **changes: Any) -> AdCandidates:
    """Returns candidates, one letter each."""
    chances = np.array(click or [0.02] * len(items))
    made = AdCandidates(
        np.arange(1, len(items) + 1),
        list(items),
        np.ones(len(items), dtype=np.float32),
        chances,
        chances / 4,
        NOTHING,
        NOTHING,
    )
    return replace(made, **changes)


class Bid(NamedTuple):
    entry: Entry
    propensity: float


class Bids(NamedTuple):
    bidders: list[Bid]
    silent: Mapping[NoOffer, int]


def bids(
    *campaigns: Campaign,
    candidates: AdCandidates | None = None,
    multiplier: float = 1.0,
    shown: Mapping[str, Sequence[int]] | None = None,
    clicks: Sequence[float] = (),
    decision_id: str = "d1",
) -> Bids:
    """Returns who bids, where each campaign may show each of its creatives."""
    candidates = candidates or found("abc")
    columns = CampaignColumns(set_of(*campaigns))
    clicked = np.array(clicks or [0.0] * len(candidates.items))
    situation = Situation(
        columns=columns,
        campaigns=columns.campaigns,
        decision_id=decision_id,
        counts=ClickCounts(clicked, np.full(len(clicked), 1000.0)),
        shown=shown,
        objective=Objective(click=1.0, conversion=10.0),
        multipliers=lambda numbers, _values: np.full(len(numbers), multiplier),
        now_ms=NOW * 1000,
    )
    bidding = bidders_of(candidates, pairs_of(candidates, campaigns), Known(), situation)
    told = [Bid(bidding.offers.entry(n), float(one)) for n, one in enumerate(bidding.propensities)]
    return Bids(told, bidding.silent)


def pairs_of(candidates: AdCandidates, campaigns: Sequence[Campaign]) -> Pairs:
    """Returns which candidates are creatives of which campaigns."""
    rows = [
        (candidate, number)
        for candidate, item in enumerate(candidates.item_ids)
        for number, one in enumerate(campaigns)
        if any(ad.item_id == item for ad in one.creatives)
    ]
    columns = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return Pairs(columns[:, 0], columns[:, 1])


def set_of(*campaigns: Campaign) -> CampaignSet:
    """Returns campaigns as a set."""
    held = {one.campaign_id: HeldCampaign(one, 1, NOW * 1000, "anna", "created", 1) for one in campaigns}
    return CampaignSet(1, held)


@pytest.mark.parametrize(
    ("bid_type", "probability", "value"),
    [
        (BidType.cpm, 1.0, 2 * EURO),
        (BidType.cpc, 0.02, 40 * EURO),
        (BidType.cpa, 0.005, 10 * EURO),
    ],
)
def test_bid_is_worth_its_probability(bid_type: BidType, probability: float, value: int) -> None:
    (bidder,) = bids(booking(creatives=THREE[:1], bid_type=bid_type)).bidders
    assert bidder.entry.offer is not None
    assert bidder.entry.offer.probability == probability
    assert bidder.entry.value == value
    assert bidder.entry.worth == pytest.approx(0.02 + 10 * 0.005)


def test_multiplier_lowers_the_offer_and_zero_ends_it() -> None:
    (bidder,) = bids(booking(creatives=THREE[:1]), multiplier=0.5).bidders
    assert bidder.entry.value == EURO
    paced = bids(booking(creatives=THREE[:1]), multiplier=0.0)
    assert (paced.bidders, paced.silent) == ([], {NoOffer.paced: 1})


@pytest.mark.parametrize("click", [0.0, -0.1, 1.5])
def test_probability_out_of_range_pays_for_nothing(click: float) -> None:
    bidding = bids(booking(creatives=THREE[:1], bid_type=BidType.cpc), candidates=found("a", [click]))
    assert (bidding.bidders, bidding.silent) == ([], {NoOffer.paced: 1})


def test_probabilities_that_are_not_finite_are_counted_as_broken() -> None:
    bidding = bids(booking(), candidates=found("", n_broken=3))
    assert (bidding.bidders, bidding.silent) == ([], {NoOffer.broken: 3})


def test_caps_that_are_not_known_keep_a_campaign_out() -> None:
    bidding = bids(booking(creatives=THREE, frequency_caps=CAPPED), booking("free", creatives=THREE[:1]))
    assert [one.entry.campaign_id for one in bidding.bidders] == ["free"]
    assert bidding.silent == {NoOffer.caps_unknown: 3}


@pytest.mark.parametrize(
    ("ages_s", "is_shown"), [((), True), ((10,), True), ((10, 20), False), ((10, 3601), True)]
)
def test_cap_counts_within_its_window(ages_s: Sequence[int], is_shown: bool) -> None:
    capped = booking(creatives=THREE[:1], frequency_caps=CAPPED)
    shown = {key_of(capped, "a", CapScope.campaign): [(NOW - age) * 1000 for age in ages_s]}
    bidding = bids(capped, shown=shown)
    assert bool(bidding.bidders) is is_shown
    assert bidding.silent == ({} if is_shown else {NoOffer.capped: 1})


def test_campaign_that_changed_since_it_was_found_does_not_bid() -> None:
    was, other = booking(creatives=THREE), booking("other", creatives=THREE[:1])
    paused = replace(was, state=State.paused)
    held = set_of(was, other)
    columns = CampaignColumns(held)
    changed = held.with_changes([replace(held.held["spring"], campaign=paused, version=2, sequence=2)])
    candidates = found("abc")
    situation = Situation(
        columns=columns,
        campaigns=changed,
        decision_id="d",
        counts=ClickCounts(np.zeros(3), np.zeros(3)),
        shown={},
        objective=Objective(),
        multipliers=lambda numbers, _values: np.ones(len(numbers)),
        now_ms=NOW * 1000,
    )
    bidding = bidders_of(candidates, pairs_of(candidates, [was, other]), Known(), situation)
    assert [bidding.held(row).campaign.campaign_id for row in range(len(bidding.numbers))] == ["other"]
    assert bidding.silent == {NoOffer.not_eligible: 3}


def test_house_campaign_bids_nothing_and_stands() -> None:
    (bidder,) = bids(
        booking(bid=None, total_budget=0, priority=Priority.house, creatives=THREE[:1]), multiplier=0.0
    ).bidders
    assert bidder.entry.offer is None


def test_one_creative_per_campaign_is_drawn_by_the_decision() -> None:
    bidding = bids(booking(creatives=THREE))
    assert bidding.silent == {NoOffer.other_creative: 2}
    (first,) = bidding.bidders
    (again,) = bids(booking(creatives=THREE)).bidders
    assert (again.entry.item_id, again.propensity) == (first.entry.item_id, first.propensity)
    drawn = {bids(booking(creatives=THREE), decision_id=f"d{n}").bidders[0].entry.item_id for n in range(30)}
    assert drawn == set("abc")


def test_creative_that_is_clicked_more_is_drawn_more_often() -> None:
    counts = ClickCounts(np.array([5.0, 60.0]), np.array([1000.0, 1000.0]))
    chosen = [choose_creative([0, 1], counts, f"d{number}") for number in range(40)]
    assert sum(number == 1 for number, _ in chosen) >= 38
    assert all(propensity > 0.9 for number, propensity in chosen if number == 1)
    assert choose_creative([1], counts, "d") == (1, 1.0)
