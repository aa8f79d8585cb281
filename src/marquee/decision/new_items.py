"""Items that training never saw: read as the catalog reads, embedded by the item tower from their features.

Decides what of a live item a bundle can use and says what it cannot. Leaves to `item_pool` which
item_index the item gets.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.bundle.bundle import Bundle
from marquee.core.arrays import FloatArray
from marquee.core.catalog import ALWAYS_FROM, ALWAYS_UNTIL, Catalog, ItemKind
from marquee.core.ids import PADDING_INDEX, IdMap
from marquee.core.schema import AVAILABLE_FROM, AVAILABLE_UNTIL, ITEM_ID, KIND
from marquee.features import FeatureArrays, FeatureEncoder
from marquee.features.values import read_category, read_list, read_number
from marquee.store.live_items import LiveItem

# Bounds the memory of the arrays between input and output of the tower.
_BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Unused:
    """Attributes of a live item that a bundle does not use.

    Attributes:
        unknown: Attributes that its catalog does not have, sorted.
        unread: Attributes whose value is not of the catalog's type, sorted; they count as not given.
    """

    unknown: tuple[str, ...]
    unread: tuple[str, ...]


def takes_new_items(bundle: Bundle) -> bool:
    """Returns True if the bundle's item tower reads features: without, every new item would be the same."""
    return not {"tokens", "numeric"}.isdisjoint(bundle.item_tower.inputs)


def unused(bundle: Bundle, item: LiveItem) -> Unused:
    """Returns the attributes of a live item that the bundle does not know or cannot read."""
    schema = bundle.catalog.attributes.schema
    given = {name: value for name, value in item.attributes.items() if value is not None}
    return Unused(
        unknown=tuple(sorted(given.keys() - schema.keys())),
        unread=tuple(
            sorted(
                name
                for name, value in given.items()
                if name in schema and _column(name, [value], schema[name]).null_count()
            )
        ),
    )


def build_catalog(bundle: Bundle, items: Sequence[LiveItem]) -> Catalog:
    """Returns the catalog of live items, with the columns of the bundle's."""
    schema = bundle.catalog.attributes.schema
    columns = {
        name: _column(name, [item.attributes.get(name) for item in items], dtype)
        for name, dtype in schema.items()
    }
    return Catalog(
        item_ids=IdMap(tuple(item.item_id for item in items)),
        # Row 0 is padding, as in the bundle's catalog.
        is_ad=np.array([False, *(item.kind is ItemKind.ad for item in items)]),
        available_from=_moments(ALWAYS_FROM, [item.available_from for item in items]),
        available_until=_moments(ALWAYS_UNTIL, [item.available_until for item in items]),
        attributes=pl.DataFrame(columns) if columns else pl.DataFrame(height=len(items)),
    )


def extend_catalog(
    bundle: Bundle, before: Catalog | None, items: Sequence[LiveItem], changed: Collection[str]
) -> Catalog:
    """Returns the catalog of live items, of which most stand in another one already.

    Args:
        bundle: As in `build_catalog`.
        before: Has a row for every item that is not in `changed`; None for none.
        items: In the order of the new catalog.
        changed: Names of those whose rows are built anew.
    """
    fresh = build_catalog(bundle, [item for item in items if item.item_id in changed])
    if before is None or len(fresh.item_ids) == len(items):
        return fresh
    # The fresh rows stand behind the earlier ones, without padding of their own.
    new = iter(range(before.n_items + 1, before.n_items + 1 + fresh.n_items))
    rows = np.array(
        [next(new) if one.item_id in changed else before.item_ids.index(one.item_id) for one in items]
    )
    taken = np.concatenate(([PADDING_INDEX], rows))  # (n_items + 1,)
    return Catalog(
        item_ids=IdMap(tuple(item.item_id for item in items)),
        is_ad=np.concatenate((before.is_ad, fresh.is_ad[1:]))[taken],
        available_from=np.concatenate((before.available_from, fresh.available_from[1:]))[taken],
        available_until=np.concatenate((before.available_until, fresh.available_until[1:]))[taken],
        # Attributes have no row of padding.
        attributes=pl.concat([before.attributes, fresh.attributes])[rows - 1],
    )


