"""Everything that may be recommended: the items of a bundle, and on top those that came after it.

```
item_index   0         1 … n            n + 1 … n + m
             padding   the bundle's     live items that the bundle does not hold, in the order they came
```

Layered, not copied: a live item costs an embedding and a row in a small exact index, whatever the size of the
catalog. An item that the bundle holds is the bundle's: what was posted of it yields, what was changed of it
lies over the bundle's columns (see `item_changes`), and it is masked where it was withdrawn. Immutable: a
change makes a new pool, a batch keeps the one that it began with.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from marquee.bundle.bundle import Bundle
from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.catalog import ItemKind, ItemMask
from marquee.core.filters import NO_FILTERS, Filters
from marquee.core.ids import PADDING_INDEX
from marquee.decision.item_changes import Overrides, overlay, overrides_of
from marquee.decision.item_table import ItemTable, Segment
from marquee.decision.new_items import embed_items, extend_catalog, takes_new_items
from marquee.decision.rules.ruling import Ruling, RulingCache
from marquee.index.faiss_index import IndexConfig
from marquee.index.index import Index
from marquee.index.query_batch import SearchResult
from marquee.store.item_digests import Digests, digest_of_all, digests_of
from marquee.store.live_items import LiveItem
from marquee.store.rules.rule import ActiveRules

Embedded = tuple[LiveItem, FloatArray | None]
"""A live item with its embedding, None if that is not finite."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The items that may be returned, segment by segment; the same masks make the same key.

    Attributes:
        own: Of the bundle.
        added: Of the live items, None where there are none.
    """

    own: ItemMask
    added: ItemMask | None = None

    @property
    def n_allowed(self) -> int:
        """How many items are allowed."""
        return self.own.n_allowed + (self.added.n_allowed if self.added else 0)

    @property
    def unknown_values(self) -> tuple[str, ...]:
        """Values that the filters name and no item has, as `attribute=value`."""
        if self.added is None:
            return self.own.unknown_values
        return tuple([value for value in self.own.unknown_values if value in self.added.unknown_values])

    def permits(self, item: int) -> bool:
        """Tells whether an item may be returned."""
        n_own = len(self.own.flags) - 1
        if item <= n_own:
            return bool(self.own.flags[item])
        return self.added is not None and bool(self.added.flags[item - n_own])

    def flags(self) -> BoolArray:
        """Returns which items may be returned, (n + m + 1,) bool: a copy to be written to."""
        if self.added is None:
            return self.own.flags.copy()
        return np.concatenate((self.own.flags, self.added.flags[1:]))


class ItemPool:
    """The items of a bundle and the live ones, in one space of item_index. Several threads may read.

    Attributes:
        bundle: Holds the first items; live ones come with `with_live_items`.
        table: The rows of all items.
        live_digest: Digest of the live items, '' for none.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        own = Segment(bundle.catalog, bundle.index, bundle.manifest.has_item_bias)
        self.table = ItemTable(own, None, bundle.version)
        self.live_digest = ""
        self._digests: Digests = {}
        self._overrides: Overrides = {}
        self._vectors: Mapping[str, Embedded] = {}
        self._withdrawn: IndexArray = np.zeros(0, dtype=np.int64)
        self._masks: WeakKeyDictionary[ItemMask, ItemMask] = WeakKeyDictionary()
        self._rules = RulingCache()
        self._rulings: WeakKeyDictionary[ActiveRules, Ruling] = WeakKeyDictionary()

    def with_live_items(self, items: Mapping[str, LiveItem]) -> "ItemPool":
        """Returns a pool with these live items in place of others.

        What is already embedded here is not embedded again. An item is left out if the bundle's item tower
        reads no features, or makes no finite embedding of it.
        """
        other = copy(self)
        ids = self.bundle.catalog.item_ids
        other._withdrawn = ids.encode(
            [id_ for id_, item in items.items() if item.is_withdrawn and id_ in ids]
        )
        other._digests = digests_of(items, self._digests)
        other.live_digest = digest_of_all(other._digests)
        other._masks = WeakKeyDictionary()
        other._rulings = WeakKeyDictionary()  # rulings name items of the table that is replaced below
        added = [
            item for id_, item in items.items() if item.is_posted and not item.is_withdrawn and id_ not in ids
        ]
        other._vectors = self._embed(added if takes_new_items(self.bundle) else [])
        other._overrides = overrides_of(self.bundle, items)
        other.table = replace(
            self.table,
            own=other._changed_segment(self._overrides),
            added=other._build_segment(self._vectors),
        )
        return other

    @property
    def n_added(self) -> int:
        """Number of live items that the bundle does not hold."""
        return self.table.n_added

    @property
    def n_withdrawn(self) -> int:
        """Number of items of the bundle that are withdrawn."""
        return len(self._withdrawn)

    def live_item(self, item_id: str) -> LiveItem:
        """Returns a live item that the bundle does not hold; raises KeyError for any other."""
        return self._vectors[item_id][0]

    def allowed(self, kind: ItemKind | None, timestamp: int, filters: Filters = NO_FILTERS) -> Allowed:
        """Returns the items that may be shown; arguments and errors are those of `Catalog.allowed`."""
        own = self.table.own.catalog.allowed(kind, timestamp, filters)
        if self._withdrawn.size:
            own = self._without_withdrawn(own)
        added = self.table.added
        if added is None:
            return Allowed(own)
        return Allowed(own, added.catalog.allowed(kind, timestamp, filters))

    def ruling(self, active: ActiveRules) -> Ruling:
        """Returns the rules that hold over these items; the same rules give the same object."""
        ruling = self._rulings.get(active)
        if ruling is None:
            ruling = self._rulings[active] = self._rules.ruling(active, self.table)
        return ruling

    def without_blocked(self, allowed: Allowed, ruling: Ruling) -> Allowed:
        """Returns the items that are allowed and not blocked; equal masks give equal ones."""
        return (
            Allowed(*ruling.without_blocked(allowed.own, allowed.added)) if ruling.active.blocks else allowed
        )

    def among(self, allowed: Allowed, flags: BoolArray) -> Allowed:
        """Returns the items that are allowed and flagged, (n + m + 1,) bool."""
        n_own = self.table.n_own
        own = ItemMask(allowed.own.flags & flags[: n_own + 1], allowed.own.unknown_values)
        if allowed.added is None:
            return Allowed(own)
        added = allowed.added.flags.copy()
        added[1:] &= flags[n_own + 1 :]
        return Allowed(own, ItemMask(added, allowed.added.unknown_values))

    def search(
        self, queries: FloatArray, k: int, allowed: Allowed, exclusions: Sequence[IndexArray]
    ) -> SearchResult:
        """Returns the k best allowed items of each query over both segments; otherwise as `Index.search`."""
        own, added, n_own = self.table.own, self.table.added, self.table.n_own
        if added is None:
            return own.index.search(queries, k, allowed.own, exclusions)
        own_exclusions = [items[items <= n_own] for items in exclusions]
        of_own = own.index.search(queries, k, allowed.own, own_exclusions)
        if allowed.added is None or not allowed.added.n_allowed:
            return of_own
        added_exclusions = [items[items > n_own] - n_own for items in exclusions]
        of_added = added.index.search(queries, k, allowed.added, added_exclusions)
        added_items = np.where(of_added.items == PADDING_INDEX, PADDING_INDEX, of_added.items + n_own)
        items = np.concatenate((of_own.items, added_items), axis=1)
        scores = np.concatenate((of_own.scores, of_added.scores), axis=1)
        # The same tie rule as within one index: the lower item_index first.
        order = np.lexsort((items, -scores))[:, :k]
        return SearchResult(np.take_along_axis(items, order, 1), np.take_along_axis(scores, order, 1))

    def cosines(self, item: int) -> FloatArray | None:
        """Returns the cosine of every item with one of them, (n + m + 1,) float32; None if it has none."""
        own, added = self.table.own, self.table.added
        query = self.table.vectors(np.array([item]))[0].copy()
        if own.has_item_bias:
            query[-1] = 0.0  # the bias says how much an item is liked, not what it is like
        norm = np.sqrt(query @ query)
        if norm == 0.0:
            return None
        query /= norm
        cosines = own.cosines(query)
        return cosines if added is None else np.append(cosines, added.cosines(query)[1:])

    def _embed(self, items: Sequence[LiveItem]) -> Mapping[str, Embedded]:
        """Returns each live item with its embedding, by id; embeds only new and changed ones."""
        known = self._vectors
        new = [one for one in items if one.item_id not in known or _differ(known[one.item_id][0], one)]
        fresh: dict[str, Embedded] = {
            item.item_id: (item, vector if np.isfinite(vector).all() else None)
            for item, vector in zip(new, embed_items(self.bundle, new), strict=True)
        }
        return {item.item_id: fresh.get(item.item_id) or known[item.item_id] for item in items}

    def _changed_segment(self, before: Overrides) -> Segment:
        """Returns the bundle's items with what was changed of them; `before` is what `table.own` has."""
        own, now = self.table.own, self._overrides
        columns = {name for name in (*before, *now) if before.get(name) != now.get(name)}
        if not columns:  # the masks and columns of the catalog that there is stay of use
            return own
        return own.with_catalog(overlay(self.bundle, own.catalog, now, columns))

    def _build_segment(self, before: Mapping[str, Embedded]) -> Segment | None:
        """Returns the live items whose embedding is finite as a segment, None if there are none.

        Args:
            before: The live items of the segment that there is: their rows are copied, because reading the
                attributes of every item anew would make each change slower than the one before.
        """
        usable = [(item, vector) for item, vector in self._vectors.values() if vector is not None]
        if not usable:
            return None
        vectors = np.zeros((len(usable) + 1, self.bundle.index.dim), dtype=np.float32)
        vectors[1:] = [vector for _, vector in usable]
        changed = {item_id for item_id, one in self._vectors.items() if one is not before.get(item_id)}
        catalog = extend_catalog(
            self.bundle,
            self.table.added.catalog if self.table.added else None,
            [item for item, _ in usable],
            changed,
        )
        return Segment(catalog, Index(vectors, IndexConfig(), None), self.table.own.has_item_bias)

    def _without_withdrawn(self, mask: ItemMask) -> ItemMask:
        """Returns a mask of the bundle's items without those withdrawn: equal masks give one object."""
        masked = self._masks.get(mask)
        if masked is None:
            flags = mask.flags.copy()
            flags[self._withdrawn] = False
            masked = self._masks[mask] = ItemMask(flags, mask.unknown_values)
        return masked


def _differ(before: LiveItem, item: LiveItem) -> bool:
    """Tells whether two sayings of an item differ; most are the same object."""
    return before is not item and before != item
