"""Slices the values of a declared column, by a rule for each type of feature.

A category's slice is one of its values; numbers are cut at their thirds, timestamps at the declared parts.
Texts, vectors and columns of very many values give no slices: the caller is told why.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from marquee.core.arrays import BoolArray
from marquee.evaluation.analyses.slices import members_of
from marquee.features import FeatureConfig, FeatureType, TimestampPart
from marquee.features.values import read_time

# A column of more values, such as an id, gives slices that are all too small.
MAX_VALUES = 200
# 24 slices would be more than `slices.MAX_SLICES` shows.
HOURS_TOGETHER = 6
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

SlicesByColumn = dict[str, dict[str, BoolArray]]
"""Name of a column, or of a part of it → value → which rows have it."""


def slice_values(name: str, feature: FeatureConfig, values: Sequence[object]) -> tuple[SlicesByColumn, str]:
    """Slices a declared column; says why if there are no slices, else an empty text.

    Args:
        name: Of the feature.
        feature: Its declaration.
        values: Of each user, item or request; None where there is none.

    Example:
        >>> slices, _ = slice_values("age", FeatureConfig(type=FeatureType.numeric), [20, 35, None, 60])
        >>> {value: is_in.tolist().index(True) for value, is_in in slices["age"].items()}
        {'up to 20': 0, 'up to 35': 1, 'above 35': 3}
    """
    if feature.type in (FeatureType.text, FeatureType.vector):
        return {}, f"a {feature.type} is not sliced"
    if feature.type is FeatureType.numeric:
        found = {name: by_thirds(values)}
    elif feature.type is FeatureType.timestamp:
        found = {f"{name}, {part}": by_moment(values, part) for part in feature.parts}
    else:
        distinct = {
            one for value in values for one in (value if isinstance(value, list | tuple) else (value,))
        }
        if len(distinct) > MAX_VALUES:
            return {}, f"{len(distinct):,} distinct values, more than {MAX_VALUES}"
        found = {name: members_of(values)}
    # One slice alone is the whole.
    found = {column: members for column, members in found.items() if len(members) > 1}
    return found, "" if found else "the same value for all"


def by_thirds(values: Sequence[object]) -> dict[str, BoolArray]:
    """Slices numbers into a low, middle and high third; equal numbers stay together."""
    numbers = np.array([_number(value) for value in values])
    known = np.sort(numbers[~np.isnan(numbers)])
    if not len(known):
        return {}
    # An edge is the last value of its third: equal numbers are never parted.
    first, second = (float(known[max(len(known) * part // 3 - 1, 0)]) for part in (1, 2))
    found = {f"up to {first:g}": numbers <= first}
    if second > first:
        found[f"up to {second:g}"] = (numbers > first) & (numbers <= second)
    found[f"above {second:g}"] = numbers > second
    return {value: is_in for value, is_in in found.items() if is_in.any()}


def by_moment(values: Sequence[object], part: TimestampPart) -> dict[str, BoolArray]:
    """Slices timestamps in seconds by a calendar part in UTC; hours by quarters of the day.

    Example:
        >>> list(by_moment([0, 13 * 3600, None], TimestampPart.hour))
        ['0 to 6 h', '12 to 18 h']
    """
    moments = [read_time(value) for value in values]
    names = [None if moment is None else _part_name(moment, part) for moment in moments]
    # By the calendar and not by name: Monday comes before Friday.
    order = sorted({name for name in names if name is not None})
    return {text: np.array([name == (rank, text) for name in names]) for rank, text in order}


def _part_name(moment: datetime, part: TimestampPart) -> tuple[int, str]:
    """Returns the sort key and the name of a calendar part of a moment."""
    if part is TimestampPart.hour:
        start = moment.hour - moment.hour % HOURS_TOGETHER
        return start, f"{start} to {start + HOURS_TOGETHER} h"
    if part is TimestampPart.weekday:
        return moment.weekday(), WEEKDAYS[moment.weekday()]
    value = moment.month if part is TimestampPart.month else moment.year
    return value, str(value)


def _number(value: object) -> float:
    """Returns a value as a number; NaN if it is none."""
    return float(value) if isinstance(value, int | float) else float("nan")
