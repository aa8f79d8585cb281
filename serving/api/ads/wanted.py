"""The ads that a request may be answered with: of campaigns that may be shown, over a table of items."""

from weakref import WeakKeyDictionary

from marquee.ads.campaigns.changed import succeeds
from marquee.ads.campaigns.columns import CampaignColumns
from marquee.core.arrays import BoolArray, IndexArray
from marquee.decision.ads.bidding import Pairs
from marquee.decision.ads.creatives import CreativeIndex
from marquee.decision.item_table import ItemTable
from marquee.store.campaigns.campaign import CampaignSet


class Indexes:
    """The campaigns of one set, and their creatives over each table of items that is asked for.

    Attributes:
        columns: The campaigns.

    Args:
        campaigns: The set.
        before: Those of an earlier set, which it must succeed.
    """

    def __init__(self, campaigns: CampaignSet, before: "Indexes | None" = None) -> None:
        self.columns: CampaignColumns = CampaignColumns(campaigns, before.columns if before else None)
        self._by_table: WeakKeyDictionary[ItemTable, CreativeIndex] = WeakKeyDictionary()

    def of(self, table: ItemTable) -> CreativeIndex:
        """Returns the creatives over a table."""
        found = self._by_table.get(table)
        if found is None:
            # Live items come by the minute, and answers wait for this: all but these stay as they are.
            known = (other for one in list(self._by_table.values()) if (other := one.over(table)))
            found = next(known, None) or CreativeIndex(self.columns.eligible, table)
            self._by_table[table] = found
        return found

    def after(self, campaigns: CampaignSet) -> "Indexes":
        """Returns those of another set of campaigns, over the same tables."""
        if not succeeds(self.columns.eligible.held, tuple(campaigns.held.values())):
            other = Indexes(campaigns)
            for table in list(self._by_table):
                other.of(table)
            return other
        other = Indexes(campaigns, self)
        for table, index in list(self._by_table.items()):
            other._by_table[table] = index.after(other.columns.eligible)
        return other


class Wanted:
    """The ads that one request may be answered with, by the items of whichever release answers.

    Attributes:
        columns: The campaigns whose ads these are.

    Args:
        indexes: The creatives.
        campaigns: Those that may be shown, (n_campaigns,).
        timestamp: Now, seconds since 1970 UTC.
    """

    def __init__(self, indexes: Indexes, campaigns: BoolArray, timestamp: int) -> None:
        self.columns = indexes.columns
        self._indexes = indexes
        self._campaigns = campaigns
        self._timestamp = timestamp
        self._shown: WeakKeyDictionary[ItemTable, BoolArray] = WeakKeyDictionary()

    def __call__(self, table: ItemTable) -> BoolArray:
        """Returns which items may be shown as ads."""
        return self._indexes.of(table).flags(self._may(table))

    def pairs(self, table: ItemTable, items: IndexArray) -> Pairs:
        """Returns which of some items may be shown for which campaigns."""
        return self._indexes.of(table).pairs(items, self._may(table))

    def _may(self, table: ItemTable) -> BoolArray:
        """Returns which creatives may be shown; once for a table, for both who search and who bid ask."""
        found = self._shown.get(table)
        if found is None:
            found = self._shown[table] = self._indexes.of(table).shown(self._campaigns, self._timestamp)
        return found
