"""Ids in files that workers share: sorted texts in which a lookup is a search, and nothing is held."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import overload

import numpy as np
import polars as pl

from marquee.core.arrays import IndexArray
from marquee.core.ids import PADDING_INDEX
from marquee.data.prepared.layout import codes
from marquee.errors import UnknownIdError


class SortedIds:
    """A one-to-one map between ids and the indices 1 … n, as `IdMap`, over columns that may lie in files.

    Args:
        groups: Columns of texts. Those of one group are sorted, one behind the other; the next group begins
            anew: those of training first, then the others.

    Example:
        >>> users = SortedIds([[pl.Series(["a", "c"]), pl.Series(["d"])], [pl.Series(["b"])]])
        >>> users.encode(["d", "b", "never seen"]).tolist(), users.decode([1])
        ([3, 4, 0], ['a'])
    """

    def __init__(self, groups: Sequence[Sequence[pl.Series]]) -> None:
        self._groups = [[piece for piece in group if len(piece)] for group in groups]
        pieces = [piece for group in self._groups for piece in group]
        self._names = pl.concat(pieces, rechunk=False) if pieces else pl.Series("id", [], pl.String)
        # For each group: first names of its pieces, and how many ids stand before each piece.
        starts = [0, *accumulate(map(len, pieces))]
        self._places: list[tuple[list[str], list[int]]] = []
        for group in self._groups:
            self._places.append(([piece[0] for piece in group], starts[: len(group)]))
            starts = starts[len(group) :]

    def column(self) -> pl.Series:
        """Returns all ids in the order of their indices; what lies in files stays there."""
        return self._names

    @property
    def ids(self) -> Sequence[str]:
        """The ids in the order of their indices, read one by one; `ids[0]` has index 1."""
        return _Texts(self._names)

    def index(self, id_: str) -> int:
        """Returns the index of one id, 0 if it is unknown."""
        for group, (firsts, starts) in zip(self._groups, self._places, strict=True):
            number = bisect_right(firsts, id_) - 1
            if number < 0:
                continue
            place = int(group[number].search_sorted(id_, side="left"))
            if place < len(group[number]) and group[number][place] == id_:
                return starts[number] + place + 1
        return PADDING_INDEX

    def encode(self, ids: Iterable[str]) -> IndexArray:
        """Returns the index of each id, (n,) int64; 0 for an unknown id."""
        wanted = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.String)
        return codes(wanted, self._names) + 1

    def extend(self, ids: Iterable[str]) -> "SortedIds":
        """Returns a map that also holds `ids`, new ones after all present ones, in sorted order."""
        wanted = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.String)
        distinct = wanted.unique().sort()
        return SortedIds(
            [*self._groups, [distinct.filter(pl.Series(self.encode(distinct) == PADDING_INDEX))]]
        )

    def decode(self, indices: Sequence[int] | IndexArray) -> list[str]:
        """Returns the id of each index; raises UnknownIdError for 0 and beyond the last."""
        rows = np.asarray(indices, dtype=np.int64)
        if len(rows) and not 1 <= rows.min() <= rows.max() <= len(self):
            wrong = next(index for index in rows.tolist() if not 1 <= index <= len(self))
            raise UnknownIdError(
                f"index must be between 1 and {len(self)}, got {wrong}; 0 is padding and has no id"
            )
        return self._names.gather(rows - 1).to_list()

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, str) and self.index(id_) != PADDING_INDEX


class _Texts(Sequence[str]):
    """A column of texts as a sequence that holds none of them."""

    def __init__(self, names: pl.Series) -> None:
        self._names = names

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...

    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        if isinstance(place, slice):
            return tuple(self._names[place].to_list())
        # As a tuple has it: a column of Polars raises an error of its own.
        text: str = self._names[range(len(self))[place]]
        return text

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
