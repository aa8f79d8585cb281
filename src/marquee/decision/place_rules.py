"""Caps and spacing: which candidates may stand at a place of an answer, given those above."""

from collections.abc import Mapping

import numpy as np

from marquee.core.arrays import BoolArray, IndexArray


class PlaceRules:
    """Which candidates may stand at a place: each once, caps and spacing kept.

    Args:
        caps: Most items of an answer with the same value, by attribute.
        spacing: Of so many places in a row no two hold the same value, by attribute.
        codes: Values by attribute, as in `CandidateTable`.
        n_candidates: How many there are.
    """

    def __init__(
        self,
        caps: Mapping[str, int],
        spacing: Mapping[str, int],
        codes: Mapping[str, IndexArray],
        n_candidates: int,
    ) -> None:
        self._is_open = np.ones(n_candidates, dtype=np.bool_)
        self._limits = [_Limit(codes[name], cap) for name, cap in caps.items()]
        self._gaps = [_Gap(codes[name], gap) for name, gap in spacing.items()]

    def permitted(self, place: int) -> BoolArray:
        """Returns the candidates that may stand at a place, (n_candidates,) bool."""
        # A copy: caps and spacing narrow it for this place alone.
        permitted = self._is_open.copy()
        for limit in self._limits:
            permitted &= limit.permitted()
        for gap in self._gaps:
            permitted &= gap.permitted(place)
        return permitted

    def reserve(self, position: int, place: int) -> None:
        """Keeps a place for a candidate, whatever caps and spacing say; the others keep them beside it."""
        self._is_open[position] = False
        for limit in self._limits:
            limit.take(position)
        for gap in self._gaps:
            gap.reserve(position, place)

    def take(self, position: int, place: int) -> None:
        """Puts a candidate at a place."""
        self._is_open[position] = False
        for limit in self._limits:
            limit.take(position)
        for gap in self._gaps:
            gap.take(position, place)


class _Limit:
    """How often each value of one attribute may still come."""

    def __init__(self, codes: IndexArray, cap: int) -> None:
        self._codes, n_values = _numbered(codes)
        self._room = np.full(n_values, cap, dtype=np.int64)

    def permitted(self) -> BoolArray:
        """Returns the candidates with room for all of their values."""
        # No value, code 0, never loses room. (n_candidates, n_values) becomes (n_candidates,).
        return np.asarray((self._room > 0)[self._codes].all(axis=1))

    def take(self, position: int) -> None:
        """Takes the room of a candidate's values; a value that it states twice counts once."""
        values = np.unique(self._codes[position])
        self._room[values[values > 0]] -= 1


class _Gap:
    """From which place on each value of one attribute may come again."""

    def __init__(self, codes: IndexArray, gap: int) -> None:
        self._codes, n_values = _numbered(codes)
        self._free_from = np.zeros(n_values, dtype=np.int64)
        self._gap = gap
        self._reserved: list[tuple[int, IndexArray]] = []  # places, also below, and the values there

    def permitted(self, place: int) -> BoolArray:
        """Returns the candidates all of whose values may stand at a place."""
        is_free = self._free_from <= place
        for reserved, values in self._reserved:
            if abs(reserved - place) < self._gap:
                is_free[values] = False
        return np.asarray(is_free[self._codes].all(axis=1))

    def reserve(self, position: int, place: int) -> None:
        """Keeps a candidate's values off the places on both sides of its own."""
        values = self._codes[position]
        self._reserved.append((place, values[values > 0]))

    def take(self, position: int, place: int) -> None:
        """Keeps a candidate's values off the next places."""
        values = self._codes[position]
        # Items without a value may stand side by side.
        self._free_from[values[values > 0]] = place + self._gap


def _numbered(codes: IndexArray) -> tuple[IndexArray, int]:
    """Returns codes as numbers below the second result, (n_candidates, n_values); 0 stays 0."""
    # With a 0 added, which keeps the number 0 for "no value" even where all items have one.
    values, numbers = np.unique(np.append(codes, 0), return_inverse=True)
    assert values[0] == 0, f"codes must be 0 or more, got {values[0]}"
    return numbers[:-1].reshape(len(codes), -1), len(values)
