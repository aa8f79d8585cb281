"""Fills the slots of one answer: an auction with tiers, a reserve for each place, and ads that stand apart.

```
tier      guaranteed campaigns first, then the auction, then what nobody pays for
reserve   the floor, or what the content is worth whose place is taken, whichever is more
apart     one ad per advertiser and per value of some attributes; what a campaign excludes
```

For each slot from the top the best offer that may still stand wins. In the second-price auction it pays the
value of the best offer of its tier that it kept from the place, or the reserve. With one slot and one tier it
is the auction of `marquee.ads.auction`, and bidding one's worth is best.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from marquee.ads.auction import Offer, PriceRule, charge_of
from marquee.ads.objective import Objective
from marquee.store.campaigns.campaign import BidType, Exclusions, Priority

TIERS = {priority: tier for tier, priority in enumerate(Priority)}
"""The order in which campaigns are asked."""

_PER_MILLE = 1_000

THOUSAND = 1_000.0 * 1_000_000.0
"""Millionths of a thousand impressions that are worth one unit of the currency each."""

SLACK = 1e-6
"""Of a millionth: what floats add to a whole reserve on the way."""


class Loss(StrEnum):
    """The reasons for which an offer gets no slot."""

    outbid = "outbid"
    below_floor = "below_floor"
    below_content = "below_content"
    same_campaign = "same_campaign"
    not_apart = "not_apart"


@dataclass(frozen=True, slots=True)
class Entry:
    """An offer with what decides where it may stand.

    Attributes:
        offer: What is bid; None for a campaign that pays nothing.
        item_id: The creative.
        campaign_id: Who offers.
        advertiser: On whose behalf.
        priority: The tier.
        worth: What an impression is worth without its price, in units of the currency (see `Objective`).
        values: By which no two ads of an answer may be equal; a value that is not known is None.
        exclusions: Beside what it may not stand.
        categories: Of the item, for what others exclude.
    """

    offer: Offer | None
    item_id: str
    campaign_id: str
    advertiser: str
    priority: Priority = Priority.auction
    worth: float = 0.0
    values: tuple[object, ...] = ()
    exclusions: Exclusions = field(default_factory=Exclusions)
    categories: frozenset[str] = frozenset()

    @property
    def value(self) -> int:
        """The worth of a thousand impressions to the campaign, millionths."""
        return 0 if self.offer is None else self.offer.value


class Filled(NamedTuple):
    """A slot that was won.

    Attributes:
        place: The slot.
        entry: Who won it.
        price: What a thousand impressions cost, millionths.
        charge: What one billable event costs, a thousand impressions for CPM; millionths, at most the bid.
        reserve: The least that was asked for, of a thousand impressions.
        rival: The best offer of its tier that it kept from the place, None where there was none.
    """

    place: int
    entry: Entry
    price: int
    charge: int
    reserve: int
    rival: Entry | None = None

    @property
    def due(self) -> int:
        """The price of the event that is paid for, millionths; for CPM one impression, rounded up."""
        offer = self.entry.offer
        # A bid for CPM is for a thousand impressions, and one of them is paid for.
        is_cpm = offer is not None and offer.bid_type is BidType.cpm
        return -(-self.charge // _PER_MILLE) if is_cpm else self.charge


class Filling(NamedTuple):
    """The outcome of an auction.

    Attributes:
        filled: The slots that were won, from the top; the others go to content.
        lost: Number of offers that got none, by reason.
    """

    filled: tuple[Filled, ...]
    lost: Counter[Loss]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms of all slots of an answer.

    Attributes:
        floor: What a thousand impressions must bring, millionths.
        rule: What a winner pays.
        content_worth: Worth of the content of each slot, by slot; empty where nothing is compared.
        objective: By which money is compared with that.
        categories: Of the content around, which a campaign may exclude.
    """

    floor: int = 0
    rule: PriceRule = PriceRule.second
    content_worth: Sequence[float] = ()
    objective: Objective = field(default_factory=Objective)
    categories: frozenset[str] = frozenset()

    def reserve(self, slot: int, entry: Entry) -> int:
        """Returns the least that a thousand impressions of an ad in a slot must bring, millionths."""
        # What pays nothing owes no floor, but the content is displaced all the same.
        floor = 0 if entry.offer is None else self.floor
        # What is guaranteed was sold before, and no content was promised its place.
        if entry.priority is Priority.guaranteed or not self.content_worth:
            return floor
        least = self.objective.least_revenue(self.content_worth[slot], entry.worth)
        return max(floor, math.ceil(least * THOUSAND - SLACK))


