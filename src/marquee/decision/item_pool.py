"""Everything that may be recommended: the items of a bundle, and on top those that came after it.

```
item_index   0         1 … n            n + 1 … n + m
             padding   the bundle's     live items that the bundle does not hold, in the order they came
```

Layered, not copied: a live item costs an embedding and a row in a small exact index, whatever the size of the
catalog. An item that the bundle holds is the bundle's: what was said of it live yields, unless it was
withdrawn; then it is masked. Immutable: a change makes a new pool, a batch keeps the one that it began with.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from marquee.bundle.bundle import Bundle
from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.catalog import ALWAYS_FROM, Catalog, ItemKind, ItemMask
from marquee.core.filters import NO_FILTERS, Filters
from marquee.core.ids import PADDING_INDEX
from marquee.decision.new_items import build_catalog, embed_items, takes_new_items
from marquee.errors import DataError
from marquee.index.faiss_index import IndexConfig, inner_products
from marquee.index.index import Index
from marquee.index.query_batch import SearchResult
from marquee.store.live_items import LiveItem

_KIND = "kind"
_AVAILABLE_FROM = "available_from"

Scalar = TypeVar("Scalar", bound=np.generic)


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
        """What the filters name and no item has, as `attribute=value`."""
        if self.added is None:
            return self.own.unknown_values
        return tuple([value for value in self.own.unknown_values if value in self.added.unknown_values])

    def flags(self) -> BoolArray:
        """Returns which items may be returned, (n + m + 1,) bool: a copy to be written to."""
        if self.added is None:
            return self.own.flags.copy()
        return np.concatenate((self.own.flags, self.added.flags[1:]))


class ItemPool:
    """The items of a bundle and the live ones, in one space of item_index. Several threads may read.

    Args:
        bundle: Whose items stand below; live ones come with `with_live_items`.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.n_own = bundle.catalog.n_items
        self._own = _Segment(bundle.catalog, bundle.index, bundle.manifest.has_item_bias)
        self._added: _Segment | None = None
        self._vectors: Mapping[str, tuple[LiveItem, FloatArray]] = {}
        self._withdrawn: IndexArray = np.zeros(0, dtype=np.int64)
        self._masks: WeakKeyDictionary[ItemMask, ItemMask] = WeakKeyDictionary()

    def with_live_items(self, items: Mapping[str, LiveItem]) -> "ItemPool":
        """Returns a pool with these live items in place of others.

        What is already embedded here is not embedded again. An item stands nowhere if the bundle's item
        tower reads no features, or makes no finite embedding of it.
        """
        other = copy(self)
        ids = self.bundle.catalog.item_ids
        other._withdrawn = ids.encode(
            [id_ for id_, item in items.items() if item.is_withdrawn and id_ in ids]
        )
        other._masks = WeakKeyDictionary()
        added = [item for id_, item in items.items() if not item.is_withdrawn and id_ not in ids]
        other._put(added if takes_new_items(self.bundle) else [])
        return other

    @property
    def n_added(self) -> int:
        """How many live items stand above those of the bundle."""
        return self._added.catalog.n_items if self._added else 0

    @property
    def n_withdrawn(self) -> int:
        """How many items of the bundle are withdrawn."""
        return len(self._withdrawn)

    def index(self, item_id: str) -> int:
        """Returns the item_index of one id, 0 if it is unknown."""
        item = self.bundle.catalog.item_ids.index(item_id)
        if item == PADDING_INDEX and self._added is not None:
            added = self._added.catalog.item_ids.index(item_id)
            return added + self.n_own if added != PADDING_INDEX else PADDING_INDEX
        return item

    def encode(self, item_ids: Iterable[str]) -> IndexArray:
        """Returns the item_index of each id, (n,) int64; 0 for an unknown one."""
        if self._added is None:
            return self.bundle.catalog.item_ids.encode(item_ids)
        item_ids = list(item_ids)
        items = self.bundle.catalog.item_ids.encode(item_ids)
        for position in np.flatnonzero(items == PADDING_INDEX).tolist():
            items[position] = self.index(item_ids[position])
        return items

    def decode(self, items: IndexArray) -> list[str]:
        """Returns the id of each item; raises UnknownIdError for 0."""
        if self._added is None:
            return self.bundle.catalog.item_ids.decode(items.tolist())
        own, added = self.bundle.catalog.item_ids, self._added.catalog.item_ids
        is_own = items <= self.n_own
        below, above = iter(own.decode(items[is_own])), iter(added.decode(items[~is_own] - self.n_own))
        return [next(below if flag else above) for flag in is_own.tolist()]

    def is_ad(self, items: IndexArray) -> BoolArray:
        """Returns which of some items are ads."""
        return self._gathered(items, lambda segment: segment.catalog.is_ad)

    def vectors(self, items: IndexArray) -> FloatArray:
        """Returns the embeddings of some items, (…, dim) float32."""
        return self._gathered(items, lambda segment: segment.index.item_vectors)

    def directions(self, items: IndexArray) -> FloatArray:
        """Returns the embeddings of some items without the bias: what they are like, not how much liked."""
        vectors = self.vectors(items)
        return vectors[:, :-1] if self._own.has_item_bias else vectors

    def allowed(self, kind: ItemKind | None, timestamp: int, filters: Filters = NO_FILTERS) -> Allowed:
        """Returns the items that may be shown; arguments and errors are those of `Catalog.allowed`."""
        own = self.bundle.catalog.allowed(kind, timestamp, filters)
        if self._withdrawn.size:
            own = self._without_withdrawn(own)
        if self._added is None:
            return Allowed(own)
        return Allowed(own, self._added.catalog.allowed(kind, timestamp, filters))

    def search(
        self, queries: FloatArray, k: int, allowed: Allowed, exclusions: Sequence[IndexArray]
    ) -> SearchResult:
        """Returns the k best allowed items of each query over both segments; otherwise as `Index.search`."""
        if self._added is None:
            return self._own.index.search(queries, k, allowed.own, exclusions)
        below = [items[items <= self.n_own] for items in exclusions]
        found = self._own.index.search(queries, k, allowed.own, below)
        if allowed.added is None or not allowed.added.n_allowed:
            return found
        above = [items[items > self.n_own] - self.n_own for items in exclusions]
        added = self._added.index.search(queries, k, allowed.added, above)
        added_items = np.where(added.items == PADDING_INDEX, PADDING_INDEX, added.items + self.n_own)
        items = np.concatenate((found.items, added_items), axis=1)
        scores = np.concatenate((found.scores, added.scores), axis=1)
        order = np.lexsort((items, -scores))[:, :k]
        return SearchResult(np.take_along_axis(items, order, 1), np.take_along_axis(scores, order, 1))

    def cosines(self, item: int) -> FloatArray | None:
        """Returns the cosine of every item with one of them, (n + m + 1,) float32; None if it has none.

        The bias of an item says how much it is liked, not what it is like: it does not count here.
        """
        query = self.vectors(np.array([item]))[0].copy()
        if self._own.has_item_bias:
            query[-1] = 0.0
        norm = np.sqrt(query @ query)
        if norm == 0.0:
            return None
        query /= norm
        cosines = self._own.cosines(query)
        return cosines if self._added is None else np.append(cosines, self._added.cosines(query)[1:])

    def values(self, attribute: str, items: IndexArray) -> list[object]:
        """Returns what some items hold of an attribute, None for nothing; `kind` is an attribute too.

        Raises:
            DataError: If the catalog has no such attribute.
        """
        if attribute == _KIND:
            return list(self.is_ad(items).tolist())
        attributes = self._own.catalog.attributes
        if attribute not in attributes.columns:
            raise DataError(
                f"there is no attribute {attribute!r} in bundle {self.bundle.version}; name {_KIND} or one "
                f"of {sorted(attributes.columns)}"
            )
        is_own = items <= self.n_own
        below = iter(attributes[attribute].gather(items[is_own] - 1).to_list())
        if self._added is None:
            return list(below)
        added = self._added.catalog.attributes[attribute]
        above = iter(added.gather(items[~is_own] - self.n_own - 1).to_list())
        return [next(below if flag else above) for flag in is_own.tolist()]

    def moments(self, attribute: str, items: IndexArray) -> npt.NDArray[np.float64]:
        """Returns what some items hold of an attribute of time, (n,) float64, NaN for nothing.

        Raises:
            DataError: If the catalog has no such attribute, or it holds no numbers.
        """
        if attribute == _AVAILABLE_FROM:
            moments = self._gathered(items, lambda segment: segment.catalog.available_from)
            return np.where(moments == ALWAYS_FROM, np.nan, moments.astype(np.float64))
        values = self.values(attribute, items)
        dtype = self._own.catalog.attributes.schema.get(attribute)
        if dtype is None or not dtype.is_numeric():
            raise DataError(
                f"freshness needs an attribute of moments, seconds since 1970, got {attribute!r} of {dtype}; "
                f"name {_AVAILABLE_FROM} or another"
            )
        return np.array(values, dtype=np.float64)  # None becomes NaN

    def _put(self, items: Sequence[LiveItem]) -> None:
        """Puts live items on top in place of those that stand there."""
        known = self._vectors
        new = [item for item in items if item.item_id not in known or known[item.item_id][0] != item]
        fresh = dict(zip([item.item_id for item in new], embed_items(self.bundle, new), strict=True))
        vectors = {
            item.item_id: (item, fresh[item.item_id] if item.item_id in fresh else known[item.item_id][1])
            for item in items
        }
        self._vectors = vectors
        usable = [(item, vector) for item, vector in vectors.values() if np.isfinite(vector).all()]
        if not usable:
            self._added = None
            return
        table = np.zeros((len(usable) + 1, self.bundle.index.dim), dtype=np.float32)
        table[1:] = [vector for _, vector in usable]
        self._added = _Segment(
            build_catalog(self.bundle, [item for item, _ in usable]),
            Index(table, IndexConfig(), None),
            self._own.has_item_bias,
        )

    def _without_withdrawn(self, mask: ItemMask) -> ItemMask:
        """Returns a mask of the bundle's items less those that are withdrawn; the same for the same."""
        masked = self._masks.get(mask)
        if masked is None:
            flags = mask.flags.copy()
            flags[self._withdrawn] = False
            masked = self._masks[mask] = ItemMask(flags, mask.unknown_values)
        return masked

    def _gathered(
        self, items: IndexArray, table: "Callable[[_Segment], npt.NDArray[Scalar]]"
    ) -> npt.NDArray[Scalar]:
        """Returns the rows of some items in the tables that both segments have, row 0 being padding."""
        own = table(self._own)
        if self._added is None:
            return own[items]
        is_added = items > self.n_own
        rows = own[np.where(is_added, PADDING_INDEX, items)]
        rows[is_added] = table(self._added)[items[is_added] - self.n_own]
        return rows


@dataclass(frozen=True, eq=False)
class _Segment:
    """Some items by an item_index of their own.

    Attributes:
        catalog: What they are.
        index: Finds them.
        has_item_bias: Whether the last coordinate of a vector is the item's bias.
    """

    catalog: Catalog
    index: Index
    has_item_bias: bool

    def cosines(self, query: FloatArray) -> FloatArray:
        """Returns the cosine of every item with a query of length 1, (n + 1,) float32; 0 for no direction."""
        return inner_products(query, self.index.item_vectors) / self._lengths

    @cached_property
    def _lengths(self) -> FloatArray:
        """Lengths of the embeddings without the bias, (n + 1,) float32; 1 where there is none."""
        vectors = self.index.item_vectors[:, : self.index.dim - int(self.has_item_bias)]
        lengths: FloatArray = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        lengths[lengths == 0.0] = 1.0
        return lengths
