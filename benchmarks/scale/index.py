"""An index in shards: the same bytes as one build, and how much of it is done side by side."""

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console

from benchmarks.rows import Measured, Row
from benchmarks.scale.sizes import SIZES
from marquee.core.arrays import FloatArray
from marquee.index.building import measure_recall
from marquee.index.faiss_index import AnnIndex, IndexConfig, IndexKind, add_to_lists, train_lists
from marquee.index.index import Index
from marquee.index.shards import lists_of_shard, plain_config, sample_vectors, shard_bounds
from training.distributed.config import LocalClusterConfig
from training.exporting.index_shards import PARTS, index_builder

Made = TypeVar("Made")

DIM, SHARDS, N_QUERIES, K = 32, 4, 200, 10
N_TASTES = 300
# A shard holds a quarter of the items, and reads all centres.
MAX_SHARE = 0.4


def rows(_root: Path) -> Iterator[Row]:
    """Yields the rows."""
    items = f"{SIZES.index_items:,} items in {SHARDS} shards"
    yield Row(
        f"index: {items}",
        "a trial: the ids of one build for every query, each shard in a quarter of the time",
        f"be the bytes of one build; a shard takes <= {MAX_SHARE:.0%} of adding all, processor time",
        measure,
    )


@cache
def catalog() -> tuple[FloatArray, FloatArray]:
    """Returns item vectors, (n_items + 1, DIM) float32, and queries: both around tastes, as trained ones."""
    rng = np.random.default_rng(3)
    tastes = rng.normal(size=(N_TASTES, DIM)).astype(np.float32)
    vectors = 0.6 * rng.normal(size=(SIZES.index_items + 1, DIM)).astype(np.float32)
    vectors += tastes[rng.integers(0, N_TASTES, len(vectors))]
    vectors[0] = 0
    queries = tastes[rng.integers(0, N_TASTES, N_QUERIES)] + 0.3 * rng.normal(size=(N_QUERIES, DIM))
    return vectors, queries.astype(np.float32)


def measure() -> Measured:
    """Builds the index in shards and in one piece."""
    vectors, queries = catalog()
    config = IndexConfig(kind=IndexKind.pq, shards=SHARDS, max_ann_cost=1e9)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        build = index_builder(config, folder, LocalClusterConfig(processes=2), Console(quiet=True))
        index = build(vectors, config)
        lists, training_s = _timed(
            lambda: train_lists(sample_vectors(vectors, config), SIZES.index_items, config)
        )
        _, adding_s = _timed(lambda: add_to_lists(lists, vectors[1:], 0, config))
        first, end = shard_bounds(SIZES.index_items, SHARDS)[0]
        _, shard_s = _timed(
            lambda: lists_of_shard(
                folder / "again",
                [folder / PARTS / "centres.faiss", folder / PARTS / "vectors" / "shard-00000.npy"],
                first=first,
                **plain_config(config),
            )
        )
        is_equal = _digest(index) == _digest(Index(vectors, config, AnnIndex(lists, config)))
        recall = measure_recall(index, queries, K)
    share = shard_s / adding_s
    said = f"{'equal' if is_equal else 'UNEQUAL'} bytes, recall@{K} {recall:.3f}; processor time"
    return Measured(
        f"{said}: centres {training_s:.1f} s, items {adding_s:.1f} s, {end - first:,} of them {share:.0%}",
        is_equal and share <= MAX_SHARE,
    )


def _timed(work: Callable[[], Made]) -> tuple[Made, float]:
    """Returns a result and the seconds of processor time that it took."""
    # Not by the clock: other processes take turns, and one thread does the work.
    started = time.process_time()
    made = work()
    return made, time.process_time() - started


class _Digest:
    """A file that keeps the checksum of its bytes alone."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()

    def write(self, content: bytes) -> int:
        """Takes bytes in."""
        self.sha256.update(content)
        return len(content)


def _digest(index: Index) -> str:
    """Returns the checksum of the file of an index."""
    file = _Digest()
    index.write(file)  # type: ignore[arg-type]  # writes are all that it asks of a file
    return file.sha256.hexdigest()
