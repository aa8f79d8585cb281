"""Offers for the slots of one answer: a creative per campaign, its probability, its multiplier, its caps.

Decides which of the candidates bid, and how much. Leaves to others who wins (see `marquee.ads.filling`) and
whether there is money left (see `marquee.ads.selling`).
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from marquee.ads.auction import Offer
from marquee.ads.campaigns.eligibility import Viewer, showable, why_not
from marquee.ads.caps import claim_of
from marquee.ads.filling import Entry
from marquee.ads.objective import Objective
from marquee.decision.policies.thompson import ClickCounts, ThompsonChances
from marquee.decision.requests import AdCandidates
from marquee.store.campaigns.campaign import BidType, Campaign, CampaignSet, HeldCampaign, Priority
from marquee.store.ledger.rows import Shown, is_capped

# A click in a hundred until more is known.
_PRIOR_CLICKS, _PRIOR_PASSES = 1.0, 99.0
_SEED_RANGE = 2**64


class NoOffer(StrEnum):
    """The reasons for which a candidate does not bid."""

    not_eligible = "not_eligible"  # changed, paused or over since the candidates were found
    capped = "capped"
    caps_unknown = "caps_unknown"
    paced = "paced"  # by its plan it bids nothing now
    other_creative = "other_creative"  # another ad of the campaign was drawn
    broken = "broken"  # its probability is not finite


@dataclass(frozen=True, slots=True)
class Bidder:
    """A campaign with the creative that it bids with.

    Attributes:
        held: The campaign.
        candidate: Number of the creative among the candidates.
        propensity: How probable this creative was among those of the campaign.
        entry: What it offers.
    """

    held: HeldCampaign
    candidate: int
    propensity: float
    entry: Entry


class Bidding(NamedTuple):
    """All who bid, and the number of candidates that do not, by reason."""

    bidders: list[Bidder]
    silent: Counter[NoOffer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One decision, as far as offers follow from it.

    Attributes:
        viewer: Who asks.
        campaigns: All campaigns as they are now.
        decision_id: What the draw of a creative follows from.
        counts: Clicks and exposures of the candidates on the surface.
        shown: What the user was shown; None where that cannot be told.
        objective: Weighs clicks and conversions.
        multiplier: Returns the multiplier of a campaign, given what a thousand impressions are worth to it at
            its whole bid, millionths.
        now_ms: Milliseconds since 1970 UTC.
        is_unchanged: Whether these are the campaigns that the candidates were found for: all may be shown.
    """

    viewer: Viewer
    campaigns: CampaignSet
    decision_id: str
    counts: ClickCounts
    shown: Shown | None
    objective: Objective
    multiplier: Callable[[Campaign, int], float]
    now_ms: int
    is_unchanged: bool = False


def bidders_of(
    candidates: AdCandidates,
    campaign_ids: Sequence[Sequence[str]],
    values: Sequence[tuple[object, ...]],
    categories: Sequence[frozenset[str]],
    situation: Situation,
) -> Bidding:
    """Returns who bids for the slots of an answer.

    Args:
        candidates: Ads that were found.
        campaign_ids: Of each candidate, those it may be shown for.
        values: Of each candidate, by which no two ads of an answer may be equal.
        categories: Of each candidate.
        situation: Of the decision.
    """
    silent = Counter[NoOffer]()
    if candidates.n_broken:
        silent[NoOffer.broken] = candidates.n_broken
    by_campaign: dict[str, list[int]] = {}
    for candidate, names in enumerate(campaign_ids):
        for name in names:
            by_campaign.setdefault(name, []).append(candidate)
    bidders = []
    for name, creatives in by_campaign.items():
        held = situation.campaigns.held.get(name)
        if held is None or not _may_show(held.campaign, situation):
            silent[NoOffer.not_eligible] += len(creatives)
            continue
        allowed = _allowed(held.campaign, creatives, candidates, situation, silent)
        if not allowed:
            continue
        chosen, propensity = choose_creative(allowed, situation.counts, f"{situation.decision_id}/{name}")
        silent[NoOffer.other_creative] += len(allowed) - 1
        offer = _offer(held.campaign, candidates, chosen, situation)
        if offer is None and held.campaign.priority is not Priority.house:
            silent[NoOffer.paced] += 1
            continue
        click, conversion = float(candidates.click[chosen]), float(candidates.conversion[chosen])
        entry = Entry(
            offer,
            candidates.item_ids[chosen],
            name,
            held.campaign.advertiser,
            held.campaign.priority,
            situation.objective.worth(click, conversion),
            values[chosen],
            held.campaign.exclusions,
            categories[chosen],
        )
        bidders.append(Bidder(held, chosen, propensity, entry))
    return Bidding(bidders, +silent)


def _may_show(campaign: Campaign, situation: Situation) -> bool:
    """Returns whether a campaign may still be shown: it was, when its ads were found."""
    return situation.is_unchanged or why_not(campaign, situation.viewer) is None


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


def _allowed(
    campaign: Campaign,
    creatives: Sequence[int],
    candidates: AdCandidates,
    situation: Situation,
    silent: Counter[NoOffer],
) -> list[int]:
    """Returns the creatives of a campaign that its hours and caps let through now."""
    # Candidates that were found for these very campaigns are within the hours of their own.
    showing = list(creatives)
    if not situation.is_unchanged:
        open_now = {one.item_id for one in showable(campaign, situation.viewer.timestamp)}
        showing = [one for one in creatives if candidates.item_ids[one] in open_now]
    silent[NoOffer.not_eligible] += len(creatives) - len(showing)
    if not campaign.frequency_caps:
        return showing
    if situation.shown is None:
        silent[NoOffer.caps_unknown] += len(showing)
        return []
    shown, now_ms = situation.shown, situation.now_ms
    claims = [claim_of(campaign, candidates.item_ids[one], situation.campaigns) for one in showing]
    allowed = [one for one, claim in zip(showing, claims, strict=True) if not is_capped(claim, shown, now_ms)]
    silent[NoOffer.capped] += len(showing) - len(allowed)
    return allowed


def _offer(
    campaign: Campaign, candidates: AdCandidates, candidate: int, situation: Situation
) -> Offer | None:
    """Returns the offer of a campaign, None where it offers nothing."""
    if not campaign.price_limit or campaign.priority is Priority.house:
        return None
    probability = 1.0
    if campaign.bid_type is not BidType.cpm:
        chances = candidates.click if campaign.bid_type is BidType.cpc else candidates.conversion
        probability = float(chances[candidate])
    if not 0.0 < probability <= 1.0:
        return None
    item_id = candidates.item_ids[candidate]
    whole = Offer(item_id, campaign.campaign_id, campaign.bid_type, campaign.price_limit, probability)
    multiplier = situation.multiplier(campaign, whole.value) if whole.value else 0.0
    if not multiplier > 0.0:
        return None
    # Most of two hundred bid all they have: one offer each to make and to check, not two.
    if multiplier == whole.multiplier:
        return whole
    return Offer(
        item_id, campaign.campaign_id, campaign.bid_type, campaign.price_limit, probability, multiplier
    )
