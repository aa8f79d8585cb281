"""From moments and amounts to one value per day or hour, with no gap: an hour without a sale is a 0."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.arrays import Float64Array, IndexArray
from marquee.errors import DataError

UTC = "UTC"
SECONDS_PER_HOUR = 3600
SECONDS_PER_DAY = 86_400

# Eleven years of hours: a date of 1900 in one row would otherwise be a million zeros.
MAX_STEPS = 100_000


def wall_clock(timestamps: IndexArray, time_zone: str) -> IndexArray:
    """Returns the time that clocks of a time zone show, as if it were UTC, (n,) int64 seconds.

    An hour that clocks show twice in autumn holds the sales of both, one that they skip in spring holds none.

    Args:
        timestamps: Seconds since 1970, UTC, (n,).
        time_zone: Name of the IANA database.

    Example:
        >>> wall_clock(np.array([0]), "Asia/Tokyo").tolist()
        [32400]
    """
    if time_zone == UTC:
        return timestamps
    moments = pl.from_epoch(pl.Series(timestamps, dtype=pl.Int64), time_unit="s")
    shown = moments.dt.replace_time_zone(UTC).dt.convert_time_zone(time_zone).dt.replace_time_zone(None)
    return np.asarray(shown.dt.epoch("s").to_numpy(), dtype=np.int64)


@dataclass(frozen=True)
class Series:
    """One value per step of time.

    Attributes:
        start: Beginning of the first step, seconds since 1970 by the clock of its zone (see `wall_clock`).
        step: Length of a step, seconds: a day or an hour.
        values: (n_steps,) float64, at least 0.
    """

    start: int
    step: int
    values: Float64Array

    @property
    def period(self) -> int:
        """Steps in a week."""
        return 7 * SECONDS_PER_DAY // self.step

    def moments(self, first: int, n: int) -> IndexArray:
        """Returns the beginnings of n steps from a place on, (n,) int64 seconds."""
        return self.start + self.step * np.arange(first, first + n, dtype=np.int64)


def sum_by_step(
    timestamps: IndexArray, amounts: Float64Array | None, step: int, until: int | None = None
) -> Series:
    """Returns the sum of amounts, or the count of moments, of each complete step.

    Args:
        timestamps: Seconds since 1970 by the clock whose days are meant, (n,).
        amounts: At least 0, (n,); None counts.
        step: Seconds per step.
        until: Moment up to which is known, seconds; None takes the last one. The step that it cuts is left
            out, as half a day would read as a bad day.

    Raises:
        DataError: If nothing lies before the end, or the time spans too many steps.

    Example:
        >>> day = 86_400
        >>> sum_by_step(np.array([0, 10, 2 * day]), np.array([1.0, 2.0, 4.0]), day, until=3 * day).values
        array([3., 0., 4.])
    """
    # The last moment itself is known, so its step counts as seen to the end.
    end = int(timestamps.max(initial=0)) // step + 1 if until is None else until // step
    places = timestamps // step
    is_seen: npt.NDArray[np.bool_] = places < end
    if not is_seen.any():
        raise DataError(
            f"none of {len(timestamps)} rows lies in a complete step of {step} seconds "
            "before the end: a forecast needs a past; set `as_of` later"
        )
    start = int(places[is_seen].min())
    if end - start > MAX_STEPS:
        raise DataError(
            f"the rows span {end - start:,} steps of {step} seconds, at most {MAX_STEPS:,} are read: "
            f"correct the earliest date, {np.datetime64(start * step, 's')}"
        )
    weights = None if amounts is None else amounts[is_seen]
    values = np.bincount(places[is_seen] - start, weights, minlength=end - start)
    return Series(start * step, step, values.astype(np.float64))
