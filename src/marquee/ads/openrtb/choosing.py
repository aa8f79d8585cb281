"""Chooses the campaign and the creative that bid for each impression, and how much.

```
candidate   a creative of an eligible campaign that fits the impression
worth       of a thousand impressions to the campaign: `1000 · bid · p · λ`
price       what is said: the worth where the next bid is paid, a share of it where one's own is
```

Deals come before the open market, guaranteed campaigns before the others, then the highest price wins. A
campaign and a creative bid once in an answer.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from marquee.ads.auction import Offer
from marquee.ads.campaigns.eligibility import showable
from marquee.ads.filling import TIERS
from marquee.ads.openrtb.answering import must_render_disclosure
from marquee.ads.openrtb.creatives import Markup, Unfit, markup_for
from marquee.ads.openrtb.exchange import Declared, Exchange
from marquee.ads.openrtb.messages import BidRequest, Imp
from marquee.ads.openrtb.terms import Terms, terms_of
from marquee.store.campaigns.campaign import BidType, Campaign, HeldCampaign, Priority

_THOUSAND = 1_000


class NoBidder(StrEnum):
    """The reasons for which a creative that fits does not bid."""

    capped = "capped"  # the user has seen it often enough
    no_probability = "no_probability"  # nobody says how likely its click or conversion is
    paced = "paced"  # by its plan the campaign bids nothing now
    no_disclosure = "no_disclosure"  # the ad must say itself who is behind it, and does not
    below_floor = "below_floor"
    no_money = "no_money"  # the budget is spent, or others hold the rest
    no_lease = "no_lease"  # the worker holds none of its money yet, and has asked for some


Offers = dict[tuple[str, str], Offer | NoBidder | None]
"""Offers by campaign and item, or why there is none; None for a house campaign."""


class Candidate(NamedTuple):
    """A creative that fits an impression. Money is millionths.

    Attributes:
        held: Its campaign.
        declared: The creative.
        markup: In the form that fits.
        offer: What is bid; None for a house campaign.
    """

    held: HeldCampaign
    declared: Declared
    markup: Markup
    offer: Offer | None

    @property
    def key(self) -> tuple[str, str]:
        """Campaign and item."""
        return self.held.campaign.campaign_id, self.declared.creative.item_id

    @property
    def worth(self) -> int:
        """The worth of a thousand impressions; 0 for a house campaign."""
        return 0 if self.offer is None else self.offer.value


class Chosen(NamedTuple):
    """A bid.

    Attributes:
        imp: The impression.
        candidate: Who bids.
        terms: On which terms.
        price: Of a thousand impressions, whole thousands of millionths: one costs a thousandth of it.
    """

    imp: Imp
    candidate: Candidate
    terms: Terms
    price: int


class Choice(NamedTuple):
    """The bids of an answer, and why others do not bid."""

    chosen: list[Chosen]
    silent: Counter[Unfit | NoBidder]


@dataclass(frozen=True, kw_only=True)
class Situation:
    """One request, as far as bids follow from it.

    Attributes:
        request: It.
        exchange: What the operator declares.
        timestamp: When, seconds since 1970 UTC.
        is_capped: Whether the user has seen a creative of a campaign often enough.
        multiplier: Returns the multiplier of a campaign, given what a thousand impressions are worth to it at
            its whole bid, millionths.
        probability: Returns how likely an impression of a creative brings the billable event; None where
            nobody can tell.
    """

    request: BidRequest
    exchange: Exchange
    timestamp: int
    is_capped: Callable[[Campaign, str], bool]
    multiplier: Callable[[Campaign, int], float]
    probability: Callable[[Declared, BidType], float | None]


def choose_bids(
    eligible: Sequence[HeldCampaign],
    situation: Situation,
    offers: Offers,
    refused: Mapping[tuple[str, str], NoBidder],
    sold: Sequence[Chosen] = (),
) -> Choice:
    """Returns the bids of an answer.

    Args:
        eligible: Campaigns that may be shown to the viewer now.
        situation: The request.
        offers: What was offered so far, by campaign and item; filled here, so that a second try notes no
            second opportunity.
        refused: Campaigns and items whose money or caps did not hold, and which.
        sold: Bids that stand already; their impressions are left alone.
    """
    silent: Counter[Unfit | NoBidder] = Counter()
    chosen: list[Chosen] = []
    request, exchange = situation.request, situation.exchange
    taken = {one.imp.id for one in sold}
    for imp in request.imp:
        if imp.id in taken:
            continue
        candidates = list(_candidates(eligible, imp, situation, offers, silent))
        silent.update(refused[one.key] for one in candidates if one.key in refused)
        standing = [*sold, *chosen]
        are_apart = exchange.advertisers_apart
        free = [
            one
            for one in candidates
            if one.key not in refused and _may_join(one, standing, are_apart=are_apart)
        ]
        bid = None
        for terms in terms_of(imp, request, exchange.currencies, exchange.deals, exchange.seat):
            bid = _best(imp, free, terms, exchange)
            if bid is not None:
                chosen.append(bid)
                break
        if free and bid is None:
            silent[NoBidder.below_floor] += 1
    return Choice(chosen, +silent)


def _candidates(
    eligible: Sequence[HeldCampaign],
    imp: Imp,
    situation: Situation,
    offers: Offers,
    silent: Counter[Unfit | NoBidder],
) -> Iterator[Candidate]:
    """Yields the creatives that fit an impression and may bid; counts the others."""
    must_disclose = must_render_disclosure(situation.request)
    for held in eligible:
        for creative in showable(held.campaign, situation.timestamp):
            declared = situation.exchange.creatives.get(creative.item_id)
            if declared is None:
                continue
            markup = markup_for(declared.creative, imp, situation.request)
            if isinstance(markup, Unfit):
                silent[markup] += 1
                continue
            if must_disclose and not declared.discloses:
                silent[NoBidder.no_disclosure] += 1
                continue
            key = held.campaign.campaign_id, creative.item_id
            if key not in offers:
                offers[key] = _offer(held.campaign, declared, situation)
            offer = offers[key]
            if isinstance(offer, NoBidder):
                silent[offer] += 1
                continue
            yield Candidate(held, declared, markup, offer)


def _offer(campaign: Campaign, declared: Declared, situation: Situation) -> Offer | NoBidder | None:
    """Returns the offer of a campaign with a creative, why there is none, or None for what pays nothing."""
    item_id = declared.creative.item_id
    if situation.is_capped(campaign, item_id):
        return NoBidder.capped
    if campaign.priority is Priority.house or not campaign.price_limit:
        return None
    probability = situation.probability(declared, campaign.bid_type)
    # Also for NaN, which no comparison holds for.
    if probability is None or not 0.0 < probability <= 1.0:
        return NoBidder.no_probability
    whole = Offer(item_id, campaign.campaign_id, campaign.bid_type, campaign.price_limit, probability)
    multiplier = situation.multiplier(campaign, whole.value) if whole.value else 0.0
    if not multiplier > 0.0:
        return NoBidder.paced
    return Offer(
        item_id, campaign.campaign_id, campaign.bid_type, campaign.price_limit, probability, multiplier
    )


def _may_join(candidate: Candidate, chosen: Sequence[Chosen], *, are_apart: bool) -> bool:
    """Returns whether a candidate may stand in an answer beside what bids there already.

    Args:
        candidate: A creative of a campaign.
        chosen: Bids of the answer so far.
        are_apart: Whether an advertiser bids for one impression of an answer alone.
    """
    campaign, item_id = candidate.held.campaign, candidate.declared.creative.item_id
    for one in chosen:
        other, its_item = one.candidate.held.campaign, one.candidate.declared.creative.item_id
        # The ledger tells the sales of an answer apart by their items.
        if campaign.campaign_id == other.campaign_id or item_id == its_item:
            return False
        # As in the slots of an answer of our own: nobody advertises twice beside themselves.
        if are_apart and campaign.advertiser == other.advertiser:
            return False
        if campaign.advertiser in other.exclusions.advertisers:
            return False
        if other.advertiser in campaign.exclusions.advertisers:
            return False
    return True


def _best(imp: Imp, candidates: Sequence[Candidate], terms: Terms, exchange: Exchange) -> Chosen | None:
    """Returns the best bid for an impression on some terms, None where nobody may bid."""
    found = []
    for one in candidates:
        campaign_id, item_id = one.key
        if terms.deal_id is not None and campaign_id not in exchange.deals[terms.deal_id]:
            continue
        if terms.wadomain and not set(terms.wadomain) & set(one.declared.creative.adomain):
            continue
        price = price_for(one.worth, terms, exchange.first_price_share)
        if terms.may_bid(price):
            rank = (TIERS[one.held.campaign.priority], -price, item_id, campaign_id)
            found.append((rank, Chosen(imp, one, terms, price)))
    return min(found, key=lambda one: one[0])[1] if found else None


def price_for(worth: int, terms: Terms, first_price_share: float) -> int:
    """Returns the price that is said for a thousand impressions, millionths, never above their worth.

    Whole thousands: what one impression then costs is exactly what was said.

    Args:
        worth: Of a thousand impressions, millionths.
        terms: Of the impression.
        first_price_share: Of the worth, what is said where the winner pays its own bid.
    """
    most = worth // _THOUSAND * _THOUSAND
    if not terms.is_first_price:
        return most
    shaded = math.floor(worth * first_price_share) // _THOUSAND * _THOUSAND
    # Below the floor nothing is won: what it is worth is still a gain at the floor.
    least = -(-terms.floor // _THOUSAND) * _THOUSAND
    return min(most, max(shaded, least))
