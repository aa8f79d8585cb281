"""The catalog: content and ads alike, when each is available, and the attributes of each.

Decides which items are allowed for a kind at a time. Leaves to others: what a filter means (see `filters`),
who has seen what (see `recommender`), how a mask enters the search (see `index`), what an attribute means
to a model (see `features`).
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.arrays import BoolArray, IndexArray
from marquee.core.filters import NO_FILTERS, AttributeColumns, AttributeType, Filters
from marquee.core.ids import PADDING_INDEX, IdMap
from marquee.core.schema import AVAILABLE_FROM, AVAILABLE_UNTIL, ITEM_ID, KIND
from marquee.errors import DataError, MissingColumnError, ShapeError

# No null in the arrays: comparisons with the extremes need no mask of their own.
ALWAYS_FROM = int(np.iinfo(np.int64).min)
ALWAYS_UNTIL = int(np.iinfo(np.int64).max)

# Masks are kept up to about so many bytes, the least recently used one goes first.
_MASK_BYTES = 128 * 2**20
# One for the flags, an eighth for the bits, and the share of the indices that is usually allowed.
_MASK_BYTES_PER_ITEM = 4
# However large the catalog: what requests ask for without filters must find its mask.
_MIN_MASKS = 8
_MAX_MASKS = 1024

_OWN_TYPES: dict[str, type[pl.DataType]] = {
    KIND: pl.String,
    AVAILABLE_FROM: pl.Int64,
    AVAILABLE_UNTIL: pl.Int64,
}


class ItemKind(StrEnum):
    """Content or ad; both are ranked by one model."""

    content = "content"
    ad = "ad"


@dataclass(frozen=True, eq=False)
class ItemMask:
    """The items that may be returned, in the forms that a search needs, each made once.

    Attributes:
        flags: True = allowed, (n_items + 1,) bool; row 0 (padding) is always False.
        unknown_values: What the filters behind it name and no item has, as `attribute=value`.
    """

    flags: BoolArray
    unknown_values: tuple[str, ...] = ()

    @cached_property
    def n_allowed(self) -> int:
        """How many items are allowed."""
        return int(np.count_nonzero(self.flags))

    @cached_property
    def item_index(self) -> IndexArray:
        """The allowed items, ascending, (n_allowed,) int64."""
        return np.flatnonzero(self.flags)

    @cached_property
    def bits(self) -> npt.NDArray[np.uint8]:
        """The flags of items 1 … n_items, eight to a byte, lowest bit first."""
        # FAISS numbers vectors from 0 and reads bits from the lowest on; padding is no vector.
        return np.packbits(self.flags[1:], bitorder="little")

    @property
    def is_everything(self) -> bool:
        """True if every item is allowed."""
        return self.n_allowed == len(self.flags) - 1


_MaskKey = tuple[ItemKind | None, int, Filters]


class _MaskCache:
    """The masks that were asked for last; several threads may ask."""

    def __init__(self) -> None:
        self._masks: OrderedDict[_MaskKey, ItemMask] = OrderedDict()
        self._lock = Lock()

    def find(self, key: _MaskKey) -> ItemMask | None:
        """Returns a mask, None if it is not kept."""
        # `move_to_end` and `popitem` are two steps of one dictionary, and requests come from several threads.
        with self._lock:
            mask = self._masks.get(key)
            if mask is not None:
                self._masks.move_to_end(key)
            return mask

    def __len__(self) -> int:
        return len(self._masks)

    def keep(self, key: _MaskKey, mask: ItemMask) -> None:
        """Keeps a mask, and drops the least recently used beyond the limit."""
        n_kept = _MASK_BYTES // (_MASK_BYTES_PER_ITEM * len(mask.flags))
        with self._lock:
            self._masks[key] = mask
            while len(self._masks) > min(max(n_kept, _MIN_MASKS), _MAX_MASKS):
                self._masks.popitem(last=False)


@dataclass(frozen=True, eq=False)
class Catalog:
    """The items by item_index; every array has a row 0 for padding, which is never allowed.

    Attributes:
        item_ids: Names of the items.
        is_ad: (n_items + 1,) bool.
        available_from: First second in which an item may be shown, (n_items + 1,) int64, `ALWAYS_FROM`
            where there is none.
        available_until: First second in which it may no longer be shown, `ALWAYS_UNTIL` where there is
            none.
        attributes: Everything else the table says, n_items rows in the order of item_ids, null where an
            item is not in the table.
    """

    item_ids: IdMap
    is_ad: BoolArray
    available_from: IndexArray
    available_until: IndexArray
    attributes: pl.DataFrame
    _masks: _MaskCache = field(default_factory=_MaskCache, init=False, repr=False)

    def __post_init__(self) -> None:
        n_rows = len(self.item_ids) + 1
        shapes = {
            "is_ad": self.is_ad,
            AVAILABLE_FROM: self.available_from,
            AVAILABLE_UNTIL: self.available_until,
        }
        for name, array in shapes.items():
            if array.shape != (n_rows,):
                raise ShapeError(f"{name} must have n_items + 1 = {n_rows} rows, got shape {array.shape}")
        if len(self.attributes) != n_rows - 1:
            raise ShapeError(f"attributes must have n_items = {n_rows - 1} rows, got {len(self.attributes)}")

    @classmethod
    def build(cls, items: pl.DataFrame | None, item_ids: IdMap) -> "Catalog":
        """Returns the catalog of `item_ids`, with what the items table says of them.

        Args:
            items: Table with item_id and optionally kind, available_from, available_until and any
                attributes; None if there is none. An item without a row is content, always available.
            item_ids: All items, those of the table included.

        Raises:
            MissingColumnError: If the table has no item_id.
            DataError: If an item occurs twice or is not in `item_ids`, a kind is neither content nor
                ad, or an item's availability ends before it begins.
        """
        order = pl.DataFrame({ITEM_ID: list(item_ids.ids)}, schema={ITEM_ID: pl.String})
        if items is None:
            # An empty table takes the same path, and makes every item content that is always available.
            items = order.clear()
        if ITEM_ID not in items.columns:
            raise MissingColumnError(f"the items table has no column item_id, got {items.columns}; map it")
        _validate_rows(items, order)
        absent = {name: dtype for name, dtype in _OWN_TYPES.items() if name not in items.columns}
        items = items.with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in absent.items())
        # Left, in the order of `order`: row i of every array must be the item of index i + 1.
        rows = order.join(items, on=ITEM_ID, how="left", maintain_order="left")
        own = rows.select(
            pl.col(KIND).fill_null(ItemKind.content.value) == ItemKind.ad.value,
            pl.col(AVAILABLE_FROM).cast(pl.Int64).fill_null(ALWAYS_FROM),
            pl.col(AVAILABLE_UNTIL).cast(pl.Int64).fill_null(ALWAYS_UNTIL),
        )
        return cls(
            item_ids=item_ids,
            # Padding takes part in no comparison, but every array is indexed by item_index.
            is_ad=np.append(False, own[KIND].to_numpy()),
            available_from=np.append(ALWAYS_FROM, own[AVAILABLE_FROM].to_numpy()),
            available_until=np.append(ALWAYS_UNTIL, own[AVAILABLE_UNTIL].to_numpy()),
            attributes=rows.drop(ITEM_ID, *_OWN_TYPES),
        )

    @property
    def n_items(self) -> int:
        """Number of items, without padding."""
        return len(self.item_ids)

    @property
    def has_windows(self) -> bool:
        """True if some item is not always available."""
        return bool((self.available_from > ALWAYS_FROM).any() or (self.available_until < ALWAYS_UNTIL).any())

    @property
    def filterable(self) -> Mapping[str, AttributeType]:
        """The attributes that can be filtered by, and what each holds."""
        return self._columns.types

    def validate_filters(self, filters: Filters) -> None:
        """Raises FilterError if the catalog cannot apply the filters."""
        self._columns.validate(filters)

    def passing(self, filters: Filters) -> BoolArray:
        """Returns which items pass filters, available or not, (n_items + 1,) bool.

        Raises:
            FilterError: If the catalog cannot apply the filters.
        """
        self.validate_filters(filters)
        return self._columns.flags(filters)

    def allowed(self, kind: ItemKind | None, timestamp: int, filters: Filters = NO_FILTERS) -> ItemMask:
        """Returns the items of a kind (None for both) that may be shown at a time and pass the filters.

        Between two changes of anybody's availability the answer is the same object for as long as it is
        kept, so that its other forms are made once.

        Raises:
            FilterError: If the catalog cannot apply the filters.
        """
        # The period and not the second is the key: otherwise every second would make masks of its own.
        period = int(self._changes.searchsorted(timestamp, side="right"))
        key = (kind, period, filters)
        mask = self._masks.find(key)
        if mask is None:
            mask = self._filtered(kind, timestamp, filters) if filters else self._unfiltered(kind, timestamp)
            self._masks.keep(key, mask)
        return mask

    def with_columns(
        self, columns: Mapping[str, pl.Series], starts: IndexArray, ends: IndexArray
    ) -> "Catalog":
        """Returns the same items with some columns in place of others.

        Args:
            columns: Attributes that the catalog has, n_items rows each, of the same type as before.
            starts: As `available_from`.
            ends: As `available_until`.
        """
        attributes = self.attributes.with_columns([one.alias(name) for name, one in columns.items()])
        other = replace(self, available_from=starts, available_until=ends, attributes=attributes)
        vars(other)["_columns"] = self._columns.with_attributes(attributes, columns.keys())
        return other

    def write_parquet(self, target: Path | IO[bytes]) -> None:
        """Writes ids, kinds, availability and attributes, one row per item in index order."""
        own = pl.DataFrame(
            {
                ITEM_ID: list(self.item_ids.ids),
                KIND: np.where(self.is_ad[1:], ItemKind.ad.value, ItemKind.content.value),
                AVAILABLE_FROM: self.available_from[1:],
                AVAILABLE_UNTIL: self.available_until[1:],
            },
            schema_overrides={ITEM_ID: pl.String},
        )
        own.hstack(self.attributes).write_parquet(target)

    @classmethod
    def read_parquet(cls, source: Path | IO[bytes]) -> "Catalog":
        """Returns the catalog that `write_parquet` wrote; raises DataError if it is not one."""
        rows = pl.read_parquet(source)
        missing = [name for name in (ITEM_ID, *_OWN_TYPES) if name not in rows.columns]
        if missing:
            raise MissingColumnError(f"the catalog lacks {missing}, got {rows.columns}; write it again")
        return cls.build(rows, IdMap(tuple(rows[ITEM_ID].to_list())))

    @cached_property
    def _changes(self) -> IndexArray:
        """Every time at which some item becomes available or ceases to be, ascending."""
        return np.unique(np.concatenate((self.available_from[1:], self.available_until[1:])))

    @cached_property
    def _columns(self) -> AttributeColumns:
        """The attributes in the form that filters ask."""
        return AttributeColumns(self.attributes)

    def _unfiltered(self, kind: ItemKind | None, timestamp: int) -> ItemMask:
        """Returns the items of a kind that are available."""
        flags = (self.available_from <= timestamp) & (timestamp < self.available_until)
        if kind is not None:
            flags &= self.is_ad == (kind is ItemKind.ad)
        # Padding has the window of an item that is always there.
        flags[PADDING_INDEX] = False
        return ItemMask(flags)

    def _filtered(self, kind: ItemKind | None, timestamp: int, filters: Filters) -> ItemMask:
        """Returns those of the available items that pass the filters."""
        # Through `allowed`: the mask without filters is shared by all filters of a period.
        flags = self.passing(filters) & self.allowed(kind, timestamp).flags
        return ItemMask(flags, self._columns.unknown_values(filters))


def _validate_rows(items: pl.DataFrame, order: pl.DataFrame) -> None:
    """Raises DataError unless each row is one known item with a known kind and a possible availability."""
    # Found before the join, which would repeat the row and shift all items after it.
    double = items.filter(pl.col(ITEM_ID).is_duplicated())
    if len(double):
        raise DataError(
            f"item_id must be unique, got {double['item_id'][0]!r} twice; remove the duplicate row"
        )
    unknown = items.join(order, on=ITEM_ID, how="anti")
    if len(unknown):
        raise DataError(
            f"the items table holds {unknown['item_id'][0]!r}, which item_ids does not; extend item_ids by it"
        )
    if KIND in items.columns:
        other = [
            kind for kind in items[KIND].unique() if kind is not None and kind not in ItemKind.__members__
        ]
        if other:
            raise DataError(f"kind must be one of {list(ItemKind.__members__)}, got {other[0]!r}; map it")
    if {AVAILABLE_FROM, AVAILABLE_UNTIL} <= set(items.columns):
        # A comparison with null is null, which `filter` leaves out: a missing bound is never wrong.
        never = items.filter(pl.col(AVAILABLE_FROM) > pl.col(AVAILABLE_UNTIL))
        if len(never):
            item_id, start, end = never.select(ITEM_ID, AVAILABLE_FROM, AVAILABLE_UNTIL).row(0)
            raise DataError(
                f"item {item_id!r} is available from {start} until {end}; swap or correct the two"
            )
