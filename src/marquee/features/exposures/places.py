"""Places: a surface and a position on it, by number."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import IndexArray

MAX_PLACES = 256
UNKNOWN_PLACE = 0


@dataclass(frozen=True)
class Places:
    """The places of training.

    Attributes:
        names: Surface and position of places 1, 2, …; 0 is every other one.
    """

    names: tuple[tuple[str, int], ...]

    @classmethod
    def fit(cls, surface: npt.NDArray[np.str_], position: IndexArray) -> "Places":
        """Returns the places of exposures, at most `MAX_PLACES`: the top ones of each surface first."""
        pairs = sorted(set(zip(surface.tolist(), position.tolist(), strict=True)), key=lambda one: one[::-1])
        return cls(tuple(sorted(pairs[:MAX_PLACES])))

    def __len__(self) -> int:
        """Number of places, the unknown one included."""
        return len(self.names) + 1

    def index(self, surface: str | None, position: int) -> int:
        """Returns the number of a place; below the last known position of a surface it is that of the last.

        Example:
            >>> places = Places((("feed", 1), ("feed", 2)))
            >>> places.index("feed", 2), places.index("feed", 9), places.index("shop", 1)
            (2, 2, 0)
        """
        found = self._numbers.get((surface or "", position))
        if found is not None:
            return found
        above = [place for place in self._positions.get(surface or "", ()) if place < position]
        return self._numbers[surface or "", max(above)] if above else UNKNOWN_PLACE

    def encode(self, surface: Sequence[str], position: Sequence[int]) -> IndexArray:
        """Returns the number of each place, (n,) int64."""
        pairs = zip(surface, position, strict=True)
        return np.array([self.index(name, place) for name, place in pairs], dtype=np.int64)

    @cached_property
    def _numbers(self) -> dict[tuple[str, int], int]:
        return {name: number for number, name in enumerate(self.names, start=1)}

    @cached_property
    def _positions(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for surface, position in self.names:
            found.setdefault(surface, []).append(position)
        return found
