"""The creatives of campaigns as items of a bundle: which may be found, and whose each is."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from marquee.ads.campaigns.calendar import hour_of_week, hours_of
from marquee.ads.campaigns.changed import Changed
from marquee.ads.campaigns.eligible import EligibleCampaigns
from marquee.core.arrays import BoolArray, IndexArray
from marquee.core.ids import PADDING_INDEX
from marquee.decision.ads.bidding import Pairs
from marquee.decision.item_table import ItemTable
from marquee.store.campaigns.campaign import Creative

CATEGORY = "category"
"""The attribute of items that campaigns exclude by."""

_CAMPAIGN_BITS = 31


class _Rows(NamedTuple):
    """Creatives, (n_creatives,) each.

    Attributes:
        items: Of a table; 0 where it holds none.
        numbers: Of the campaigns.
        places: Of each among the creatives of its campaign.
        has_hours: Whether it may be shown in some hours alone.
    """

    items: IndexArray
    numbers: IndexArray
    places: IndexArray
    has_hours: BoolArray

    def at(self, kept: BoolArray | IndexArray) -> "_Rows":
        """Returns some of the rows."""
        return _Rows(self.items[kept], self.numbers[kept], self.places[kept], self.has_hours[kept])

    def sorted(self) -> "_Rows":
        """Returns the rows by item, and then by campaign."""
        # As one number: rows of which few are new are then sorted in a small part of the time.
        return self.at(np.argsort(self.items << _CAMPAIGN_BITS | self.numbers, kind="stable"))


class CreativeIndex:
    """All creatives of all campaigns over the items of a table. Several threads may ask.

    A hundred thousand take a tenth of a second: where few campaigns, or items, have changed, `after` and
    `over` look at these alone.

    Attributes:
        eligible: The campaigns, by number.
        n_unknown: Creatives whose item the table does not hold; they are not shown.

    Args:
        eligible: The campaigns.
        table: The items of a bundle and the live ones.
        rows: The creatives where they are known, in any order.
    """

    def __init__(self, eligible: EligibleCampaigns, table: ItemTable, rows: _Rows | None = None) -> None:
        self.eligible = eligible
        self._table = table
        rows = _rows_of(eligible, range(len(eligible.held)), table) if rows is None else rows
        self.n_unknown = int(np.count_nonzero(rows.items == PADDING_INDEX))
        # By item, so that the campaigns of one are found by a search.
        self._rows = rows.sorted()
        self._items, self._numbers = self._rows.items, self._rows.numbers
        self._n_items = table.n_own + table.n_added
        timed = np.flatnonzero(self._rows.has_hours).tolist()
        self._timed = [(row, hours_of(self._creative(row).hours)) for row in timed]

    def after(self, eligible: EligibleCampaigns) -> "CreativeIndex":
        """Returns the creatives of a set that succeeds this one, over the same table."""
        changed = Changed.since(self.eligible.held, eligible.held).numbers
        kept = self._rows.at(~np.isin(self._numbers, changed))
        joined = _joined(kept, _rows_of(eligible, changed, self._table))
        return CreativeIndex(eligible, self._table, joined)

    def over(self, table: ItemTable) -> "CreativeIndex | None":
        """Returns the creatives over a table of the same bundle with other live items; None over others."""
        if table.own.catalog.item_ids is not self._table.own.catalog.item_ids:
            return None
        is_own = (self._items != PADDING_INDEX) & (self._items <= table.n_own)
        others = self._rows.at(~is_own)
        named = [self._creative(row).item_id for row in np.flatnonzero(~is_own).tolist()]
        joined = _joined(self._rows.at(is_own), others._replace(items=table.encode(named)))
        return CreativeIndex(self.eligible, table, joined)

    def _creative(self, row: int) -> Creative:
        """Returns the creative of a row."""
        campaign = self.eligible.held[int(self._numbers[row])].campaign
        return campaign.creatives[int(self._rows.places[row])]

    def shown(self, campaigns: BoolArray, timestamp: int) -> BoolArray:
        """Returns which creatives may be shown, (n_creatives,) bool.

        Args:
            campaigns: Those that may be shown, (n_campaigns,) bool.
            timestamp: Now, seconds since 1970 UTC.
        """
        if not len(self._items):
            return np.zeros(0, dtype=bool)
        may: BoolArray = campaigns[self._numbers]
        for place, hours in self._timed:
            zone = self.eligible.held[int(self._numbers[place])].campaign.timezone
            may[place] &= hour_of_week(zone, timestamp) in hours
        return may

    def flags(self, may: BoolArray) -> BoolArray:
        """Returns which items some creatives are, (n_items + 1,) bool; padding never."""
        flags = np.zeros(self._n_items + 1, dtype=bool)
        flags[self._items[may]] = True
        flags[PADDING_INDEX] = False
        return flags

    def pairs(self, items: IndexArray, may: BoolArray) -> Pairs:
        """Returns which of some items may be shown for which campaigns.

        Args:
            items: Of the table, (n,).
            may: Creatives that may be shown: see `shown`.
        """
        first = np.searchsorted(self._items, items, side="left")
        n_each = np.searchsorted(self._items, items, side="right") - first
        candidates = np.repeat(np.arange(len(items)), n_each)
        # The places of an item's creatives stand behind each other: 0, 1, … from its first one on.
        within = np.arange(len(candidates)) - np.repeat(np.cumsum(n_each) - n_each, n_each)
        places = np.repeat(first, n_each) + within
        shown = may[places]
        return Pairs(candidates[shown], self._numbers[places[shown]])


def categories_of(values: Sequence[object]) -> list[frozenset[str]]:
    """Returns the categories of items from the values of their attribute: none, one or several."""
    return [
        frozenset(map(str, value))
        if isinstance(value, list | tuple)
        else frozenset(() if value is None else (str(value),))
        for value in values
    ]


def _rows_of(eligible: EligibleCampaigns, numbers: Iterable[int], table: ItemTable) -> _Rows:
    """Returns the creatives of some campaigns."""
    rows = [
        (number, place, creative)
        for number in numbers
        for place, creative in enumerate(eligible.held[number].campaign.creatives)
    ]
    return _Rows(
        table.encode([creative.item_id for _, _, creative in rows]),
        np.array([number for number, _, _ in rows], dtype=np.int64),
        np.array([place for _, place, _ in rows], dtype=np.int64),
        np.array([bool(creative.hours) for _, _, creative in rows], dtype=bool),
    )


def _joined(some: _Rows, others: _Rows) -> _Rows:
    """Returns the rows of both."""
    return _Rows(*(np.concatenate(both) for both in zip(some, others, strict=True)))
