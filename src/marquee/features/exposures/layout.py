"""Which counts an exposure reads, and in which cells of one table they stand.

A count says how often something came and how often it was to be expected by the place alone. Each block of
the table counts by one key: the item, a token of the item, or a pair of a token of the query and one of the
item.

```
block               key                        cells
click item          item_index                 n_items + 1
click category      token of the item          n_rows
click device × cat. token of both              n_query_rows × n_rows
```

A block of a feature with several tokens has a slot per token; the feature is their mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from marquee.core.arrays import BoolArray, FloatArray, IndexArray, TokenArray
from marquee.features.encoder import FeatureEncoder

MAX_ROWS = 512
"""Values beyond which a feature is left out: a text or a name has too few exposures per token."""

MAX_PAIR_CELLS = 65_536


class Outcome(StrEnum):
    """The outcome that a block counts."""

    click = "click"
    conversion = "conversion"


@dataclass(frozen=True, slots=True)
class TokenColumns:
    """The token columns of one declared feature.

    Attributes:
        name: Of the feature.
        first_column: In `FeatureArrays.tokens`.
        n_columns: Tokens of the feature.
        first_row: Of its token table.
        n_rows: Of its token table.
    """

    name: str
    first_column: int
    n_columns: int
    first_row: int
    n_rows: int

    def rows(self, tokens: TokenArray) -> IndexArray:
        """Returns the rows of the feature counted from 1, (n, n_columns) int64; 0 for padding."""
        own = tokens[:, self.first_column : self.first_column + self.n_columns].astype(np.int64)
        return np.where(own > 0, own - self.first_row + 1, 0)


def countable_columns(encoder: FeatureEncoder, *, is_single: bool) -> tuple[TokenColumns, ...]:
    """Returns the features whose values are few enough to be counted by.

    Args:
        encoder: Of the declared features.
        is_single: Whether a feature must be one token per row.
    """
    columns = []
    for block in encoder.blocks:
        # Hours and weekdays of a timestamp share a block: each column is a key of its own.
        if is_single and block.n_columns > 1 and block.n_rows <= MAX_ROWS:
            columns += [
                TokenColumns(
                    f"{block.name}.{number}", block.first_column + number, 1, block.first_row, block.n_rows
                )
                for number in range(block.n_columns)
            ]
        elif block.n_rows <= MAX_ROWS:
            columns.append(
                TokenColumns(block.name, block.first_column, block.n_columns, block.first_row, block.n_rows)
            )
    return tuple(columns)


@dataclass(frozen=True, slots=True)
class CountBlock:
    """The cells of one key.

    Attributes:
        name: For reports.
        outcome: What is counted.
        query: Number of the query feature of the key, -1 for none.
        item: Number of the item feature of the key, `ITEM` for the item itself, `ANY` for no item.
        prior: Expected outcomes that a cell begins with, so that few exposures say little.
        half_life_days: Days after which a count weighs half; 0 for never.
    """

    name: str
    outcome: Outcome
    query: int
    item: int
    prior: float
    half_life_days: float = 0.0


ITEM, ANY = -1, -2
ITEM_PRIOR, PAIR_PRIOR, RECENT_PRIOR, CONVERSION_PRIOR = 1.0, 3.0, 50.0, 2.0
ITEM_HALF_LIFE_DAYS, RECENT_HALF_LIFE_DAYS = 20.0, 5.0


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys that exposures are counted by, (n, …).

    Attributes:
        query: Rows of the query features, (n, n_query_features) or (1, n_query_features) int64.
        item: item_index, (n,) int64; 0 for an item without counts of its own.
        tokens: Rows of the item features, slot by slot, (n, n_item_slots) int64.
    """

    query: IndexArray
    item: IndexArray
    tokens: IndexArray

    def rows(self, rows: IndexArray) -> "Keys":
        """Returns the keys of some exposures."""
        return Keys(self.query[rows], self.item[rows], self.tokens[rows])


