"""Finds the k items with the highest inner product, under a mask and with exclusions.

Decides how to search: an exact scan where few items are allowed or the catalog is small, the ANN index
where it pays. Every candidate is scored again from the item vectors themselves, so a score is the true
inner product whatever the index holds, and a list that the ANN index leaves short is searched exactly.
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

from marquee.ann import BLAS_BATCH, AnnIndex, IndexConfig, IndexKind, Selector, build_selector, scan
from marquee.catalog import BoolArray, ItemMask
from marquee.errors import DataError, ShapeError
from marquee.histories import FloatArray
from marquee.ids import PADDING_INDEX, IndexArray

__all__ = ["Index", "IndexConfig", "IndexKind", "SearchResult", "build_index", "measure_recall"]

# Up to here, allowed rows are copied out and scanned, rather than tested one by one in a scan of all. A
# batch shares the copy and scans it with BLAS, which a scan with a selector cannot.
_GATHERED_ROWS = 4096
_GATHERED_BYTES_FOR_BATCHES = 64 * 2**20
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
            if self._ann is not None and self._is_ann_worthwhile(question):
                rows = self._search_ann(self._ann, question, rows, found)
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

    def _is_ann_worthwhile(self, question: "_Question") -> bool:
        """Returns True if the ANN index is asked before the vectors themselves are scanned."""
        return question.n_allowed > self.config.exact_below and question.n_allowed >= max(
            self.config.min_allowed_fraction * self.n_items,
            self.config.min_allowed_per_candidate * (self._n_scored(question) + question.n_excluded),
        )

    def _n_scored(self, question: "_Question") -> int:
        """Returns how many candidates of the ANN index are scored exactly."""
        is_lossy = self.config.kind in (IndexKind.sq8, IndexKind.pq)
        return question.k * (self.config.candidates_per_item if is_lossy else 1)

    def _search_ann(
        self, ann: AnnIndex, question: "_Question", rows: IndexArray, found: SearchResult
    ) -> IndexArray:
        """Writes what the ANN index finds into `found`; returns the rows that it leaves short."""
        # A mask hides a part of what the search passes by: let it pass by more in proportion.
        candidates = ann.search(
            question.queries[rows],
            self._n_scored(question) + question.n_excluded,
            question.allowed,
            effort=self.n_items / question.n_allowed,
        )
        question.drop_excluded(rows, candidates, self._scratch.flags)
        self._score(question, rows, candidates, found)
        is_short: BoolArray = found.items[rows, question.k - 1] == PADDING_INDEX
        return rows[is_short]

    def _search_exactly(self, question: "_Question", rows: IndexArray, found: SearchResult) -> None:
        """Writes the exact answer of the given rows into `found`.

        A scan adds up in another order than the final score does, so an item beyond the last one scored
        might still belong: until the k-th score is clear of it, look further.
        """
        vectors, item_index, selector = self._scanned(question, len(rows))
        n_scored = question.k + _SPARE_CANDIDATES
        while rows.size:
            n_fetched = min(n_scored + question.n_excluded, question.n_allowed)
            scan_scores, labels = scan(question.queries[rows], vectors, n_fetched, selector)
            candidates = labels + 1 if item_index is None else item_index[labels]
            question.drop_excluded(rows, candidates, self._scratch.flags)
            if n_fetched <= max(n_scored, _SCORED_AT_ONCE):
                bound = scan_scores[:, -1]
            else:
                candidates, bound = _cut(candidates, scan_scores, n_scored)
            self._score(question, rows, candidates, found)
            if candidates.shape[1] == question.n_allowed:
                return
            doubt = _rounding_bound(self.dim) * question.largest_scores[rows]
            rows = rows[found.scores[rows, question.k - 1] <= bound + doubt]
            n_scored *= _WIDENING_FACTOR

    def _scanned(self, question: "_Question", batch: int) -> tuple[FloatArray, IndexArray | None, Selector]:
        """Returns the vectors to scan, the item of each (None: row + 1) and what selects among them."""
        allowed = question.allowed
        if allowed is None:
            return self.item_vectors[1:], None, None
        n_bytes = self.item_vectors.itemsize * self.dim * allowed.n_allowed
        is_shared = batch >= BLAS_BATCH and n_bytes <= _GATHERED_BYTES_FOR_BATCHES
        if allowed.n_allowed <= _GATHERED_ROWS or is_shared:
            return self.item_vectors[allowed.item_index], allowed.item_index, None
        return self.item_vectors[1:], None, build_selector(allowed)

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

    def drop_excluded(self, rows: IndexArray, candidates: IndexArray, is_excluded: BoolArray) -> None:
        """Overwrites the candidates that their query excludes with 0.

        Args:
            rows: Queries of the candidates.
            candidates: item_index, (rows, n_candidates) int64; changed.
            is_excluded: (n_items + 1,) bool, all False, and so again when this returns.
        """
        if self.n_excluded:
            for position, row in enumerate(rows.tolist()):
                is_excluded[self.exclusions[row]] = True
                candidates[position, is_excluded[candidates[position]]] = PADDING_INDEX
                is_excluded[self.exclusions[row]] = False


def _cut(candidates: IndexArray, scan_scores: FloatArray, n: int) -> tuple[IndexArray, FloatArray]:
    """Returns the first n candidates of each row that are not 0, and what those left out can score.

    Args:
        candidates: (rows, n_candidates) int64, best first.
        scan_scores: Their scores, (rows, n_candidates) float32.
        n: Columns of the result.
    """
    columns = np.argsort(candidates == PADDING_INDEX, axis=1, kind="stable")[:, :n]
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
