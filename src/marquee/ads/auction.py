"""An auction for the places of one answer: who wins each, and what it costs.

Everybody bids a value per thousand impressions, `1000 · bid · p · λ`: what the campaign would pay for a click
or a conversion, times its probability, times the multiplier of its pacer. The highest values win. In the
generalised second-price auction (GSP) a winner pays what it needed to keep its place: the next value below
it, or the floor; in the first-price auction its own value. Money is an integer of millionths of one currency.

Source:
    Edelman, Ostrovsky and Schwarz 2007, American Economic Review 97(1), "Internet advertising and the
    generalized second-price auction". With one place it is Vickrey's, in which bidding one's worth is best.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from marquee.errors import ConfigError
from marquee.store.campaigns.campaign import BidType


class PriceRule(StrEnum):
    """The price that a winner pays."""

    second = "second"  # the next value below, or the floor
    first = "first"  # its own value


@dataclass(frozen=True, slots=True)
class Offer:
    """The offer of one campaign for a place.

    Attributes:
        item_id: The creative that would be shown; of equal values the lower id wins.
        campaign_id: Who offers.
        bid_type: What is paid for.
        bid: The most that a billable event may cost, or a thousand impressions for CPM; millionths, above 0.
        probability: That an impression brings the billable event, in (0, 1]; 1 for CPM.
        multiplier: Of the pacer, in (0, 1].

    Raises:
        ConfigError: If a number is out of range.
    """

    item_id: str
    campaign_id: str
    bid_type: BidType
    bid: int
    probability: float = 1.0
    multiplier: float = 1.0

    def __post_init__(self) -> None:
        if self.bid <= 0:
            raise ConfigError(f"an offer needs a bid above 0, got {self.bid}")
        for name, number in (("probability", self.probability), ("multiplier", self.multiplier)):
            # Also false for NaN, which no comparison holds for.
            if not 0.0 < number <= 1.0:
                raise ConfigError(f"the {name} of an offer must be above 0 and at most 1, got {number}")

    @property
    def events_per_thousand(self) -> float:
        """How many billable events a thousand impressions are expected to bring; 1 for CPM."""
        return 1.0 if self.bid_type is BidType.cpm else 1000.0 * self.probability

    @property
    def value(self) -> int:
        """The worth of a thousand impressions now, millionths, rounded down: it never pays more."""
        return math.floor(self.bid * self.events_per_thousand * self.multiplier)


class Sold(NamedTuple):
    """One place that was won.

    Attributes:
        offer: Who won it.
        price: What a thousand impressions cost, millionths.
        charge: What one billable event costs, or a thousand impressions for CPM; millionths, at most the bid.
    """

    offer: Offer
    price: int
    charge: int


class Lost(NamedTuple):
    """An offer that got no place, and why."""

    offer: Offer
    reason: str


class Outcome(NamedTuple):
    """The result of an auction: the places from the first, and who got none."""

    sold: tuple[Sold, ...]
    lost: tuple[Lost, ...]


OUTBID, BELOW_FLOOR, SAME_CAMPAIGN = "outbid", "below_floor", "same_campaign"


def run_auction(
    offers: Sequence[Offer], n_places: int, floor: int = 0, rule: PriceRule = PriceRule.second
) -> Outcome:
    """Sells places.

    A campaign takes one place at most, with its best creative: it would otherwise raise its own price.

    Args:
        offers: One or more creatives per campaign.
        n_places: How many places there are, 0 or more.
        floor: What a thousand impressions must be worth, millionths.
        rule: What a winner pays.

    Raises:
        ConfigError: If `n_places` or `floor` is below 0.
    """
    if n_places < 0 or floor < 0:
        raise ConfigError(f"an auction needs places and a floor of 0 or more, got {n_places} and {floor}")
    valued = sorted(((-offer.value, offer.item_id, offer) for offer in offers), key=lambda one: one[:2])
    ranked: list[Offer] = []
    lost: list[Lost] = []
    present: set[str] = set()
    for negative_value, _, offer in valued:
        if offer.campaign_id in present:
            lost.append(Lost(offer, SAME_CAMPAIGN))
        elif -negative_value < floor or not negative_value:
            lost.append(Lost(offer, BELOW_FLOOR))
        else:
            present.add(offer.campaign_id)
            ranked.append(offer)
    lost += [Lost(offer, OUTBID) for offer in ranked[n_places:]]
    sold = []
    for place, offer in enumerate(ranked[:n_places]):
        below = ranked[place + 1].value if place + 1 < len(ranked) else floor
        price = offer.value if rule is PriceRule.first else below
        sold.append(Sold(offer, price, charge_of(offer, price)))
    return Outcome(tuple(sold), tuple(lost))


def charge_of(offer: Offer, price: int) -> int:
    """Returns the cost of one billable event where a thousand impressions cost `price`, rounded up.

    Rounded up: a click's price must bring at least the floor; never above the bid.
    """
    return min(offer.bid, math.ceil(price / offer.events_per_thousand))
