"""Rules as arrays over the items of one catalog: made once for a release and a set of rules, then looked up.

```
block   item_index of what each rule blocks, and flags of all of it    → the mask of the search
boost   what each item gains, and which rules touch it                 → relevance
```

Decides what a rule means for the items that there are. A rule that names an attribute which this catalog
does not have, or only items that it does not know, touches nothing: a release must not fail for a rule that
was written for another one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.core.catalog import Catalog, ItemMask
from marquee.core.ids import PADDING_INDEX
from marquee.errors import FilterError
from marquee.store.rules.rule import ActiveRules, Rule, Target

_BITS = 8


@dataclass(frozen=True, slots=True)
class MaskedItems:
    """A mask without what rules block.

    Attributes:
        mask: What is left; None if they block none of it.
        blocking: Which of the rules that block took an item away, by their number among these.
    """

    mask: ItemMask | None
    blocking: frozenset[int]


@dataclass(frozen=True, eq=False)
class CatalogRules:
    """The rules that hold, over the items of one catalog.

    Attributes:
        blocked: Items of each rule that blocks, in their order.
        boosted: Items of each rule that boosts, in their order.
        boost: What each item gains, (n_items + 1,) float64.
    """

    blocked: tuple[IndexArray, ...]
    boosted: tuple[IndexArray, ...]
    boost: Float64Array
    _masks: WeakKeyDictionary[ItemMask, MaskedItems] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )

    @classmethod
    def of(cls, active: ActiveRules, catalog: Catalog) -> "CatalogRules":
        """Returns the rules over the items of a catalog."""
        boost = np.zeros(catalog.n_items + 1)
        boosted = []
        for rule in active.boosts:
            assert rule.boost is not None, f"{rule.rule_id} boosts"
            items = _items_of(rule.boost.target, catalog)
            boost[items] += rule.boost.weight
            boosted.append(items)
        blocked = [_items_of(rule.block, catalog) for rule in active.blocks if rule.block is not None]
        return cls(tuple(blocked), tuple(boosted), boost)

    @cached_property
    def touching(self) -> npt.NDArray[np.uint8]:
        """Which rules boost each item, (n_items + 1, n_bytes): a bit for each rule, lowest first."""
        # Bits and not a list for each item: a hundred rules take 13 bytes of an item.
        bits = np.zeros((len(self.boost), -(-len(self.boosted) // _BITS)), dtype=np.uint8)
        for number, items in enumerate(self.boosted):
            bits[items, number // _BITS] |= np.uint8(1 << number % _BITS)
        return bits

    @cached_property
    def is_blocked(self) -> BoolArray:
        """Which items some rule blocks, (n_items + 1,) bool."""
        flags = np.zeros(len(self.boost), dtype=np.bool_)
        for items in self.blocked:
            flags[items] = True
        return flags

    def without_blocked(self, mask: ItemMask) -> MaskedItems:
        """Returns a mask without what is blocked; the same mask gives the same object."""
        masked = self._masks.get(mask)
        if masked is None:
            blocking = [number for number, items in enumerate(self.blocked) if mask.flags[items].any()]
            # Trap: were an unchanged mask kept as its own value, it would never be let go of.
            left = ItemMask(mask.flags & ~self.is_blocked, mask.unknown_values) if blocking else None
            masked = self._masks[mask] = MaskedItems(left, frozenset(blocking))
        return masked


def numbers_in(bits: npt.NDArray[np.uint8]) -> list[int]:
    """Returns the numbers of the bits that are set in some rows of `CatalogRules.touching`, ascending."""
    any_row = np.bitwise_or.reduce(bits, axis=0)  # (n_bytes,)
    found: list[int] = np.flatnonzero(np.unpackbits(any_row, bitorder="little")).tolist()
    return found


def _items_of(target: Target, catalog: Catalog) -> IndexArray:
    """Returns the items of a catalog that a rule is about, none if it cannot be applied there."""
    if target.items:
        # Each once: a boost of an item that is named twice is added once.
        return np.setdiff1d(catalog.item_ids.encode(target.items), [PADDING_INDEX])
    try:
        return np.flatnonzero(catalog.passing(target.filters))
    except FilterError:
        return np.zeros(0, dtype=np.int64)


def rules_without_items(rules: Sequence[Rule], *items: Sequence[IndexArray]) -> list[Rule]:
    """Returns the rules that are about no item of any catalog.

    Args:
        rules: All that block, or all that boost.
        items: Of each catalog the items of each rule.
    """
    return [
        rule for number, rule in enumerate(rules) if not any(len(of_catalog[number]) for of_catalog in items)
    ]
