"""Which items go together: how many users have both, and each item's nearest items by that.

An item counts once per user, however often the user came back to it. Does not score anybody (see
`baselines`) and does not learn (see `nn.models`, which may let an item's vector lean on its neighbours').
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.histories import Interactions
from marquee.core.ids import PADDING_INDEX
from marquee.errors import ConfigError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BYTES_PER_COOCCURRENCE = 8  # float32 value and int32 column of one sparse entry
SCIPY_INSTALL = "pip install 'marquee[reports]'"


@dataclass(frozen=True, slots=True)
class ItemNeighbours:
    """The nearest items of each item, and how much each of them counts.

    Attributes:
        items: item_index, (n_items + 1, n_neighbours) int64; 0 where there is none.
        weights: (n_items + 1, n_neighbours) float32; the weights of an item sum to 1, or to 0 if it has no
            neighbour.
    """

    items: IndexArray
    weights: FloatArray

    @classmethod
    def find(
        cls, train: Interactions, n_items: int, *, n_neighbours: int, user_damping: float
    ) -> "ItemNeighbours":
        """Returns the neighbours of every item; see `nearest_items` for arguments and errors."""
        similarity = nearest_items(
            train, n_items, n_neighbours=n_neighbours, user_damping=user_damping, shrinkage=0.0
        )
        sizes = np.diff(similarity.indptr)
        row = np.repeat(np.arange(n_items + 1), sizes)
        # The place of each entry within its row; entries stand best first.
        column = np.arange(similarity.nnz) - np.repeat(similarity.indptr[:-1], sizes)
        items = np.zeros((n_items + 1, n_neighbours), dtype=np.int64)  # PADDING_INDEX
        weights = np.zeros((n_items + 1, n_neighbours), dtype=np.float32)
        items[row, column] = similarity.indices
        weights[row, column] = similarity.data
        total = weights.sum(axis=1, keepdims=True)
        # Without neighbours the total is 0: the weights stay 0 and do not become NaN.
        return cls(items, np.divide(weights, total, out=weights, where=total > 0))


def nearest_items(
    train: Interactions,
    n_items: int,
    *,
    n_neighbours: int,
    user_damping: float,
    shrinkage: float,
    memory_mb: int = 256,
) -> "csr_matrix[np.float32]":
    """Returns the similarity of each item (row) to its nearest items, (n_items + 1, n_items + 1), best first.

    similarity(i, j) = Σ over users u of both: (items of u)^−damping / (√(users of i · users of j) +
    shrinkage). Equally similar items are kept by lower item_index.

    Args:
        train: Interactions to learn from.
        n_items: Items of the catalog, without the padding one.
        n_neighbours: Most items kept per item.
        user_damping: A user of n items counts n^−damping; 0 gives the plain cosine.
        shrinkage: Added to the denominator, pulls rare items' similarity down.
        memory_mb: Bound on the memory of one block of co-occurrences, in MiB.

    Raises:
        ConfigError: If scipy is not installed.
    """
    matrix = user_item_matrix(train, n_items)
    n_items_of = np.diff(matrix.indptr)  # (n_users + 1,)
    damped = matrix.copy()
    # Users without items have no entry, but 0 to a negative power would warn.
    damped.data *= np.repeat(np.maximum(n_items_of, 1.0) ** -user_damping, n_items_of)
    # One factor is damped and the other is not: a user would count by the square otherwise.
    by_item = damped.T.tocsr()
    del damped
    norms = np.sqrt(np.diff(by_item.indptr))  # (n_items + 1,), of the undamped columns
    # An item meets at most the histories of all its users: bounds the entries of its row.
    n_met = np.minimum(matrix.T @ n_items_of, n_items)
    indptr, neighbours, values = [0], [], []
    # In blocks, as all pairs of a large catalog at once need not fit into memory.
    for items in _blocks(n_met, memory_mb * 2**20 // BYTES_PER_COOCCURRENCE):
        met = (by_item[items] @ matrix).tocsr()
        for row, item in enumerate(range(items.start, items.stop)):
            entries = slice(met.indptr[row], met.indptr[row + 1])
            others = met.indices[entries]
            similarity = met.data[entries] / (norms[item] * norms[others] + shrinkage)
            # Nothing is nearer to an item than itself: in the last place it is cut off by `len(others) - 1`.
            similarity[others == item] = -np.inf
            best = _best(similarity, others, min(n_neighbours, len(others) - 1))
            indptr.append(indptr[-1] + len(best))
            neighbours.append(others[best])
            values.append(similarity[best].astype(np.float32))
    return csr_matrix_class()(
        (np.concatenate(values), np.concatenate(neighbours), indptr), shape=(n_items + 1, n_items + 1)
    )


def distinct_pairs(train: Interactions) -> tuple[IndexArray, IndexArray, IndexArray]:
    """Returns user, item and latest timestamp of each pair that occurs, (n_pairs,) each.

    Events of users without a row are many users in one range: there each event is a pair of its own.
    """
    n_rows = int(train.item_index.max(initial=0)) + 1
    # One number for each pair: sorting by several columns would hold each of them twice.
    pair = train.user_index * n_rows + train.item_index
    # Stable, and a user's events are by time: the latest event of a pair is its last row.
    order = np.argsort(pair, kind="stable")
    pair = pair[order]
    is_last = np.ones(len(pair), dtype=np.bool_)
    # Pairs of user 0 are below `n_rows`.
    is_last[:-1] = (pair[1:] != pair[:-1]) | (pair[1:] < n_rows)
    is_last &= pair % n_rows != PADDING_INDEX
    pair, order = pair[is_last], order[is_last]
    return pair // n_rows, pair % n_rows, train.timestamp[order]


def user_item_matrix(train: Interactions, n_items: int) -> "csr_matrix[np.float32]":
    """Returns 1 where a user interacted with an item, (n_users + 1, n_items + 1); row and column 0 empty."""
    # The events are grouped by user already: rows of a matrix, made without a column of users.
    is_counted = train.item_index != PADDING_INDEX
    is_counted[: train.offsets[1]] = False  # of users without a row
    offsets = np.concatenate(([0], np.cumsum(is_counted)))[train.offsets]
    items = train.item_index[is_counted].astype(np.int32)
    ones = np.ones(len(items), dtype=np.float32)
    matrix = csr_matrix_class()((ones, items, offsets), shape=(train.n_users + 1, n_items + 1))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def csr_matrix_class() -> "type[csr_matrix[np.float32]]":
    """Returns scipy's class of sparse matrices.

    Raises:
        ConfigError: If scipy is not installed.
    """
    try:
        # Imported here: scipy is an extra, and the module must load without it.
        from scipy.sparse import csr_matrix
    except ImportError as error:
        raise ConfigError(
            f"counting items that go together needs the package scipy, got {error}; run: {SCIPY_INSTALL}"
        ) from error
    return csr_matrix


def _best(values: FloatArray, columns: npt.NDArray[np.signedinteger], n: int) -> IndexArray:
    """Returns the positions of the n highest values, best first, equal ones by lower column, (n,)."""
    if n < 1:
        return np.zeros(0, dtype=np.int64)
    # Not sorted as a whole: an item may meet far more others than are kept.
    last = np.partition(values, len(values) - n)[len(values) - n]
    above = np.flatnonzero(values >= last)  # a few more than n if values are equal
    return np.asarray(above[np.lexsort((columns[above], -values[above]))][:n])


def _blocks(sizes: npt.NDArray[np.int64], limit: int) -> Iterator[slice]:
    """Yields slices that cover `sizes` with a sum within `limit` each; a row beyond it stands alone."""
    start, total = 0, 0
    for row, size in enumerate(sizes.tolist()):
        if row > start and total + size > limit:
            yield slice(start, row)
            start, total = row, 0
        total += size
    yield slice(start, len(sizes))
