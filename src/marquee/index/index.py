"""Finds the k items with the highest inner product, under a mask and with exclusions.

Decides how to search, by the cheapest of three ways (see `search_plan`): copy the allowed rows out and
multiply, where few are allowed; scan all rows and drop the others; ask the ANN index and drop the others.
Every candidate is scored again from the item vectors themselves, so a score is the true inner product
whatever the index holds. Where too little is left of what the ANN index gives, it is asked again for more or
the search is exact.
Leaves to others: what is allowed (see `catalog`), what a query is (see `recommender`).

Does not return row 0, an excluded item, an item outside the mask, or a score that is not finite.
Returns fewer than k only where fewer are left.
"""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import IO

import numpy as np

from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.catalog import ItemMask
from marquee.errors import DataError
from marquee.index.exact_search import SCORED_AT_ONCE, first_columns, search_exactly
from marquee.index.faiss_index import GRAPH_KINDS, LOSSY_KINDS, AnnIndex, IndexConfig
from marquee.index.query_batch import QueryBatch, ScratchFlags, SearchResult
from marquee.index.search_plan import ann_cost, exact_cost

# A mask hides some of the items that a search visits. It visits more in proportion, and half as many again:
# near a query a few more may be hidden than elsewhere.
_MASKED_EFFORT = 1.5
_EFFORT_FACTOR = 4.0
# Fraction of the items: blocked ones are few, those that a filter leaves out are most of all.
_HIDES_LITTLE = 0.2
_QUERIES_AT_ONCE = 256
_NORM_BLOCK_ROWS = 65_536
# Beyond it a float32 score is infinite, and infinite scores have no order.
_LARGEST = float(np.finfo(np.float32).max)


