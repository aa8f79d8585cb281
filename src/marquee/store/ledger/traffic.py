"""Counts decisions by surface and hour, which a forecast of auctions learns from.

An hour is counted once, when it is over, by whichever worker comes first. The counts outlive the decisions:
these leave the store by days, and a week's pattern takes weeks to be known.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from marquee.store.ledger.booking import set_mark
from marquee.store.ledger.rows import Books
from marquee.store.log.event_log import EventLog

MARK = "traffic"
HOUR_MS = 3_600_000

DRAIN_MS = 120_000
"""A decision may take so long to come to the log."""

KEPT_HOURS = 26 * 168
"""Half a year: more than any profile and level is made of."""

ALL = "SELECT surface, hour, n FROM ledger_traffic ORDER BY surface, hour"
# A read of the log ends soon, or its write-ahead log could not start anew: an hour is read by minutes.
_SLICE_MS = 60_000


class HourCount(NamedTuple):
    """Decisions of one surface in one hour.

    Attributes:
        surface: '' for decisions that name none.
        hour: Since 1970 UTC.
        n: How many.
    """

    surface: str
    hour: int
    n: int


def counted_until(now_ms: int) -> int:
    """Returns the first hour that may not be counted yet, since 1970 UTC."""
    return (now_ms - DRAIN_MS) // HOUR_MS


def count(log: EventLog, before: int, after: int) -> dict[tuple[str, int], int]:
    """Returns the decisions that the log holds, by surface and hour.

    Args:
        log: The log.
        before: The first hour; 0 begins with the oldest decision in the store.
        after: The first hour behind.

    Raises:
        EventLogError: If the log cannot be read.
    """
    oldest = log.read_decisions(0, 1)
    if not oldest:
        return {}
    first = max(before, after - KEPT_HOURS, oldest[0].decision.time_ms // HOUR_MS)
    counts: Counter[tuple[str, int]] = Counter()
    for start_ms in range(first * HOUR_MS, after * HOUR_MS, _SLICE_MS):
        for surface, n in log.count_by_surface(start_ms, start_ms + _SLICE_MS).items():
            counts[surface, start_ms // HOUR_MS] += n
    return dict(counts)


def keep(books: Books, before: int, after: int, counts: Mapping[tuple[str, int], int]) -> int:
    """Keeps counts, and returns how many hours they are of; 0 if another worker kept them meanwhile."""
    if not set_mark(books, MARK, before, after):
        return 0
    rows = [(surface, hour, n) for (surface, hour), n in counts.items()]
    if rows:
        # Hours that a log which was restored tells again are as they were.
        books.run_many("INSERT INTO ledger_traffic VALUES (?, ?, ?) ON CONFLICT DO NOTHING", rows)
    return after - before


def expire(books: Books, now_ms: int) -> None:
    """Deletes counts that are too old to matter."""
    books.run("DELETE FROM ledger_traffic WHERE hour < ?", (now_ms // HOUR_MS - KEPT_HOURS,))
