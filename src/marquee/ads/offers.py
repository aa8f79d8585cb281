"""The auction of one answer over columns: hundreds of offers, and objects for the best few alone.

Comes to the same as `marquee.ads.filling.fill_slots` over all offers. They are put in order as arrays, and
the slots are sold among the first of them; more are looked at only where these do not decide every slot and
its price. Those that lose are counted by reason as arrays.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from marquee.ads.campaigns.columns import is_choosy
from marquee.ads.filling import (
    SLACK,
    THOUSAND,
    TIERS,
    Entry,
    Filled,
    Filling,
    Loss,
    Terms,
    collide,
    excludes_some,
    fill_slots,
)
from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.store.campaigns.campaign import Priority

FIRST_LOOK = 12
"""So many of the best offers are looked at first; where they decide the auction, its record needs no more."""

_MORE = 4
_GUARANTEED = TIERS[Priority.guaranteed]
_CODES = {reason: code for code, reason in enumerate(Loss)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OfferColumns:
    """The offers of one answer, one row per campaign, (n,) each.

    Attributes:
        tier: Code of the priority.
        value: Worth of a thousand impressions to the campaign, millionths; 0 where nothing is paid.
        worth: Of an impression without its price (see `Objective`).
        advertiser: Code of the advertiser.
        item: Number of the creative's item.
        is_paid: Whether anything is bid.
        is_choosy: Whether the campaign may not stand beside some advertisers or categories.
        has_values: Whether there are values by which no two ads may be equal.
        entry: Returns the offer of a row.
    """

    tier: IndexArray
    value: IndexArray
    worth: Float64Array
    advertiser: IndexArray
    item: IndexArray
    is_paid: BoolArray
    is_choosy: BoolArray
    has_values: bool
    entry: Callable[[int], Entry]


class Auctioned(NamedTuple):
    """The outcome of an auction over columns.

    Attributes:
        filling: The slots that were won, and the number of all others by reason.
        entries: The best offers, which come to the same outcome by themselves.
        rows: The row of each slot that was won, from the top.
    """

    filling: Filling
    entries: list[Entry]
    rows: list[int]


def auction(offers: OfferColumns, places: Sequence[int], terms: Terms) -> Auctioned:
    """Sells slots.

    Args:
        offers: Of one answer.
        places: The slots, ascending.
        terms: Of all of them.
    """
    order = _ranked(offers, _may_stand(offers, len(places), terms))
    n_looked = FIRST_LOOK
    while True:
        rows = _best(offers, order, n_looked)
        by_row = {row: offers.entry(row) for row in rows}
        found = fill_slots(list(by_row.values()), places, terms)
        if len(rows) == len(order) or _is_decided(found.filled, len(places), by_row.values()):
            break
        n_looked *= _MORE
    row_of = {id(entry): row for row, entry in by_row.items()}
    won = [row_of[id(one.entry)] for one in found.filled]
    lost = _lost(offers, won, [one.entry for one in found.filled], len(places), terms)
    return Auctioned(Filling(found.filled, lost), list(by_row.values()), won)


def _may_stand(offers: OfferColumns, n_places: int, terms: Terms) -> BoolArray:
    """Returns which offers reach the least that any slot asks for, (n,) bool."""
    if not n_places:
        return np.zeros(len(offers.value), dtype=bool)
    worths = terms.content_worth[:n_places]
    return offers.value >= _reserves(offers, min(worths) if worths else None, terms)


def _reserves(offers: OfferColumns, content: float | None, terms: Terms) -> Float64Array:
    """Returns the reserve of each offer in a slot: `Terms.reserve` as an array, (n,) float64.

    Args:
        offers: Of one answer.
        content: Worth of the content of the slot; None where nothing is compared.
        terms: Of all slots.
    """
    floors: Float64Array = np.where(offers.is_paid, float(terms.floor), 0.0)
    if content is None:
        return floors
    least = np.maximum(0.0, (content - offers.worth) / terms.objective.revenue)
    # No integers: what a place is worth may be more than they hold, and then nobody reaches it.
    compared = np.maximum(floors, np.ceil(least * THOUSAND - SLACK))
    return np.where(offers.tier == _GUARANTEED, floors, compared)


def _ranked(offers: OfferColumns, may: BoolArray) -> IndexArray:
    """Returns the rows of offers that may stand, the best first; of equal ones in any order."""
    rows = np.flatnonzero(may)
    order: IndexArray = rows[np.lexsort((-offers.value[rows], offers.tier[rows]))]
    return order


def _best(offers: OfferColumns, order: IndexArray, n: int) -> list[int]:
    """Returns the n best rows and all that are equal to the last of them: names decide among these."""
    if n >= len(order):
        return list(order.tolist())
    last, behind = order[n - 1], order[n:]
    is_equal = (offers.value[behind] == offers.value[last]) & (offers.tier[behind] == offers.tier[last])
    return list(order[: n + int(np.count_nonzero(is_equal))].tolist())


def _is_decided(filled: Sequence[Filled], n_places: int, looked: Iterable[Entry]) -> bool:
    """Returns whether offers that were not looked at change neither a winner nor a price."""
    # The lowest tier that was looked at: of all tiers above every offer was.
    lowest = max(TIERS[one.priority] for one in looked)
    return len(filled) == n_places and all(
        one.rival is not None or TIERS[one.entry.priority] < lowest for one in filled
    )


def _lost(
    offers: OfferColumns, won: Sequence[int], standing: Sequence[Entry], n_places: int, terms: Terms
) -> Counter[Loss]:
    """Returns the number of offers without a slot, by reason."""
    rest = np.ones(len(offers.value), dtype=bool)
    rest[list(won)] = False
    apart = _collide(offers, rest, won, standing, terms)
    content = terms.content_worth[max(0, n_places - 1)] if terms.content_worth else None
    below_floor = offers.is_paid & (offers.value < terms.floor)
    below_content = offers.value < _reserves(offers, content, terms)
    reasons = np.select(
        [apart, below_floor, below_content],
        [_CODES[Loss.not_apart], _CODES[Loss.below_floor], _CODES[Loss.below_content]],
        _CODES[Loss.outbid],
    )
    numbers = np.bincount(reasons[rest], minlength=len(_CODES)).tolist()
    return Counter({reason: numbers[code] for reason, code in _CODES.items() if numbers[code]})


def _collide(
    offers: OfferColumns, rest: BoolArray, won: Sequence[int], standing: Sequence[Entry], terms: Terms
) -> BoolArray:
    """Returns which offers may not stand beside the winners and the content around, (n,) bool."""
    winners = np.array(won, dtype=np.int64)
    apart = np.isin(offers.advertiser, offers.advertiser[winners])
    apart |= np.isin(offers.item, offers.item[winners])
    # Values, and what campaigns exclude, are asked one by one: most surfaces and campaigns have none.
    asks_all = bool(standing) and (offers.has_values or any(is_choosy(one.exclusions) for one in standing))
    asked = rest & ~apart if asks_all else rest & ~apart & offers.is_choosy
    for row in np.flatnonzero(asked).tolist():
        entry = offers.entry(row)
        apart[row] = excludes_some(entry, terms.categories) or any(collide(entry, one) for one in standing)
    return apart
