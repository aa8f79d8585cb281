"""Reads all rows that the log holds of a user, page by page, wherever they are.

```
events:<sequence>                        events of the store after it
decisions:<sequence>                     decisions of the store after it
nobody:<sequence>                        events of the store after it that name a decision of the store alone
named:<day>/<sequence of a file>:<after> the same that name a decision in this file, and in those after it
files:<day>/<kind>/<sequence>:<offset>   rows of the user in the file of a closed day, and in those after it
```

The store comes first: a row whose day is closed meanwhile is given twice rather than never.

A page reads `_FILES_PER_PAGE` files and, for events of nobody in them, the decisions of the days that these
name: a decision says in its id when it was made. So the last page of years costs what the first one does.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from marquee.errors import DataError
from marquee.store.log.closed_days import read_file
from marquee.store.log.decision_ids import made_ms
from marquee.store.log.event_log import ClosedPart, EventLog
from marquee.store.log.log_rows import DECISION, MS_PER_DAY, decision_columns, event_columns
from marquee.store.people.erasing.parts import Leaving, note_owners_in_store, read_part

_EVENTS, _DECISIONS, _NOBODY, _NAMED, _FILES = "events", "decisions", "nobody", "named", "files"
_NUMBER = r"(\d{1,18})"
_CURSOR = re.compile(
    rf"({_EVENTS}|{_DECISIONS}|{_NOBODY}):{_NUMBER}|{_NAMED}:(\d{{1,9}})/{_NUMBER}:{_NUMBER}"
    rf"|{_FILES}:(\d{{1,9}})/(\w{{1,32}})/{_NUMBER}:{_NUMBER}"
)
# A file without the user takes milliseconds: a page that finds nothing ends all the same.
_FILES_PER_PAGE = 60

Place = tuple[int, str, int]
"""The place of a file among the others: day, kind, last sequence. It keeps it when it is written anew."""

Row = dict[str, Any]
"""A row by the names of its columns, without sequence and user."""


@dataclass(slots=True)
class HeldPage:
    """A page of what is held.

    Attributes:
        events: Events.
        decisions: Decisions.
        cursor: Where the next page begins; None at the end.
    """

    events: list[Row] = field(default_factory=list)
    decisions: list[Row] = field(default_factory=list)
    cursor: str | None = None

    def __len__(self) -> int:
        """Returns how many rows it holds."""
        return len(self.events) + len(self.decisions)


def read_held(log: EventLog, closed: Path, user_id: str, cursor: str, limit: int) -> HeldPage:
    """Returns the next rows of a user; a page may hold fewer than `limit` and still have a next one.

    Args:
        log: The log.
        closed: Folder of its closed days.
        user_id: Who, as the log names them.
        cursor: Of the page before; empty for the first one.
        limit: Most rows.

    Raises:
        DataError: If the cursor is none of ours.
        EventLogError: If the store refuses.
        OSError: If a file cannot be read.
    """
    match = _CURSOR.fullmatch(cursor or f"{_EVENTS}:0")
    if match is None:
        raise DataError(
            f"cursor must be that of the page before, got {cursor[:64]!r}; leave it out to begin anew"
        )
    reading = _Reading(log, closed, user_id, limit)
    if match[1]:
        is_full = reading.read_store(match[1], int(match[2]))
        named, after, begin, offset = None, 0, None, 0
    else:
        is_full = False
        named = (int(match[3]), DECISION, int(match[4])) if match[3] else None
        begin = (int(match[6]), match[7], int(match[8])) if match[6] else None
        after, offset = int(match[5] or 0), int(match[9] or 0)
    if not is_full and begin is None:
        is_full = reading.read_named(named, after)
    if not is_full:
        reading.read_files(begin, offset)
    return reading.page


class _Reading:
    """Fills one page. Each method goes on from some place and returns whether the page is full.

    Args:
        log: The log.
        closed: Folder of its closed days.
        user_id: Who.
        limit: Most rows.
    """

    def __init__(self, log: EventLog, closed: Path, user_id: str, limit: int) -> None:
        self.page = HeldPage()
        self._log = log
        self._closed = closed
        self._user_id = user_id
        self._limit = limit
        self._n_files = 0

    @property
    def _n_left(self) -> int:
        """The rows that the page still takes."""
        return self._limit - len(self.page)

    def read_store(self, place: str, after: int) -> bool:
        """Reads rows of the store."""
        page, log, user_id = self.page, self._log, self._user_id
        if place == _EVENTS:
            events = log.read_events_of(user_id, after, self._limit)
            page.events += _rows(event_columns(events))
            if len(events) == self._limit:
                page.cursor = f"{_EVENTS}:{events[-1].sequence}"
                return True
            place, after = _DECISIONS, 0
        if place == _DECISIONS:
            decisions = log.read_decisions_of(user_id, after, self._n_left)
            page.decisions += _rows(decision_columns(decisions))
            if not self._n_left:
                page.cursor = f"{_DECISIONS}:{decisions[-1].sequence if decisions else after}"
                return True
            after = 0
        # Each page anew: a decision that is made meanwhile may be named as well.
        theirs = Leaving({user_id: ""})
        note_owners_in_store(log, theirs)
        last = self._read_nobody(theirs.owner_of, after)
        page.cursor = None if self._n_left else f"{_NOBODY}:{last}"
        return not self._n_left

    def read_named(self, begin: Place | None, after: int) -> bool:
        """Reads events of the store that name nobody but a decision in a file."""
        for part in self._parts(begin):
            if part.kind != DECISION:
                continue
            skipped = after if _place(part) == begin else 0
            if self._is_over():
                self.page.cursor = f"{_NAMED}:{part.day}/{part.last_sequence}:{skipped}"
                return True
            last = self._read_nobody(self._decisions_in(part, None), skipped)
            if not self._n_left:
                self.page.cursor = f"{_NAMED}:{part.day}/{part.last_sequence}:{last}"
                return True
        return False

    def read_files(self, begin: Place | None, offset: int) -> None:
        """Reads rows of files."""
        for part in self._parts(begin):
            # By the place of a part and not by its name: an erasure of somebody else gives it another.
            at = f"{_FILES}:{part.day}/{part.kind}/{part.last_sequence}"
            skipped = offset if _place(part) == begin else 0
            if self._is_over():
                self.page.cursor = f"{at}:{skipped}"
                return
            theirs = Leaving({self._user_id: ""}, self._owners_for(part))
            self._n_files += 1
            found = read_file(
                self._log, self._closed, part, partial(read_part, kind=part.kind, theirs=theirs)
            )
            # The last row of the part has gone since the files were listed.
            if found is None:
                continue
            frame = found.slice(skipped)
            kept = frame.head(self._n_left)
            rows = self.page.decisions if part.kind == DECISION else self.page.events
            rows += kept.drop("sequence", "user_id").to_dicts()
            if len(kept) < len(frame):
                self.page.cursor = f"{at}:{skipped + len(kept)}"
                return

    def _is_over(self) -> bool:
        """Returns whether the page is full, or has cost enough."""
        return self._n_files >= _FILES_PER_PAGE or not self._n_left

    def _parts(self, begin: Place | None) -> list[ClosedPart]:
        """Returns the files from some place on."""
        parts = sorted(self._log.closed_parts(), key=_place)
        return [part for part in parts if begin is None or _place(part) >= begin]

    def _read_nobody(self, decision_ids: Collection[str], after: int) -> int:
        """Reads events of the store that name one of some decisions alone; returns the last sequence."""
        events = self._log.read_events_of_nobody(decision_ids, after, self._n_left) if decision_ids else []
        self.page.events += _rows(event_columns(events))
        return events[-1].sequence if events else after

    def _owners_for(self, part: ClosedPart) -> dict[str, str]:
        """Returns those decisions of the user that events of nobody in a file name."""
        if part.kind == DECISION:
            return {}
        named = read_file(self._log, self._closed, part, _named_by_nobody)
        if not named:
            return {}
        owners = {name: user for name, user in self._log.users_of(named).items() if user == self._user_id}
        made = {made_ms(one) for one in named}
        days = {moment // MS_PER_DAY for moment in made if moment is not None}
        for other in self._log.closed_parts():
            # An id of another form says no day: then each file may hold it.
            if other.kind == DECISION and (other.day in days or None in made):
                owners |= dict.fromkeys(self._decisions_in(other, named), self._user_id)
        return owners

    def _decisions_in(self, part: ClosedPart, among: Collection[str] | None) -> list[str]:
        """Returns the ids of the user's decisions in a file; among some, or all."""
        self._n_files += 1
        read = partial(_ids_of, user_id=self._user_id, among=among)
        return read_file(self._log, self._closed, part, read) or []