class Index:
    """Item vectors and, unless the kind is `flat`, an ANN index over them.

    Made by `build_index` or `Index.read`. Several threads may search at a time.

    Attributes:
        config: How it was built and is searched.
        item_vectors: (n_items + 1, dim) float32; row 0 is never returned.
    """

    def __init__(self, item_vectors: FloatArray, config: IndexConfig, ann: AnnIndex | None) -> None:
        self.config = config
        # Trap: every slice of a memmap is a memmap again, which costs more than a small search.
        self.item_vectors: FloatArray = item_vectors.view(np.ndarray)
        self._ann = ann
        self._max_norm = _largest_norm(self.item_vectors)
        self._scratch = ScratchFlags(len(item_vectors))

    @classmethod
    def read(cls, path: Path | None, item_vectors: FloatArray, config: IndexConfig) -> "Index":
        """Returns the index whose ANN part is at `path` (None for `flat`, which has none).

        Raises:
            BundleError: If the file is no index of these vectors.
        """
        shape = (len(item_vectors) - 1, item_vectors.shape[1])
        return cls(item_vectors, config, None if path is None else AnnIndex.read(path, shape, config))

    def write(self, file: IO[bytes]) -> None:
        """Writes the ANN part.

        Raises:
            DataError: If there is none (see `has_file`).
        """
        if self._ann is None:
            raise DataError(f"an index of kind {self.config.kind} has nothing to write; keep item_vectors")
        self._ann.write(file)

    def searched_as(self, config: IndexConfig) -> "Index":
        """Returns this index, not copied, searched as another config of its kind says."""
        return Index(self.item_vectors, config, self._ann and self._ann.searched_as(config))

    @property
    def has_file(self) -> bool:
        """True if there is an ANN part beside the item vectors."""
        return self._ann is not None

    @property
    def n_items(self) -> int:
        """Number of items, without padding."""
        return len(self.item_vectors) - 1

    @property
    def dim(self) -> int:
        """Length of an item vector."""
        return int(self.item_vectors.shape[1])

    def search(
        self,
        queries: FloatArray,
        k: int,
        allowed: ItemMask | None = None,
        exclusions: Sequence[IndexArray] | None = None,
    ) -> SearchResult:
        """Returns the k allowed items of each query with the highest inner product.

        Args:
            queries: (batch, dim) float32. A query that is not finite finds nothing.
            k: Columns of the result.
            allowed: Items that may be returned to every query; None for all.
            exclusions: Items that must not be returned, one int64 array per query; order, repetition
                and 0 do no harm.

        Raises:
            ShapeError: If a shape does not fit.
        """
        if len(queries) > _QUERIES_AT_ONCE:
            return self._search_by_blocks(queries, k, allowed, exclusions)
        batch = QueryBatch.of(
            queries, k, allowed, exclusions, shape=self.item_vectors.shape, max_norm=self._max_norm
        )
        found = SearchResult(
            items=np.zeros((len(queries), k), dtype=np.int64),  # PADDING_INDEX
            scores=np.empty((len(queries), k), dtype=np.float32),
        )
        # Fewer than k may be allowed: the places that stay empty must rank last.
        found.scores.fill(-np.inf)
        (rows,) = (batch.largest_scores <= _LARGEST).nonzero()  # False for NaN too
        if batch.k and rows.size:
            if self._ann is not None:
                rows = self._search_ann(self._ann, batch, rows, found)
            if rows.size:
                search_exactly(self.item_vectors, batch, rows, found, self._scratch.flags)
        return found

    def _search_by_blocks(
        self,
        queries: FloatArray,
        k: int,
        allowed: ItemMask | None,
        exclusions: Sequence[IndexArray] | None,
    ) -> SearchResult:
        """Searches many queries block by block, in memory that does not grow with their number."""
        parts = []
        for first in range(0, len(queries), _QUERIES_AT_ONCE):
            block = slice(first, first + _QUERIES_AT_ONCE)
            parts.append(self.search(queries[block], k, allowed, exclusions and exclusions[block]))
        return SearchResult(
            items=np.concatenate([part.items for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
        )

    @property
    def _is_lossy(self) -> bool:
        """True if the ANN index sorts by codes: then all that it gives is scored, not just its first k."""
        return self.config.kind in LOSSY_KINDS

    def _n_considered(self, k: int, hidden: float) -> int:
        """Returns how many candidates the answer is to be picked from under a mask.

        Args:
            k: Items of the answer.
            hidden: Fraction of the items that the mask hides.
        """
        if hidden < _HIDES_LITTLE and not self._is_lossy:
            # As many as without a mask: what blocked items hide leaves the graph around them as it is.
            return max(self.config.ef_search, k) if self.config.kind in GRAPH_KINDS else k
        n_candidates = k * self.config.candidates_per_item
        return max(self.config.ef_search, n_candidates) if self.config.kind in GRAPH_KINDS else n_candidates

    def _search_ann(
        self, ann: AnnIndex, batch: QueryBatch, rows: IndexArray, found: SearchResult
    ) -> IndexArray:
        """Writes the answers of the ANN index into `found`; returns the rows that need an exact search.

        Enough candidates of a query must be left after masking: as many as a search without a mask considers,
        and half of the number expected. A query with fewer is searched again with more effort, as long as
        that costs less than an exact search.
        """
        n_needed = n_wanted = batch.k * (self.config.candidates_per_item if self._is_lossy else 1)
        # Half of the exclusions at first: seldom are all of them near the query, and each candidate costs.
        n_spare, effort, n_fetched = -(-batch.n_excluded // 2), 1.0, 0
        if batch.allowed is not None:
            hidden = 1.0 - batch.n_allowed / self.n_items
            n_needed = n_wanted = self._n_considered(batch.k, hidden)
            effort = _masked_effort(hidden, n_wanted)
        while rows.size and n_fetched < self.n_items:
            n_fetched = min(round(n_wanted * effort) + n_spare, self.n_items)
            cost = ann_cost(self.config, self.n_items, ann.n_lists, n_fetched, effort)
            exact = exact_cost(self.n_items, batch.n_allowed, len(rows))
            # Each round asks for more; once that costs as much as a scan, the scan at least is sure.
            if cost > self.config.max_ann_cost * exact:
                break
            candidates = ann.search(batch.queries[rows], n_fetched, effort)
            batch.drop_forbidden(rows, candidates, self._scratch.flags)
            n_left = np.count_nonzero(candidates, axis=1)  # (rows,)
            # An index of whole vectors has ordered them already: the first k that are left will do.
            if n_fetched > SCORED_AT_ONCE and not self._is_lossy:
                candidates = np.take_along_axis(candidates, first_columns(candidates, batch.k), axis=1)
            batch.score(rows, candidates, self.item_vectors, found)
            # Were allowed items spread evenly. Far fewer say that the mask hides the query's neighbourhood.
            n_expected = n_fetched * batch.n_allowed / self.n_items
            n_enough = max(n_needed, n_expected / 2) if batch.allowed is not None else n_needed
            # Where all items were fetched, k are as many as an exact search would find.
            rows = rows[n_left < (n_enough if n_fetched < self.n_items else batch.k)]
            n_spare, effort = batch.n_excluded, effort * _EFFORT_FACTOR
        return rows


def _masked_effort(hidden: float, n_wanted: int) -> float:
    """Returns how many times as many candidates to ask for, so that enough are likely to be allowed.

    Args:
        hidden: Fraction of the items that are not allowed, in [0, 1).
        n_wanted: Candidates that must be left.
    """
    most = _MASKED_EFFORT / (1.0 - hidden)
    if hidden >= _HIDES_LITTLE:
        return most
    # Twice as many near the query, and three standard deviations of their number.
    return min(most, 1.0 / (1.0 - 2.0 * hidden) + 3.0 * sqrt(hidden / n_wanted))


def _largest_norm(item_vectors: FloatArray) -> float:
    """Returns the largest Euclidean norm of a row, by blocks: a mapped file is never copied whole."""
    largest = 0.0
    for first in range(0, len(item_vectors), _NORM_BLOCK_ROWS):
        # In double precision: this norm bounds the rounding of others and must not be rounded itself.
        block = item_vectors[first : first + _NORM_BLOCK_ROWS].astype(np.float64)
        largest = max(largest, float(np.einsum("nd,nd->n", block, block).max()))
    return float(np.sqrt(largest))
