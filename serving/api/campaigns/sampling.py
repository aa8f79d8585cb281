"""Decisions of the log that stand for a day: some of every part of it, not the latest minutes alone."""

from collections.abc import Sequence
from typing import NamedTuple

from marquee.store.log.event_log import Decision, EventLog

N_PAGES = 50
"""A sample is read in so many places of the log."""


class Spread(NamedTuple):
    """Decisions that stand for others.

    Attributes:
        decisions: In their order.
        n_all: How many they stand for, themselves included.
    """

    decisions: Sequence[Decision]
    n_all: int


def read_spread(log: EventLog, n_most: int, since_ms: int) -> Spread:
    """Returns decisions spread evenly over the log since a moment; the latest where these are not as many.

    A service that answers a hundred times a second has answered five hundred times in five seconds: who comes
    then, and at what price, says little of a day.

    Args:
        log: Read in about eighty places, however long it is.
        n_most: Most decisions.
        since_ms: Milliseconds since 1970 UTC.

    Raises:
        EventLogError: If the log cannot be read.
    """
    latest = log.read_last_decisions(n_most)
    if len(latest) < n_most or latest[0].decision.time_ms <= since_ms:
        return Spread([one.decision for one in latest], len(latest))
    before, last = _last_before(log, since_ms, latest[0].sequence), latest[-1].sequence
    size = max(1, n_most // N_PAGES)
    found: dict[int, Decision] = {}
    for page in range(N_PAGES):
        after = before + (last - before) * page // N_PAGES
        found |= {one.sequence: one.decision for one in log.read_decisions(after, size)}
    return Spread([found[sequence] for sequence in sorted(found)], max(last - before, len(found)))


def _last_before(log: EventLog, since_ms: int, later: int) -> int:
    """Returns a number behind which decisions are as late as a moment, by halving.

    Args:
        log: Where numbers rise with time, for nearly all: those that are told late lie behind others.
        since_ms: The moment, milliseconds since 1970 UTC.
        later: Number of a decision that is later.
    """
    earlier = 0
    while later - earlier > 1:
        middle = (earlier + later) // 2
        found = log.read_decisions(middle, 1)
        # None where retention has just removed them, the later one too.
        if found and found[0].decision.time_ms < since_ms:
            earlier = found[0].sequence
        else:
            later = middle
    return earlier