def ranked(entries: Sequence[Entry]) -> list[Entry]:
    """Returns entries by tier and value, the best first."""
    return sorted(entries, key=lambda one: (TIERS[one.priority], -one.value, one.item_id, one.campaign_id))


def fill_slots(entries: Sequence[Entry], places: Sequence[int], terms: Terms) -> Filling:
    """Sells slots.

    Args:
        entries: One or more per campaign, in any order: of equal values the lower item id wins.
        places: The slots, ascending.
        terms: Of all of them.
    """
    entries = ranked(entries)
    filled: list[Filled] = []
    waiting = list(range(len(entries)))
    for slot, place in enumerate(places):
        standing = [one.entry for one in filled]
        winner = next((n for n in waiting if _why_not(entries[n], standing, terms, slot) is None), None)
        if winner is None:
            continue
        waiting.remove(winner)
        entry = entries[winner]
        rival = _rival((entries[number] for number in waiting), standing, entry, terms, slot)
        price, reserve = _price(entry, rival, terms, slot)
        charge = 0 if entry.offer is None else charge_of(entry.offer, price)
        filled.append(Filled(place, entry, price, charge, reserve, rival))
    standing = [one.entry for one in filled]
    last = max(0, len(places) - 1)
    reasons = [_why_not(entries[number], standing, terms, last) for number in waiting]
    # Nothing speaks against it now that all is sold: others were worth more.
    return Filling(tuple(filled), Counter(reason or Loss.outbid for reason in reasons))


def _rival(
    waiting: Iterable[Entry], standing: Sequence[Entry], winner: Entry, terms: Terms, slot: int
) -> Entry | None:
    """Returns the best offer of its tier that a winner kept from a slot, None if there is none."""
    for other in waiting:
        # An offer of a higher tier may stand before it that may not stand in the answer.
        if TIERS[other.priority] > TIERS[winner.priority]:
            break
        # Those of its own campaign do not raise its price.
        is_rival = other.priority is winner.priority and other.campaign_id != winner.campaign_id
        if is_rival and _why_not(other, standing, terms, slot) is None:
            return other
    return None


def _price(winner: Entry, rival: Entry | None, terms: Terms, slot: int) -> tuple[int, int]:
    """Returns the price of a thousand impressions in a slot for its winner, and its reserve; millionths."""
    reserve = min(terms.reserve(slot, winner), winner.value)
    if terms.rule is PriceRule.first:
        return winner.value, reserve
    if rival is None:
        return reserve, reserve
    return max(reserve, min(rival.value, winner.value)), reserve


def _why_not(entry: Entry, standing: Sequence[Entry], terms: Terms, slot: int) -> Loss | None:
    """Returns why an entry may not stand in a slot beside what stands already, None if it may."""
    # Loops, no generators: this is asked hundreds of times for one answer.
    for one in standing:
        if entry.campaign_id == one.campaign_id:
            return Loss.same_campaign
    for one in standing:
        if collide(entry, one):
            return Loss.not_apart
    if excludes_some(entry, terms.categories):
        return Loss.not_apart
    value = entry.value
    if entry.offer is not None and value < terms.floor:
        return Loss.below_floor
    return Loss.below_content if value < terms.reserve(slot, entry) else None


def collide(one: Entry, other: Entry) -> bool:
    """Returns whether two ads may not stand in one answer."""
    # One item may be an ad of two campaigns.
    if one.advertiser == other.advertiser or one.item_id == other.item_id:
        return True
    # Asked of every offer for every slot: most have no values and exclude nobody.
    same = bool(one.values) and any(
        value is not None and value == its for value, its in zip(one.values, other.values, strict=True)
    )
    return same or _excludes(one, other) or _excludes(other, one)


def _excludes(one: Entry, other: Entry) -> bool:
    """Returns whether a campaign excludes the advertiser or a category of another."""
    return other.advertiser in one.exclusions.advertisers or excludes_some(one, other.categories)


def excludes_some(entry: Entry, categories: Collection[str]) -> bool:
    """Returns whether a campaign excludes one of some categories."""
    excluded = entry.exclusions.categories
    return bool(excluded) and any(one in categories for one in excluded)
