"""Builds an index over item vectors, and measures what it misses.

Decides which vectors can be indexed. Leaves the choice of a kind to `choice`, and recall against effort to
`sweep`.
"""

import numpy as np

from marquee.core.arrays import FloatArray
from marquee.core.ids import PADDING_INDEX
from marquee.errors import ConfigError, DataError, ShapeError
from marquee.index.faiss_index import AnnIndex, IndexConfig, IndexKind
from marquee.index.index import Index

_BLOCK_ROWS = 65_536


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
    validate_vectors(item_vectors)
    if config.kind is IndexKind.auto:
        raise ConfigError(
            f"an index of kind {config.kind} cannot be built, choose one first with `choose_index` (config "
            "index.kind)"
        )
    ann = None if config.kind is IndexKind.flat else AnnIndex.build(item_vectors, config)
    return Index(item_vectors, config, ann)


def validate_vectors(item_vectors: FloatArray) -> None:
    """Raises an error if vectors cannot be indexed, see `build_index`."""
    if item_vectors.ndim != 2 or len(item_vectors) < 2 or item_vectors.dtype != np.float32:
        raise ShapeError(
            "item_vectors must be (n_items + 1, dim) float32 with at least one item, got "
            f"{item_vectors.dtype} {item_vectors.shape}"
        )
    # A single NaN would poison the code book, and every query that comes near it, without a word. By blocks:
    # vectors may be memory-mapped, and larger than memory.
    blocks = range(0, len(item_vectors), _BLOCK_ROWS)
    not_finite = np.concatenate(
        [
            first + np.flatnonzero(~np.isfinite(item_vectors[first : first + _BLOCK_ROWS]).all(axis=1))
            for first in blocks
        ]
    )
    if not_finite.size:
        raise DataError(
            f"item_vectors must be finite, got {not_finite.size} rows that are not, first item_index "
            f"{not_finite[0]}; train again with a lower learning rate"
        )


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
    # Longer lists end in padding, which would count as missed.
    k = min(k, index.n_items)
    found = index.search(queries, k)
    exact = Index(index.item_vectors, IndexConfig(), None).search(queries, k)
    # An item that scores as well as the last exact one is as good as it: a tie is no miss.
    is_hit = (found.items != PADDING_INDEX) & (found.scores >= exact.scores[:, -1:])
    return float(is_hit.mean())
