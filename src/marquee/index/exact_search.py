"""Finds the exact answer of some queries by a scan: of the rows that a mask allows, or of all.

Decides which rows are scanned and when enough of them have been scored. Leaves the score itself to
`query_batch`.
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.catalog import ItemMask
from marquee.core.ids import PADDING_INDEX
from marquee.index.faiss_index import build_selector, scan
from marquee.index.query_batch import QueryBatch, SearchResult
from marquee.index.search_plan import is_gathering_cheaper

SCORED_AT_ONCE = 128
"""Up to so many candidates, scoring every one costs less than picking out those that matter."""

# Most that is copied out at a time.
_GATHERED_BYTES = 64 * 2**20
# How much more is fetched than must be left on average, where what is not allowed is dropped.
_DROP_MARGIN = 1.5
# Scored beyond k, so that equal scores at the end of the list seldom need a second look.
_SPARE_CANDIDATES = 8
# Geometric: however many items tie at the cutoff, few rounds find it out.
_WIDENING_FACTOR = 8


def search_exactly(
    item_vectors: FloatArray, batch: QueryBatch, rows: IndexArray, found: SearchResult, flags: BoolArray
) -> None:
    """Writes the exact answer of some queries into `found`.

    Args:
        item_vectors: (n_items + 1, dim) float32; row 0 is never returned.
        batch: The queries.
        rows: Those of them that are searched.
        found: Changed in these rows.
        flags: (n_items + 1,) bool, all False, and so again at the end.
    """
    scanned = _choose_rows(item_vectors, batch, len(rows))
    n_scored = batch.k + _SPARE_CANDIDATES
    while rows.size:
        # All exclusions may stand at the top: people are shown much like what they had.
        n_fetched = scanned.n_fetched(n_scored + batch.n_excluded)
        scan_scores, candidates = scanned.scan(batch.queries[rows], n_fetched)
        batch.drop_forbidden(rows, candidates, flags)
        if n_fetched <= max(n_scored, SCORED_AT_ONCE):
            # Everything fetched was scored, so what is left out lies below the last one fetched.
            bound = scan_scores[:, -1]
        else:
            candidates, bound = _cut(candidates, scan_scores, n_scored)
        batch.score(rows, candidates, item_vectors, found)
        # All that counts was fetched: nothing is left that could belong.
        if n_fetched == scanned.n_rows:
            return
        # A scan adds up in another order than the final score does, so an item beyond the last one scored may
        # still belong: look further until the k-th score is clear of it.
        doubt = _rounding_bound(item_vectors.shape[1]) * batch.largest_scores[rows]
        rows = rows[found.scores[rows, batch.k - 1] <= bound + doubt]
        if scanned.allowed_fraction < 1.0:  # the mask hides what is near: from now on test each row
            scanned = _ScannedRows(item_vectors[1:], None, batch.allowed, batch.n_allowed)
        else:
            n_scored *= _WIDENING_FACTOR


def _choose_rows(item_vectors: FloatArray, batch: QueryBatch, n_queries: int) -> "_ScannedRows":
    """Returns the rows that an exact search of `n_queries` queries scans first."""
    allowed, (n_rows, dim) = batch.allowed, item_vectors.shape
    n_items = n_rows - 1
    if allowed is None:
        return _ScannedRows(item_vectors[1:], None, None, n_items)
    # A copy per search: it must stay small beside the memory of the workers that search at once.
    n_bytes = item_vectors.itemsize * dim * allowed.n_allowed
    if n_bytes <= _GATHERED_BYTES and is_gathering_cheaper(n_items, allowed.n_allowed, n_queries):
        rows = item_vectors.take(allowed.item_index, axis=0)  # (n_allowed, dim)
        return _ScannedRows(rows, allowed.item_index, None, allowed.n_allowed)
    return _ScannedRows(item_vectors[1:], None, None, n_items, allowed.n_allowed / n_items)


@dataclass(frozen=True, slots=True)
class _ScannedRows:
    """The rows of one scan.

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
        scores, rows = scan(queries, self.vectors, n, build_selector(self.allowed))  # (batch, n) each
        return scores, rows + 1 if self.item_index is None else self.item_index[rows]


def first_columns(candidates: IndexArray, n: int) -> IndexArray:
    """Returns the columns of the first n candidates of each row that are not 0, in their order."""
    # Stable, so that candidates stay best first: False sorts before True.
    columns: IndexArray = np.argsort(candidates == PADDING_INDEX, axis=1, kind="stable")[:, :n]
    return columns


def _cut(candidates: IndexArray, scan_scores: FloatArray, n: int) -> tuple[IndexArray, FloatArray]:
    """Returns the first n candidates of each row that are not 0, and what those left out can score.

    Args:
        candidates: (rows, n_candidates) int64, best first.
        scan_scores: Their scores, (rows, n_candidates) float32.
        n: Columns of the result.
    """
    columns = first_columns(candidates, n)
    places = np.arange(len(candidates))
    kept = candidates[places[:, None], columns]  # (rows, n)
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
