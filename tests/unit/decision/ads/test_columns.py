"""Columns decide as an auction of offers one by one does, and the record of an auction holds it."""

import random
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from marquee.ads.auction import PriceRule
from marquee.ads.campaigns.columns import CampaignColumns
from marquee.ads.filling import Loss, Terms
from marquee.ads.objective import Objective
from marquee.ads.offers import FIRST_LOOK, OfferColumns, auction
from marquee.ads.trace import replayed, trace_of
from marquee.decision.ads.bidding import Known, Situation, bidders_of
from marquee.decision.policies.thompson import ClickCounts
from marquee.store.campaigns.campaign import (
    BidType,
    Campaign,
    CapScope,
    Creative,
    Exclusions,
    FrequencyCap,
    Priority,
)
from marquee.store.ledger.caps import key_of
from tests.support.ad_service import EURO, booking
from tests.support.bundles import NOW
from tests.support.slow_auction import Asked, slow_auction, slow_entries
from tests.unit.decision.ads.test_bidding import found, pairs_of, set_of

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN"
COLOURS, CATEGORIES = ("red", "blue", None), ("food", "cars", "games")


def campaign_of(number: int, rng: random.Random) -> Campaign:
    """Returns one of the campaigns that a surface may have: of all tiers and prices."""
    priority = rng.choices(list(Priority), (1, 8, 1))[0]
    changes = {
        "advertiser": f"by-{rng.randrange(12)}",
        "priority": priority,
        "bid_type": rng.choice(list(BidType)),
        # Few prices, so that many are equal and names decide.
        "bid": rng.choice((1, 100_000, EURO, 2 * EURO)),
        "creatives": tuple([Creative(item_id=one) for one in rng.sample(LETTERS, rng.choice((1, 1, 2, 4)))]),
    }
    if priority is Priority.house:
        changes |= {"bid": None, "total_budget": 0}
    if rng.random() < 0.2:
        changes["frequency_caps"] = (FrequencyCap(per=rng.choice(list(CapScope)), limit=1, window_s=60),)
    if rng.random() < 0.2:
        changes["exclusions"] = Exclusions(
            advertisers=(f"by-{rng.randrange(12)}",), categories=(rng.choice(CATEGORIES),)
        )
    return booking(f"c{number}", **changes)


def asked_of(rng: random.Random) -> Asked:
    """Returns a decision with some campaigns and candidates."""
    names = "".join(rng.sample(LETTERS, rng.randint(1, len(LETTERS))))
    campaigns = [campaign_of(number, rng) for number in range(rng.randint(1, 40))]
    candidates = found(names, [rng.choice((0.0, 0.01, 0.02, rng.random(), 2.0)) for _ in names])
    candidates = replace(candidates, conversion=candidates.click * rng.random())
    capped = rng.choice(campaigns)
    key = key_of(capped, capped.creatives[0].item_id, rng.choice(list(CapScope)))
    counts = np.array([rng.randrange(40) for _ in names], dtype=np.float64)
    return Asked(
        found=candidates,
        campaigns=set_of(*campaigns),
        counts=ClickCounts(counts, counts + rng.randrange(1, 500)),
        shown=rng.choice((None, {}, {key: [NOW * 1000 - 10]})),
        multipliers={one.campaign_id: rng.choice((0.0, 0.5, 1.0, rng.random())) for one in campaigns},
        values=[(rng.choice(COLOURS),) for _ in names] if rng.random() < 0.3 else [()] * len(names),
        categories=[frozenset(rng.sample(CATEGORIES, rng.randrange(2))) for _ in names],
        worths=(rng.choice((0.0, 1.0)), rng.choice((0.0, 10.0))),
        decision_id=f"d{rng.random()}",
        now_ms=NOW * 1000,
    )


