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
# Days since 1970 from 1990 to 2060, and as spreadsheets count them, from the end of 1899: the ranges do not
# meet.
_DAYS_SINCE_1970 = (7_305, 32_872)
_DAYS_OF_SPREADSHEETS = (32_874, 73_050)
_SPREADSHEET_DAY_OF_1970 = 25_569


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
    as_date = _date_format(numbers)
    if as_date is not None:
        return f"which are dates and no {_WORDS[unit]} since 1970; {as_date}"
    in_days = _days(numbers)
    if in_days is not None:
        return in_days
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
        has_clock = "%H" in written
        dtype = pl.Datetime("us") if has_clock else pl.Date()
        years = (texts + appended).str.strptime(dtype, written, strict=False).dt.year()
        if years.is_between(1900, 2100).fill_null(False).sum() < _NEARLY_ALL * len(numbers):
            continue
        if not appended:
            return f"set timestamp_format={written}"
        return (
            f"append {'minutes' if has_clock else 'a day'} in the expression, as CONCAT(at, '{appended}') "
            f"does, and set timestamp_format={written}"
        )
    return None


def _days(numbers: pl.Series) -> str | None:
    """Returns advice for numbers that count days, None for other numbers."""
    for (first, last), whose, day_of_1970 in (
        (_DAYS_SINCE_1970, "since 1970", 0),
        (_DAYS_OF_SPREADSHEETS, "as spreadsheets count them", _SPREADSHEET_DAY_OF_1970),
    ):
        if numbers.is_between(first, last).sum() >= _NEARLY_ALL * len(numbers):
            days = f"(CAST(at AS DOUBLE) - {day_of_1970})" if day_of_1970 else "CAST(at AS DOUBLE)"
            return (
                f"which are days {whose} and no seconds; write an expression such as {days} * 86400, or set "
                "data.time=order if they only order events"
            )
    return None
