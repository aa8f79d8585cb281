"""Days that are over leave the store for Parquet files, by kind and day.

```
<folder>/kind=click/day=2026-11-30.<last sequence>.parquet     ordered by time, then sequence
```

A day is over when no event of it can be accepted any more, and stays in the store until the release that
answers knows all of it. Rows are written aside, forced to disk, renamed, and only then noted and deleted from
the store, in one transaction of the store and `PART_ROWS` at a time, so that writers wait for moments. Killed
before that, the file is not noted: nobody reads it, and the next try replaces it with the same rows. Nothing
is ever in both places, or in neither.
"""

import io
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import polars as pl

from marquee.store.files import announce_step, sync_folder, write_file
from marquee.store.log.decision_ids import made_ms
from marquee.store.log.event_log import ClosedPart, DayRows, Decision, EventLog
from marquee.store.log.event_rows import MAX_CLOCK_ERROR, EventLimits
from marquee.store.log.log_rows import (
    DECISION,
    MS_PER_DAY,
    SECONDS_PER_DAY,
    decision_columns,
    decision_of_columns,
    event_columns,
)

Result = TypeVar("Result")

ROWS_PER_GROUP = 100_000
PART_ROWS = 20_000
"""Rows of a file: deleting them from the store takes a third of a second, for which writers wait."""

# Bounds how many rows are Python objects at a time.
PAGE_ROWS = 20_000

EVENT_SCHEMA = pl.Schema(
    {
        "sequence": pl.Int64(),
        "event_id": pl.String(),
        "kind": pl.String(),
        "item_id": pl.String(),
        "timestamp": pl.Int64(),
        "received": pl.Int64(),
        "user_id": pl.String(),
        "decision_id": pl.String(),
        "value": pl.Float64(),
        "text": pl.String(),
    }
)
_TEXTS: pl.DataType = pl.List(pl.String)
_NUMBERS: pl.DataType = pl.List(pl.Float64)
DECISION_SCHEMA = pl.Schema(
    {
        "sequence": pl.Int64(),
        "decision_id": pl.String(),
        "time_ms": pl.Int64(),
        "user_id": pl.String(),
        "request_id": pl.String(),
        "surface": pl.String(),
        "release": pl.String(),
        "source": pl.String(),
        "policy": pl.String(),
        "parameters": pl.String(),
        "items": _TEXTS,
        "scores": _NUMBERS,
        "propensities": _NUMBERS,
        "history": _TEXTS,
        "more": pl.String(),
    }
)


class Known(NamedTuple):
    """Up to where a release knows what users did: an event beyond both bounds is new to it.

    Attributes:
        sequence: Of this log.
        timestamp: Seconds since 1970 UTC.
    """

    sequence: int = 0
    timestamp: int = 0

    def covers(self, rows: DayRows) -> bool:
        """Returns whether the release knows all events of a kind and day."""
        last_second = (rows.day + 1) * SECONDS_PER_DAY - 1
        return rows.last_sequence <= self.sequence or last_second <= self.timestamp


def close_days(
    log: EventLog, folder: Path, now: int, known: Collection[Known], limits: EventLimits
) -> list[ClosedPart]:
    """Moves the days that are over into files and returns what has moved.

    Args:
        log: Where the rows are.
        folder: Of the files; made if it is not there.
        now: Seconds since 1970 UTC.
        known: What each release that answers knows; days of which one of them does not know all stay.
        limits: Until when an event of a day may come.

    Raises:
        EventLogError: If the store refuses.
        OSError: If the disk does.
    """
    moved: list[ClosedPart] = []
    with log.only_closer() as is_alone:
        # Another worker closes the same days; the next run finds what it left.
        if not is_alone:
            return moved
        for rows in log.open_days():
            # Decisions are numbered apart from events; a release knows them through these.
            is_known = rows.kind == DECISION or all(one.covers(rows) for one in known)
            if is_known and is_over(rows.day, now, limits):
                moved += _close(log, folder, rows)
    return moved


def is_over(day: int, now: int, limits: EventLimits) -> bool:
    """Returns whether no event of a day can be accepted any more, nor one that was accepted come again.

    Args:
        day: Days since 1970 UTC.
        now: Seconds since 1970 UTC.
        limits: Until when an event of a day may come.
    """
    # Twice: a clock may be set right by as much when the event comes, and again when it is repeated.
    return now > (day + 1) * SECONDS_PER_DAY + limits.horizon + 2 * MAX_CLOCK_ERROR