def terms_of(rng: random.Random, n_places: int, objective: Objective) -> Terms:
    """Returns the terms of an answer."""
    return Terms(
        floor=rng.choice((0, EURO // 10, EURO)),
        rule=rng.choice(list(PriceRule)),
        content_worth=tuple(rng.choice(((), [rng.random() * 0.03 for _ in range(n_places)]))),
        objective=objective,
        categories=frozenset(rng.sample(CATEGORIES, rng.randrange(3))),
    )


@pytest.mark.parametrize("seed", range(150))
def test_columns_decide_what_offers_one_by_one_do(seed: int) -> None:
    rng = random.Random(seed)
    asked = asked_of(rng)
    columns = CampaignColumns(asked.campaigns)
    multipliers = np.array([asked.multipliers[one] for one in columns.numbers])
    objective = Objective(click=asked.worths[0], conversion=asked.worths[1])
    situation = Situation(
        columns=columns,
        campaigns=asked.campaigns,
        decision_id=asked.decision_id,
        counts=asked.counts,
        shown=asked.shown,
        objective=objective,
        multipliers=lambda numbers, _values: multipliers[numbers],
        now_ms=asked.now_ms,
    )
    pairs = pairs_of(asked.found, asked.campaigns.campaigns)
    known = Known(values=asked.values if asked.values[0] else (), categories=asked.categories)
    bidding = bidders_of(asked.found, pairs, known, situation)
    entries, silent = slow_entries(asked)
    rows = [bidding.offers.entry(row) for row in range(len(bidding.numbers))]
    assert {
        one.campaign_id: (one, propensity)
        for one, propensity in zip(rows, bidding.propensities.tolist(), strict=True)
    } == entries
    assert {str(reason): number for reason, number in bidding.silent.items()} == silent
    assert [one.value for one in rows] == bidding.offers.value.tolist()

    places = tuple(sorted(rng.sample(range(12), rng.randint(0, 5))))
    terms = terms_of(rng, len(places), objective)
    filled, lost = slow_auction([one for one, _ in entries.values()], places, terms)
    outcome = auction(bidding.offers, places, terms)
    assert outcome.filling.filled == filled
    assert outcome.filling.lost == lost
    assert [rows[row] for row in outcome.rows] == [one.entry for one in filled]
    kept = msgspec.json.decode(msgspec.json.encode(trace_of(outcome.entries, places, terms, outcome.filling)))
    assert replayed(kept).filled == filled


def all_bid(campaigns: list[Campaign]) -> OfferColumns:
    """Returns the offers of campaigns that all bid the whole."""
    columns, candidates = CampaignColumns(set_of(*campaigns)), found(LETTERS)
    situation = Situation(
        columns=columns,
        campaigns=columns.campaigns,
        decision_id="d",
        counts=ClickCounts(np.zeros(len(LETTERS)), np.zeros(len(LETTERS))),
        shown={},
        objective=Objective(),
        multipliers=lambda numbers, _values: np.ones(len(numbers)),
        now_ms=NOW * 1000,
    )
    return bidders_of(candidates, pairs_of(candidates, campaigns), Known(), situation).offers


def falling(name: str, n: int, **changes: Any) -> Campaign:
    """Returns a campaign that bids the less the higher its number."""
    return booking(f"c{n:02}", bid=2 * EURO - n, creatives=(Creative(item_id=name),), **changes)


def test_few_offers_are_made_into_objects() -> None:
    outcome = auction(all_bid([falling(name, n) for n, name in enumerate(LETTERS)]), (1, 5), Terms())
    assert len(outcome.entries) == FIRST_LOOK
    assert [one.entry.campaign_id for one in outcome.filling.filled] == ["c00", "c01"]
    assert outcome.filling.lost == {Loss.outbid: len(LETTERS) - 2}


def test_as_many_are_looked_at_as_the_outcome_follows_from() -> None:
    one_advertiser = [falling(name, n, advertiser="one") for n, name in enumerate(LETTERS[:-1])]
    outcome = auction(all_bid([*one_advertiser, falling(LETTERS[-1], 99)]), (1, 5), Terms())
    assert [one.entry.campaign_id for one in outcome.filling.filled] == ["c00", "c99"]
    assert outcome.filling.lost == {Loss.not_apart: len(LETTERS) - 2}
