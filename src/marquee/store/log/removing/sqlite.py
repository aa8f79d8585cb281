"""Removes rows from the event log in a folder."""

from collections.abc import Callable, Collection, Mapping

import apsw

from marquee.errors import EventLogError
from marquee.store.log.event_log import ClosedPart, RemovedRows
from marquee.store.log.latest_events import LatestEvents
from marquee.store.log.log_rows import DECISION, MS_PER_DAY, ROWS_PER_REMOVAL, SECONDS_PER_DAY
from marquee.store.log.removing.sqlite_wiping import wipe_file
from marquee.store.log.sqlite_file import Bindings, SqliteFile

REMOVED_ROWS = """
CREATE TABLE IF NOT EXISTS removed_rows(
    erasure_id TEXT NOT NULL, place TEXT NOT NULL, n_rows INTEGER NOT NULL, PRIMARY KEY (erasure_id, place)
) STRICT, WITHOUT ROWID;
"""
"""Counts what was deleted, in the file of the rows: in the transaction that deletes them."""
_STORE, _FILES = "store", "files"
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

    def erase_user(self, user_id: str, erasure_id: str, decision_ids: Collection[str] = ()) -> None:
        """Deletes the rows of a user; see `LogRemoval`."""
        found = self._decisions.read("SELECT decision_id FROM decisions WHERE user_id = ?", (user_id,))
        named = {*decision_ids, *(row[0] for row in found)}

        def erase_events(connection: apsw.Connection) -> None:
            n_before = connection.total_changes()
            connection.execute("DELETE FROM events WHERE user_id = ?", (user_id,))
            connection.executemany(_OF_NOBODY, [(one,) for one in named])
            _count(connection, erasure_id, _STORE, connection.total_changes() - n_before)

        def erase_decisions(connection: apsw.Connection) -> None:
            n_deleted = _deleted(connection, "decisions WHERE user_id = ?", (user_id,))
            _count(connection, erasure_id, _STORE, n_deleted)

        # Events first: killed between the two, the decisions still say which events of nobody are theirs.
        self._events.write(erase_events, lambda _connection: self._latest.touch([user_id]))
        self._decisions.write(erase_decisions)

    def replace_part(self, old: ClosedPart, new: ClosedPart | None, removed: Mapping[str, int]) -> None:
        """Notes that a file stands for another; see `LogRemoval`."""

        def replace(connection: apsw.Connection) -> None:
            connection.execute("DELETE FROM closed_parts WHERE file = ?", (old.file,))
            if new is not None:
                _note_part(connection, new)
            for erasure_id, n_rows in removed.items():
                _count(connection, erasure_id, _FILES, n_rows)

        file = self._decisions if old.kind == DECISION else self._events
        file.write(replace)

    def count_removed(self, erasure_id: str) -> RemovedRows:
        """Returns how many rows were deleted; see `LogRemoval`."""
        statement = "SELECT place, n_rows FROM removed_rows WHERE erasure_id = ?"
        events = dict(self._events.read(statement, (erasure_id,)))
        decisions = dict(self._decisions.read(statement, (erasure_id,)))
        return RemovedRows(
            *(found.get(place, 0) for place in (_STORE, _FILES) for found in (events, decisions))
        )

    def counted(self) -> set[str]:
        """Returns the erasures whose rows are counted; see `LogRemoval`."""
        statement = "SELECT DISTINCT erasure_id FROM removed_rows"
        return {row[0] for file in (self._events, self._decisions) for row in file.read(statement)}

    def drop_counts(self, erasure_ids: Collection[str]) -> None:
        """Deletes the counts of erasures; see `LogRemoval`."""
        rows = [(erasure_id,) for erasure_id in erasure_ids]
        # Most passes have none: no write, and no flush.
        statement = "DELETE FROM removed_rows WHERE erasure_id = ?"
        for file in (self._events, self._decisions) if rows else ():
            file.write(lambda connection: connection.executemany(statement, rows))

    def expire_events(self, before: int) -> int:
        """Deletes old events; see `LogRemoval`."""
        return _expire(self._events, "events", "timestamp < ?", before, self._latest.touch)

    def expire_decisions(self, before_ms: int) -> int:
        """Deletes old decisions; see `LogRemoval`."""
        return _expire(self._decisions, "decisions", "time_ms < ?", before_ms)

    def wipe(self) -> bool:
        """Overwrites what deleted rows have left; see `LogRemoval`."""
        # Both, whatever the first says.
        wiped = [wipe_file(file) for file in (self._events, self._decisions)]
        return all(wiped)


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
    _note_part(connection, part)


def _note_part(connection: apsw.Connection, part: ClosedPart) -> None:
    """Lists a file of a closed day."""
    connection.execute(
        "INSERT INTO closed_parts(file, day, kind, n_rows, last_sequence) VALUES (?, ?, ?, ?, ?)",
        (part.file, part.day, part.kind, part.n_rows, part.last_sequence),
    )


def _count(connection: apsw.Connection, erasure_id: str, place: str, n_rows: int) -> None:
    """Adds to the rows that were deleted for an erasure."""
    if n_rows:
        connection.execute(
            """INSERT INTO removed_rows VALUES (?1, ?2, ?3)
            ON CONFLICT (erasure_id, place) DO UPDATE SET n_rows = n_rows + ?3""",
            (erasure_id, place, n_rows),
        )


def _deleted(connection: apsw.Connection, rows: str, bindings: Bindings) -> int:
    """Deletes the rows of a table that a condition names; returns how many."""
    n_before = connection.total_changes()
    connection.execute(f"DELETE FROM {rows}", bindings)
    return int(connection.total_changes() - n_before)


def _expire(
    file: SqliteFile,
    table: str,
    condition: str,
    before: int,
    tell: Callable[[Collection[str]], None] = lambda _user_ids: None,
) -> int:
    """Deletes some rows before a moment, tells whose they were, and returns how many."""
    # Looked for without the lock: no index tells the old ones, and the search reads the whole table.
    old = f"SELECT sequence, user_id FROM {table} WHERE {condition} ORDER BY sequence LIMIT ?"
    found = file.read(old, (before, ROWS_PER_REMOVAL))
    if not found:
        return 0

    def delete(connection: apsw.Connection) -> int:
        n_before = connection.total_changes()
        connection.executemany(f"DELETE FROM {table} WHERE sequence = ?", [row[:1] for row in found])
        # Counted by the store: another process may have deleted some since the look.
        return int(connection.total_changes() - n_before)

    owners = {user_id for _, user_id in found if user_id is not None}
    return file.write(delete, lambda _connection: tell(owners))
