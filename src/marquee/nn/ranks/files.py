"""Rows of a table in files, one for each rank that held a part, read where they lie.

Row r of a table of `size` parts is row r // size of the file of rank r % size: neighbours in a ranking by
popularity then lie on different ranks. Whoever ranks or exports maps the files and gathers nothing.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import FloatArray, IndexArray

BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class RowFiles:
    """A table whose rows lie in files.

    Attributes:
        stem: Path of the files without `.<rank>-of-<size>.npy`.
        size: How many there are.
        n_rows: Of the table.
    """

    stem: Path
    size: int
    n_rows: int

    def take(self, rows: IndexArray) -> FloatArray:
        """Returns some rows, (n, …) float32; files are mapped, and read only where rows are asked for."""
        parts = [np.load(path_of(self.stem, rank, self.size), mmap_mode="r") for rank in range(self.size)]
        taken = np.empty((len(rows), *parts[0].shape[1:]), dtype=parts[0].dtype)
        for rank, part in enumerate(parts):
            is_here = rows % self.size == rank
            taken[is_here] = part[rows[is_here] // self.size]
        return taken

    def blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """Yields the table in blocks, each with its first row."""
        for start in range(0, self.n_rows, BLOCK_ROWS):
            yield start, self.take(np.arange(start, min(start + BLOCK_ROWS, self.n_rows)))

    def exists(self) -> bool:
        """Whether every file is there."""
        return all(path_of(self.stem, rank, self.size).is_file() for rank in range(self.size))


def own_rows(n_rows: int, rank: int, size: int) -> IndexArray:
    """Returns the rows that a rank holds, ascending.

    Example:
        >>> own_rows(5, rank=1, size=2).tolist()
        [1, 3]
    """
    return np.arange(rank, n_rows, size)


def path_of(stem: Path, rank: int, size: int) -> Path:
    """Returns the file of one rank's rows."""
    return stem.with_name(f"{stem.name}.{rank}-of-{size}.npy")


def write_rows(stem: Path, rows: npt.NDArray[np.generic], rank: int, size: int) -> None:
    """Writes one rank's rows beside their place and renames them there."""
    path = path_of(stem, rank, size)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".writing")
    with beside.open("wb") as file:
        np.save(file, rows)
        file.flush()
        # Before the rename: after a power cut the name must not stand for an empty file.
        os.fsync(file.fileno())
    beside.replace(path)
