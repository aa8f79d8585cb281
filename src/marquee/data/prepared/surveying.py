"""The survey of all events: the moments at which a split by time parts, and ranges of names."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from marquee.core.arrays import IndexArray
from marquee.data.prepared.declared import from_text
from marquee.data.prepared.layout import ID, read_array, read_frame, write_facts
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.splits import share_of
from marquee.errors import DataError


class SortedTimes:
    """All timestamps, in files that are sorted each: ranks without a merge.

    Args:
        paths: Arrays, each ascending, (n,) int64; some may be empty.

    Attributes:
        ends: The first and the last; 0 where there are none.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        pieces = [piece for piece in self._pieces() if len(piece)]
        self._n = sum(map(len, pieces))
        self.ends = (
            min((int(piece[0]) for piece in pieces), default=0),
            max((int(piece[-1]) for piece in pieces), default=0),
        )

    def __len__(self) -> int:
        return self._n

    def _pieces(self) -> Iterator[IndexArray]:
        """Yields each array, mapped into memory."""
        # Opened for every search: pages of all files that stayed mapped would count as memory of the task.
        for path in self._paths:
            yield read_array(path.parent, path.stem)

    def n_before(self, moment: int) -> int:
        """Returns how many are earlier."""
        return sum(int(np.searchsorted(piece, moment, side="left")) for piece in self._pieces())

    def nth(self, place: int) -> int:
        """Returns the one at a place of the whole order, counted from 0."""
        low, high = self.ends
        # The largest moment with no more than `place` before it: one search in each piece a turn.
        while low < high:
            middle = low + (high - low + 1) // 2
            if self.n_before(middle) <= place:
                low = middle
            else:
                high = middle - 1
        return low


def survey(out: Path, inputs: Sequence[Path], *, declared: str, n_ranges: int) -> None:
    """Writes what the split of each bucket needs to know of the others.

    Args:
        out: JSON: the cutoffs of a split by time, the first and last moment, and the names at which ranges
            of `users` and of `items` begin.
        inputs: The `times.npy` of all buckets, then `users.arrow` and `items.arrow` of one.
        declared: Declaration of the data set.
        n_ranges: Ranges of names.
    """
    config = from_text(declared)
    times = SortedTimes([path for path in inputs if path.suffix == ".npy"])
    facts: dict[str, object] = {"n_events": len(times)}
    if not len(times):
        raise DataError("events: no row is left, got 0 in all buckets; correct data.events")
    facts["first"], facts["last"] = times.ends
    if config.split.method is SplitMethod.time:
        facts["validation"], facts["test"] = cutoffs(times, config.split)
    for path in inputs:
        if path.suffix == ".arrow":
            facts[path.stem] = _bounds(read_frame(path)[ID], n_ranges)
    write_facts(out, facts)


def _bounds(names: pl.Series, n_ranges: int) -> list[str]:
    """Returns the names at which ranges begin, but the first; fewer where there are few names."""
    # Those of one bucket are a sample of all: its quantiles part the others about evenly.
    places = [len(names) * number // n_ranges for number in range(1, n_ranges)]
    return sorted({names[place] for place in places}) if len(names) >= n_ranges else []


def cutoffs(times: SortedTimes, config: SplitConfig) -> tuple[int, int]:
    """Returns the moments from which validation and test are, as `split_events` finds them in one table."""
    end = times.ends[1] + 1
    n, share = len(times), config.test_fraction
    test = config.test_cutoff() if config.test_from else _cutoff(times, n, share, end)
    if config.validation_from:
        return config.validation_cutoff(), test
    return _cutoff(times, times.n_before(test), config.validation_fraction, test), test


def _cutoff(times: SortedTimes, n_earlier: int, fraction: float, end: int) -> int:
    """Returns the moment from which the last of `n_earlier` events lie that make `fraction` of all events."""
    n_later = min(share_of(fraction, len(times)), n_earlier)
    return times.nth(n_earlier - n_later) if n_later else end
