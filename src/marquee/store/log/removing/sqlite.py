"""Removes rows from the event log in a folder."""

from collections.abc import Sequence

import apsw

from marquee.errors import EventLogError
from marquee.store.log.event_log import ClosedPart, RemovedRows
from marquee.store.log.latest_events import LatestEvents
from marquee.store.log.log_rows import DECISION, MS_PER_DAY, ROWS_PER_REMOVAL, SECONDS_PER_DAY
from marquee.store.log.removing.sqlite_wiping import wipe_file
from marquee.store.log.sqlite_file import Bindings, SqliteFile

_OF_NOBODY = "DELETE FROM events WHERE user_id IS NULL AND decision_id = ?"


class SqliteRemoval:
    """A `LogRemoval` of two files.

    Args:
        events: The file of events.
        decisions: The file of decisions.
        latest: Tells the workers whose profiles in memory are no longer true.
    """

    def __init__(self, events: SqliteFile, decisions: SqliteFile, latest: LatestEvents) -> None:
        self._events = events
        self._decisions = decisions
        self._latest = latest

    def erase_user(self, user_id: str, decision_ids: Sequence[str] = ()) -> RemovedRows:
        """Deletes the rows of a user; see `LogRemoval`."""
        found = self._decisions.read("SELECT decision_id FROM decisions WHERE user_id = ?", (user_id,))
        named = {*decision_ids, *(row[0] for row in found)}

        def erase_events(connection: apsw.Connection) -> int:
            n_before = connection.total_changes()
            connection.execute("DELETE FROM events WHERE user_id = ?", (user_id,))
            connection.executemany(_OF_NOBODY, [(one,) for one in named])
            return int(connection.total_changes() - n_before)

        # Events first: killed between the two, the decisions still say which events of nobody are theirs.
        n_events = self._events.write(erase_events, lambda _connection: self._latest.touch([user_id]))
        n_decisions = self._decisions.write(
            lambda connection: _deleted(connection, "decisions WHERE user_id = ?", (user_id,))
        )
        return RemovedRows(n_events, n_decisions)

    def expire_events(self, before: int) -> int:
        """Deletes old events; see `LogRemoval`."""
        return _expire(self._events, "events", "timestamp < ?", before)

    def expire_decisions(self, before_ms: int) -> int:
        """Deletes old decisions; see `LogRemoval`."""
        return _expire(self._decisions, "decisions", "time_ms < ?", before_ms)

    def note_rewritten(self, part: ClosedPart) -> None:
        """Notes how many rows a file holds now; see `LogRemoval`."""
        statement = "UPDATE closed_parts SET n_rows = ? WHERE file = ?"
        self._file_of(part).write(lambda connection: connection.execute(statement, (part.n_rows, part.file)))

    def forget_part(self, part: ClosedPart) -> None:
        """Takes a file out of the list; see `LogRemoval`."""
        statement = "DELETE FROM closed_parts WHERE file = ?"
        self._file_of(part).write(lambda connection: connection.execute(statement, (part.file,)))

    def wipe(self) -> bool:
        """Overwrites what deleted rows have left; see `LogRemoval`."""
        # Both, whatever the first says.
        wiped = [wipe_file(file) for file in (self._events, self._decisions)]
        return all(wiped)

    def _file_of(self, part: ClosedPart) -> SqliteFile:
        """Returns the file that lists a part."""
        return self._decisions if part.kind == DECISION else self._events


def close_part(connection: apsw.Connection, part: ClosedPart) -> None:
    """Notes a file and deletes its rows; raises EventLogError if these are not as many as it holds."""
    if part.kind == DECISION:
        start = part.day * MS_PER_DAY
        bounds = "decisions WHERE time_ms >= ? AND time_ms < ? AND sequence <= ?"
        bindings: Bindings = (start, start + MS_PER_DAY, part.last_sequence)
    else:
        start = part.day * SECONDS_PER_DAY
        bounds = "events WHERE timestamp >= ? AND timestamp < ? AND sequence <= ? AND kind = ?"
        bindings = (start, start + SECONDS_PER_DAY, part.last_sequence, part.kind)
    n_deleted = _deleted(connection, bounds, bindings)
    # The last guard before rows are gone: the error undoes the transaction.
    if n_deleted != part.n_rows:
        raise EventLogError(
            f"{part.file} must hold all rows of its day, got {part.n_rows} of {n_deleted}; nothing went"
        )
    connection.execute(
        "INSERT INTO closed_parts(file, day, kind, n_rows, last_sequence) VALUES (?, ?, ?, ?, ?)",
        (part.file, part.day, part.kind, part.n_rows, part.last_sequence),
    )


def _deleted(connection: apsw.Connection, rows: str, bindings: Bindings) -> int:
    """Deletes the rows of a table that a condition names; returns how many."""
    n_before = connection.total_changes()
    connection.execute(f"DELETE FROM {rows}", bindings)
    return int(connection.total_changes() - n_before)


def _expire(file: SqliteFile, table: str, condition: str, before: int) -> int:
    """Deletes some rows before a moment; returns how many."""
    # Looked for without the lock: no index tells the old ones, and the search reads the whole table.
    old = f"SELECT sequence FROM {table} WHERE {condition} ORDER BY sequence LIMIT {ROWS_PER_REMOVAL}"
    found = file.read(old, (before,))
    if not found:
        return 0

    def delete(connection: apsw.Connection) -> int:
        n_before = connection.total_changes()
        connection.executemany(f"DELETE FROM {table} WHERE sequence = ?", found)
        # Counted by the store: another process may have deleted some since the look.
        return int(connection.total_changes() - n_before)

    return file.write(delete)
