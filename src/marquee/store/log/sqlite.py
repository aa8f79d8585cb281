"""The event log in a folder: two SQLite files that all workers of a machine share.

Decisions have a file of their own. An answer is written in groups by a thread, without a flush, and must not
wait behind an event's flush; if the machine loses power, the last decisions go, and never an event.
"""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import apsw
import msgspec

from marquee.store.log.event_log import (
    ClosedPart,
    DayRows,
    Decision,
    DecisionRow,
    Event,
    Kept,
    LoggedDecision,
    LoggedEvent,
    ProfileEvent,
)
from marquee.store.log.group_commit import GroupCommit
from marquee.store.log.latest_events import Freshness, LatestEvents
from marquee.store.log.log_rows import (
    DECISION,
    EVENT_COLUMNS,
    MS_PER_DAY,
    SECONDS_PER_DAY,
    SOLD,
    decision_row,
    logged_decision,
    logged_event,
    outcomes_of,
    profile_of,
    row_of,
)
from marquee.store.log.removing.sqlite import REMOVED_ROWS, SqliteRemoval, close_part
from marquee.store.log.sqlite_file import Durability, SqliteFile, size_on_disk, translated, try_lock

EVENTS_FILE = "events.db"
DECISIONS_FILE = "decisions.db"
LATEST_FILE = "events.latest"
_CLOSING_LOCK = ".closing.lock"

