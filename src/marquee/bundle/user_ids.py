"""Names of many users as files that workers share: a lookup is a search in an array, and holds nothing.

```
text      a1bobz9            the names behind each other, UTF-8, in the order of their index
offsets   0 2 5 7            where each begins, and the end of the last
hashes    sorted             64 bits of each name
rows      2 1 3              the user_index of each hash
```

A dictionary of ten million names takes more than a gigabyte in each worker. Decides how names are looked up;
leaves to `bundle` from how many on.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.arrays import IndexArray
from marquee.core.ids import PADDING_INDEX, IdMap
from marquee.errors import DataError, UnknownIdError

MIN_USERS = 100_000
"""From so many users on a bundle has these files: below, a dictionary is small, and quicker."""

ReadArray = Callable[[str, type[Any], tuple[int | None, ...]], npt.NDArray[Any]]

_BLOCK = 1 << 20
_FILES = ("text", "offsets", "hashes", "rows")


def user_file(name: str) -> str:
    """Returns the file of an array by its name."""
    return f"user_id_{name}.npy"


USER_ID_FILES = frozenset(map(user_file, _FILES))
"""All files of the names: a bundle has all of them or none."""


class MappedIds:
    """A one-to-one map between ids and the indices 1 … n, as `IdMap`, over arrays that may lie in files.

    Args:
        text: The ids behind each other, (n_bytes,).
        offsets: Where each begins, (n + 1,).
        hashes: Ascending, (n,).
        rows: Index of each hash, (n,).

    Raises:
        DataError: If the arrays do not fit each other.
    """

    def __init__(
        self,
        text: npt.NDArray[np.uint8],
        offsets: IndexArray,
        hashes: npt.NDArray[np.uint64],
        rows: npt.NDArray[np.int32],
    ) -> None:
        n = len(offsets) - 1
        if n < 0 or (int(offsets[0]), int(offsets[-1])) != (0, len(text)):
            raise DataError(
                f"offsets of ids must reach from 0 to {len(text)}, got {offsets[:1]} …; export again"
            )
        # Offsets may repeat: an id may be the empty text.
        if not (is_rising(offsets) and is_rising(hashes)):
            raise DataError(f"offsets and hashes of {n} ids must rise, got some that fall; export again")
        if len(hashes) != n or len(rows) != n or (n and (rows.min() < 1 or rows.max() > n)):
            raise DataError(f"rows of ids must be 1 … {n}, got {len(rows)} of others; export again")
        self._text, self._offsets, self._hashes, self._rows = text, offsets, hashes, rows

    @classmethod
    def read(cls, array: ReadArray, n_users: int) -> "MappedIds":
        """Returns the names of a bundle.

        Args:
            array: Returns the array of a file, of a type and a shape.
            n_users: Of the bundle.
        """
        return cls(
            array(user_file("text"), np.uint8, (None,)),
            array(user_file("offsets"), np.int64, (n_users + 1,)),
            array(user_file("hashes"), np.uint64, (n_users,)),
            array(user_file("rows"), np.int32, (n_users,)),
        )

    @property
    def ids(self) -> Sequence[str]:
        """The ids in the order of their indices, read one by one; `ids[0]` has index 1."""
        return _Ids(self)

    def column(self) -> pl.Series:
        """Returns the ids in the order of their indices, as a column of texts; it holds each of them."""
        return pl.Series(self.ids[:], dtype=pl.String)

    def index(self, id_: str) -> int:
        """Returns the index of one id, 0 if it is unknown."""
        wanted = _bytes(id_)
        key = _hash(wanted)
        place = int(np.searchsorted(self._hashes, key))
        # More than one where two ids share 64 bits: the text decides.
        while place < len(self._hashes) and self._hashes[place] == key:
            row = int(self._rows[place])
            if self.text_of(row) == wanted:
                return row
            place += 1
        return PADDING_INDEX

    def encode(self, ids: Iterable[str]) -> IndexArray:
        """Returns the index of each id, (n,) int64; 0 for an unknown id."""
        return np.fromiter(map(self.index, ids), dtype=np.int64)

    def decode(self, indices: Sequence[int] | IndexArray) -> list[str]:
        """Returns the id of each index; raises UnknownIdError for 0 and beyond the last."""
        for index in indices:
            if not 1 <= index <= len(self):
                raise UnknownIdError(
                    f"index must be between 1 and {len(self)}, got {index}; 0 is padding and has no id"
                )
        return [self.text_of(int(index)).decode("utf-8", "surrogatepass") for index in indices]

    def extend(self, ids: Iterable[str]) -> IdMap:
        """Returns a map in memory that also holds `ids`, new ones behind all present ones, sorted."""
        return IdMap(tuple(self.ids)).extend(ids)

    def text_of(self, index: int) -> bytes:
        """Returns the UTF-8 of the id of an index in 1 … n."""
        start, end = self._offsets[index - 1 : index + 1].tolist()
        return self._text[start:end].tobytes()

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, str) and self.index(id_) != PADDING_INDEX


class _Ids(Sequence[str]):
    """The ids of a map as a sequence that holds none of them."""

    def __init__(self, of: MappedIds) -> None:
        self._of = of

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...

    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        places = range(len(self))[place]
        if isinstance(places, range):
            return tuple(self._of.decode([one + 1 for one in places]))
        return self._of.decode([places + 1])[0]

    def __iter__(self) -> Iterator[str]:
        for index in range(1, len(self) + 1):
            yield self._of.text_of(index).decode("utf-8", "surrogatepass")

    def __len__(self) -> int:
        return len(self._of)


def user_id_arrays(ids: Sequence[str]) -> dict[str, npt.NDArray[np.generic]]:
    """Returns the arrays of some ids by the file that holds each."""
    texts = [_bytes(id_) for id_ in ids]
    hashes = np.fromiter(map(_hash, texts), dtype=np.uint64, count=len(texts))
    order = np.argsort(hashes, kind="stable")
    sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "text": np.frombuffer(b"".join(texts), dtype=np.uint8),
        "offsets": np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
        "hashes": hashes[order],
        "rows": (order + 1).astype(np.int32),
    }
    return {user_file(name): array for name, array in arrays.items()}


def is_rising(array: npt.NDArray[Any]) -> bool:
    """Tells whether no number falls."""
    # In blocks: the differences of all would take as much as the array that is in a file.
    for start in range(0, len(array) - 1, _BLOCK):
        part = array[start : start + _BLOCK + 1]
        if (part[1:] < part[:-1]).any():
            return False
    return True


def _bytes(id_: str) -> bytes:
    # surrogatepass: a name that came over HTTP may hold half a surrogate pair.
    return id_.encode("utf-8", "surrogatepass")


def _hash(text: bytes) -> np.uint64:
    """Returns 64 bits of a text, the same in every process: Python's own hash differs from start to start."""
    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))
