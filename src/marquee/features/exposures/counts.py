"""Counts of clicks and conversions, and the log ratio of what came to what was to be expected.

Training adds what happened period by period and reads before it adds: what an exposure is described by was
known before it. Serving reads the table as training left it.
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import Float64Array, FloatArray
from marquee.features.exposures.layout import CountLayout, Keys


@dataclass(frozen=True, eq=False)
class CountTable:
    """Counts by cell, which grow.

    Attributes:
        layout: Says which cell is whose.
        came: Outcomes, (n_cells,) float64.
        expected: Outcomes to be expected by the place alone, (n_cells,) float64.
    """

    layout: CountLayout
    came: Float64Array
    expected: Float64Array

    @classmethod
    def empty(cls, layout: CountLayout) -> "CountTable":
        """Returns a table of zeros."""
        return cls(layout, np.zeros(layout.n_cells), np.zeros(layout.n_cells))

    def read(self, keys: Keys) -> FloatArray:
        """Returns the columns of exposures, (n, n_columns) float32: see `CountLayout.columns`."""
        cells = self.layout.cells(keys)
        came, expected, prior = self.came[cells], self.expected[cells], self.layout.slot_prior
        ratios = np.log((came + prior) / (expected + prior)).astype(np.float32)
        evidence = np.log1p(expected[:, self.layout.evidence_slots]).astype(np.float32)
        return self.layout.columns(keys, ratios, evidence)

    def add(self, keys: Keys, expected: Float64Array, came: Float64Array, *, is_click: bool) -> None:
        """Counts outcomes, in place.

        Args:
            keys: Of the exposures.
            expected: Of each, (n,).
            came: 1 where it came, (n,).
            is_click: Whether clicks are counted, or conversions.
        """
        counts = self.layout.slot_is_click if is_click else ~self.layout.slot_is_click
        # Cells of padding stay empty: their log ratio is 0, which says nothing.
        is_counted = ~self.layout.is_padding(keys)[:, counts]
        cells = self.layout.cells(keys)[:, counts][is_counted]
        for total, added in ((self.expected, expected), (self.came, came)):
            each = np.broadcast_to(added[:, None], is_counted.shape)[is_counted]
            np.add.at(total, cells, each)

    def age(self, days: float) -> None:
        """Lets counts with a half-life lose weight, in place."""
        for block, first, size in zip(self.layout.blocks, self.layout.firsts, self.layout.sizes, strict=True):
            if block.half_life_days:
                kept = 0.5 ** (days / block.half_life_days)
                self.came[first : first + size] *= kept
                self.expected[first : first + size] *= kept


class FixedCounts:
    """Counts that no longer change: the logarithms are taken once.

    Args:
        table: The counts.
    """

    def __init__(self, table: CountTable) -> None:
        self.layout = table.layout
        prior = np.repeat([block.prior for block in table.layout.blocks], table.layout.sizes)
        self._ratios = np.log((table.came + prior) / (table.expected + prior)).astype(np.float32)
        self._expected = table.expected.astype(np.float32)

    def read(self, keys: Keys) -> FloatArray:
        """Returns the columns of exposures, as `CountTable.read`."""
        cells = self.layout.cells(keys)
        evidence = np.log1p(self._expected[cells[:, self.layout.evidence_slots]])
        return self.layout.columns(keys, self._ratios[cells], evidence)
