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

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.catalog import ItemMask
from marquee.core.ids import PADDING_INDEX
from marquee.errors import ConfigError, DataError, ShapeError
from marquee.index.faiss_index import (
    GRAPH_KINDS,
    LOSSY_KINDS,
    AnnIndex,
    IndexConfig,
    IndexKind,
    build_selector,
    scan,
)
from marquee.index.search_plan import ann_cost, exact_cost, is_gathering_cheaper

# Most that is copied out at a time.
_GATHERED_BYTES = 64 * 2**20
# How much more is fetched than must be left on average, where what is not allowed is dropped.
_DROP_MARGIN = 1.5
# Under a mask the search comes by more than the share of the items that it hides calls for: as many as one
# without a mask considers should be left, also where a few more are hidden than elsewhere.
_MASKED_EFFORT = 1.5
_EFFORT_FACTOR = 4.0
# Scored beyond k, so that equal scores at the end of the list seldom need a second look.
_SPARE_CANDIDATES = 8
_WIDENING_FACTOR = 8
# Up to here, scoring every candidate costs less than picking out those that matter.
_SCORED_AT_ONCE = 128
_QUERIES_AT_ONCE = 256
_NORM_BLOCK_ROWS = 65_536
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The best items of each query, best first, equal scores by ascending item_index.

    Attributes:
        items: item_index, (batch, k) int64; 0 where there are fewer than k.
        scores: Inner products, (batch, k) float32; -inf where there is no item.
    """

    items: IndexArray
    scores: FloatArray


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
        self._scratch = _Scratch(len(item_vectors))

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
        question = self._ask(queries, k, allowed, exclusions)
        found = SearchResult(
            items=np.zeros((len(queries), k), dtype=np.int64),  # PADDING_INDEX
            scores=np.empty((len(queries), k), dtype=np.float32),
        )
        found.scores.fill(-np.inf)
        (rows,) = (question.largest_scores <= _LARGEST).nonzero()  # False for NaN too
        if question.k and rows.size:
            if self._ann is not None:
                rows = self._search_ann(self._ann, question, rows, found)
            if rows.size:
                self._search_exactly(question, rows, found)
        return found

    def _search_by_blocks(
        self,
        queries: FloatArray,
        k: int,
        allowed: ItemMask | None,
        exclusions: Sequence[IndexArray] | None,
    ) -> SearchResult:
        """Returns what `search` finds for many queries, in memory that does not grow with their number."""
        parts = []
        for first in range(0, len(queries), _QUERIES_AT_ONCE):
            block = slice(first, first + _QUERIES_AT_ONCE)
            parts.append(self.search(queries[block], k, allowed, exclusions and exclusions[block]))
        return SearchResult(
            items=np.concatenate([part.items for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
        )

    def _ask(
        self,
        queries: FloatArray,
        k: int,
        allowed: ItemMask | None,
        exclusions: Sequence[IndexArray] | None,
    ) -> "_Question":
        """Returns the arguments of `search` in one piece; raises ShapeError if they do not fit."""
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ShapeError(f"queries must have shape (batch, {self.dim}), got {queries.shape}")
        if k < 1:
            raise ShapeError(f"k must be 1 or more, got {k}")
        if allowed is not None and len(allowed.flags) != self.n_items + 1:
            raise ShapeError(f"allowed must have {self.n_items + 1} rows, got {len(allowed.flags)}")
        if exclusions is not None and len(exclusions) != len(queries):
            raise ShapeError(f"exclusions must be one per query ({len(queries)}), got {len(exclusions)}")
        if allowed is not None and allowed.is_everything:
            allowed = None
        n_allowed = self.n_items if allowed is None else allowed.n_allowed
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        exact_queries = queries.astype(np.float64)
        return _Question(
            queries=queries,
            exact_queries=exact_queries,
            largest_scores=np.sqrt(np.vecdot(exact_queries, exact_queries)) * self._max_norm,
            k=min(k, n_allowed),
            allowed=allowed,
            n_allowed=n_allowed,
            exclusions=exclusions or (),
            n_excluded=max(map(len, exclusions or ()), default=0),
        )

    @property
    def _is_lossy(self) -> bool:
        """True if the ANN index sorts by codes: then all that it gives is scored, not just its first k."""
        return self.config.kind in LOSSY_KINDS

    def _n_considered(self, k: int) -> int:
        """Returns how many candidates the answer is picked from where every item is allowed."""
        n_candidates = k * self.config.candidates_per_item
        return max(self.config.ef_search, n_candidates) if self.config.kind in GRAPH_KINDS else n_candidates

    def _search_ann(
        self, ann: AnnIndex, question: "_Question", rows: IndexArray, found: SearchResult
    ) -> IndexArray:
        """Writes what the ANN index finds into `found`; returns the rows that are to be searched exactly.

        A mask hides a part of what the search comes by, so it is to come by more in proportion. Where the
        items near a query are hidden more than others are, that does not suffice: as many must be left as a
        search without a mask considers, and half of what is left on average. If they are not, the search is
        made again with more effort, as long as that costs less than an exact one.

        Of what a query excludes, half is allowed for at first: all of it is seldom near the query, and what
        is fetched costs. Whoever excludes more of what is near is searched for again.
        """
        n_needed = n_wanted = question.k * (self.config.candidates_per_item if self._is_lossy else 1)
        n_spare, effort, n_fetched = -(-question.n_excluded // 2), 1.0, 0
        if question.allowed is not None:
            n_needed = n_wanted = self._n_considered(question.k)
            effort = _MASKED_EFFORT * self.n_items / question.n_allowed
        while rows.size and n_fetched < self.n_items:
            n_fetched = min(round(n_wanted * effort) + n_spare, self.n_items)
            cost = ann_cost(self.config, self.n_items, ann.n_lists, n_fetched, effort)
            exact = exact_cost(self.n_items, question.n_allowed, len(rows))
            if cost > self.config.max_ann_cost * exact:
                break
            candidates = ann.search(question.queries[rows], n_fetched, effort)
            question.drop_forbidden(rows, candidates, self._scratch.flags)
            n_left = np.count_nonzero(candidates, axis=1)
            if n_fetched > _SCORED_AT_ONCE and not self._is_lossy:
                candidates = np.take_along_axis(candidates, _first_columns(candidates, question.k), axis=1)
            self._score(question, rows, candidates, found)
            n_expected = n_fetched * question.n_allowed / self.n_items
            n_enough = max(n_needed, n_expected / 2) if question.allowed is not None else n_needed
            rows = rows[n_left < (n_enough if n_fetched < self.n_items else question.k)]
            n_spare, effort = question.n_excluded, effort * _EFFORT_FACTOR
        return rows

    def _search_exactly(self, question: "_Question", rows: IndexArray, found: SearchResult) -> None:
        """Writes the exact answer of the given rows into `found`.

        A scan adds up in another order than the final score does, so an item beyond the last one scored
        might still belong: until the k-th score is clear of it, look further.
        """
        view = self._view(question, len(rows))
        n_scored = question.k + _SPARE_CANDIDATES
        while rows.size:
            n_fetched = view.n_fetched(n_scored + question.n_excluded)
            scan_scores, candidates = view.scan(question.queries[rows], n_fetched)
            question.drop_forbidden(rows, candidates, self._scratch.flags)
            if n_fetched <= max(n_scored, _SCORED_AT_ONCE):
                bound = scan_scores[:, -1]
            else:
                candidates, bound = _cut(candidates, scan_scores, n_scored)
            self._score(question, rows, candidates, found)
            if n_fetched == view.n_rows:
                return
            doubt = _rounding_bound(self.dim) * question.largest_scores[rows]
            rows = rows[found.scores[rows, question.k - 1] <= bound + doubt]
            if view.allowed_fraction < 1.0:  # the mask hides what is near: from now on test each row
                view = _View(self.item_vectors[1:], None, question.allowed, question.n_allowed)
            else:
                n_scored *= _WIDENING_FACTOR

    def _view(self, question: "_Question", batch: int) -> "_View":
        """Returns the rows that an exact search of `batch` queries scans first."""
        allowed = question.allowed
        if allowed is None:
            return _View(self.item_vectors[1:], None, None, self.n_items)
        n_bytes = self.item_vectors.itemsize * self.dim * allowed.n_allowed
        if n_bytes <= _GATHERED_BYTES and is_gathering_cheaper(self.n_items, allowed.n_allowed, batch):
            rows = self.item_vectors.take(allowed.item_index, axis=0)
            return _View(rows, allowed.item_index, None, allowed.n_allowed)
        return _View(self.item_vectors[1:], None, None, self.n_items, allowed.n_allowed / self.n_items)

    def _score(
        self, question: "_Question", rows: IndexArray, candidates: IndexArray, found: SearchResult
    ) -> None:
        """Scores the candidates exactly and writes the best of them into `found`.

        Args:
            question: Whose queries they answer.
            rows: Queries of the candidates.
            candidates: item_index, (rows, n_candidates) int64; 0 for none. Sorted in place.
            found: Changed in the given rows.
        """
        candidates.sort(axis=1)  # so that a stable sort leaves equal scores by ascending item_index
        # In float64 a sum hardly depends on its order: equal vectors get equal scores in any batch.
        vectors = self.item_vectors.take(candidates, axis=0).astype(np.float64)  # (rows, n_candidates, dim)
        queries = -question.exact_queries[rows, :, None]
        costs = (vectors @ queries)[:, :, 0].astype(np.float32)
        costs[candidates == PADDING_INDEX] = np.inf
        order = costs.argsort(axis=1, kind="stable")[:, : question.k]
        places = np.arange(len(rows))[:, None]
        found.items[rows, : order.shape[1]] = candidates[places, order]
        found.scores[rows, : order.shape[1]] = 0.0 - costs[places, order]  # never -0.0


def build_index(item_vectors: FloatArray, config: IndexConfig) -> Index:
    """Returns the index of all items.

    Args:
        item_vectors: (n_items + 1, dim) float32; row 0 is padding.
        config: Which kind and how.

    Raises:
        ShapeError: If there is no item, or the array is not two-dimensional float32.
        DataError: If a number is not finite.
        ConfigError: If the kind is `auto`.
    """
    if item_vectors.ndim != 2 or len(item_vectors) < 2 or item_vectors.dtype != np.float32:
        raise ShapeError(
            "item_vectors must be (n_items + 1, dim) float32 with at least one item, got "
            f"{item_vectors.dtype} {item_vectors.shape}"
        )
    not_finite = np.flatnonzero(~np.isfinite(item_vectors).all(axis=1))
    if not_finite.size:
        raise DataError(
            f"item_vectors must be finite, got {not_finite.size} rows that are not, first item_index "
            f"{not_finite[0]}; train again with a lower learning rate"
        )
    if config.kind is IndexKind.auto:
        raise ConfigError(
            f"an index of kind {config.kind} cannot be built, choose one first with `choose_index` (config "
            "index.kind)"
        )
    ann = None if config.kind is IndexKind.flat else AnnIndex.build(item_vectors, config)
    return Index(item_vectors, config, ann)


def measure_recall(index: Index, queries: FloatArray, k: int) -> float:
    """Returns the mean share of the exact top k that `index.search` finds, in [0, 1].

    Args:
        index: Any index.
        queries: (batch, dim) float32, best those of real users: recall depends on them.
        k: Length of the lists compared, cut to the number of items.

    Raises:
        ShapeError: If there is no query.
    """
    if not len(queries):
        raise ShapeError(f"recall needs at least one query, got {len(queries)}; pass some users' queries")
    k = min(k, index.n_items)
    found = index.search(queries, k)
    exact = Index(index.item_vectors, IndexConfig(), None).search(queries, k)
    # An item that scores as well as the last exact one is as good as it: a tie is no miss.
    is_hit = (found.items != PADDING_INDEX) & (found.scores >= exact.scores[:, -1:])
    return float(is_hit.mean())


class _Scratch(threading.local):
    """Flags of all items, one array per thread: made anew, they would cost more the more items there are.

    Attributes:
        flags: (n_items + 1,) bool, all False whenever nobody works with them.
    """

    def __init__(self, n_rows: int) -> None:
        self.flags: BoolArray = np.zeros(n_rows, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class _Question:
    """One call of `search`, found to fit; k is at most the number of allowed items.

    Attributes:
        queries: (batch, dim) float32, contiguous.
        exact_queries: The same as float64.
        largest_scores: What no inner product of the query with an item exceeds, (batch,) float64.
        k: How many items are wanted.
        allowed: As given, None where every item is allowed.
        n_allowed: How many items are allowed.
        exclusions: As given, empty where there are none.
        n_excluded: The length of the longest of them.
    """

    queries: FloatArray
    exact_queries: npt.NDArray[np.float64]
    largest_scores: npt.NDArray[np.float64]
    k: int
    allowed: ItemMask | None
    n_allowed: int
    exclusions: Sequence[IndexArray]
    n_excluded: int

    def drop_forbidden(self, rows: IndexArray, candidates: IndexArray, is_excluded: BoolArray) -> None:
        """Overwrites the candidates that are not allowed, or that their query excludes, with 0.

        Args:
            rows: Queries of the candidates.
            candidates: item_index, (rows, n_candidates) int64; changed.
            is_excluded: (n_items + 1,) bool, all False, and so again when this returns.
        """
        if self.allowed is not None:
            candidates[~self.allowed.flags[candidates]] = PADDING_INDEX
        if self.n_excluded:
            for position, row in enumerate(rows.tolist()):
                is_excluded[self.exclusions[row]] = True
                candidates[position, is_excluded[candidates[position]]] = PADDING_INDEX
                is_excluded[self.exclusions[row]] = False


@dataclass(frozen=True, slots=True)
class _View:
    """Rows that a scan looks at.

    Attributes:
        vectors: (n_vectors, dim) float32.
        item_index: Item of each, (n_vectors,) int64; None for row + 1.
        allowed: Tested for each row; None if all count.
        n_rows: How many rows count.
        allowed_fraction: Of the rows that count; the others are dropped afterwards.
    """

    vectors: FloatArray
    item_index: IndexArray | None
    allowed: ItemMask | None
    n_rows: int
    allowed_fraction: float = 1.0

    def n_fetched(self, n_wanted: int) -> int:
        """Returns how many rows to fetch, so that as many as wanted are likely to be allowed."""
        if self.allowed_fraction < 1.0:
            n_wanted = int(n_wanted * _DROP_MARGIN / self.allowed_fraction)
        return min(n_wanted, self.n_rows)

    def scan(self, queries: FloatArray, n: int) -> tuple[FloatArray, IndexArray]:
        """Returns the n best rows of each query, best first: inner products, and item_index."""
        scores, rows = scan(queries, self.vectors, n, build_selector(self.allowed))
        return scores, rows + 1 if self.item_index is None else self.item_index[rows]


def _first_columns(candidates: IndexArray, n: int) -> IndexArray:
    """Returns the columns of the first n candidates of each row that are not 0, in their order."""
    columns: IndexArray = np.argsort(candidates == PADDING_INDEX, axis=1, kind="stable")[:, :n]
    return columns


def _cut(candidates: IndexArray, scan_scores: FloatArray, n: int) -> tuple[IndexArray, FloatArray]:
    """Returns the first n candidates of each row that are not 0, and what those left out can score.

    Args:
        candidates: (rows, n_candidates) int64, best first.
        scan_scores: Their scores, (rows, n_candidates) float32.
        n: Columns of the result.
    """
    columns = _first_columns(candidates, n)
    places = np.arange(len(candidates))
    kept = candidates[places[:, None], columns]
    # A row with fewer than n has all of its own; what is left out then lies beyond the last one fetched.
    last = np.where(kept[:, -1] != PADDING_INDEX, columns[:, -1], -1)
    return kept, scan_scores[places, last]


def _rounding_bound(dim: int) -> float:
    """Returns by how much, relative to the product of the norms, a scan may differ from the score.

    Source:
        Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1: dim times the unit
        roundoff. Doubled here, for the rounding of the score itself.
    """
    return float(dim * np.finfo(np.float32).eps)


def _largest_norm(item_vectors: FloatArray) -> float:
    """Returns the largest Euclidean norm of a row, by blocks: a mapped file is never copied whole."""
    largest = 0.0
    for first in range(0, len(item_vectors), _NORM_BLOCK_ROWS):
        block = item_vectors[first : first + _NORM_BLOCK_ROWS].astype(np.float64)
        largest = max(largest, float(np.einsum("nd,nd->n", block, block).max()))
    return float(np.sqrt(largest))
