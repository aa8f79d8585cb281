"""Describes exposures by what was known before each: counts of earlier periods, and what its user was shown.

Counts are read as they stood at the beginning of a period and grow when it has ended, as those of a bundle
that is made anew once per period. What a user was shown is known up to the request.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import Float64Array, FloatArray, IndexArray
from marquee.core.histories import gather, window_positions
from marquee.core.ids import PADDING_INDEX
from marquee.data.shown.outcomes import NEVER, ShownItems
from marquee.features.exposures.counts import CountTable
from marquee.features.exposures.layout import CountLayout, Keys
from marquee.features.exposures.shown_before import Shown, ShownBefore, column_names, describe

SECONDS_PER_DAY = 86_400
PLACE_PRIOR = 20.0
_BLOCK_CELLS = 2_000_000


@dataclass(frozen=True)
class ItemArrays:
    """Arrays of the items, (n_items + 1) rows each; row 0 is padding.

    Attributes:
        directions: Item vectors of length 1 without their bias, (n_items + 1, dim) float32.
        slots: Rows of the item features, (n_items + 1, n_item_slots) int64.
    """

    directions: FloatArray
    slots: IndexArray


@dataclass(frozen=True)
class Described:
    """Exposures as a head reads them.

    Attributes:
        columns: (n, n_columns) float32.
        names: Of the columns.
        counts: After the last exposure.
        place_rates: Clicks per exposure of each place after the last exposure, (n_places,) float64.
        expected: Clicks that the place of each exposure alone would bring, as known before, (n,) float32.
    """

    columns: FloatArray
    names: tuple[str, ...]
    counts: CountTable
    place_rates: Float64Array
    expected: FloatArray


def describe_exposures(
    shown: ShownItems,
    place: IndexArray,
    keys: Keys,
    items: ItemArrays,
    layout: CountLayout,
    n_places: int,
    window: int,
    period_days: float = 1.0,
) -> Described:
    """Returns the exposures described by all that was known before each.

    Args:
        shown: The exposures.
        place: Of each, (n,).
        keys: By which each is counted.
        items: Of the catalog.
        layout: Of the counts.
        n_places: The unknown one included.
        window: Latest exposures of a user that are looked at.
        period_days: From one reading of the counts to the next.
    """
    counts, of_counts, expected, rates = _count(shown, place, keys, layout, n_places, period_days)
    of_users = _users(shown, expected, items, layout, window)
    widths = tuple(column.name for column in layout.item_columns)
    return Described(
        np.concatenate([of_counts, of_users], axis=1),
        (*layout.column_names, *column_names(widths)),
        counts,
        rates,
        expected,
    )


def _count(
    shown: ShownItems, place: IndexArray, keys: Keys, layout: CountLayout, n_places: int, period_days: float
) -> tuple[CountTable, FloatArray, FloatArray, Float64Array]:
    """Returns the counts in the end, and what they said before each exposure, period by period."""
    length = int(period_days * SECONDS_PER_DAY)
    origin = shown.timestamp.min() // length
    period, clicked_in, converted_in = (
        np.where(times == NEVER, NEVER, times // length - origin)
        for times in (shown.timestamp, shown.clicked_at, shown.converted_at)
    )
    counts = CountTable.empty(layout)
    columns = np.empty((len(shown), len(layout.column_names)), dtype=np.float32)
    expected = np.empty(len(shown), dtype=np.float32)
    came, seen = np.zeros(n_places), np.zeros(n_places)
    n_clicks = n_conversions = 0.0
    by_period, by_click, by_conversion = (_grouped(times) for times in (period, clicked_in, converted_in))
    for number in range(int(max(times.max() for times in (period, clicked_in, converted_in))) + 1):
        rows, clicked, converted = (
            group.get(number, _NONE) for group in (by_period, by_click, by_conversion)
        )
        rates = _rates(came, seen)
        columns[rows] = counts.read(keys.rows(rows))
        expected[rows] = rates[place[rows]]
        counts.age(period_days)
        # The rate of conversions per click; before the first one each click is to bring one in twenty.
        rate = (n_conversions + 1.0) / (n_clicks + 20.0)
        ones = np.ones(len(clicked))
        counts.add(keys.rows(rows), expected[rows].astype(np.float64), np.zeros(len(rows)), is_click=True)
        counts.add(keys.rows(clicked), np.zeros(len(clicked)), ones, is_click=True)
        counts.add(keys.rows(clicked), ones * rate, np.zeros(len(clicked)), is_click=False)
        counts.add(keys.rows(converted), np.zeros(len(converted)), np.ones(len(converted)), is_click=False)
        np.add.at(seen, place[rows], 1.0)
        np.add.at(came, place[clicked], 1.0)
        n_clicks, n_conversions = n_clicks + len(clicked), n_conversions + len(converted)
    return counts, columns, expected, _rates(came, seen)


_NONE: IndexArray = np.zeros(0, dtype=np.int64)


def _grouped(number: IndexArray) -> dict[int, IndexArray]:
    """Returns number → its rows."""
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order], prepend=np.iinfo(np.int64).min))
    return {int(number[rows[0]]): rows for rows in np.split(order, starts[1:]) if len(rows)}


def _rates(came: Float64Array, seen: Float64Array) -> Float64Array:
    """Returns the clicks per exposure of each place; of a place with few exposures near that of all."""
    mean = (came.sum() + 1.0) / (seen.sum() + 20.0)
    return np.asarray((came + PLACE_PRIOR * mean) / (seen + PLACE_PRIOR))


def _users(
    shown: ShownItems, expected: FloatArray, items: ItemArrays, layout: CountLayout, window: int
) -> FloatArray:
    """Returns the columns that rest on earlier exposures of the user, (n, n_columns) float32."""
    widths = tuple(column.n_columns for column in layout.item_columns)
    columns = np.zeros((len(shown), len(column_names(tuple(map(str, widths))))), dtype=np.float32)
    past = _Past.of(shown, expected)
    for block, rows, place in _blocks(shown.request, window):
        # (requests, most exposures of one); `rows` are exposures and `place` their column.
        candidates = np.zeros((int(block.max()) + 1, int(place.max()) + 1), dtype=np.int64)
        candidates[block, place] = shown.item[rows]
        first = np.zeros(len(candidates), dtype=np.int64)
        first[block] = rows
        before = past.before(shown.user[first], shown.timestamp[first], items, window)
        own = Shown(candidates, items.directions[candidates], items.slots[candidates])
        columns[rows] = describe(own, before, widths)[block, place]
    return columns


def _blocks(request: IndexArray, window: int) -> Iterator[tuple[IndexArray, IndexArray, IndexArray]]:
    """Yields blocks of requests: their numbers in the block, exposures, and columns of these."""
    order = np.argsort(request, kind="stable")
    starts = np.flatnonzero(np.diff(request[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    column = np.arange(len(order)) - np.repeat(starts, sizes)
    n_requests = max(1, _BLOCK_CELLS // (window * int(sizes.max(initial=1))))
    for first in range(0, len(starts), n_requests):
        last = min(first + n_requests, len(starts))
        rows = slice(starts[first], starts[last] if last < len(starts) else len(order))
        yield np.repeat(np.arange(last - first), sizes[first:last]), order[rows], column[rows]


@dataclass(frozen=True)
class _Past:
    """Exposures grouped by user, oldest first.

    Attributes:
        key: User and moment in one number, ascending.
        order: Exposure of each.
    """

    shown: ShownItems
    expected: FloatArray
    key: IndexArray
    order: IndexArray

    @classmethod
    def of(cls, shown: ShownItems, expected: FloatArray) -> "_Past":
        order = np.lexsort((shown.timestamp, shown.user))
        return cls(shown, expected, _key(shown.user, shown.timestamp)[order], order)

    def before(self, user: IndexArray, moment: IndexArray, items: ItemArrays, window: int) -> ShownBefore:
        """Returns the latest exposures of users before a moment; none for user 0."""
        starts, ends = (
            np.searchsorted(self.key, _key(user, np.zeros_like(moment))),
            np.searchsorted(self.key, _key(user, moment)),
        )
        positions = window_positions(np.where(user == PADDING_INDEX, ends, starts), ends, window)
        rows = gather(self.order + 1, positions).astype(np.int64) - 1  # -1 for padding
        is_there = rows >= 0
        item = np.where(is_there, self.shown.item[rows], PADDING_INDEX)
        reacted_at = self.shown.reacted_at[rows]
        came = is_there & (reacted_at != NEVER) & (reacted_at < moment[:, None])
        age = np.where(is_there, moment[:, None] - self.shown.timestamp[rows], 0) / SECONDS_PER_DAY
        return ShownBefore(
            items=item,
            expected=np.where(is_there, self.expected[rows], np.float32(0)),
            came=came.astype(np.float32),
            age_days=age.astype(np.float32),
            directions=items.directions[item],
            tokens=items.slots[item],
        )


def _key(user: IndexArray, moment: IndexArray) -> IndexArray:
    """Returns users and moments in one number that sorts by both."""
    # Moments of the reader lie before the year 10000, below 2³⁸.
    return np.asarray(user * (1 << 38) + moment)
