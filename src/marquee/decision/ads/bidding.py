"""Offers for the slots of one answer: a creative per campaign, its probability, its multiplier, its caps.

Decides which of the candidates bid, and how much, over columns: hundreds may bid, and a few will win. Leaves
to others who wins (see `marquee.ads.offers`) and whether there is money left (see `marquee.ads.selling`).
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from marquee.ads.auction import Offer
from marquee.ads.campaigns.columns import BID_TYPES, CampaignColumns
from marquee.ads.filling import TIERS, Entry
from marquee.ads.objective import Objective
from marquee.ads.offers import OfferColumns
from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.decision.policies.thompson import ClickCounts, ThompsonChances
from marquee.decision.requests import AdCandidates
from marquee.store.campaigns.campaign import BidType, CampaignSet, HeldCampaign, Priority
from marquee.store.ledger.caps import claim_of
from marquee.store.ledger.rows import Shown, is_capped

# A click in a hundred until more is known.
_PRIOR_CLICKS, _PRIOR_PASSES = 1.0, 99.0
_SEED_RANGE = 2**64
_HOUSE = TIERS[Priority.house]


class NoOffer(StrEnum):
    """The reasons for which a candidate does not bid."""

    not_eligible = "not_eligible"  # changed or paused since the candidates were found
    capped = "capped"
    caps_unknown = "caps_unknown"
    paced = "paced"  # by its plan it bids nothing now
    other_creative = "other_creative"  # another ad of the campaign was drawn
    broken = "broken"  # its probability is not finite


class Pairs(NamedTuple):
    """Which candidates may be shown for which campaigns, one row each, (n_pairs,).

    Attributes:
        candidates: Numbers of candidates.
        campaigns: Numbers of campaigns.
    """

    candidates: IndexArray
    campaigns: IndexArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The part of candidates by which some may not stand together.

    Attributes:
        values: Of each candidate, by which no two ads of an answer may be equal; empty where nothing is.
        categories: Of each candidate; empty where items have none.
    """

    values: Sequence[tuple[object, ...]] = ()
    categories: Sequence[frozenset[str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One decision, as far as offers follow from it.

    Attributes:
        columns: The campaigns that the candidates were found for.
        campaigns: All campaigns as they are now.
        decision_id: What the draw of a creative follows from.
        counts: Clicks and exposures of the candidates on the surface.
        shown: What the user was shown; None where that cannot be told.
        objective: Weighs clicks and conversions.
        multipliers: Returns the multipliers of campaigns, given their numbers and what a thousand impressions
            are worth to each at its whole bid, millionths.
        now_ms: Milliseconds since 1970 UTC.
    """

    columns: CampaignColumns
    campaigns: CampaignSet
    decision_id: str
    counts: ClickCounts
    shown: Shown | None
    objective: Objective
    multipliers: Callable[[IndexArray, Float64Array], Float64Array]
    now_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Bidding:
    """All who bid, one row per campaign, and the number of candidates that do not, by reason.

    Attributes:
        numbers: Of the campaigns, (n,).
        candidates: Number of the creative of each among the candidates, (n,).
        propensities: How probable each creative was among those of its campaign, (n,).
        offers: The same for an auction.
        silent: Candidates that do not bid.
        columns: All campaigns.
    """

    numbers: IndexArray
    candidates: IndexArray
    propensities: Float64Array
    offers: OfferColumns
    silent: Counter[NoOffer]
    columns: CampaignColumns

    def held(self, row: int) -> HeldCampaign:
        """Returns the campaign of a row."""
        return self.columns.eligible.held[int(self.numbers[row])]


class _Drawn(NamedTuple):
    """One creative per campaign: numbers of campaigns and candidates, and propensities, (n,) each."""

    numbers: IndexArray
    candidates: IndexArray
    propensities: Float64Array

    def where(self, kept: BoolArray) -> "_Drawn":
        """Returns some of the rows."""
        return _Drawn(self.numbers[kept], self.candidates[kept], self.propensities[kept])


def bidders_of(found: AdCandidates, pairs: Pairs, known: Known, situation: Situation) -> Bidding:
    """Returns who bids for the slots of an answer.

    Args:
        found: The candidates.
        pairs: Which of them may be shown for which campaigns.
        known: By which some may not stand together.
        situation: Of the decision.
    """
    silent = Counter[NoOffer]({NoOffer.broken: found.n_broken})
    # By campaign, and within it in the order in which candidates were found.
    pairs = Pairs(*(column[np.argsort(pairs.campaigns, kind="stable")] for column in pairs))
    pairs = _unchanged(pairs, situation, silent)
    pairs = _uncapped(pairs, found, situation, silent)
    drawn = _drawn(pairs, situation, silent)
    columns = situation.columns
    probabilities = _probabilities(columns.bid_type[drawn.numbers], found, drawn.candidates)
    multipliers = _multipliers(drawn, probabilities, situation)
    bids = (multipliers > 0.0) | (columns.tier[drawn.numbers] == _HOUSE)
    silent[NoOffer.paced] += int(np.count_nonzero(~bids))
    drawn, probabilities, multipliers = drawn.where(bids), probabilities[bids], multipliers[bids]
    offers = _offers(found, drawn, probabilities, multipliers, known, situation)
    return Bidding(*drawn, offers, +silent, columns)


def choose_creative(creatives: Sequence[int], counts: ClickCounts, seed: str) -> tuple[int, float]:
    """Returns one of some creatives by Thompson sampling, and how probable it was.

    Args:
        creatives: Numbers of candidates, one or more.
        counts: Of all candidates.
        seed: What the draw follows from.
    """
    if len(creatives) == 1:
        return creatives[0], 1.0
    rows = np.asarray(creatives)
    counted = ClickCounts(counts.clicks[rows], counts.shown[rows])
    sampler = ThompsonChances(counted, _PRIOR_CLICKS, _PRIOR_PASSES, seed)
    chances = sampler.of(np.zeros(len(rows)), np.ones(len(rows), dtype=bool))
    number = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest()) / _SEED_RANGE
    drawn = int(np.searchsorted(np.cumsum(chances), number, side="right"))
    # Rounding of the sum may leave a number behind the last one.
    drawn = min(drawn, int(np.flatnonzero(chances)[-1]))
    return creatives[drawn], float(chances[drawn])


def _unchanged(pairs: Pairs, situation: Situation, silent: Counter[NoOffer]) -> Pairs:
    """Returns the pairs whose campaigns are what they were when the candidates were found.

    One that changed since bids from the next time on that the columns are made.
    """
    columns, now = situation.columns, situation.campaigns
    if columns.campaigns is now or not len(pairs.campaigns):
        return pairs
    held = columns.eligible.held
    named = np.unique(pairs.campaigns).tolist()
    same = [one for one in named if now.held.get(held[one].campaign.campaign_id) is held[one]]
    return _kept(pairs, np.isin(pairs.campaigns, same), silent, NoOffer.not_eligible)


def _uncapped(pairs: Pairs, found: AdCandidates, situation: Situation, silent: Counter[NoOffer]) -> Pairs:
    """Returns the pairs that no cap forbids."""
    columns, shown = situation.columns, situation.shown
    is_capped_by = columns.is_capped[pairs.campaigns]
    if not is_capped_by.any():
        return pairs
    if shown is None:
        return _kept(pairs, ~is_capped_by, silent, NoOffer.caps_unknown)
    passes = np.ones(len(is_capped_by), dtype=bool)
    # Of somebody who was shown nothing no cap is reached.
    for row in np.flatnonzero(is_capped_by).tolist() if shown else ():
        campaign = columns.eligible.held[int(pairs.campaigns[row])].campaign
        claim = claim_of(campaign, found.item_ids[int(pairs.candidates[row])], situation.campaigns)
        passes[row] = not is_capped(claim, shown, situation.now_ms)
    return _kept(pairs, passes, silent, NoOffer.capped)


def _kept(pairs: Pairs, passes: BoolArray, silent: Counter[NoOffer], reason: NoOffer) -> Pairs:
    """Returns the pairs that pass, and counts the others."""
    silent[reason] += int(np.count_nonzero(~passes))
    return Pairs(pairs.candidates[passes], pairs.campaigns[passes])


def _drawn(pairs: Pairs, situation: Situation, silent: Counter[NoOffer]) -> _Drawn:
    """Returns one creative per campaign, of pairs that are in the order of campaigns."""
    numbers, starts, sizes = np.unique(pairs.campaigns, return_index=True, return_counts=True)
    candidates, propensities = pairs.candidates[starts], np.ones(len(numbers))
    for row in np.flatnonzero(sizes > 1).tolist():
        creatives = pairs.candidates[starts[row] : starts[row] + sizes[row]].tolist()
        campaign_id = situation.columns.eligible.held[int(numbers[row])].campaign.campaign_id
        seed = f"{situation.decision_id}/{campaign_id}"
        candidates[row], propensities[row] = choose_creative(creatives, situation.counts, seed)
    silent[NoOffer.other_creative] += len(pairs.campaigns) - len(numbers)
    return _Drawn(numbers, candidates, propensities)


def _probabilities(bid_types: IndexArray, found: AdCandidates, candidates: IndexArray) -> Float64Array:
    """Returns that an impression of each candidate brings the event that is paid for, (n,)."""
    chances: Float64Array = np.ones(len(candidates))
    for bid_type, said in ((BidType.cpc, found.click), (BidType.cpa, found.conversion)):
        is_paid_so = bid_types == BID_TYPES[bid_type]
        chances[is_paid_so] = said[candidates[is_paid_so]]
    return chances


def _multipliers(drawn: _Drawn, probabilities: Float64Array, situation: Situation) -> Float64Array:
    """Returns the multipliers of the bids, 0 where nothing is offered, (n,)."""
    columns, numbers = situation.columns, drawn.numbers
    whole = np.floor(columns.bid[numbers] * _per_thousand(columns.bid_type[numbers], probabilities))
    # Also false for NaN, which no comparison holds for.
    asks = (columns.tier[numbers] != _HOUSE) & (probabilities > 0.0) & (probabilities <= 1.0) & (whole > 0)
    multipliers: Float64Array = np.zeros(len(numbers))
    multipliers[asks] = situation.multipliers(numbers[asks], whole[asks])
    return multipliers


def _per_thousand(bid_types: IndexArray, probabilities: Float64Array) -> Float64Array:
    """Returns `Offer.events_per_thousand` as an array, (n,)."""
    per_thousand: Float64Array = np.where(bid_types == BID_TYPES[BidType.cpm], 1.0, 1000.0 * probabilities)
    return per_thousand


def _offers(
    found: AdCandidates,
    drawn: _Drawn,
    probabilities: Float64Array,
    multipliers: Float64Array,
    known: Known,
    situation: Situation,
) -> OfferColumns:
    """Returns the offers of an auction: `Offer.value` as an array, objects where they are asked for."""
    columns, numbers, candidates = situation.columns, drawn.numbers, drawn.candidates
    objective = situation.objective
    is_paid = columns.tier[numbers] != _HOUSE
    per_thousand = _per_thousand(columns.bid_type[numbers], probabilities)
    value = np.where(is_paid, np.floor(columns.bid[numbers] * per_thousand * multipliers), 0.0)
    worth = objective.click * found.click[candidates] + objective.conversion * found.conversion[candidates]

    def entry(row: int) -> Entry:
        """Returns the offer of a row."""
        campaign, candidate = columns.eligible.held[int(numbers[row])].campaign, int(candidates[row])
        item_id, campaign_id = found.item_ids[candidate], campaign.campaign_id
        offer = None
        if is_paid[row]:
            chance, multiplier = float(probabilities[row]), float(multipliers[row])
            offer = Offer(item_id, campaign_id, campaign.bid_type, campaign.price_limit, chance, multiplier)
        return Entry(
            offer,
            item_id,
            campaign_id,
            campaign.advertiser,
            campaign.priority,
            float(worth[row]),
            known.values[candidate] if known.values else (),
            campaign.exclusions,
            known.categories[candidate] if known.categories else frozenset(),
        )

    return OfferColumns(
        tier=columns.tier[numbers],
        value=value.astype(np.int64),
        worth=worth,
        advertiser=columns.advertiser[numbers],
        item=found.items[candidates],
        is_paid=is_paid,
        is_choosy=columns.is_choosy[numbers],
        has_values=bool(known.values),
        entry=entry,
    )
