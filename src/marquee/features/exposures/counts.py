"""Counts of clicks and conversions, and the log ratio of what came to what was to be expected.

Training adds what happened period by period and reads before it adds: what an exposure is described by was
known before it. Serving reads the table as training left it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from marquee.core.arrays import Float64Array, FloatArray, IndexArray
from marquee.features.exposures.layout import ITEM, CountLayout, Keys


@dataclass(frozen=True, eq=False)
class CountTable:
    """Counts by cell.

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

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns of `read`."""
        blocks = self.layout.blocks
        return (*(block.name for block in blocks), *(f"{blocks[n].name}: exposures" for n in self._evidence))

    def read(self, keys: Keys) -> FloatArray:
        """Returns the log ratio of each block and the evidence of items, (n, n_columns) float32."""
        cells = self.layout.cells(keys)
        ratios = np.where(self.layout.is_padding(keys), np.float32(0), self._ratios(cells))
        return self._columns(keys, ratios, self._log_expected(cells))

    def add(self, keys: Keys, expected: Float64Array, came: Float64Array, *, is_click: bool) -> None:
        """Counts outcomes, in place.

        Args:
            keys: Of the exposures.
            expected: Of each, (n,).
            came: 1 where it came, (n,).
            is_click: Whether clicks are counted, or conversions.
        """
        counts = self.layout.slot_is_click if is_click else ~self.layout.slot_is_click
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

    def _columns(self, keys: Keys, ratios: FloatArray, evidence: FloatArray) -> FloatArray:
        """Returns the columns of `read` out of the ratios of slots."""
        starts = self._starts
        total = np.add.reduceat(ratios, starts, axis=1)  # (n, n_blocks)
        # Of several tokens the mean over those that are there.
        for block in self._several:
            first = starts[block]
            end = first + int((self.layout.slot_block == block).sum())
            is_there = ~self.layout.is_padding(keys)[:, first:end]
            total[:, block] /= np.maximum(is_there.sum(axis=1), 1)
        return np.concatenate([total, evidence], axis=1)

    def _ratios(self, cells: IndexArray) -> FloatArray:
        prior = self.layout.slot_prior
        return np.log((self.came[cells] + prior) / (self.expected[cells] + prior)).astype(np.float32)

    def _log_expected(self, cells: IndexArray) -> FloatArray:
        return np.log1p(self.expected[cells[:, self._starts[self._evidence]]]).astype(np.float32)

    @cached_property
    def _starts(self) -> IndexArray:
        """First slot of each block, (n_blocks,)."""
        return np.flatnonzero(np.diff(self.layout.slot_block, prepend=-1))

    @cached_property
    def _several(self) -> list[int]:
        """Blocks with more slots than one."""
        return np.flatnonzero(np.bincount(self.layout.slot_block) > 1).tolist()

    @cached_property
    def _evidence(self) -> IndexArray:
        """Blocks whose expected outcomes are a column of their own: those of the item itself."""
        return np.array(
            [
                n
                for n, block in enumerate(self.layout.blocks)
                if block.item == ITEM and not block.half_life_days
            ]
        )
