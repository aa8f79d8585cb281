"""Whether a measure of traffic is odd for its hour of the week: a robust z against the same hour before.

Click rates, fill and latency follow the clock. An hour is compared with the same hour of earlier weeks, by
median and median absolute deviation, which one bad week does not move.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import Float64Array
from marquee.errors import ShapeError

HOURS_OF_WEEK = 168
SECONDS_PER_HOUR = 3600
# A median of two is their mean, which one bad week moves.
MIN_WEEKS = 3
ODD = 5.0
"""A robust z beyond which an hour is odd: of 168 quiet hours, about one in ten thousand passes it."""

_TO_SIGMA = 1.4826  # of a normal distribution: standard deviation over median absolute deviation


@dataclass(frozen=True, slots=True)
class OddHour:
    """One hour that is unlike the same hour of earlier weeks."""

    timestamp: int
    value: float
    usual: float
    z: float


def odd_hours(
    reference_time: npt.NDArray[np.int64],
    reference: Float64Array,
    time: npt.NDArray[np.int64],
    values: Float64Array,
    odd: float = ODD,
) -> tuple[tuple[OddHour, ...], int]:
    """Returns the hours that are odd, and how many could not be judged for want of earlier weeks.

    Args:
        reference_time: Beginning of each hour before, seconds, (n,).
        reference: The measure in it, (n,).
        time: Beginning of each hour now, (m,).
        values: The measure in it, (m,).
        odd: Robust z beyond which an hour is odd.

    Raises:
        ShapeError: If times and values differ in length.
    """
    if len(reference_time) != len(reference) or len(time) != len(values):
        raise ShapeError(
            f"each hour needs one value, got {len(reference_time)} hours and {len(reference)} values, "
            f"{len(time)} and {len(values)}"
        )
    # Over all hours, each about the median of its own hour of the week.
    overall = _spread(reference - _medians(reference_time, reference))
    found, n_unjudged = [], 0
    slots = _hour_of_week(reference_time)
    for moment, value, slot in zip(time.tolist(), values.tolist(), _hour_of_week(time).tolist(), strict=True):
        same = reference[slots == slot]
        if len(same) < MIN_WEEKS:
            n_unjudged += 1
            continue
        usual = float(np.median(same))
        # Of three weeks the own spread may be 0 by chance: never below that of all hours together.
        spread = max(_spread(same - usual), overall)
        # Also where the spread is 0: 0 / 0 would be NaN.
        if value == usual:
            continue
        z = (value - usual) / spread if spread else float("inf") if value > usual else float("-inf")
        if abs(z) > odd:
            found.append(OddHour(moment, value, usual, z))
    return tuple(found), n_unjudged


def _hour_of_week(time: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns the hour of the week of each moment, 0 to 167, UTC."""
    # Hour 0 is a Thursday's, as 1970 began: only equal hours are looked for.
    return time // SECONDS_PER_HOUR % HOURS_OF_WEEK


def _medians(time: npt.NDArray[np.int64], values: Float64Array) -> Float64Array:
    """Returns for each hour the median of the same hour of the week."""
    medians = np.zeros(len(values))
    slots = _hour_of_week(time)
    for slot in np.unique(slots):
        medians[slots == slot] = np.median(values[slots == slot])
    return medians


def _spread(deviations: Float64Array) -> float:
    """Returns a robust standard deviation of deviations from a median."""
    return _TO_SIGMA * float(np.median(np.abs(deviations))) if len(deviations) else 0.0
