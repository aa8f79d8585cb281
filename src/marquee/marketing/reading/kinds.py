"""Tells what each column of customers is: a number, a category, a date, or nothing to learn from.

A guess is written down, so that people can correct it; a column that is left out is named with the reason.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from marquee.bundle.traits.columns import DECIMAL_COMMA, MISSING_TEXTS, age_in_days
from marquee.core.moments import read_moment
from marquee.errors import DataError
from marquee.marketing.config import Kind

# A column that is a number for the most part was meant to be one.
MOSTLY = 0.95
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_ID_NAME = re.compile(r"(^|_|\b)(id|uuid|guid|key)$|[a-z](Id|ID)$", re.IGNORECASE)
MANY_DISTINCT = 0.5
MIN_ROWS_FOR_IDS = 50
WORDS_OF_A_TEXT = 4


@dataclass
class Typed:
    """Columns with their kinds.

    Attributes:
        columns: Name → values: Float64 for numbers and ages of dates, String for categories.
        kinds: Name → kind of those that may be used.
        left_out: Name → why it is not used.
        notes: What looks odd, one sentence each.
    """

    columns: dict[str, pl.Series] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def type_columns(rows: pl.DataFrame, declared: Mapping[str, Kind], as_of: float | None) -> Typed:
    """Returns the columns of a table in the types that they are meant in.

    Args:
        rows: As read, the id left out.
        declared: Column → kind, where the user says it.
        as_of: Moment at which ages are taken; None if nobody said it.

    Raises:
        DataError: If a declared column does not exist or is not of its kind.
    """
    unknown = sorted(declared.keys() - set(rows.columns))
    if unknown:
        raise DataError(f"columns names {unknown}, the table has {rows.columns}; correct it")
    typed = Typed()
    for series in rows:
        _add(typed, series, declared.get(series.name), as_of)
    return typed


def _add(typed: Typed, series: pl.Series, declared: Kind | None, as_of: float | None) -> None:
    """Adds one column to the typed ones."""
    name = series.name
    if series.dtype == pl.Boolean:
        series = series.replace_strict({True: "true", False: "false"}, return_dtype=pl.String)
    if series.dtype.is_nested():
        typed.left_out[name] = "holds lists"
        return
    if series.dtype == pl.String:
        stripped = series.str.strip_chars()
        # A blank is no value, whatever the program that wrote it meant.
        series = stripped.set(stripped.is_in(MISSING_TEXTS), None)
    number = _as_number(series, declared, typed.notes)
    if declared is Kind.date or (declared is None and number is None and _are_days(series)):
        _add_date(typed, series, as_of)
    elif number is not None and declared is not Kind.category:
        typed.columns[name] = number
        _use(typed, name, Kind.number, None if declared is Kind.number else _why_no_number(number))
    else:
        typed.columns[name] = text = series.cast(pl.String)
        _use(typed, name, Kind.category, None if declared is Kind.category else _why_no_category(text))
    if declared is Kind.ignore:
        typed.kinds.pop(name, None)
        typed.left_out[name] = "declared as ignore"


def _use(typed: Typed, name: str, kind: Kind, reason: str | None) -> None:
    """Notes the kind of a column, or why it is not used."""
    if reason is None:
        typed.kinds[name] = kind
    else:
        typed.left_out[name] = reason


def _as_number(series: pl.Series, declared: Kind | None, notes: list[str]) -> pl.Series | None:
    """Returns a column as numbers, None if it is none."""
    if series.dtype.is_numeric():
        return _finite(series.cast(pl.Float64), notes)
    if series.dtype != pl.String or not series.count() or declared in (Kind.category, Kind.date):
        return None
    number = series.cast(pl.Float64, strict=False)
    if number.count() < series.count() and series.drop_nulls().str.contains(DECIMAL_COMMA).all():
        # Numbers of a spreadsheet in German or French: every one of them, or it is a mix of two.
        notes.append(f"{series.name} is read with decimal commas, such as {series.drop_nulls()[0]!r}")
        plain = series.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
        return _finite(plain.cast(pl.Float64, strict=False), notes)
    wrong = series.filter(series.is_not_null() & number.is_null())
    if declared is not Kind.number and number.count() < MOSTLY * series.count():
        return None
    if len(wrong):
        first = int((series.is_not_null() & number.is_null()).arg_max() or 0) + 1
        raise DataError(
            f"column {series.name} holds numbers but for {len(wrong):,} of {series.count():,} values, first "
            f"{wrong[0]!r} in row {first:,}; correct them, leave them empty where nothing is known, or "
            f"declare columns: {{{series.name}: category}}"
        )
    return _finite(number, notes)


def _finite(number: pl.Series, notes: list[str]) -> pl.Series:
    """Returns numbers without NaN and infinity, which count as no value."""
    is_odd = number.is_nan() | number.is_infinite()
    n_odd = int(is_odd.sum() or 0)
    if n_odd:
        notes.append(f"{n_odd:,} values of {number.name} are infinite or no number: they count as missing")
    return number.set(is_odd.fill_null(False), None) if n_odd else number


def _are_days(series: pl.Series) -> bool:
    """Returns whether texts are days."""
    if series.dtype != pl.String or not series.count():
        return False
    known = series.drop_nulls()
    return bool(known.str.contains(f"^{_DAY.pattern}").all()) and read_moment(str(known[0])) is not None


def _add_date(typed: Typed, series: pl.Series, as_of: float | None) -> None:
    """Adds the age of a date in days."""
    name = series.name
    if as_of is None:
        typed.columns[name] = series.cast(pl.String)
        typed.left_out[name] = "is a date, and an age needs as_of: 2026-03-01"
        return
    ages = {}
    for row, text in enumerate(series.cast(pl.String).to_list(), start=1):
        if text is None or text in ages:
            continue
        try:
            ages[text] = age_in_days(text, as_of)
        except ValueError as error:
            raise DataError(
                f"column {name} holds days but for {text!r} in row {row:,}; write days as 2026-03-01, or "
                f"declare columns: {{{name}: category}}"
            ) from error
    age = series.cast(pl.String).replace_strict(ages, default=None, return_dtype=pl.Float64)
    n_future = int((age < 0).sum() or 0)
    if n_future:
        typed.notes.append(f"{n_future:,} days of {name} lie behind as_of: their age is negative")
    typed.columns[name] = age.alias(name)
    _use(typed, name, Kind.date, _why_constant(age))


def _why_constant(series: pl.Series) -> str | None:
    """Returns why a column tells nothing, None if it does."""
    if series.count() == 0:
        return "is empty"
    if series.n_unique() == 1:
        return f"is constant, {series[0]!r} in every row"
    return None


def _why_no_number(series: pl.Series) -> str | None:
    """Returns why a number is not used, None if it may be."""
    known = series.drop_nulls()
    reason = _why_constant(series)
    is_whole = bool((known == known.floor()).all())
    if reason is None and is_whole and len(known) >= MIN_ROWS_FOR_IDS and known.n_unique() == len(known):
        low, high = float(known.min() or 0), float(known.max() or 0)  # type: ignore[arg-type] # of floats
        # All different and without gaps, or called so: it counts rows.
        if high - low + 1 == len(known) or _ID_NAME.search(series.name):
            return "looks like an id: whole numbers, all different"
    return reason


def _why_no_category(series: pl.Series) -> str | None:
    """Returns why a text is not used, None if it is a category."""
    reason = _why_constant(series)
    known = series.drop_nulls()
    if reason is None and len(known) >= MIN_ROWS_FOR_IDS and known.n_unique() > MANY_DISTINCT * len(known):
        words = float(known.str.count_matches(r"\S+").mean() or 0)  # type: ignore[arg-type] # of numbers
        if words >= WORDS_OF_A_TEXT:
            return "is free text"
        return "looks like an id or a name: most values stand in one row alone"
    return reason
