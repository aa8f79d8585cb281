"""An auction as its decision keeps it, and the auction again from that.

Kept are the offers that could win, the best first, and how many others lost for which reason: with them the
slots go to the same ads at the same prices.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from marquee.ads.auction import Offer, PriceRule
from marquee.ads.filling import Entry, Filling, Terms, fill_slots, ranked
from marquee.ads.objective import Objective
from marquee.store.campaigns.campaign import BidType, Exclusions, Priority

_TOLD = "told"


def trace_of(
    entries: Sequence[Entry], places: Sequence[int], terms: Terms, filling: Filling
) -> dict[str, Any]:
    """Returns an auction as JSON can hold it.

    Args:
        entries: The best offers, which come to the outcome by themselves (see `marquee.ads.offers`).
        places: The slots.
        terms: Of all of them.
        filling: The outcome.
    """
    return {
        "places": list(places),
        "floor": terms.floor,
        "rule": terms.rule.value,
        "content_worth": list(terms.content_worth),
        "objective": msgspec.to_builtins(terms.objective),
        "categories": sorted(terms.categories),
        "offers": [_row(one) for one in ranked(entries)],
        "lost": {reason.value: number for reason, number in filling.lost.items()},
    }


def told_of(ads: Iterable[tuple[str, str, Sequence[str]]]) -> dict[str, Any]:
    """Returns who paid for each ad that was shown, and on what its choice rests, as JSON can hold it.

    A campaign may be changed later, and what was told beside its ads must still be known.

    Args:
        ads: Item, payer and main parameters of each.
    """
    return {_TOLD: [[item_id, payer, list(parameters)] for item_id, payer, parameters in ads]}


def told(trace: Mapping[str, Any]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Returns payer and main parameters of each ad that was shown, by item, from a trace."""
    return {item_id: (payer, tuple(parameters)) for item_id, payer, parameters in trace[_TOLD]}


def replayed(trace: Mapping[str, Any]) -> Filling:
    """Returns the outcome of an auction again, from its trace."""
    return fill_slots(entries_of(trace), trace["places"], terms_of(trace))


def entries_of(trace: Mapping[str, Any]) -> list[Entry]:
    """Returns the offers of an auction from its trace, the best first."""
    return [_entry(row) for row in trace["offers"]]


def terms_of(trace: Mapping[str, Any]) -> Terms:
    """Returns the terms of an auction from its trace; what it does not say is as nobody had said it."""
    return Terms(
        floor=trace["floor"],
        rule=PriceRule(trace["rule"]),
        content_worth=tuple(trace.get("content_worth", ())),
        objective=Objective(**trace.get("objective", {})),
        categories=frozenset(trace.get("categories", ())),
    )


def _row(entry: Entry) -> list[Any]:
    """Returns an offer as a row: the names of its fields are not repeated for each."""
    offer = entry.offer
    bid = None if offer is None else [offer.bid_type.value, offer.bid, offer.probability, offer.multiplier]
    excluded = None if entry.exclusions == Exclusions() else msgspec.to_builtins(entry.exclusions)
    return [
        entry.item_id,
        entry.campaign_id,
        entry.advertiser,
        entry.priority.value,
        bid,
        entry.worth,
        list(entry.values),
        sorted(entry.categories),
        excluded,
    ]


def _entry(row: Sequence[Any]) -> Entry:
    """Returns an offer from its row."""
    item_id, campaign_id, advertiser, priority, bid, worth, values, categories, excluded = row
    offer = None if bid is None else Offer(item_id, campaign_id, BidType(bid[0]), *bid[1:])
    exclusions = Exclusions() if excluded is None else msgspec.convert(excluded, Exclusions)
    return Entry(
        offer,
        item_id,
        campaign_id,
        advertiser,
        Priority(priority),
        worth,
        tuple(values),
        exclusions,
        frozenset(categories),
    )
