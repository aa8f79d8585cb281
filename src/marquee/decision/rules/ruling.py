"""The rules that hold, over all items that may be recommended: those of a bundle and the live ones.

Decides which rules an answer names and why others had no effect. A block or a boost that met none of the
items at hand had nothing to do and is in neither list.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from marquee.core.arrays import Float64Array, IndexArray
from marquee.core.catalog import Catalog, ItemMask
from marquee.decision.item_table import ItemTable, Segment
from marquee.decision.requests import RuleNotApplied
from marquee.decision.rules.compiling import CatalogRules, numbers_in, rules_without_items
from marquee.store.rules.rule import ActiveRules, Rule


class PinnedItem(NamedTuple):
    """A pin over the items that there are.

    Attributes:
        rule_id: Of its rule.
        item_id: The item.
        item: Its item_index, 0 if there is no such item.
        place: From 0.
    """

    rule_id: str
    item_id: str
    item: int
    place: int


@dataclass(frozen=True, eq=False)
class Ruling:
    """The rules that hold, over the items of a table.

    Attributes:
        active: The rules.
        table: The items.
        own: The rules over the items of the bundle.
        added: The rules over the live items, None where there are none.
    """

    active: ActiveRules
    table: ItemTable
    own: CatalogRules
    added: CatalogRules | None

    @cached_property
    def pins(self) -> tuple[PinnedItem, ...]:
        """The pins, by place."""
        return tuple(
            [
                PinnedItem(rule.rule_id, pin.item_id, self.table.index(pin.item_id), pin.place - 1)
                for rule, pin in self.active.pins
            ]
        )

    @property
    def boosts(self) -> bool:
        """Whether any item is boosted."""
        return bool(self.active.boosts)

    @cached_property
    def idle(self) -> tuple[RuleNotApplied, ...]:
        """The rules that can have no effect on anybody: about no item, or for users who cannot be told."""
        catalogs = [self.own] if self.added is None else [self.own, self.added]
        idle: list[Rule] = [
            *rules_without_items(self.active.blocks, *[one.blocked for one in catalogs]),
            *rules_without_items(self.active.boosts, *[one.boosted for one in catalogs]),
        ]
        why = f"it is about no item of release {self.table.version}"
        return (
            *[RuleNotApplied(rule.rule_id, why) for rule in idle],
            *[RuleNotApplied(rule_id, untold) for rule_id, untold in self.active.untold],
        )

    def is_blocked(self, item: int) -> bool:
        """Tells whether a rule blocks an item."""
        return bool(self.table.gather(np.array([item]), lambda segment: self._of(segment).is_blocked)[0])

    def boost_of(self, items: IndexArray) -> Float64Array:
        """Returns the gain in relevance of each of some items, (n,) float64."""
        return self.table.gather(items, lambda segment: self._of(segment).boost)

    def boosting(self, items: IndexArray) -> list[str]:
        """Returns the ids of the rules that boost any of some items."""
        if not len(items):
            return []
        touching = self.table.gather(items, lambda segment: self._of(segment).touching)
        return [self.active.boosts[number].rule_id for number in numbers_in(touching)]

    def without_blocked(self, own: ItemMask, added: ItemMask | None) -> tuple[ItemMask, ItemMask | None]:
        """Returns masks of the bundle's items and of the live ones without what is blocked."""
        own_left = self.own.without_blocked(own).mask or own
        if added is None or self.added is None:
            return own_left, added
        return own_left, self.added.without_blocked(added).mask or added

    def blocking(self, own: ItemMask, added: ItemMask | None) -> list[str]:
        """Returns the ids of the rules that take items out of masks."""
        numbers = self.own.without_blocked(own).blocking
        if added is not None and self.added is not None:
            numbers |= self.added.without_blocked(added).blocking
        return [self.active.blocks[number].rule_id for number in numbers]

    def in_order(self, rule_ids: Sequence[str]) -> tuple[str, ...]:
        """Returns some ids in the order of the set."""
        wanted = set(rule_ids)
        return tuple([rule.rule_id for rule in self.active.rules if rule.rule_id in wanted])

    def _of(self, segment: Segment) -> CatalogRules:
        """Returns the rules over a segment."""
        if segment is self.table.added and self.added is not None:
            return self.added
        return self.own


class RulingCache:
    """Makes rulings, and keeps what they are made of for as long as rules and items stay.

    Shared by all pools of items of a bundle: a change of live items leaves the arrays of the bundle's own
    items as they are. Several threads may ask: two may make the same, and the two are equal.
    """

    def __init__(self) -> None:
        self._of_catalogs: WeakKeyDictionary[ActiveRules, WeakKeyDictionary[Catalog, CatalogRules]] = (
            WeakKeyDictionary()
        )

    def ruling(self, active: ActiveRules, table: ItemTable) -> Ruling:
        """Returns the rules over the items of a table."""
        own = self._of_catalog(active, table.own.catalog)
        added = self._of_catalog(active, table.added.catalog) if table.added is not None else None
        # A copy: a ruling that is kept by its rules would keep them, and itself, for ever.
        return Ruling(replace(active), table, own, added)

    def _of_catalog(self, active: ActiveRules, catalog: Catalog) -> CatalogRules:
        """Returns the rules over the items of a catalog."""
        kept = self._of_catalogs.get(active)
        if kept is None:
            kept = self._of_catalogs[active] = WeakKeyDictionary()
        made = kept.get(catalog)
        if made is None:
            made = kept[catalog] = CatalogRules.of(active, catalog)
        return made