_CLOSED = """
CREATE TABLE IF NOT EXISTS closed_parts(
    file TEXT PRIMARY KEY, day INTEGER NOT NULL, kind TEXT NOT NULL, n_rows INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL
) STRICT;
"""
# AUTOINCREMENT: a sequence is never given twice, also after the highest rows were closed and deleted.
# profiles_by_user holds all that a profile reads: its events lie side by side there, but each on a page of
# its own in the table. The index that stood in its place in older logs goes.
_EVENTS_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS events(
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    item_id TEXT NOT NULL, timestamp INTEGER NOT NULL, sent_timestamp INTEGER NOT NULL,
    received INTEGER NOT NULL, user_id TEXT, decision_id TEXT, value REAL, text TEXT, digest BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS profiles_by_user ON events(user_id, sequence, timestamp, kind, item_id, value)
    WHERE user_id IS NOT NULL;
DROP INDEX IF EXISTS events_by_user;
CREATE INDEX IF NOT EXISTS events_of_nobody ON events(decision_id) WHERE user_id IS NULL;
{_CLOSED}{REMOVED_ROWS}
"""
_DECISIONS_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS decisions(
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, decision_id TEXT NOT NULL UNIQUE, time_ms INTEGER NOT NULL,
    user_id TEXT, body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS decisions_by_time ON decisions(time_ms);
CREATE INDEX IF NOT EXISTS decisions_by_user ON decisions(user_id, sequence) WHERE user_id IS NOT NULL;
{_CLOSED}{REMOVED_ROWS}
"""
_INSERT_EVENT = (
    f"INSERT OR IGNORE INTO events({', '.join(EVENT_COLUMNS)}) VALUES ({', '.join('?' * len(EVENT_COLUMNS))})"
)
_EVENTS = f"SELECT sequence, {', '.join(EVENT_COLUMNS[:-1])} FROM events"
_PROFILE = """SELECT item_id, kind, value, timestamp FROM events
    WHERE user_id = ? AND sequence > ? AND timestamp > ? AND kind <> 'exposure'
    ORDER BY sequence DESC LIMIT ?"""
_DECISIONS = "SELECT sequence, decision_id, time_ms, user_id, body FROM decisions"
# Bounds how many statements are held compiled, one for each number of rows.
_ROWS_AT_ONCE = 64
_LAST_OF_PAGE = """SELECT max(sequence) FROM
    (SELECT sequence FROM decisions WHERE sequence > ? ORDER BY sequence LIMIT ?)"""
_BY_SURFACE = """SELECT coalesce(json_extract(body, '$.surface'), ''), count(*) FROM decisions
    WHERE time_ms >= ? AND time_ms < ? GROUP BY 1"""
_USERS_OF = """SELECT decision_id, user_id FROM decisions
    WHERE decision_id IN (SELECT value FROM json_each(?))"""
_USERS_SINCE = "SELECT user_id, sequence FROM events WHERE sequence > ?"
_LAST = "SELECT seq FROM sqlite_sequence WHERE name = 'events'"


class SqliteEventLog:
    """An `EventLog` in a folder.

    Args:
        folder: Made if it is not there.

    Raises:
        ConfigError: If SQLite is too old or the files have another format.
        EventLogError: If the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events = SqliteFile(folder / EVENTS_FILE, _EVENTS_SCHEMA, Durability.full)
        self._decisions = SqliteFile(folder / DECISIONS_FILE, _DECISIONS_SCHEMA, Durability.normal)
        with translated(LATEST_FILE):
            self._latest = LatestEvents(folder / LATEST_FILE)
        # Also what a writer left undone that was killed after its commit.
        self._events.write(lambda _connection: None, self._follow)
        self.removal = SqliteRemoval(self._events, self._decisions, self._latest)
        # Only events: decisions come in groups from a thread of their own.
        self._group = GroupCommit(self._write_events)

    def append(self, events: Sequence[Event]) -> list[Kept]:
        """Keeps events and returns what became of each; see `EventLog`."""
        return self._group.submit(events)

    def _write_events(self, events: Sequence[Event]) -> list[Kept]:
        """Keeps events in one transaction."""
        return self._events.write(lambda connection: _insert(connection, events), self._follow)

    def _follow(self, connection: apsw.Connection) -> None:
        """Notes up to where users have events now; after a commit: before it, others would read too early."""
        last = _last_sequence(connection.execute(_LAST).fetchall())
        known = self._latest.known_until(self._events.inode)
        self._latest.add(connection.execute(_USERS_SINCE, (known,)), last)

    def freshness(self, user_id: str) -> Freshness | None:
        """Returns a bound of a user's latest event without a read; see `EventLog`."""
        return self._latest.of(user_id)

    def read(self, after: int, limit: int) -> list[LoggedEvent]:
        """Returns the first events after a sequence; see `EventLog`."""
        statement = f"{_EVENTS} WHERE sequence > ? ORDER BY sequence LIMIT ?"
        return [logged_event(row) for row in self._events.read(statement, (after, limit))]

    def read_profile(self, user_id: str, after: int, since: int, limit: int) -> list[ProfileEvent]:
        """Returns the last events of a user that a history needs; see `EventLog`."""
        return profile_of(self._events.read(_PROFILE, (user_id, after, since, limit)))

    def read_events_of(self, user_id: str, after: int, limit: int) -> list[LoggedEvent]:
        """Returns the first events of a user after a sequence; see `EventLog`."""
        statement = f"{_EVENTS} WHERE user_id = ? AND sequence > ? ORDER BY sequence LIMIT ?"
        return [logged_event(row) for row in self._events.read(statement, (user_id, after, limit))]

    def read_events_of_nobody(
        self, decision_ids: Collection[str], after: int, limit: int
    ) -> list[LoggedEvent]:
        """Returns events that name one of some decisions and no user; see `EventLog`."""
        # As one text: a statement takes so many values, and a user may have more decisions.
        statement = f"""{_EVENTS} WHERE user_id IS NULL AND sequence > ?
            AND decision_id IN (SELECT value FROM json_each(?)) ORDER BY sequence LIMIT ?"""
        named = msgspec.json.encode(list(decision_ids)).decode()
        return [logged_event(row) for row in self._events.read(statement, (after, named, limit))]

    def read_decisions_of(self, user_id: str, after: int, limit: int) -> list[LoggedDecision]:
        """Returns the first decisions of a user after a sequence; see `EventLog`."""
        statement = f"{_DECISIONS} WHERE user_id = ? AND sequence > ? ORDER BY sequence LIMIT ?"
        return [logged_decision(row) for row in self._decisions.read(statement, (user_id, after, limit))]

    def last_sequence(self) -> int:
        """Returns the highest sequence that was ever given; see `EventLog`."""
        return _last_sequence(self._events.read(_LAST))

    def append_decisions(self, decisions: Sequence[Decision]) -> None:
        """Keeps decisions; see `EventLog`."""
        self.append_decision_rows([decision_row(decision) for decision in decisions])

    def append_decision_rows(self, rows: Sequence[DecisionRow]) -> None:
        """Keeps decisions that were made rows before; see `EventLog`."""
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            self._decisions.write_at_once(_insert_decisions(len(some)), list(chain.from_iterable(some)))

    def read_decisions(self, after: int, limit: int) -> list[LoggedDecision]:
        """Returns the first decisions after a sequence; see `EventLog`."""
        statement = f"{_DECISIONS} WHERE sequence > ? ORDER BY sequence LIMIT ?"
        return [logged_decision(row) for row in self._decisions.read(statement, (after, limit))]

    def read_sold(self, after: int, limit: int) -> tuple[int, list[LoggedDecision]]:
        """Returns decisions that sold ads, and up to where it looked; see `EventLog`."""
        ((last,),) = self._decisions.read(_LAST_OF_PAGE, (after, limit))
        if last is None:
            return after, []
        statement = f"{_DECISIONS} WHERE sequence > ? AND sequence <= ? AND instr(body, ?) ORDER BY sequence"
        rows = self._decisions.read(statement, (after, last, SOLD))
        return last, [logged_decision(row) for row in rows]

    def count_by_surface(self, since_ms: int, until_ms: int) -> dict[str, int]:
        """Returns how many decisions of a span of time are in the store; see `EventLog`."""
        return dict(self._decisions.read(_BY_SURFACE, (since_ms, until_ms)))

    def users_of(self, decision_ids: Collection[str]) -> dict[str, str | None]:
        """Returns the users of decisions; see `EventLog`."""
        # As one text: a body of events may name more decisions than a statement may have parameters.
        wanted = msgspec.json.encode(list(decision_ids)).decode()
        return dict(self._decisions.read(_USERS_OF, (wanted,)))

    def read_last_decisions(self, limit: int) -> list[LoggedDecision]:
        """Returns the last decisions; see `EventLog`."""
        rows = self._decisions.read(f"{_DECISIONS} ORDER BY sequence DESC LIMIT ?", (limit,))
        return [logged_decision(row) for row in reversed(rows)]

    def find_decision(self, decision_id: str) -> Decision | None:
        """Returns a decision that is still in the store; see `EventLog`."""
        rows = self._decisions.read(f"{_DECISIONS} WHERE decision_id = ?", (decision_id,))
        return logged_decision(rows[0]).decision if rows else None

    def open_days(self) -> list[DayRows]:
        """Returns which kinds and days the store holds; see `EventLog`."""
        events = f"""SELECT timestamp / {SECONDS_PER_DAY}, kind, count(*), max(sequence)
            FROM events GROUP BY 1, 2"""
        decisions = f"""SELECT time_ms / {MS_PER_DAY}, '{DECISION}', count(*), max(sequence)
            FROM decisions GROUP BY 1"""
        rows = [*self._events.read(events), *self._decisions.read(decisions)]
        return [DayRows(*row) for row in sorted(rows)]

    def read_day(self, rows: DayRows, after: int, limit: int) -> list[LoggedEvent]:
        """Returns events of one kind and day; see `EventLog`."""
        statement = f"""{_EVENTS} WHERE sequence > ? AND sequence <= ? AND kind = ?
            AND timestamp >= ? AND timestamp < ? ORDER BY sequence LIMIT ?"""
        start = rows.day * SECONDS_PER_DAY
        bindings = (after, rows.last_sequence, rows.kind, start, start + SECONDS_PER_DAY, limit)
        return [logged_event(row) for row in self._events.read(statement, bindings)]

    def read_decisions_of_day(self, rows: DayRows, after: int, limit: int) -> list[LoggedDecision]:
        """Returns decisions of one day; see `EventLog`."""
        # The unary plus keeps SQLite off the index by time: rows must come in the order of the sequence.
        statement = f"""{_DECISIONS} WHERE sequence > ? AND sequence <= ?
            AND +time_ms >= ? AND +time_ms < ? ORDER BY sequence LIMIT ?"""
        start = rows.day * MS_PER_DAY
        bindings = (after, rows.last_sequence, start, start + MS_PER_DAY, limit)
        return [logged_decision(row) for row in self._decisions.read(statement, bindings)]

    def closed_parts(self) -> list[ClosedPart]:
        """Lists the parts of the log that were moved into files; see `EventLog`."""
        statement = "SELECT day, kind, file, n_rows, last_sequence FROM closed_parts"
        rows = [*self._events.read(statement), *self._decisions.read(statement)]
        return [ClosedPart(*row) for row in sorted(rows)]

    def note_closed(self, part: ClosedPart) -> None:
        """Notes a file and deletes its rows; see `EventLog`."""
        file = self._decisions if part.kind == DECISION else self._events
        file.write(lambda connection: close_part(connection, part))

    def only_closer(self) -> AbstractContextManager[bool]:
        """Holds the lock of who closes days; see `EventLog`."""
        # A lock of its own: closing days takes long, and must not hold up those who write.
        return try_lock(self._folder / _CLOSING_LOCK)

    def wal_bytes(self) -> int:
        """Returns the size of what SQLite has written ahead, of both files."""
        return self._events.wal_bytes() + self._decisions.wal_bytes()

    def n_bytes(self) -> int:
        """Returns how much the folder holds."""
        return size_on_disk(self._folder)

    def close(self) -> None:
        """Closes both files; see `EventLog`."""
        self._events.close()
        self._decisions.close()
        self._latest.close()


def _insert(connection: apsw.Connection, events: Sequence[Event]) -> list[Kept]:
    """Inserts what is new and returns what became of each event."""
    # Sequences above `last` are of this batch: that tells an id twice in it from one that was there.
    n_before, last = connection.total_changes(), _last_sequence(connection.execute(_LAST).fetchall())
    # OR IGNORE: an id that is there stays as it is, and is compared below.
    connection.executemany(_INSERT_EVENT, [row_of(event) for event in events])
    # The usual case, all new: nothing needs to be looked up.
    if connection.total_changes() - n_before == len(events):
        return [Kept.accepted] * len(events)
    kept, before = dict[str, bytes](), dict[str, bytes]()
    for event in events:
        found = "SELECT sequence, digest FROM events WHERE event_id = ?"
        row: Sequence[Any] = connection.execute(found, (event.event_id,)).fetchall()[0]
        sequence, digest = row
        kept[event.event_id] = digest
        if sequence <= last:
            before[event.event_id] = digest
    return outcomes_of(events, kept, before)


@cache
def _insert_decisions(n_rows: int) -> str:
    """Returns the statement that inserts those of so many decisions that are new.

    One for all: row by row, the interpreter would be given up and asked back for each. Beside an event loop
    that computes, each time costs both threads a wait and a change of thread: three times what the row does.
    """
    # IGNORE: the writer sends a group again when it does not know what became of it.
    into = "INSERT OR IGNORE INTO decisions(decision_id, time_ms, user_id, body) VALUES "
    return into + ", ".join(["(?, ?, ?, ?)"] * n_rows)


def _last_sequence(rows: Sequence[tuple[Any, ...]]) -> int:
    """Returns the sequence that a query for it gave, 0 if none was ever given."""
    # sqlite_sequence has no row until the first insert.
    return int(rows[0][0]) if rows else 0
