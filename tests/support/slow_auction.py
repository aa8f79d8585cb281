"""Offers and an auction one by one: a slow oracle for what answers do over columns."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marquee.ads.auction import Offer
from marquee.ads.filling import Entry, Filled, Terms, fill_slots
from marquee.decision.ads.bidding import choose_creative
from marquee.decision.policies.thompson import ClickCounts
from marquee.decision.requests import AdCandidates
from marquee.store.campaigns.campaign import BidType, Campaign, CampaignSet, Priority
from marquee.store.ledger.caps import claim_of
from marquee.store.ledger.rows import Shown, is_capped


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One decision.

    Attributes:
        found: Candidates.
        campaigns: Each may show each of its creatives.
        counts: Of the candidates.
        shown: What the user was shown.
        multipliers: By campaign.
        values: Of each candidate.
        categories: Of each candidate.
        worths: Of a click and of a conversion.
        decision_id: What draws follow from.
        now_ms: Now.
    """

    found: AdCandidates
    campaigns: CampaignSet
    counts: ClickCounts
    shown: Shown | None
    multipliers: Mapping[str, float]
    values: Sequence[tuple[object, ...]]
    categories: Sequence[frozenset[str]]
    worths: tuple[float, float]
    decision_id: str
    now_ms: int


def slow_entries(asked: Asked) -> tuple[dict[str, tuple[Entry, float]], Counter[str]]:
    """Returns the offer and the propensity of each campaign that bids, and how many do not, by reason."""
    entries: dict[str, tuple[Entry, float]] = {}
    silent = Counter[str]()
    for campaign in asked.campaigns.campaigns:
        names = {one.item_id for one in campaign.creatives}
        creatives = [n for n, item in enumerate(asked.found.item_ids) if item in names]
        allowed = _allowed(campaign, creatives, asked, silent)
        if not allowed:
            continue
        seed = f"{asked.decision_id}/{campaign.campaign_id}"
        chosen, propensity = choose_creative(allowed, asked.counts, seed)
        silent["other_creative"] += len(allowed) - 1
        offer = _offer(campaign, chosen, asked)
        if offer is None and campaign.priority is not Priority.house:
            silent["paced"] += 1
            continue
        click, conversion = float(asked.found.click[chosen]), float(asked.found.conversion[chosen])
        entry = Entry(
            offer,
            asked.found.item_ids[chosen],
            campaign.campaign_id,
            campaign.advertiser,
            campaign.priority,
            asked.worths[0] * click + asked.worths[1] * conversion,
            asked.values[chosen],
            campaign.exclusions,
            asked.categories[chosen],
        )
        entries[campaign.campaign_id] = entry, propensity
    return entries, +silent


def slow_auction(
    entries: Sequence[Entry], places: Sequence[int], terms: Terms
) -> tuple[tuple[Filled, ...], Counter[str]]:
    """Returns the slots that were won, and the number of others by reason."""
    filling = fill_slots(entries, places, terms)
    return filling.filled, Counter({str(reason): number for reason, number in filling.lost.items()})


def _allowed(campaign: Campaign, creatives: list[int], asked: Asked, silent: Counter[str]) -> list[int]:
    """Returns the creatives that no cap forbids."""
    if not campaign.frequency_caps:
        return creatives
    if asked.shown is None:
        silent["caps_unknown"] += len(creatives)
        return []
    shown = asked.shown
    claims = [claim_of(campaign, asked.found.item_ids[one], asked.campaigns) for one in creatives]
    allowed = [
        one for one, claim in zip(creatives, claims, strict=True) if not is_capped(claim, shown, asked.now_ms)
    ]
    silent["capped"] += len(creatives) - len(allowed)
    return allowed


def _offer(campaign: Campaign, candidate: int, asked: Asked) -> Offer | None:
    """Returns the offer of a campaign, None where it offers nothing."""
    if campaign.priority is Priority.house:
        return None
    chances = {
        BidType.cpm: 1.0,
        BidType.cpc: float(asked.found.click[candidate]),
        BidType.cpa: float(asked.found.conversion[candidate]),
    }
    chance, multiplier = chances[campaign.bid_type], asked.multipliers[campaign.campaign_id]
    per_thousand = 1.0 if campaign.bid_type is BidType.cpm else 1000.0 * chance
    if not 0.0 < chance <= 1.0 or math.floor(campaign.price_limit * per_thousand) < 1 or not multiplier > 0.0:
        return None
    item_id, campaign_id = asked.found.item_ids[candidate], campaign.campaign_id
    return Offer(item_id, campaign_id, campaign.bid_type, campaign.price_limit, chance, multiplier)
