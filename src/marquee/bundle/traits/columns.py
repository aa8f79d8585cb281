"""Turns the columns of customers into a design matrix, by one code path for fitting and for serving.

A number gets the bends of a restricted cubic spline: linear beyond its outer knots, so that a value that was
never seen gives no wild answer. A category gets one column of 0 and 1 per level that was common enough.
Does not decide which columns there are or where knots lie (see `marquee.marketing.scoring.encoding`).
"""

import re
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from marquee.core.arrays import BoolArray, Float64Array
from marquee.core.moments import read_moment
from marquee.errors import DataError

SECONDS_PER_DAY = 86_400
OTHER = "(other)"
MISSING = "(missing)"
MISSING_TEXTS = ("", "NA", "N/A", "NULL", "null", "NaN", "nan")
DECIMAL_COMMA = r"^[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?$"

# Numbers as float64 with NaN for none, texts as objects with None.
Values = npt.NDArray[np.float64] | npt.NDArray[np.object_]


class NumberColumn(msgspec.Struct, frozen=True, tag="number"):
    """A number, or the age of a date.

    Attributes:
        name: Of the column.
        typical: Median of the fit: stands in where there is no value.
        knots: Of the spline, ascending; fewer than three make a straight line.
        spike: A value so common that it has a column of its own; None if there is none.
        has_missing: Whether the fit held rows without a value, so that being without one has a column.
        as_of: Moment at which the age of a date is taken, seconds since 1970; None for a number.
    """

    name: str
    typical: float
    knots: list[float]
    spike: float | None
    has_missing: bool
    as_of: float | None = None

    @property
    def labels(self) -> list[str]:
        """One name per column of the design."""
        bends = [f"bend {place + 1}" for place in range(max(len(self.knots) - 2, 0))]
        spike = [] if self.spike is None else [f"= {self.spike:g}"]
        return ["per unit", *bends, *spike, *([MISSING] if self.has_missing else [])]

    def encode(self, values: Float64Array) -> Float64Array:
        """Returns the columns of the design, (n, len(labels))."""
        is_missing = np.isnan(values)
        known = np.where(is_missing, self.typical, values)
        columns = [known, *spline_terms(known, self.knots)]
        if self.spike is not None:
            columns.append((known == self.spike) & ~is_missing)
        if self.has_missing:
            columns.append(is_missing)
        return np.asarray(np.stack(columns, axis=1), dtype=np.float64)


class CategoryColumn(msgspec.Struct, frozen=True, tag="category"):
    """A category.

    Attributes:
        name: Of the column.
        levels: Values with a column of their own, the most common first; all others share `OTHER`.
    """

    name: str
    levels: list[str]

    @property
    def labels(self) -> list[str]:
        """One name per column of the design."""
        return self.levels

    def encode(self, values: npt.NDArray[np.object_]) -> Float64Array:
        """Returns the columns of the design, (n, len(labels))."""
        place = {level: number for number, level in enumerate(self.levels)}
        # A level that was not seen is as good as one that was too rare.
        other, missing = place.get(OTHER, -1), place.get(MISSING, place.get(OTHER, -1))
        found = np.array(
            [missing if value is None else place.get(value, other) for value in values], dtype=np.int64
        )
        is_level: BoolArray = found[:, None] == np.arange(len(self.levels))
        return is_level.astype(np.float64)


Column = NumberColumn | CategoryColumn


def spline_terms(values: Float64Array, knots: Sequence[float]) -> list[Float64Array]:
    """Returns the terms of a restricted cubic spline beside the straight line, (n,) each.

    Args:
        values: (n,), none missing.
        knots: Ascending; fewer than three give no term.

    Source:
        Harrell 2015, "Regression Modeling Strategies", section 2.4.5, equation 2.25.
    """
    if len(knots) < 3:
        return []
    first, before, last = knots[0], knots[-2], knots[-1]
    # Divided by the square of the range, so that terms are in the unit of the number.
    scale = (last - first) ** 2

    def cubed(knot: float) -> Float64Array:
        above: Float64Array = np.maximum(values - knot, 0.0)
        return above**3

    behind, ahead = cubed(before), cubed(last)
    return [
        (cubed(knot) - behind * (last - knot) / (last - before) + ahead * (before - knot) / (last - before))
        / scale
        for knot in knots[:-2]
    ]


