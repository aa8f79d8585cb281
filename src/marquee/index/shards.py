"""An index of inverted lists, built in parts: centres of a sample, lists of each shard, one file of all.

Each function makes one file of others, holds one shard in memory, and depends on nothing else, so that any
process may do it, again if need be. The merged file is, byte for byte, what `AnnIndex.write` writes of one
build over all vectors: bundles, readers and recall know nothing of shards.

Does not build graphs: a graph over a part says nothing of the others, and asking each of four took two to
four times as long as asking one.
"""

from collections.abc import Sequence
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import IO

import faiss
import numpy as np

from marquee.core.arrays import FloatArray, IndexArray
from marquee.errors import ConfigError, ShapeError
from marquee.index.faiss_index import (
    LIST_KINDS,
    FaissIndex,
    IndexConfig,
    IndexKind,
    add_to_lists,
    train_lists,
    training_rows,
)

# FAISS multiplies so many queries with the centres at a time: shards that begin at a multiple of it are
# assigned by the same products as one build, to the last bit.
_ROWS_MULTIPLIED_AT_ONCE = 4096
_LISTS = b"ilar"
_SOME_LISTS = 0.5


def shard_bounds(n_items: int, shards: int) -> list[tuple[int, int]]:
    """Returns the first and last row of each shard, as slices of the vectors without padding.

    Example:
        >>> shard_bounds(10_000, 4), shard_bounds(3, 2)
        ([(0, 4096), (4096, 8192), (8192, 10000)], [(0, 3)])
    """
    rows = ceil(n_items / shards / _ROWS_MULTIPLIED_AT_ONCE) * _ROWS_MULTIPLIED_AT_ONCE
    return [(first, min(first + rows, n_items)) for first in range(0, n_items, rows)]


def sample_vectors(item_vectors: FloatArray, config: IndexConfig) -> FloatArray:
    """Returns the vectors that the centres are learned from, (n_sampled, dim) float32.

    Args:
        item_vectors: (n_items + 1, dim) float32; row 0 is padding. May be memory-mapped.
        config: Of kind `ivf` or `pq`.
    """
    rows = training_rows(len(item_vectors) - 1, config)
    return np.ascontiguousarray(item_vectors[rows + 1])


def centres_of(out: Path, inputs: Sequence[Path], *, n_items: int, **config: int | float | str) -> None:
    """Learns the centres and code books, and writes an index without items.

    Args:
        out: File of the index.
        inputs: `sample_vectors`, as `.npy`.
        n_items: Of all shards together.
        config: Fields of the `IndexConfig`.
    """
    index = train_lists(np.load(inputs[0], mmap_mode="r"), n_items, _config_of(config))
    faiss.write_index(index, str(out))


def lists_of_shard(out: Path, inputs: Sequence[Path], *, first: int, **config: int | float | str) -> None:
    """Writes an index with the items of one shard.

    Args:
        out: File of the index.
        inputs: The index without items, and the vectors of the shard as `.npy`, (n_shard, dim) float32.
        first: Row of the first of them among all, without padding.
        config: Fields of the `IndexConfig`.
    """
    index = faiss.read_index(str(inputs[0]))
    add_to_lists(index, np.load(inputs[1], mmap_mode="r"), first, _config_of(config))
    faiss.write_index(index, str(out))


def merged(out: Path, inputs: Sequence[Path]) -> None:
    """Writes the index of all items, list after list: no more than one list of each shard is in memory.

    Args:
        out: File of the index.
        inputs: The index without items, and the indices of all shards in the order of their rows.

    Raises:
        ShapeError: If a shard has other lists or codes than the index without items.
    """
    empty = faiss.read_index(str(inputs[0]))
    # Trap: `IO_FLAG_MMAP` crashes in FAISS 1.15.1 as lists are read; this flag does not.
    shards = [faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC) for path in inputs[1:]]
    for path, shard in zip(inputs[1:], shards, strict=True):
        if (shard.nlist, shard.code_size) != (empty.nlist, empty.code_size):
            raise ShapeError(
                f"{path.name} must have {empty.nlist} lists of {empty.code_size} bytes an item, got "
                f"{shard.nlist} of {shard.code_size}; build all shards from one {inputs[0].name}"
            )
    # (n_shards, n_lists): how many items of each list each shard holds.
    sizes = np.array(
        [[shard.invlists.list_size(number) for number in range(empty.nlist)] for shard in shards],
        dtype=np.uint64,
    )
    with out.open("wb") as file:
        file.write(_head(empty, int(sizes.sum())))
        _write_sizes(file, sizes.sum(axis=0, dtype=np.uint64), empty.code_size)
        for number in range(empty.nlist):
            for shard in shards:
                file.write(_codes(shard, number).data)
            for shard in shards:
                file.write(_ids(shard, number).data)


def plain_config(config: IndexConfig) -> dict[str, int | float | str]:
    """Returns the fields of a config that decide what is built, as tasks take them."""
    fields = asdict(config)
    return {
        "kind": config.kind.value,
        **{name: fields[name] for name in ("n_lists", "coordinates_per_code", "n_build_threads")},
    }


def _config_of(fields: dict[str, int | float | str]) -> IndexConfig:
    """Returns the config of the fields that a task was given."""
    kind = IndexKind(str(fields["kind"]))
    if kind not in LIST_KINDS:
        raise ConfigError(f"index.shards needs index.kind=ivf or pq, got {kind}")
    return IndexConfig(
        kind=kind,
        n_lists=int(fields["n_lists"]),
        coordinates_per_code=int(fields["coordinates_per_code"]),
        n_build_threads=int(fields["n_build_threads"]),
    )


def _head(empty: FaissIndex, n_items: int) -> bytes:
    """Returns the bytes that FAISS writes before the lists: dimensions, centres, code books."""
    empty.ntotal = n_items
    written: bytes = faiss.serialize_index(empty).tobytes()
    return written[: written.rindex(_LISTS)]


def _write_sizes(file: IO[bytes], sizes: IndexArray, code_size: int) -> None:
    """Writes how long the lists are, in whichever of FAISS's two forms it would choose."""
    n_lists, filled = len(sizes), np.flatnonzero(sizes)
    file.write(_LISTS + np.array([n_lists, code_size], dtype=np.uint64).tobytes())
    if len(filled) > n_lists * _SOME_LISTS:
        file.write(b"full" + np.uint64(n_lists).tobytes() + sizes.astype(np.uint64).tobytes())
        return
    pairs = np.stack([filled.astype(np.uint64), sizes[filled].astype(np.uint64)], axis=1)  # (n_filled, 2)
    file.write(b"sprs" + np.uint64(pairs.size).tobytes() + pairs.tobytes())


def _codes(shard: FaissIndex, number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Returns the codes of a list, (n · code_size,) uint8, without a copy."""
    n_bytes = shard.invlists.list_size(number) * shard.code_size
    codes: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = faiss.rev_swig_ptr(
        shard.invlists.get_codes(number), n_bytes
    )
    return codes


def _ids(shard: FaissIndex, number: int) -> IndexArray:
    """Returns the labels of a list, (n,) int64, without a copy."""
    ids: IndexArray = faiss.rev_swig_ptr(shard.invlists.get_ids(number), shard.invlists.list_size(number))
    return ids
