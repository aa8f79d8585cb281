"""The only place that turns an id (the outside's name) into an index (a row of our tables) and back.

Indices are contiguous and start at 1; 0 is padding and, on the way in, "unknown". Fit on training
events only; what the catalog knows beyond them is appended with `extend`, so that everything with a
learned row stands before everything without one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Protocol, Self

import numpy as np
import polars as pl

from marquee.core.arrays import IndexArray
from marquee.errors import DataError, UnknownIdError

PADDING_INDEX = 0


class Ids(Protocol):
    """A one-to-one map between ids and the indices 1 … n, in memory or in files that workers share."""

    @property
    def ids(self) -> Sequence[str]:
        """The ids in the order of their indices; `ids[0]` has index 1."""

    def column(self) -> pl.Series:
        """Returns the ids in the order of their indices, as a column."""

    def encode(self, ids: Iterable[str]) -> IndexArray:
        """Returns the index of each id, (n,) int64; 0 for an unknown id."""

    def index(self, id_: str) -> int:
        """Returns the index of one id, 0 if it is unknown."""

    def decode(self, indices: Sequence[int] | IndexArray) -> list[str]:
        """Returns the id of each index; raises UnknownIdError for 0 and beyond the last."""

    def extend(self, ids: Iterable[str]) -> "Ids":
        """Returns a map that also holds `ids`, new ones after all present ones, in sorted order."""

    def __len__(self) -> int: ...

    def __contains__(self, id_: object) -> bool: ...


@dataclass(frozen=True, slots=True)
class IdMap:
    """A one-to-one map between ids and the indices 1 … n.

    Attributes:
        ids: The ids in the order of their indices; `ids[0]` has index 1.

    Raises:
        DataError: If an id occurs twice or is empty.

    Example:
        >>> items = IdMap(("sku-9", "sku-7"))
        >>> items.encode(["sku-7", "sku-9", "never seen"]).tolist()
        [2, 1, 0]
        >>> items.decode([1, 2])
        ['sku-9', 'sku-7']
    """

    ids: tuple[str, ...]
    _index_of: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        index_of = {id_: index for index, id_ in enumerate(self.ids, start=1)}
        if len(index_of) != len(self.ids):
            seen: set[str] = set()
            # `seen.add` returns None: the id passes only where it was there before.
            double = next(id_ for id_ in self.ids if id_ in seen or seen.add(id_))  # type: ignore[func-returns-value]
            raise DataError(f"ids must be unique, got {double!r} twice; remove the duplicate row")
        if "" in index_of:
            raise DataError(f"ids must not be empty, got '' at index {index_of['']}; name the row")
        # The class is frozen; this is the way that dataclasses themselves take.
        object.__setattr__(self, "_index_of", index_of)

    @classmethod
    def fit(cls, ids: Iterable[str]) -> Self:
        """Returns the map of the distinct ids, in sorted order so that row order has no influence."""
        # The seed of a run must fix its weights: rows that follow the order of a file would change with it.
        return cls(tuple(sorted(set(ids))))

    def extend(self, ids: Iterable[str]) -> "IdMap":
        """Returns a map that also holds `ids`, new ones after all present ones, in sorted order."""
        # Behind all present ones: their rows are trained, and a row must not change its item.
        return IdMap(self.ids + tuple(sorted(set(ids) - self._index_of.keys())))

    def encode(self, ids: Iterable[str]) -> IndexArray:
        """Returns the index of each id, (n,) int64; 0 for an unknown id."""
        # No Python code per id: this runs over every event of a table.
        return np.fromiter(map(self._index_of.get, ids, repeat(PADDING_INDEX)), dtype=np.int64)

    def column(self) -> pl.Series:
        """Returns the ids in the order of their indices, as a column of texts."""
        return pl.Series(self.ids, dtype=pl.String)

    def index(self, id_: str) -> int:
        """Returns the index of one id, 0 if it is unknown."""
        return self._index_of.get(id_, PADDING_INDEX)

    def decode(self, indices: Sequence[int] | IndexArray) -> list[str]:
        """Returns the id of each index.

        Raises:
            UnknownIdError: If an index is 0 (padding has no id) or beyond the last.
        """
        ids = self.ids
        # Checked at once, as a negative index would quietly name an item from the end.
        if len(indices) and not 1 <= min(indices) <= max(indices) <= len(ids):
            wrong = next(index for index in indices if not 1 <= index <= len(ids))
            raise UnknownIdError(
                f"index must be between 1 and {len(ids)}, got {wrong}; 0 is padding and has no id"
            )
        return [ids[index - 1] for index in indices]

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._index_of