def encode(columns: Sequence[Column], values: Mapping[str, Values]) -> Float64Array:
    """Returns the design matrix, (n, n_terms): the terms of every column, in order.

    Args:
        columns: How each column is encoded.
        values: Column → a value per row: numbers, or texts and None.
    """
    return np.concatenate([column.encode(values[column.name]) for column in columns], axis=1)  # type: ignore[arg-type] # values follow the kind


def owners(columns: Sequence[Column]) -> npt.NDArray[np.int64]:
    """Returns which column each term of the design belongs to, (n_terms,)."""
    return np.repeat(np.arange(len(columns)), [len(column.labels) for column in columns])


def read_values(columns: Sequence[Column], rows: Sequence[Mapping[str, object]]) -> dict[str, Values]:
    """Returns the values of rows as they come over the wire or out of a file of JSON.

    Raises:
        DataError: If a number is none, or a column is missing.
    """
    found: dict[str, Values] = {}
    for column in columns:
        lacking = sum(column.name not in row for row in rows)
        if lacking:
            raise DataError(
                f"{column.name} is missing from {lacking} of {len(rows)} rows; send it, or null where it "
                "is not known"
            )
        given = [row[column.name] for row in rows]
        if isinstance(column, NumberColumn):
            found[column.name] = np.array([_number(column, value) for value in given], dtype=np.float64)
        else:
            found[column.name] = np.array([*(_level(column, one) for one in given), None], dtype=object)[:-1]
    return found


def age_in_days(text: str, as_of: float) -> float:
    """Returns how long before a moment, seconds since 1970, a day was; negative behind it.

    Raises:
        ValueError: If the text is no day.

    Example:
        >>> age_in_days("1970-01-01", 2 * 86_400.0)
        2.0
    """
    moment = read_moment(text)
    if moment is None:
        raise ValueError(f"{text!r} is no day")
    return (as_of - moment.timestamp()) / SECONDS_PER_DAY


def _number(column: NumberColumn, value: object) -> float:
    """Returns a value as a number, NaN for none; a date as its age in days."""
    text = _text(value)
    if text is None:
        return float("nan")
    # As a table is read: `float` alone would take True for 1 and "1_000" for 1000.
    is_odd = isinstance(value, bool | list) or "_" in text
    try:
        if is_odd:
            raise ValueError(f"{value!r} is no number")
        number = _plain_number(text) if column.as_of is None else age_in_days(text, column.as_of)
    except ValueError as error:
        wanted = "a number" if column.as_of is None else "a day as 2026-03-01"
        raise DataError(f"{column.name} must be {wanted} or null, got {value!r}") from error
    # What is not finite counts as no value, as it does in a table.
    return number if np.isfinite(number) else float("nan")


def _plain_number(text: str) -> float:
    """Returns a text as a number; one with a decimal comma as in a table that has no others."""
    try:
        return float(text)
    except ValueError:
        if re.search(DECIMAL_COMMA, text) is None:
            raise
        return float(text.replace(".", "").replace(",", "."))


def _level(column: CategoryColumn, value: object) -> str | None:
    """Returns a value as a level of a category, None for none."""
    if isinstance(value, list):
        raise DataError(f"{column.name} must be a text, a number or null, got a list; send one value")
    return _text(value)


def _text(value: object) -> str | None:
    """Returns a value as the text that the fit saw, None for none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "" if value is None else str(value).strip()
    return None if text in MISSING_TEXTS else text