def embed_items(bundle: Bundle, items: Sequence[LiveItem]) -> FloatArray:
    """Returns the embeddings of items without a learned vector, (n, dim) float32."""
    blocks = [np.empty((0, bundle.manifest.dim), dtype=np.float32)]
    for first in range(0, len(items), _BLOCK_ROWS):
        block = items[first : first + _BLOCK_ROWS]
        features = encode_items(bundle, block)
        arrays: dict[str, npt.NDArray[np.generic]] = {
            # Nothing was learned of these very items, only of their features.
            "id_vector": np.zeros((len(block), bundle.manifest.dim), dtype=np.float32),
            "tokens": features.tokens.astype(np.int64),
            "numeric": features.numeric,
        }
        blocks.append(bundle.item_tower.run(arrays))
    return np.concatenate(blocks)


def encode_items(bundle: Bundle, items: Sequence[LiveItem]) -> FeatureArrays:
    """Returns the features of items as the bundle's encoder reads them."""
    rows = [_row(bundle, item) for item in items]
    columns = {feature.column for feature in bundle.item_features.features}
    return bundle.item_features.encode(
        {column: [row.get(column) for row in rows] for column in columns}, len(rows)
    )


def encode_texts(bundle: Bundle, encoder: FeatureEncoder, items: Sequence[LiveItem]) -> npt.NDArray[np.int32]:
    """Returns the tokens of the texts of items, (n, n_token_columns) int32.

    Args:
        bundle: Says which attributes are read, and how.
        encoder: Of the texts alone.
        items: In the order of the rows.
    """
    rows = [_row(bundle, item) for item in items]
    columns = {feature.column for feature in encoder.features}
    return encoder.encode({column: [row.get(column) for row in rows] for column in columns}, len(rows)).tokens


def read_attribute(value: object, dtype: pl.DataType) -> object:
    """Returns a value as one of the catalog's column, None if it is of another type.

    Example:
        >>> [read_attribute(value, pl.Int64()) for value in (3, 3.0, "3", 3.5, "three", [3])]
        [3, 3, 3, None, None, None]
        >>> read_attribute(["a", 7], pl.List(pl.String()))
        ['a', '7']
    """
    if isinstance(dtype, pl.List):
        entries = [read_attribute(entry, dtype.inner) for entry in read_list(value)]  # type: ignore[arg-type]
        known = [entry for entry in entries if entry is not None]
        # All or none: a list without its unreadable entries is not what was said.
        return known if len(known) == len(entries) and known else None
    if dtype == pl.Boolean:
        return value if isinstance(value, bool) else None
    if dtype.is_numeric():
        # Trap: True would be read as 1.
        number = None if isinstance(value, bool) else read_number(value)
        if number is None or not dtype.is_integer():
            return number
        # Never rounded: 3.5 in a column of whole numbers is a mistake, and reported as unread.
        return int(number) if number.is_integer() else None
    return read_category(value) if dtype == pl.String else None


def _column(name: str, values: Sequence[object], dtype: pl.DataType) -> pl.Series:
    """Returns values as a column of the catalog; null where one is of another type or beyond its range."""
    return pl.Series(name, [read_attribute(value, dtype) for value in values], dtype=dtype, strict=False)


def _row(bundle: Bundle, item: LiveItem) -> Mapping[str, object]:
    """Returns an item as training would have read it from the items table."""
    schema = bundle.catalog.attributes.schema
    read = {
        name: read_attribute(value, schema[name]) for name, value in item.attributes.items() if name in schema
    }
    return {
        **read,
        ITEM_ID: item.item_id,
        KIND: item.kind.value,
        AVAILABLE_FROM: item.available_from,
        AVAILABLE_UNTIL: item.available_until,
    }


def _moments(missing: int, moments: Sequence[int | None]) -> npt.NDArray[np.int64]:
    """Returns moments with the row of padding, (n + 1,) int64."""
    return np.array([missing, *(missing if moment is None else moment for moment in moments)], dtype=np.int64)
