"""Recognises numbers that make sense as times only in another unit, and dates that are written as numbers.

A wrong unit spoils no row, so no row rule can see it: it moves all of them to another year.
"""

from datetime import UTC, datetime

import polars as pl

from marquee.data.table_config import TimestampUnit

FIRST_PLAUSIBLE = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp())
LAST_PLAUSIBLE = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp())
_LAST_LIKELY = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp())
# 2025030112 is a plausible number of seconds, of the year 2034, and more likely a date.
_HOURS = (1990_01_01_00, 2099_12_31_23)
# Not all: a few broken values must not hide the others.
_NEARLY_ALL = 0.99
_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
# Digits of the number → formats of its text, and what must be appended to have one that can be read.
_DATES = {
    4: (("%Y%m%d", "0101"),),
    6: (("%Y%m%d", "01"), ("%G%V%u", "1"), ("%y%m%d", "")),
    7: (("%Y%j", ""),),
    8: (("%Y%m%d", ""),),
    10: (("%Y%m%d%H%M", "00"),),
    12: (("%Y%m%d%H%M", ""),),
    14: (("%Y%m%d%H%M%S", ""),),
    17: (("%Y%m%d%H%M%S%3f", ""),),
}
# Digits with the leading zero that a number has lost → formats whose day or month stands first.
_DAY_FIRST = {
    6: ("%d%m%y", "%m%d%y"),
    8: ("%d%m%Y", "%m%d%Y"),
    12: ("%d%m%Y%H%M", "%m%d%Y%H%M"),
    14: ("%d%m%Y%H%M%S", "%m%d%Y%H%M%S"),
}
# What is counted → its numbers from 1990 to 2060, and the expression that makes seconds of them. Spreadsheets
# count from the end of 1899. The ranges do not meet.
_COUNTS = {
    "days since 1970": (7_305, 32_872, "CAST(at AS DOUBLE) * 86400"),
    "days as spreadsheets count them": (32_874, 73_050, "(CAST(at AS DOUBLE) - 25569) * 86400"),
    "hours since 1970": (175_320, 788_927, "CAST(at AS DOUBLE) * 3600"),
    "minutes since 1970": (10_519_200, 47_335_679, "CAST(at AS DOUBLE) * 60"),
}


def middle(numbers: pl.Series) -> int:
    """Returns the number that half of the others do not exceed."""
    found = numbers.quantile(0.5, "lower")
    assert found is not None, f"numbers that are not null have a middle, got {len(numbers)}"
    return int(found)


def are_odd(seconds: pl.Series) -> bool:
    """Returns whether times lie where few data sets have any, or look like dates down to the hour."""
    # The median: 0 in place of missing times does not move it.
    half = middle(seconds)
    return not FIRST_PLAUSIBLE <= half < LAST_PLAUSIBLE or _HOURS[0] <= half <= _HOURS[1]


def wrong_times(numbers: pl.Series, unit: TimestampUnit) -> str | None:
    """Returns the better reading of numbers taken for times, in words; None if there is no better one.

    Args:
        numbers: Whole numbers without null, as the file has them.
        unit: The unit that they are taken for.
    """
    if not are_odd(numbers // unit.per_second):
        return None
    as_date = _date_format(numbers) or _day_first(numbers)
    if as_date is not None:
        return f"which are dates and no {_WORDS[unit]} since 1970; {as_date}"
    counted = _count(numbers)
    if counted is not None:
        return counted
    half = middle(numbers)
    better = (other for other in TimestampUnit if FIRST_PLAUSIBLE <= half / other.per_second < _LAST_LIKELY)
    found = next(better, unit)
    if found is unit:
        return None
    # By the mean length of a year, as `datetime` ends with the year 9999.
    year = 1970 + half // unit.per_second // 31_556_952
    return (
        f"which are {_WORDS[found]} and not {_WORDS[unit]} since 1970, which would be the year {year}; "
        f"set timestamp_unit={found}"
    )


def _date_format(numbers: pl.Series) -> str | None:
    """Returns advice for dates that are written as numbers, None for other numbers."""
    texts = numbers.cast(pl.String)
    for written, appended in _DATES.get(len(str(middle(numbers))), ()):
        if not _are_dates(texts + appended, written):
            continue
        if not appended:
            return f"set timestamp_format={written}"
        return (
            f"append {'minutes' if '%H' in written else 'a day'} in the expression, as "
            f"CONCAT(at, '{appended}') does, and set timestamp_format={written}"
        )
    return None


def _day_first(numbers: pl.Series) -> str | None:
    """Returns advice for dates as numbers whose year does not stand first, None for other numbers."""
    half = len(str(middle(numbers)))
    # 01032025 is 1032025 as a number: whether the file has the zero cannot be told any more.
    n_digits = half + half % 2
    texts = numbers.cast(pl.String).str.zfill(n_digits)
    found = [written for written in _DAY_FIRST.get(n_digits, ()) if _are_dates(texts, written)]
    # Days since 1970 may have six such digits too, as 020176, and are meant more often.
    if not found or (n_digits == 6 and _count(numbers) is not None):
        return None
    return (
        f"write the expression RIGHT(CONCAT('0', at), {n_digits}) and set timestamp_format="
        f"{' or, where the month stands first, '.join(found)}"
    )


def _are_dates(texts: pl.Series, written: str) -> bool:
    """Returns whether nearly all texts are dates of some year between 1900 and 2100."""
    dtype = pl.Datetime("us") if "%H" in written else pl.Date()
    years = texts.str.strptime(dtype, written, strict=False).dt.year()
    return int(years.is_between(1900, 2100).fill_null(False).sum()) >= _NEARLY_ALL * len(texts)


def _count(numbers: pl.Series) -> str | None:
    """Returns advice for numbers that count days, hours or minutes, None for other numbers."""
    for whose, (first, last, seconds) in _COUNTS.items():
        if numbers.is_between(first, last).sum() >= _NEARLY_ALL * len(numbers):
            return (
                f"which are {whose} and no seconds; write an expression such as {seconds}, or set "
                "data.time=order if they only order events"
            )
    return None
