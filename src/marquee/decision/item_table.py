"""Rows of all items by item_index, those of a bundle and the live ones: ids, kinds, attributes, vectors.

Decides which segment a row is in. Leaves to others which items may be returned (see `item_pool`) and how a
live item is read (see `new_items`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.catalog import ALWAYS_FROM, Catalog
from marquee.core.ids import PADDING_INDEX
from marquee.core.schema import AVAILABLE_FROM, KIND
from marquee.errors import DataError
from marquee.index.faiss_index import inner_products
from marquee.index.index import Index

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Segment:
    """Some items by an item_index of their own.

    Attributes:
        catalog: What they are.
        index: Finds them.
        has_item_bias: Whether the last coordinate of a vector is the item's bias.
    """

    catalog: Catalog
    index: Index
    has_item_bias: bool

    def with_catalog(self, catalog: Catalog) -> "Segment":
        """Returns the same items with other rows; the vectors stay."""
        other = replace(self, catalog=catalog)
        if "_lengths" in vars(self):  # as many sums as vectors, none of which has changed
            vars(other)["_lengths"] = self._lengths
        return other

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


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Rows of items over both segments.

    Attributes:
        own: The items of the bundle, item_index 1 … n.
        added: The live items that the bundle does not hold, item_index n + 1 … n + m; None for none.
        version: Of the bundle, for messages.
    """

    own: Segment
    added: Segment | None
    version: str

    @cached_property
    def n_own(self) -> int:
        """Number of items of the bundle."""
        return self.own.catalog.n_items

    @property
    def n_added(self) -> int:
        """Number of live items."""
        return self.added.catalog.n_items if self.added else 0

    def index(self, item_id: str) -> int:
        """Returns the item_index of one id, 0 if it is unknown."""
        item = self.own.catalog.item_ids.index(item_id)
        if item == PADDING_INDEX and self.added is not None:
            added = self.added.catalog.item_ids.index(item_id)
            return added + self.n_own if added != PADDING_INDEX else PADDING_INDEX
        return item

    def encode(self, item_ids: Iterable[str]) -> IndexArray:
        """Returns the item_index of each id, (n,) int64; 0 for an unknown one."""
        if self.added is None:
            return self.own.catalog.item_ids.encode(item_ids)
        item_ids = list(item_ids)
        items = self.own.catalog.item_ids.encode(item_ids)
        for position in np.flatnonzero(items == PADDING_INDEX).tolist():
            items[position] = self.index(item_ids[position])
        return items

    def decode(self, items: IndexArray) -> list[str]:
        """Returns the id of each item; raises UnknownIdError for 0."""
        if self.added is None:
            return self.own.catalog.item_ids.decode(items.tolist())
        own, added = self.own.catalog.item_ids, self.added.catalog.item_ids
        is_own = items <= self.n_own
        below, above = iter(own.decode(items[is_own])), iter(added.decode(items[~is_own] - self.n_own))
        return [next(below if flag else above) for flag in is_own.tolist()]

    def is_ad(self, items: IndexArray) -> BoolArray:
        """Returns which of some items are ads."""
        return self.gather(items, lambda segment: segment.catalog.is_ad)

    def vectors(self, items: IndexArray) -> FloatArray:
        """Returns the embeddings of some items, (…, dim) float32."""
        return self.gather(items, lambda segment: segment.index.item_vectors)

    def directions(self, items: IndexArray) -> FloatArray:
        """Returns the embeddings of some items without the bias: what they are like, not how much liked."""
        vectors = self.vectors(items)
        return vectors[:, :-1] if self.own.has_item_bias else vectors

    def values(self, attribute: str, items: IndexArray) -> list[object]:
        """Returns the values of an attribute for some items, None for missing; `kind` is an attribute too.

        Raises:
            DataError: If the catalog has no such attribute.
        """
        if attribute == KIND:
            return list(self.is_ad(items).tolist())
        attributes = self.own.catalog.attributes
        if attribute not in attributes.columns:
            raise DataError(
                f"there is no attribute {attribute!r} in bundle {self.version}; name {KIND} or one "
                f"of {sorted(attributes.columns)}"
            )
        is_own = items <= self.n_own
        below = iter(attributes[attribute].gather(items[is_own] - 1).to_list())
        if self.added is None:
            return list(below)
        added = self.added.catalog.attributes[attribute]
        above = iter(added.gather(items[~is_own] - self.n_own - 1).to_list())
        return [next(below if flag else above) for flag in is_own.tolist()]

    def distinct(self, attribute: str) -> frozenset[str]:
        """Returns all values of an attribute, as texts; none where there is no such attribute."""
        found: set[str] = set()
        for segment in (self.own, self.added):
            attributes = pl.DataFrame() if segment is None else segment.catalog.attributes
            if attribute in attributes.columns:
                column = attributes[attribute]
                values = column.explode() if isinstance(column.dtype, pl.List) else column
                found.update(map(str, values.drop_nulls().unique().to_list()))
        return frozenset(found)

    def moments(self, attribute: str, items: IndexArray) -> npt.NDArray[np.float64]:
        """Returns the moments in an attribute for some items, (n,) float64, NaN for missing.

        Raises:
            DataError: If the catalog has no such attribute, or it holds no numbers.
        """
        if attribute == AVAILABLE_FROM:
            moments = self.gather(items, lambda segment: segment.catalog.available_from)
            return np.where(moments == ALWAYS_FROM, np.nan, moments.astype(np.float64))
        values = self.values(attribute, items)
        dtype = self.own.catalog.attributes.schema.get(attribute)
        if dtype is None or not dtype.is_numeric():
            raise DataError(
                f"freshness needs an attribute of moments, seconds since 1970, got {attribute!r} of {dtype}; "
                f"name {AVAILABLE_FROM} or another"
            )
        return np.array(values, dtype=np.float64)  # None becomes NaN

    def gather(
        self, items: IndexArray, table: "Callable[[Segment], npt.NDArray[Scalar]]"
    ) -> npt.NDArray[Scalar]:
        """Returns the rows of some items in the tables that both segments have, row 0 being padding."""
        own = table(self.own)
        if self.added is None:
            return own[items]
        is_added = items > self.n_own
        rows = own[np.where(is_added, PADDING_INDEX, items)]
        rows[is_added] = table(self.added)[items[is_added] - self.n_own]
        return rows