def _named_by_nobody(path: Path) -> list[str]:
    """Returns the decisions that events without a user name in a file."""
    of_nobody = pl.scan_parquet(path).filter(pl.col("user_id").is_null(), pl.col("decision_id").is_not_null())
    ids: list[str] = (
        of_nobody.select(pl.col("decision_id").unique()).collect(engine="streaming")["decision_id"].to_list()
    )
    return ids


def _ids_of(path: Path, user_id: str, among: Collection[str] | None) -> list[str]:
    """Returns the ids of a user's decisions in a file; among some, or all."""
    own = pl.scan_parquet(path).filter(pl.col("user_id") == user_id)
    if among is not None:
        own = own.filter(pl.col("decision_id").is_in(list(among)))
    ids: list[str] = own.select("decision_id").collect(engine="streaming")["decision_id"].to_list()
    return ids


def _place(part: ClosedPart) -> Place:
    """Returns the place of a file among the others."""
    return part.day, part.kind, part.last_sequence


def _rows(columns: dict[str, list[object]]) -> Iterator[Row]:
    """Yields columns as rows, without sequence and user."""
    names = [name for name in columns if name not in ("sequence", "user_id")]
    for values in zip(*(columns[name] for name in names), strict=True):
        yield dict(zip(names, values, strict=True))
