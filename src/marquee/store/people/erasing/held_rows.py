"""Reads all rows that the log holds of a user, page by page, wherever they are.

```
events:<sequence>                          events of the store after it
decisions:<sequence>                       decisions of the store after it
nobody:<sequence>                          events of the store after it that name one of their decisions alone
files:<day>/<kind>/<sequence>:<offset>     rows of the user in the file of a closed day, and in those after it
```

The store comes first: a row whose day is closed meanwhile is given twice rather than never.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from marquee.errors import DataError
from marquee.store.log.closed_days import read_file
from marquee.store.log.event_log import ClosedPart, EventLog
from marquee.store.log.log_rows import DECISION, decision_columns, event_columns
from marquee.store.people.erasing.parts import Leaving, note_owners, read_part

_EVENTS, _DECISIONS, _NOBODY, _FILES = "events", "decisions", "nobody", "files"
_CURSOR = re.compile(
    rf"({_EVENTS}|{_DECISIONS}|{_NOBODY}):(\d{{1,18}})|{_FILES}:(\d{{1,9}})/(\w{{1,32}})/(\d{{1,18}}):(\d{{1,18}})"
)
# A file without the user takes milliseconds: a page that finds nothing ends all the same.
_FILES_PER_PAGE = 60

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
    page, place, after = HeldPage(), match[1], int(match[2] or 0)
    if place == _EVENTS:
        events = log.read_events_of(user_id, after, limit)
        page.events += _rows(event_columns(events))
        if len(events) == limit:
            page.cursor = f"{_EVENTS}:{events[-1].sequence}"
            return page
        place, after = _DECISIONS, 0
    if place == _DECISIONS:
        decisions = log.read_decisions_of(user_id, after, limit - len(page))
        page.decisions += _rows(decision_columns(decisions))
        if len(page) == limit:
            page.cursor = f"{_DECISIONS}:{decisions[-1].sequence if decisions else after}"
            return page
        place, after = _NOBODY, 0
    # Each page anew: a decision that is made meanwhile may be named as well.
    theirs = Leaving({user_id: ""})
    note_owners(log, closed, theirs)
    if place == _NOBODY:
        of_nobody = log.read_events_of_nobody(theirs.owner_of, after, limit - len(page))
        page.events += _rows(event_columns(of_nobody))
        if len(page) == limit:
            page.cursor = f"{_NOBODY}:{of_nobody[-1].sequence if of_nobody else after}"
            return page
    begin = (int(match[3]), match[4], int(match[5])) if match[3] else None
    _read_files(log, closed, theirs, page, limit, begin, int(match[6] or 0))
    return page


def _read_files(
    log: EventLog,
    closed: Path,
    theirs: Leaving,
    page: HeldPage,
    limit: int,
    begin: tuple[int, str, int] | None,
    offset: int,
) -> None:
    """Adds rows of files to a page, from some file on, and says where the next page begins."""
    parts = sorted(log.closed_parts(), key=_place)
    ahead = [part for part in parts if begin is None or _place(part) >= begin]
    for number, part in enumerate(ahead):
        # By the place of a part and not by its name: an erasure of somebody else gives it another.
        at = f"{_FILES}:{part.day}/{part.kind}/{part.last_sequence}"
        skipped = offset if _place(part) == begin else 0
        if number == _FILES_PER_PAGE or len(page) == limit:
            page.cursor = f"{at}:{skipped}"
            return
        found = read_file(log, closed, part, partial(read_part, kind=part.kind, theirs=theirs))
        # The last row of the part has gone since the files were listed.
        if found is None:
            continue
        frame = found.slice(skipped)
        kept = frame.head(limit - len(page))
        rows = page.decisions if part.kind == DECISION else page.events
        rows += kept.drop("sequence", "user_id").to_dicts()
        if len(kept) < len(frame):
            page.cursor = f"{at}:{skipped + len(kept)}"
            return


def _place(part: ClosedPart) -> tuple[int, str, int]:
    """Returns the place of a file among the others, which it keeps when it is written anew."""
    return part.day, part.kind, part.last_sequence


def _rows(columns: dict[str, list[object]]) -> Iterator[Row]:
    """Yields columns as rows, without sequence and user."""
    names = [name for name in columns if name not in ("sequence", "user_id")]
    for values in zip(*(columns[name] for name in names), strict=True):
        yield dict(zip(names, values, strict=True))
