"""A list of items for each of many queries, in two flat arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, IndexArray
from marquee.core.histories import Interactions
from marquee.core.ids import PADDING_INDEX
from marquee.errors import ShapeError


@dataclass(frozen=True, slots=True)
class ItemLists:
    """A list of items per query, in one flat array: targets, or exclusions.

    Attributes:
        offsets: Items of query q are `offsets[q]:offsets[q + 1]`, (n_queries + 1,) int64.
        item_index: (n,) int64; 0 for an item outside the catalog.

    Example:
        >>> lists = ItemLists.of([[3, 1], [], [2]])
        >>> lists.sizes.tolist(), lists.query_index.tolist()
        ([2, 0, 1], [0, 0, 2])
    """

    offsets: IndexArray
    item_index: IndexArray

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> "ItemLists":
        """Returns the lists of items as they stand in `lists`, one per query."""
        offsets = np.cumsum([0, *(len(items) for items in lists)], dtype=np.int64)
        # With the type given, as an array of nothing would be float64.
        return cls(offsets, np.array([item for items in lists for item in items], dtype=np.int64))

    @classmethod
    def of_users(cls, interactions: Interactions, user_index: IndexArray) -> "ItemLists":
        """Returns the items of each query's user, in time order; the unknown user (0) has none.

        Args:
            interactions: Events of all users.
            user_index: User of each query, (n_queries,) int64.
        """
        starts = interactions.offsets[user_index]
        # The range of user 0 holds events of many people: nobody may be judged by them.
        sizes = np.where(user_index == PADDING_INDEX, 0, interactions.offsets[user_index + 1] - starts)
        offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        # Each entry's place in the result plus the shift of its query: all slices at once, without a loop.
        positions = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)
        return cls(offsets, interactions.item_index[positions].astype(np.int64))

    @property
    def sizes(self) -> IndexArray:
        """Number of items of each query, (n_queries,) int64."""
        return np.diff(self.offsets)

    @property
    def query_index(self) -> IndexArray:
        """The query of each entry, (n,) int64."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, keep: BoolArray) -> "ItemLists":
        """Returns the entries where `keep`, (n,) bool, is True; queries unchanged."""
        counts = np.bincount(self.query_index[keep], minlength=len(self))
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        return ItemLists(offsets, self.item_index[keep])

    def rows(self, queries: IndexArray) -> "ItemLists":
        """Returns the lists of some queries, in the order of `queries`, (n,) int64.

        Example:
            >>> ItemLists.of([[3, 1], [], [2]]).rows(np.array([2, 0])).item_index.tolist()
            [2, 3, 1]
        """
        starts, sizes = self.offsets[queries], self.sizes[queries]
        offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        positions = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)
        return ItemLists(offsets, self.item_index[positions])

    def contains(self, items: IndexArray) -> BoolArray:
        """Returns whether each query's list holds each of its items, (n_queries, k) bool.

        Args:
            items: Item indices per query, (n_queries, k) int64; 0 is in no list.

        Example:
            >>> ItemLists.of([[3, 1], [2]]).contains(np.array([[1, 2], [2, 0]])).tolist()
            [[True, False], [True, False]]
        """
        if len(items) != len(self):
            raise ShapeError(f"items must have one row per query ({len(self)}), got {len(items)}")
        return self.holds(np.arange(len(self))[:, None], items)

    def holds(self, query: IndexArray, item: IndexArray) -> BoolArray:
        """Returns whether the list of each query holds the item beside it; the two are broadcast.

        Example:
            >>> ItemLists.of([[3, 1], [2]]).holds(np.array([0, 1]), np.array([1, 1])).tolist()
            [True, False]
        """
        # One number for each pair of query and item: one bisection then serves all queries.
        stride = 1 + max(int(item.max(initial=0)), int(self.item_index.max(initial=0)))
        entries = np.sort(self.query_index * stride + self.item_index)
        wanted = query * stride + item
        # Two bisections in place of a comparison: a pair may lie past the last entry.
        found = np.searchsorted(entries, wanted, side="right") > np.searchsorted(entries, wanted)
        # All items outside the catalog have index 0: that two are equal proves nothing.
        return np.asarray(found & (item != PADDING_INDEX))