def read_rows(log: EventLog, folder: Path, day: int, kinds: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yields the rows of a day and some kinds, wherever they are, a frame per kind.

    `DECISION` gives frames of `DECISION_SCHEMA`, kinds of events those of `EVENT_SCHEMA`, each ordered by
    time, then sequence. A day that is being closed meanwhile is given once.
    """
    for kind in kinds:
        yield from _read_kind(log, folder, day, kind)


def days_of(log: EventLog) -> dict[int, set[str]]:
    """Returns the kinds of each day that store and files hold, by day ascending."""
    found: dict[int, set[str]] = {}
    held: list[ClosedPart | DayRows] = [*log.closed_parts(), *log.open_days()]
    for rows in sorted(held, key=lambda rows: rows.day):
        found.setdefault(rows.day, set()).add(rows.kind)
    return found


def find_decision(log: EventLog, folder: Path, decision_id: str) -> Decision | None:
    """Returns a decision from the store or from the files of closed days, None if neither holds it.

    Args:
        log: The store.
        folder: Of the files.
        decision_id: Of version 7: it says of which day the decision is.

    Raises:
        EventLogError: If the store refuses.
        OSError: If a file cannot be read.
    """
    # The store first: a decision that leaves it meanwhile is in a noted file by then, never the other way.
    found = log.find_decision(decision_id)
    made = made_ms(decision_id)
    # Any other id is none that the service has made, and says no day.
    if found is not None or made is None:
        return found

    def rows_of(path: Path) -> pl.DataFrame:
        # Ids rise with time, as the rows do: all row groups but one are passed over by their bounds.
        return pl.scan_parquet(path).filter(pl.col("decision_id") == decision_id).collect()

    for part in _parts_of(log, made // MS_PER_DAY, DECISION):
        rows = read_file(log, folder, part, rows_of)
        if rows is not None and len(rows):
            return decision_of_columns(rows.row(0, named=True))
    return None


def read_file(log: EventLog, folder: Path, part: ClosedPart, read: Callable[[Path], Result]) -> Result | None:
    """Returns the result of reading the file of a part, or of the one that an erasure has put in its place.

    Args:
        log: Lists the files.
        folder: Of the files.
        part: As the log listed it.
        read: Reads a file.

    Returns:
        None if no row of the part is left.

    Raises:
        FileNotFoundError: If the file is gone though it is listed.
    """
    while True:
        try:
            return read(folder / part.file)
        except FileNotFoundError:
            # The highest sequence stays the part's, whatever rows are taken out.
            listed = _parts_of(log, part.day, part.kind)
            now = next((one for one in listed if one.last_sequence == part.last_sequence), None)
            if now == part:
                raise
        if now is None:
            return None
        part = now


def _read_kind(log: EventLog, folder: Path, day: int, kind: str) -> list[pl.DataFrame]:
    """Returns the rows of one kind and day."""
    while True:
        parts = _parts_of(log, day, kind)
        try:
            frames = [pl.read_parquet(folder / part.file) for part in parts]
        except FileNotFoundError:
            # An erasure has put another file in its place, and the list says so.
            if _parts_of(log, day, kind) == parts:
                raise
            continue
        frames += [_frame(log, rows) for rows in log.open_days() if (rows.day, rows.kind) == (day, kind)]
        # Rows that were closed between the two looks were seen in neither place.
        if _parts_of(log, day, kind) == parts:
            # One frame, so that readers see the same rows however they are parted.
            return [_in_order(frames, kind)] if frames else []


def _parts_of(log: EventLog, day: int, kind: str) -> list[ClosedPart]:
    """Returns the files of one kind and day."""
    return [part for part in log.closed_parts() if (part.day, part.kind) == (day, kind)]


def _close(log: EventLog, folder: Path, rows: DayRows) -> Iterator[ClosedPart]:
    """Moves one kind of a day into files, and yields each."""
    folder_of_kind = folder / f"kind={rows.kind}"
    folder_of_kind.mkdir(parents=True, exist_ok=True)
    # The folder of a new kind must survive a power cut as well.
    sync_folder(folder)
    # The first by sequence: what is left in the store is then what comes behind them.
    while len(frame := _frame(log, rows, PART_ROWS)):
        last = frame["sequence"].max()
        assert isinstance(last, int), f"rows have sequences, got {last!r}"
        # The same rows get the same name: a second try after a crash replaces the file of the first.
        name = f"day={datetime.fromtimestamp(rows.day * SECONDS_PER_DAY, UTC):%Y-%m-%d}.{last}.parquet"
        path = folder_of_kind / name
        aside = path.with_name(f".{name}.new")
        write_file(aside, partial(_write_parquet, frame))
        announce_step(f"rename {name}")
        aside.rename(path)
        sync_folder(folder_of_kind)
        part = ClosedPart(rows.day, rows.kind, str(path.relative_to(folder)), len(frame), last)
        announce_step(f"note {name}")
        log.note_closed(part)
        announce_step(f"noted {name}")
        yield part


def _write_parquet(frame: pl.DataFrame, file: IO[bytes]) -> None:
    """Writes a frame as a Parquet file."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", row_group_size=ROWS_PER_GROUP)
    file.write(buffer.getvalue())


def _frame(log: EventLog, rows: DayRows, limit: int | None = None) -> pl.DataFrame:
    """Returns rows of the store as a frame, page by page: Python objects take ten times its room.

    Args:
        log: The store.
        rows: Of which kind and day.
        limit: How many, the first by sequence; None for all.
    """
    is_decisions = rows.kind == DECISION
    schema = DECISION_SCHEMA if is_decisions else EVENT_SCHEMA
    pages, after = [pl.DataFrame(schema=schema)], 0
    n_left = rows.n_rows if limit is None else min(limit, rows.n_rows)
    while n_left > 0:
        n_asked = min(n_left, PAGE_ROWS)
        if is_decisions:
            decisions = log.read_decisions_of_day(rows, after, n_asked)
            columns, n_rows = decision_columns(decisions), len(decisions)
        else:
            events = log.read_day(rows, after, n_asked)
            columns, n_rows = event_columns(events), len(events)
        # Some may have left since they were counted.
        if not n_rows:
            break
        pages.append(pl.DataFrame(columns, schema=schema))
        n_left -= n_rows
        # By sequence: an offset would make the store read all earlier rows again for each page.
        after = int(pages[-1]["sequence"][-1])
    return _in_order(pages, rows.kind)


def _in_order(frames: Sequence[pl.DataFrame], kind: str) -> pl.DataFrame:
    """Returns rows by time; equal times keep the order of the log."""
    return pl.concat(frames).sort("time_ms" if kind == DECISION else "timestamp", "sequence")
