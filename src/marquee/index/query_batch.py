"""The queries of one search: found to fit, cleared of what they must not return, and scored exactly.

Decides what a search promises of its answer: no forbidden item, the true inner product, one tie rule. Leaves
to others where candidates come from (see `index` and `exact_search`).
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.catalog import ItemMask
from marquee.core.ids import PADDING_INDEX
from marquee.errors import ShapeError


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The best items of each query, best first, equal scores by ascending item_index.

    Attributes:
        items: item_index, (batch, k) int64; 0 where there are fewer than k.
        scores: Inner products, (batch, k) float32; -inf where there is no item.
    """

    items: IndexArray
    scores: FloatArray


class ScratchFlags(threading.local):
    """One array of flags of all items per thread.

    Attributes:
        flags: (n_items + 1,) bool, all False between two uses.
    """

    # Kept, not made for each search: a new array would cost more the more items there are.

    def __init__(self, n_rows: int) -> None:
        self.flags: BoolArray = np.zeros(n_rows, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """The arguments of one search, found to fit; k is at most the number of allowed items.

    Attributes:
        queries: (batch, dim) float32, contiguous.
        exact_queries: The same as float64.
        largest_scores: Upper bound of the inner products of each query with any item, (batch,) float64.
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

    @classmethod
    def of(
        cls,
        queries: FloatArray,
        k: int,
        allowed: ItemMask | None,
        exclusions: Sequence[IndexArray] | None,
        *,
        shape: tuple[int, int],
        max_norm: float,
    ) -> "QueryBatch":
        """Returns the arguments of `Index.search` in one piece.

        Args:
            queries: As in `Index.search`, and so are k, allowed and exclusions.
            k: As above.
            allowed: As above.
            exclusions: As above.
            shape: Of the item vectors, (n_items + 1, dim).
            max_norm: The largest Euclidean norm of an item vector.

        Raises:
            ShapeError: If they do not fit.
        """
        n_rows, dim = shape
        if queries.ndim != 2 or queries.shape[1] != dim:
            raise ShapeError(f"queries must have shape (batch, {dim}), got {queries.shape}")
        if k < 1:
            raise ShapeError(f"k must be 1 or more, got {k}")
        if allowed is not None and len(allowed.flags) != n_rows:
            raise ShapeError(f"allowed must have {n_rows} rows, got {len(allowed.flags)}")
        if exclusions is not None and len(exclusions) != len(queries):
            raise ShapeError(f"exclusions must be one per query ({len(queries)}), got {len(exclusions)}")
        # A mask that hides nothing would only rule out the faster searches.
        if allowed is not None and allowed.is_everything:
            allowed = None
        n_allowed = n_rows - 1 if allowed is None else allowed.n_allowed
        # FAISS reads the memory behind a pointer: another layout would be read as other numbers.
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        exact_queries = queries.astype(np.float64)
        return cls(
            queries=queries,
            exact_queries=exact_queries,
            # Cauchy-Schwarz: no inner product exceeds the product of the norms.
            largest_scores=np.sqrt(np.vecdot(exact_queries, exact_queries)) * max_norm,
            k=min(k, n_allowed),
            allowed=allowed,
            n_allowed=n_allowed,
            exclusions=exclusions or (),
            n_excluded=max(map(len, exclusions or ()), default=0),
        )

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
                # Set, read and cleared: a new array for each query would cost as much as the catalog is
                # large.
                is_excluded[self.exclusions[row]] = True
                candidates[position, is_excluded[candidates[position]]] = PADDING_INDEX
                is_excluded[self.exclusions[row]] = False

    def score(
        self, rows: IndexArray, candidates: IndexArray, item_vectors: FloatArray, found: SearchResult
    ) -> None:
        """Scores candidates exactly and writes the k best of each query into `found`.

        Args:
            rows: Queries of the candidates.
            candidates: item_index, (rows, n_candidates) int64; 0 for none. Sorted in place.
            item_vectors: (n_items + 1, dim) float32.
            found: Changed in the given rows.
        """
        candidates.sort(axis=1)  # so that a stable sort leaves equal scores by ascending item_index
        # In float64 a sum hardly depends on its order: equal vectors get equal scores in any batch.
        vectors = item_vectors.take(candidates, axis=0).astype(np.float64)  # (rows, n_candidates, dim)
        # Negated: NumPy sorts ascending only, and a stable sort must not be turned round.
        queries = -self.exact_queries[rows, :, None]
        costs = (vectors @ queries)[:, :, 0].astype(np.float32)  # (rows, n_candidates)
        costs[candidates == PADDING_INDEX] = np.inf
        order = costs.argsort(axis=1, kind="stable")[:, : self.k]
        places = np.arange(len(rows))[:, None]
        found.items[rows, : order.shape[1]] = candidates[places, order]
        found.scores[rows, : order.shape[1]] = 0.0 - costs[places, order]  # never -0.0
