"""Embeddings to measure retrieval with: clusters in a space of few dimensions, and users between them.

Recall depends on the data: independent coordinates would be much harder for an index than what a model
learns, and a single cluster much easier. What a trained catalog gives is measured when it is exported.
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import FloatArray, IndexArray

DIM = 64
RANK = 24
ITEMS_PER_CLUSTER = 200
SPREAD = np.float32(0.6)
NOISE = np.float32(0.15)
MOST_TASTES = 3
N_QUERIES = 1000
_ROWS_AT_ONCE = 100_000


@dataclass(frozen=True)
class Embeddings:
    """Items and users of one space.

    Attributes:
        item_vectors: (n_items + 1, DIM) float32; row 0 is padding.
        cluster: Cluster of each item, (n_items + 1,) int64.
        queries: (N_QUERIES, DIM) float32: users with a taste for one to `MOST_TASTES` clusters.
    """

    item_vectors: FloatArray
    cluster: IndexArray
    queries: FloatArray


def make_embeddings(n_items: int, seed: int = 0) -> Embeddings:
    """Returns embeddings; the same arguments give the same numbers."""
    rng = np.random.default_rng(seed)
    n_clusters = max(1, n_items // ITEMS_PER_CLUSTER)
    basis = rng.standard_normal((RANK, DIM), dtype=np.float32) / np.float32(RANK**0.5)
    centres = rng.standard_normal((n_clusters, RANK), dtype=np.float32)
    n_tastes = rng.integers(1, MOST_TASTES + 1, N_QUERIES)
    weight = (np.arange(MOST_TASTES) < n_tastes[:, None]).astype(np.float32) / n_tastes[:, None]
    tastes = centres[rng.integers(0, n_clusters, (N_QUERIES, MOST_TASTES))]  # (N_QUERIES, MOST_TASTES, RANK)
    wanted = np.einsum("qt,qtr->qr", weight, tastes).astype(np.float32)
    queries = _placed(rng, wanted, SPREAD / 2, basis)
    cluster = rng.integers(0, n_clusters, n_items + 1)
    vectors = np.empty((n_items + 1, DIM), dtype=np.float32)
    for first in range(0, n_items + 1, _ROWS_AT_ONCE):
        block = slice(first, first + _ROWS_AT_ONCE)
        vectors[block] = _placed(rng, centres[cluster[block]], SPREAD, basis)
    vectors[0] = 0.0
    return Embeddings(vectors, cluster, queries)


def _placed(
    rng: np.random.Generator, middle: FloatArray, spread: np.float32, basis: FloatArray
) -> FloatArray:
    """Returns vectors, (n, DIM), around the middles, (n, RANK)."""
    latent = middle + spread * rng.standard_normal(middle.shape, dtype=np.float32)
    vectors: FloatArray = latent @ basis
    vectors += NOISE * rng.standard_normal(vectors.shape, dtype=np.float32)
    return vectors
