"""The creatives of campaigns as items of a bundle: which may be found, and whose each is."""

from collections.abc import Sequence

import numpy as np

from marquee.ads.campaigns.calendar import hour_of_week, hours_of
from marquee.ads.campaigns.eligible import EligibleCampaigns
from marquee.core.arrays import BoolArray, IndexArray
from marquee.core.ids import PADDING_INDEX
from marquee.decision.ads.bidding import Pairs
from marquee.decision.item_table import ItemTable

CATEGORY = "category"
"""The attribute of items that campaigns exclude by."""


class CreativeIndex:
    """All creatives of all campaigns over the items of a table. Several threads may ask.

    Attributes:
        eligible: The campaigns, by number.
        n_unknown: Creatives whose item the table does not hold; they are not shown.

    Args:
        eligible: The campaigns.
        table: The items of a bundle and the live ones.
    """

    def __init__(self, eligible: EligibleCampaigns, table: ItemTable) -> None:
        self.eligible = eligible
        rows = [
            (number, creative)
            for number, held in enumerate(eligible.held)
            for creative in held.campaign.creatives
        ]
        items = table.encode([creative.item_id for _, creative in rows])
        self.n_unknown = int(np.count_nonzero(items == PADDING_INDEX))
        # By item, so that the campaigns of one are found by a search.
        order = np.argsort(items, kind="stable")
        self._items = items[order]
        self._numbers: IndexArray = np.array([rows[row][0] for row in order.tolist()], dtype=np.int64)
        hours = [(place, rows[row][1].hours) for place, row in enumerate(order.tolist())]
        self._timed = [(place, hours_of(ranges)) for place, ranges in hours if ranges]
        self._n_items = table.n_own + table.n_added

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
