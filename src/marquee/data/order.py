"""Finds whether places in lists say anything, where data have no time.

A list may stand in the order in which things happened, sorted by a column, or in none. Pairs of items that
several users have tell these apart: sorted lists always hold them in one order, shuffled ones in either
equally often, and what happened lies between. Names of items do not matter. Does not sort anything.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.arrays import IndexArray

PART = "split"
N_ITEMS = 500  # the most frequent ones, whose pairs are counted
REACH = 60  # places between the two of a pair, at most
N_SHUFFLES = 5  # what chance makes of the same lists
MIN_REPEATED = 200  # repeated pairs, below which nothing can be told
SORTED = 0.999
N_SPREADS = 6.0  # between an order and chance
NUMBERED = 0.7  # share of new ids that are the highest so far
SMALLEST_GAP = 0.005  # from a half: below it, places say too little to be read


class Order(StrEnum):
    """Meaning of places in lists without time: the order of events, nothing, or to be found out."""

    events = "events"
    none = "none"
    auto = "auto"


class OrderMark(StrEnum):
    """The kind of lists that was found."""

    is_sorted = "sorted"
    shuffled = "shuffled"
    moving = "moving"
    unknown = "unknown"


@dataclass(frozen=True)
class FoundOrder:
    """The finding on the places of items in lists.

    Attributes:
        mark: What was found.
        agreement: Share of repeated pairs of items that keep their order; NaN where there are none.
        n_repeated: How many repeated pairs there are.
        numbered: Whether the ids of items count up as they first appear: the lists then stand as they stood
            when ids were given.
    """

    mark: OrderMark
    agreement: float
    n_repeated: int
    numbered: bool

    @property
    def order(self) -> Order:
        """Whether places may be read."""
        return Order.events if self.mark is OrderMark.moving else Order.none

    @property
    def line(self) -> str:
        """The finding, in words."""
        share = f"{self.agreement:.1%} of {self.n_repeated:,} repeated pairs of items keep their order"
        said = {
            OrderMark.is_sorted: f"none: lists are sorted, {share}",
            OrderMark.shuffled: f"none: lists are shuffled, {share} where chance makes 50 %",
            OrderMark.moving: f"that of events: {share}, where sorted lists make 100 % and chance 50 %",
            OrderMark.unknown: f"none: {self.n_repeated:,} pairs of items are repeated, too few to tell",
        }[self.mark]
        appear = "; ids count up as items first appear" if self.numbered else ""
        return f"order of lists: {said}{appear} (data.order says otherwise)"


def find_order(events: pl.DataFrame, seed: int = 0) -> FoundOrder:
    """Returns whether the places of items in the lists of users say anything.

    Args:
        events: With `user_id` and `item_id`, rows in the order of the file; where a column `split` says that
            there were several files, those of training are looked at.
        seed: Of the shuffles that tell what chance makes.
    """
    if PART in events.columns:
        # Files stand one behind the other: lists that are sorted in each would look half sorted.
        events = events.filter(pl.col(PART) == "train")
    # Once per user: an item that somebody came back to has no single place.
    pairs = events.select("user_id", "item_id").unique(maintain_order=True)
    user = pairs["user_id"].rank("dense").to_numpy().astype(np.int64)
    item = pairs["item_id"].rank("dense").to_numpy().astype(np.int64)
    kept = np.argsort(-np.bincount(item), kind="stable")[:N_ITEMS]
    row = np.full(item.max(initial=0) + 1, -1)
    row[kept] = np.arange(len(kept))
    is_kept = row[item] >= 0
    user, row = user[is_kept], row[item][is_kept]
    agreement, n_repeated = _agreement(user, row, np.arange(len(row)))
    numbered = _is_numbered(events["item_id"])
    if n_repeated < MIN_REPEATED:
        return FoundOrder(OrderMark.unknown, agreement, n_repeated, numbered)
    generator = np.random.default_rng(seed)
    by_chance = [_agreement(user, row, generator.random(len(row)))[0] for _ in range(N_SHUFFLES)]
    # At least what independent pairs would spread: five draws may lie together by luck.
    spread = max(float(np.std(by_chance, ddof=1)), 0.5 / np.sqrt(n_repeated))
    if agreement >= SORTED:
        mark = OrderMark.is_sorted
    elif agreement - float(np.mean(by_chance)) > max(N_SPREADS * spread, SMALLEST_GAP):
        mark = OrderMark.moving
    else:
        mark = OrderMark.shuffled
    return FoundOrder(mark, agreement, n_repeated, numbered)


def _agreement(user: IndexArray, row: IndexArray, key: npt.NDArray[np.generic]) -> tuple[float, int]:
    """Returns the share of repeated pairs of items in the same order, and how many are repeated.

    Args:
        user: Whose list each entry is of, (n,).
        row: Item of each entry, below `N_ITEMS`, (n,).
        key: Sorts each list, (n,).
    """
    order = np.lexsort((key, user))
    user, row = user[order], row[order]
    counts = np.zeros(N_ITEMS * N_ITEMS, dtype=np.int64)
    for gap in range(1, min(REACH, len(row))):
        is_pair = user[:-gap] == user[gap:]
        # No list is longer: no later gap has a pair either.
        if not is_pair.any():
            break
        counts += np.bincount(row[:-gap][is_pair] * N_ITEMS + row[gap:][is_pair], minlength=len(counts))
    # (n_items, n_items): how often the first stood before the second
    before = counts.reshape(N_ITEMS, N_ITEMS).astype(np.float64)
    both = before + before.T
    # Of all ways to take two users of a pair; each pair of items stands here twice, in both directions.
    n_repeated = (both * (both - 1)).sum() / 4
    n_same = (before * (before - 1)).sum() / 2
    return (float(n_same / n_repeated) if n_repeated else float("nan")), int(n_repeated)


def _is_numbered(item_id: pl.Series) -> bool:
    """Returns whether ids are whole numbers, of which nearly each new one is the highest so far."""
    numbers = item_id.unique(maintain_order=True).cast(pl.Int64, strict=False)
    if numbers.null_count() or len(numbers) < 2:
        return False
    # Nearly: an item that first stood in another part of the split comes late here.
    is_highest = numbers == numbers.cum_max()
    return bool(is_highest.sum() > NUMBERED * len(numbers))