@dataclass(frozen=True)
class CountLayout:
    """The blocks of the table of counts.

    Attributes:
        query_columns: Features of the query that are counted by.
        item_columns: Features of the item that are counted by.
        n_items: Of the catalog.
    """

    query_columns: tuple[TokenColumns, ...]
    item_columns: tuple[TokenColumns, ...]
    n_items: int

    @cached_property
    def blocks(self) -> tuple[CountBlock, ...]:
        """All blocks: clicks of everything, the item, each item feature and pair; then conversions."""
        click, conversion = Outcome.click, Outcome.conversion
        blocks = [
            CountBlock("recent", click, -1, ANY, RECENT_PRIOR, RECENT_HALF_LIFE_DAYS),
            CountBlock("item", click, -1, ITEM, ITEM_PRIOR),
            CountBlock("item lately", click, -1, ITEM, ITEM_PRIOR, ITEM_HALF_LIFE_DAYS),
        ]
        for number, column in enumerate(self.item_columns):
            blocks.append(CountBlock(column.name, click, -1, number, PAIR_PRIOR))
            blocks += [
                CountBlock(f"{query.name} and {column.name}", click, other, number, PAIR_PRIOR)
                for other, query in enumerate(self.query_columns)
                if (query.n_rows + 1) * (column.n_rows + 1) <= MAX_PAIR_CELLS
            ]
        blocks.append(CountBlock("conversions", conversion, -1, ANY, RECENT_PRIOR))
        blocks.append(CountBlock("conversions of the item", conversion, -1, ITEM, CONVERSION_PRIOR))
        blocks += [
            CountBlock(f"conversions by {column.name}", conversion, -1, number, CONVERSION_PRIOR)
            for number, column in enumerate(self.item_columns)
        ]
        return tuple(blocks)

    @cached_property
    def sizes(self) -> IndexArray:
        """Cells of each block, (n_blocks,) int64."""
        return np.array([self._stride(block) * self._n_query_rows(block) for block in self.blocks])

    @cached_property
    def firsts(self) -> IndexArray:
        """First cell of each block, (n_blocks,) int64."""
        return np.cumsum(self.sizes) - self.sizes

    @property
    def n_cells(self) -> int:
        """Cells of the table."""
        return int(self.sizes.sum())

    @cached_property
    def slot_block(self) -> IndexArray:
        """Block of each slot, (n_slots,) int64: one slot per token of the key."""
        return np.repeat(np.arange(len(self.blocks)), [len(self._item_slots(block)) for block in self.blocks])

    @cached_property
    def slot_prior(self) -> FloatArray:
        """Prior of each slot, (n_slots,) float32."""
        return np.array([self.blocks[block].prior for block in self.slot_block], dtype=np.float32)

    @cached_property
    def slot_is_click(self) -> BoolArray:
        """Which slots count clicks, (n_slots,) bool."""
        return np.array([self.blocks[block].outcome is Outcome.click for block in self.slot_block])

    def keys(self, query_tokens: TokenArray, item: IndexArray, slots: IndexArray) -> Keys:
        """Returns the keys of exposures.

        Args:
            query_tokens: As the query tower reads them, (n, n_token_columns) or one row for all.
            item: item_index, (n,).
            slots: See `item_slots`, (n, n_item_slots).
        """
        columns = [column.rows(query_tokens) for column in self.query_columns]
        query = np.concatenate(columns, axis=1) if columns else np.zeros((len(query_tokens), 0), np.int64)
        return Keys(query, item, slots)

    def item_slots(self, item_tokens: TokenArray) -> IndexArray:
        """Returns the rows of the item features, slot by slot, (n, n_item_slots) int64; 0 for padding."""
        columns = [column.rows(item_tokens) for column in self.item_columns]
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(item_tokens), 0), np.int64)

    def cells(self, keys: Keys) -> IndexArray:
        """Returns the cell of each slot, (n, n_slots) int64; cells of padding count nothing."""
        query, take, stride = self._lookup
        # Column 0 is no query feature, and row 0 of it the only one.
        padded = np.pad(keys.query, ((0, 0), (1, 0)))
        base = self.firsts[self.slot_block] + padded[:, query] * stride  # (n or 1, n_slots)
        items = np.concatenate([np.zeros_like(keys.item)[:, None], keys.item[:, None], keys.tokens], axis=1)
        return np.asarray(base + items[:, take])

    def is_padding(self, keys: Keys) -> BoolArray:
        """Returns which slots say nothing, (n, n_slots) bool: unknown items and absent tokens."""
        _, take, _ = self._lookup
        items = np.concatenate([np.ones_like(keys.item)[:, None], keys.item[:, None], keys.tokens], axis=1)
        return np.asarray(items[:, take] == 0)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns of `columns`."""
        evidence = [self.blocks[block].name for block in self.slot_block[self.evidence_slots]]
        return (*(block.name for block in self.blocks), *(f"{name}: exposures" for name in evidence))

    def columns(self, keys: Keys, ratios: FloatArray, evidence: FloatArray) -> FloatArray:
        """Returns the log ratio of each block, and the evidence behind items, (n, n_columns) float32.

        Args:
            keys: Of the exposures.
            ratios: Log ratio of each slot, (n, n_slots); of several tokens the mean of those that are there.
            evidence: Logarithm of 1 + the expected outcomes of `evidence_slots`.
        """
        total = np.add.reduceat(ratios, self._starts, axis=1)  # (n, n_blocks)
        for blocks, slots in self._several:
            n_tokens = np.count_nonzero(keys.tokens[:, slots], axis=1).astype(np.float32)
            total[:, blocks] /= np.maximum(n_tokens, np.float32(1))[:, None]
        return np.concatenate([total, evidence], axis=1)

    @cached_property
    def evidence_slots(self) -> IndexArray:
        """Slots whose expected outcomes are a column of their own: those of the item itself."""
        blocks = enumerate(self.blocks)
        kept = [number for number, block in blocks if block.item == ITEM and not block.half_life_days]
        return self._starts[kept]

    @cached_property
    def _starts(self) -> IndexArray:
        """First slot of each block, (n_blocks,)."""
        return np.flatnonzero(np.diff(self.slot_block, prepend=-1))

    @cached_property
    def _several(self) -> list[tuple[list[int], slice]]:
        """By item feature of several tokens: its blocks, and its columns of `Keys.tokens`."""
        found, first = [], 0
        for number, column in enumerate(self.item_columns):
            if column.n_columns > 1:
                blocks = [place for place, block in enumerate(self.blocks) if block.item == number]
                found.append((blocks, slice(first, first + column.n_columns)))
            first += column.n_columns
        return found

    @cached_property
    def _lookup(self) -> tuple[IndexArray, IndexArray, IndexArray]:
        """By slot: column of the query rows (from 1), column of the item rows, cells per query row."""
        query, take, stride = [], [], []
        for block in self.blocks:
            for slot in self._item_slots(block):
                query.append(block.query + 1)
                take.append(slot)
                stride.append(self._stride(block))
        return np.array(query), np.array(take), np.array(stride)

    def _item_slots(self, block: CountBlock) -> Sequence[int]:
        """Returns the columns of the item rows of a block: 0 for none, 1 the item, then the tokens."""
        if block.item == ANY:
            return [0]
        if block.item == ITEM:
            return [1]
        first = 2 + sum(column.n_columns for column in self.item_columns[: block.item])
        return range(first, first + self.item_columns[block.item].n_columns)

    def _stride(self, block: CountBlock) -> int:
        """Returns the cells of a block per row of its query feature."""
        if block.item == ANY:
            return 1
        return 1 + (self.n_items if block.item == ITEM else self.item_columns[block.item].n_rows)

    def _n_query_rows(self, block: CountBlock) -> int:
        """Returns the rows of the query feature of a block; 1 for none."""
        return 1 if block.query < 0 else 1 + self.query_columns[block.query].n_rows
