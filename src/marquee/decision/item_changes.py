"""Changes of a bundle's items since it was made: other values in columns that no vector rests on.

A column that the item tower reads is not changed here: the learned vector would still tell the old value.
Decides which changes a bundle takes; leaves to `live_items` which there are.
"""

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.bundle.bundle import Bundle
from marquee.core.arrays import IndexArray
from marquee.core.catalog import ALWAYS_FROM, ALWAYS_UNTIL, Catalog
from marquee.core.schema import AVAILABLE_FROM, AVAILABLE_UNTIL
from marquee.decision.new_items import read_attribute, takes_new_items
from marquee.store.live_items import LiveItem

Overrides = Mapping[str, Mapping[int, object]]
"""Other values by column and item_index; None for a value taken away."""

AVAILABILITY = (AVAILABLE_FROM, AVAILABLE_UNTIL)


def columns_of_tower(bundle: Bundle) -> frozenset[str]:
    """Returns the columns of the items table that the bundle's item tower reads."""
    if not takes_new_items(bundle):
        return frozenset()
    return frozenset(feature.column for feature in bundle.item_features.features)


def is_changed(bundle: Bundle, item: LiveItem) -> bool:
    """Tells whether something of an item was changed after the bundle was made."""
    return any(moment >= bundle.manifest.created for _, moment in item.changes.values())


def overrides_of(bundle: Bundle, items: Mapping[str, LiveItem]) -> Overrides:
    """Returns the changes that a bundle takes, of all there are.

    It takes none from before it was made, none of a column that its item tower reads, and none that its
    catalog has no column for or whose value is of another type.
    """
    ids, schema, read = bundle.catalog.item_ids, bundle.catalog.attributes.schema, columns_of_tower(bundle)
    found: dict[str, dict[int, object]] = {}
    for item_id, item in items.items():
        if not item.changes or item_id not in ids:
            continue
        for column, (value, moment) in item.changes.items():
            if moment < bundle.manifest.created or column in read:
                continue
            if column in AVAILABILITY:
                known = value
            elif column in schema:
                known = read_attribute(value, schema[column])
            else:
                continue
            if known is not None or value is None:
                found.setdefault(column, {})[ids.index(item_id)] = known
    return found


def overlay(bundle: Bundle, before: Catalog, overrides: Overrides, columns: Collection[str]) -> Catalog:
    """Returns a bundle's catalog with other values in it.

    Args:
        bundle: Has the values of every item that is not overridden.
        before: The catalog with the overrides that there were.
        overrides: Those that there are now.
        columns: Where the two differ; the others are taken from `before`.
    """
    own = bundle.catalog
    starts, ends = before.available_from, before.available_until
    if AVAILABLE_FROM in columns:
        starts = _moments(own.available_from, overrides.get(AVAILABLE_FROM, {}), ALWAYS_FROM)
    if AVAILABLE_UNTIL in columns:
        ends = _moments(own.available_until, overrides.get(AVAILABLE_UNTIL, {}), ALWAYS_UNTIL)
    attributes = {
        name: _column(own.attributes[name], overrides.get(name, {}))
        for name in columns
        if name not in AVAILABILITY
    }
    return before.with_columns(attributes, starts, ends)


def _moments(own: IndexArray, overrides: Mapping[int, object], missing: int) -> npt.NDArray[np.int64]:
    """Returns moments with others in place of some, (n_items + 1,) int64."""
    moments = own.copy()
    for item, moment in overrides.items():
        moments[item] = moment if isinstance(moment, int) else missing
    return moments


def _column(own: pl.Series, overrides: Mapping[int, object]) -> pl.Series:
    """Returns a column with other values in place of some, n_items rows."""
    if not overrides:
        return own
    fresh = pl.Series(own.name, list(overrides.values()), dtype=own.dtype, strict=False)
    rows = np.arange(len(own))
    rows[np.array(list(overrides)) - 1] = len(own) + np.arange(len(fresh))
    return pl.concat([own, fresh]).gather(rows)  # scatter has no form for lists
