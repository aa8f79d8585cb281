"""Reads an event log day by day, and says up to where it is known at a cutoff."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from marquee.core.event_kinds import EventKind
from marquee.store.log.closed_days import days_of, read_rows
from marquee.store.log.event_log import EventLog
from marquee.store.log.event_rows import EventLimits
from marquee.store.log.log_rows import DECISION

# Events wait for the disk while later ones may overtake them, and clocks of machines differ.
_DISORDER_S = 60
_PAGE_ROWS = 10_000


class DaySource(Protocol):
    """Rows by day, in the columns of closed days."""

    def days(self) -> Sequence[int]:
        """Returns the days that have rows, ascending, days since 1970 UTC."""

    def decisions(self, day: int) -> Iterator[pl.DataFrame]:
        """Yields the decisions of a day, each frame ordered by time, then sequence."""

    def events(self, day: int) -> Iterator[pl.DataFrame]:
        """Yields the events of a day, each frame ordered by time, then sequence."""


@dataclass(frozen=True, slots=True)
class LogSource:
    """The days of an event log, in the store and in files.

    Attributes:
        log: The store.
        folder: Of the closed days.
        has_pseudonyms: Whether its users are kept under pseudonyms.
    """

    log: EventLog
    folder: Path
    has_pseudonyms: bool = False

    def days(self) -> Sequence[int]:
        """Returns the days that have rows; see `DaySource`."""
        return list(days_of(self.log))

    def decisions(self, day: int) -> Iterator[pl.DataFrame]:
        """Yields the decisions of a day; see `DaySource`."""
        return read_rows(self.log, self.folder, day, [DECISION])

    def events(self, day: int) -> Iterator[pl.DataFrame]:
        """Yields the events of a day; see `DaySource`."""
        return read_rows(self.log, self.folder, day, [kind.value for kind in EventKind])


def last_known(log: EventLog, cutoff: int) -> int:
    """Returns the highest sequence up to which all events are from before a cutoff, 0 if the first is not.

    By time and by receipt: a training table reads these and no others, and a profile begins behind them.

    Args:
        log: The store.
        cutoff: First second that is not known, since 1970 UTC.
    """
    known = _last_received_before(log, cutoff - EventLimits().lead - _DISORDER_S)
    while rows := log.read(known, _PAGE_ROWS):
        for row in rows:
            if max(row.event.received, row.event.timestamp) >= cutoff:
                return known
            known = row.sequence
    # What was closed is not read, and older than all that is there.
    return max(known, log.last_sequence())


def _last_received_before(log: EventLog, moment: int) -> int:
    """Returns about the sequence of the last event that was received before a moment, 0 if none was."""
    # By halves: a log of millions is not read to find one place in it.
    low, high = 0, log.last_sequence()
    while low < high:
        middle = (low + high) // 2
        found = log.read(middle, 1)
        if found and found[0].event.received >= moment:
            high = middle
        else:
            # What left the store for files is older than all that is in it.
            low = min(found[0].sequence, high) if found else high
    return low
