"""One value of a table or a request into a Python value that we can count on, or None.

Tables and requests write the same thing in different ways: 2018, 2018.0 and "2018", a scalar where a list
is meant, a number as text. What cannot be read as the declared type is None and follows the feature's
policy; nothing here raises.
"""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np

from marquee.core.moments import read_moment

# Far below the largest float32 (3.4e38): no number becomes infinite in `FeatureArrays`.
LARGEST_NUMBER = 1e30
# Beyond it float64 skips whole numbers: the last digits would be invented.
_EXACT_INTEGERS = 2.0**53
# Writing out a huge integer takes time that grows with its square, and a request may send one.
_LONGEST_INTEGER_BITS = 64


def read_category(value: object) -> str | None:
    """Returns the name of a category; equal numbers of different types have one name.

    Example:
        >>> [read_category(value) for value in ("2018", 2018, 2018.0, True, "", None, float("nan"), {})]
        ['2018', '2018', '2018', 'true', None, None, None, None]
    """
    # NumPy's integers and flags are no subclasses of Python's.
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return str(value) or None
    # Before int, of which bool is a subclass.
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value.bit_length() <= _LONGEST_INTEGER_BITS else None
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) <= _EXACT_INTEGERS else repr(value)
    if isinstance(value, date):
        return value.isoformat()
    return None


def read_number(value: object) -> float | None:
    """Returns a finite number no larger than `LARGEST_NUMBER`; text is read if it is a number.

    Example:
        >>> [read_number(value) for value in (3, "2.5", True, "three", None, float("inf"), [1])]
        [3.0, 2.5, 1.0, None, None, None, None]
    """
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) <= LARGEST_NUMBER else None  # NaN compares False


def read_list(value: object) -> Sequence[object]:
    """Returns the values of a list, tuple, set or array; a scalar counts as a list of one."""
    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)  # a set has no order of its own that two processes share
    return () if value is None else (value,)


def read_vector(value: object, dim: int) -> list[float] | None:
    """Returns `dim` numbers, or None if there are more, fewer, or one of them is none."""
    values = read_list(value)
    if len(values) != dim:
        return None
    numbers = [read_number(entry) for entry in values]
    return [number for number in numbers if number is not None] if None not in numbers else None


def read_time(value: object) -> datetime | None:
    """Returns a moment in UTC; numbers are seconds since 1970, other texts ISO 8601, without a zone in UTC.

    Example:
        >>> [read_time(value).isoformat() for value in (1_700_000_000, "2023-11-14T22:13:20")]
        ['2023-11-14T22:13:20+00:00', '2023-11-14T22:13:20+00:00']
    """
    if isinstance(value, np.datetime64):
        value = value.item()
    try:
        # Before date, of which datetime is a subclass.
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        seconds = read_number(value)
        if seconds is None:
            return read_moment(value) if isinstance(value, str) else None
        return datetime.fromtimestamp(seconds, UTC)
    # `fromtimestamp` raises any of the three, by platform, for a year out of range.
    except (ValueError, OverflowError, OSError):
        return None
