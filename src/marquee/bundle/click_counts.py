"""How often each item was shown on each surface and then clicked, as far as a bundle's log told.

```
surface    item_index    shown    clicked        ordered by surface, then item
surface    creative      shown    clicked        of all items that were said so
```

A policy that learns from clicks alone draws by these counts (see `marquee.decision.policies.thompson`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from marquee.core.arrays import Float64Array, IndexArray
from marquee.core.ids import PADDING_INDEX, IdMap
from marquee.errors import DataError

CLICK_COUNTS_FILE = "click_counts.parquet"
COLUMNS = ("surface", "item_id", "shown", "clicked")
CREATIVE = "creative"
"""A further column: rows that have it are of a creative, and of no item."""

_NOTHING: IndexArray = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class SurfaceCounts:
    """The counts of one surface.

    Attributes:
        items: item_index, ascending, (n_items_shown,).
        shown: Exposures, (n_items_shown,).
        clicked: Those of them that were clicked, (n_items_shown,).
    """

    items: IndexArray
    shown: Float64Array
    clicked: Float64Array

    def of(self, items: IndexArray) -> tuple[Float64Array, Float64Array]:
        """Returns clicks and exposures of some items, (n,) each; 0 for those that were never shown."""
        if not len(self.items):
            return np.zeros(len(items)), np.zeros(len(items))
        places = np.minimum(np.searchsorted(self.items, items), len(self.items) - 1)
        # Where it would stand need not be where it stands.
        is_counted = self.items[places] == items
        return np.where(is_counted, self.clicked[places], 0.0), np.where(is_counted, self.shown[places], 0.0)


NEVER_SHOWN = SurfaceCounts(_NOTHING, np.zeros(0), np.zeros(0))


@dataclass(frozen=True, slots=True)
class ClickCountTable:
    """The counts of all surfaces.

    Attributes:
        by_surface: By the name of the surface; '' for answers that named none.
        by_creative: By surface, then by name of the creative: clicks and exposures.
    """

    by_surface: Mapping[str, SurfaceCounts]
    by_creative: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: pl.DataFrame, item_ids: IdMap) -> "ClickCountTable":
        """Returns the counts of a frame with `COLUMNS`; items that have left the catalog are left out.

        Raises:
            DataError: If a column is missing, or there are more clicks than exposures.
        """
        missing = set(COLUMNS) - set(frame.columns)
        if missing:
            raise DataError(f"click counts must have {list(COLUMNS)}, got no {sorted(missing)}; count again")
        frame = frame.with_columns(pl.col("surface").fill_null(""))
        creatives: dict[str, dict[str, tuple[float, float]]] = {}
        if CREATIVE in frame.columns:
            rows = frame.filter(pl.col(CREATIVE).is_not_null())
            for surface, name, clicked, shown in rows.select(
                "surface", CREATIVE, "clicked", "shown"
            ).iter_rows():
                creatives.setdefault(surface, {})[name] = (float(clicked), float(shown))
            frame = frame.filter(pl.col(CREATIVE).is_null())
        frame = frame.select(COLUMNS).with_columns(
            pl.Series("item_index", item_ids.encode(frame.get_column("item_id").to_list())),
        )
        wrong = frame.filter((pl.col("clicked") < 0) | (pl.col("clicked") > pl.col("shown")))
        if len(wrong):
            raise DataError(f"clicked must be from 0 to shown, got {wrong.row(0, named=True)}; count again")
        known = frame.filter(pl.col("item_index") != PADDING_INDEX).sort("item_index")
        return cls(
            {name: _counts(known.filter(pl.col("surface") == name)) for name in _surfaces(frame)}, creatives
        )

    def creatives_on(self, surface: str | None) -> Mapping[str, tuple[float, float]]:
        """Returns clicks and exposures of each creative on a surface."""
        return self.by_creative.get(surface or "", {})

    def on(self, surface: str | None) -> SurfaceCounts:
        """Returns the counts of a surface, of nothing for one on which nothing was shown."""
        return self.by_surface.get(surface or "", NEVER_SHOWN)


def _surfaces(frame: pl.DataFrame) -> list[str]:
    """Returns the names of the surfaces."""
    return sorted(frame.get_column("surface").unique().to_list())


def _counts(frame: pl.DataFrame) -> SurfaceCounts:
    """Returns the counts of one surface."""
    return SurfaceCounts(
        frame.get_column("item_index").to_numpy().astype(np.int64),
        frame.get_column("shown").to_numpy().astype(np.float64),
        frame.get_column("clicked").to_numpy().astype(np.float64),
    )
