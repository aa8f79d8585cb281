"""Moments as people and programs write them; a number that no calendar reaches stays a number."""

import re
from calendar import isleap
from datetime import UTC, datetime, timedelta

_DAY = "%Y-%m-%d"
_MOMENT = "%Y-%m-%d %H:%M:%S"
_ORDINAL = re.compile(r"(\d{4})-?(\d{3})(?=$|T)")
_MONTH = re.compile(r"\d{4}-\d{2}")
_LAST_SECOND = re.compile(r"(T\d{2}:?\d{2}:?)60")
_MIDNIGHT = re.compile(r"T24(?=$|:?00)")
_ZONE = re.compile(r"\s*(?:UTC|GMT)$|\s+(?=[+-]\d{2})|\[[^\]]*\]$")  # RFC 9557 adds [Europe/Paris]
_FRACTION = re.compile(r"(T\d{2}(?::?(\d{2}))?)[.,](\d+)(?=$|[Z+-])")  # of a minute, or of an hour
_MINUS = "\N{MINUS SIGN}"  # which ISO 8601 prefers to the hyphen


def day_text(timestamp: int) -> str:
    """Returns the day of a moment in seconds, UTC.

    Example:
        >>> day_text(1_740_787_200), day_text(1_740_787_200_000)
        ('2025-03-01', '1740787200000')
    """
    return _text(timestamp, _DAY)


def moment_text(timestamp: int) -> str:
    """Returns a moment in seconds to the second, UTC."""
    return _text(timestamp, _MOMENT)


def read_moment(text: str) -> datetime | None:
    """Returns the moment that a text says in ISO 8601, or as PostgreSQL writes it; None if it says none.

    Dates may be of the calendar, of the week or of the year, with or without hyphens; a month is its first
    day. A time without offset is UTC.

    Example:
        >>> texts = ["2025-03-01 10:30:00+02", "2025-W09-6", "2025-060", "2025-03", "1 March"]
        >>> [moment and f"{moment:%d.%m. %H:%M}" for moment in map(read_moment, texts)]
        ['01.03. 08:30', '01.03. 00:00', '01.03. 00:00', '01.03. 00:00', None]
    """
    # ISO 8601 allows a small t and z.
    plain = text.strip().upper().replace(_MINUS, "-")
    plain = _ZONE.sub("", re.sub(r"^(\S+)\s+(?=\d)", r"\1T", plain))
    added = timedelta(0)
    if _MONTH.fullmatch(plain):
        plain += "-01"
    if ordinal := _ORDINAL.match(plain):
        year, day = int(ordinal[1]), int(ordinal[2])
        # A timedelta would carry day 366 into the next year without an error.
        if not 1 <= day <= 365 + isleap(year):
            return None
        added += timedelta(days=day - 1)
        plain = f"{year:04d}-01-01{plain[ordinal.end() :]}"
    # Python's reader takes any fraction for one of a second.
    if fraction := _FRACTION.search(plain):
        added += float(f"0.{fraction[3]}") * timedelta(**{"minutes" if fraction[2] else "hours": 1})
        plain = _FRACTION.sub(r"\1", plain)
    # Python's reader knows neither the last hour of a day nor a leap second.
    plain, is_midnight = _MIDNIGHT.subn("T00", plain)
    plain, is_leap = _LAST_SECOND.subn(r"\g<1>59", plain)
    added += timedelta(days=is_midnight, seconds=is_leap)
    try:
        moment = datetime.fromisoformat(plain) + added
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    # OverflowError: what is added may lead past the year 9999.
    except (ValueError, OverflowError):
        return None


def _text(timestamp: int, written: str) -> str:
    """Returns a moment in a format, or its seconds."""
    try:
        return datetime.fromtimestamp(timestamp, tz=UTC).strftime(written)
    # Which of them is raised depends on the platform's C library.
    except (OverflowError, OSError, ValueError):
        return str(timestamp)
