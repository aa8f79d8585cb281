"""Which items could have been shown at the moment that each query was asked.

Decides how a window of time becomes a mask over scores and over targets, in memory that does not grow with
the number of queries. Leaves to others where the windows come from (see `catalog`), and what becomes of a
target that could not be shown (see `evaluation`).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.catalog import ALWAYS_FROM, ALWAYS_UNTIL
from marquee.errors import ShapeError


@dataclass(frozen=True, eq=False)
class Availability:
    """Windows of items and moments of queries.

    Attributes:
        available_from: First second in which each item may be shown, (n_items + 1,) int64.
        available_until: First second in which it may no longer be shown, not before the first.
        timestamp: When each query is asked, (n_queries,) int64.

    Raises:
        ShapeError: If the windows' ends are not of the same items.

    Example:
        >>> available = Availability(np.array([0, 0, 5]), np.array([9, 5, 9]), timestamp=np.array([4, 5]))
        >>> scores = np.array([[0, 1, 2], [0, 1, 2]], dtype=np.float32)
        >>> available.mask_scores(scores, queries=np.array([0, 1]))
        >>> scores.tolist()
        [[0.0, 1.0, -inf], [0.0, -inf, 2.0]]
    """

    available_from: IndexArray
    available_until: IndexArray
    timestamp: IndexArray

    def __post_init__(self) -> None:
        if self.available_from.shape != self.available_until.shape:
            raise ShapeError(
                f"available_until must have shape {self.available_from.shape} as available_from has, got "
                f"{self.available_until.shape}"
            )

    def __len__(self) -> int:
        return len(self.timestamp)

    def rows(self, queries: IndexArray) -> "Availability":
        """Returns the windows beside the moments of some queries, (n,) int64."""
        return Availability(self.available_from, self.available_until, self.timestamp[queries])

    @property
    def n_items(self) -> int:
        """Number of items, without padding."""
        return len(self.available_from) - 1

    @cached_property
    def n_unavailable(self) -> IndexArray:
        """Number of items that could not be shown to each query, (n_queries,) int64."""
        # Counted by bisection: flags of all queries and items need not fit into memory.
        n_to_come = len(self._openings.items) - self._openings.n_passed(self.timestamp)
        return np.asarray(n_to_come + self._closings.n_passed(self.timestamp))

    def allows(self, query: IndexArray, item: IndexArray) -> BoolArray:
        """Returns whether each item could be shown to the query beside it, (n,) bool."""
        moment = self.timestamp[query]
        # The end is not included: of two windows that meet, only one holds in a second.
        return np.asarray((self.available_from[item] <= moment) & (moment < self.available_until[item]))

    def mask_scores(self, scores: FloatArray, queries: IndexArray) -> None:
        """Sets the scores of items that could not be shown to -inf, in place.

        The queries are taken in order of time, and one row of limits is carried from each to the next: an
        item is touched once per opening or closing in between, not once per query.

        Args:
            scores: (rows, n_items + 1) float32; changed.
            queries: The query of each row, (rows,) int64.
        """
        moments = self.timestamp[queries]
        # Begun at the earliest row's moment: what opened and closed before it is set once, not per row.
        n_opened, n_closed = self._openings.n_passed(moments), self._closings.n_passed(moments)
        opened, closed = n_opened.min(initial=self.n_items), n_closed.min(initial=self.n_items)
        limits = np.full(scores.shape[1], np.inf, dtype=np.float32)  # (n_items + 1,)
        limits[self._openings.items[opened:]] = -np.inf
        limits[self._closings.items[:closed]] = -np.inf
        for row in np.argsort(moments, kind="stable").tolist():
            limits[self._openings.items[opened : n_opened[row]]] = np.inf
            # After the openings: an item that came and went between two rows is gone.
            limits[self._closings.items[closed : n_closed[row]]] = -np.inf
            # The next row begins where this one ends, which holds only because rows come by time.
            opened, closed = n_opened[row], n_closed[row]
            # A limit of +inf leaves a score as it is, one of -inf takes the item away.
            np.minimum(scores[row], limits, out=scores[row])

    @cached_property
    def _openings(self) -> "_Changes":
        """Items that were not always there, as they come."""
        return _Changes.of(self.available_from, self.available_from > ALWAYS_FROM)

    @cached_property
    def _closings(self) -> "_Changes":
        """Items that are not there for ever, as they go."""
        return _Changes.of(self.available_until, self.available_until < ALWAYS_UNTIL)


@dataclass(frozen=True, slots=True)
class _Changes:
    """Items in the order of a time of theirs.

    Attributes:
        items: item_index, (n_changes,) int64.
        times: Ascending, (n_changes,) int64.
    """

    items: IndexArray
    times: IndexArray

    @classmethod
    def of(cls, times: IndexArray, changes: BoolArray) -> "_Changes":
        """Returns the items that change, (n_items + 1,) bool, by `times`."""
        items = np.flatnonzero(changes)
        items = items[np.argsort(times[items], kind="stable")]
        return cls(items, times[items])

    def n_passed(self, moments: IndexArray) -> IndexArray:
        """Returns how many changes lie before or at each moment, (n,) int64."""
        # Right: a change holds from its own second on, as `allows` has it.
        return np.searchsorted(self.times, moments, side="right")
