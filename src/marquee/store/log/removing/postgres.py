"""Removes rows from the event log in PostgreSQL."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from typing import LiteralString

from marquee.core.event_kinds import EventKind
from marquee.errors import EventLogError
from marquee.store.log.event_log import ClosedPart, RemovedRows
from marquee.store.log.log_rows import DECISION, MS_PER_DAY, ROWS_PER_REMOVAL, SECONDS_PER_DAY
from marquee.store.log.postgres_database import Connection, PostgresDatabase

_EVENT = EventKind.click.value
"""All kinds of events lie in one table, under one lock: any of them names it."""

_STORE, _FILES = "store", "files"

REMOVED: LiteralString = """
CREATE TABLE IF NOT EXISTS marquee.removed(last_sequence bigint NOT NULL);
CREATE TABLE IF NOT EXISTS marquee.removed_rows(
    erasure_id text NOT NULL, place text NOT NULL, n_rows bigint NOT NULL, PRIMARY KEY (erasure_id, place)
);
"""
"""Remembers of rows that are gone the last sequence among them, and how many went for whom."""

# A sequence is never given up: whoever asks for the last one must not see it fall as rows go.
_REMEMBER_LAST: LiteralString = """
INSERT INTO marquee.removed SELECT greatest(%s, (SELECT max(sequence) FROM marquee.events))
"""
_KEEP_HIGHEST: LiteralString = """
DELETE FROM marquee.removed WHERE last_sequence < (SELECT max(last_sequence) FROM marquee.removed)
"""
_OLD_EVENTS: LiteralString = f"""DELETE FROM marquee.events WHERE sequence IN
    (SELECT sequence FROM marquee.events WHERE timestamp < %s ORDER BY sequence LIMIT {ROWS_PER_REMOVAL})"""
_OLD_DECISIONS: LiteralString = f"""DELETE FROM marquee.decisions WHERE sequence IN
    (SELECT sequence FROM marquee.decisions WHERE time_ms < %s ORDER BY sequence LIMIT {ROWS_PER_REMOVAL})"""


class PostgresRemoval:
    """A `LogRemoval` of a database.

    Args:
        database: Where it is.
        rows_of: Gives a transaction in which nobody else writes rows of a kind.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        rows_of: Callable[[str], AbstractContextManager[Connection]],
    ) -> None:
        self._database = database
        self._rows_of = rows_of

    def erase_user(self, user_id: str, erasure_id: str, decision_ids: Collection[str] = ()) -> None:
        """Deletes the rows of a user; see `LogRemoval`."""
        statement: LiteralString = "SELECT decision_id FROM marquee.decisions WHERE user_id = %s"
        found = self._database.read(statement, (user_id,))
        named = list({*decision_ids, *(row[0] for row in found)})
        # Events first: killed between the two, the decisions still say which events of nobody are theirs.
        with self._rows_of(_EVENT) as connection:
            _remember_last(connection)
            own = connection.execute("DELETE FROM marquee.events WHERE user_id = %s", (user_id,))
            of_nobody = connection.execute(
                "DELETE FROM marquee.events WHERE user_id IS NULL AND decision_id = ANY(%s)", (named,)
            )
            _count(connection, erasure_id, f"{_EVENT} {_STORE}", own.rowcount + of_nobody.rowcount)
        with self._rows_of(DECISION) as connection:
            decisions = connection.execute("DELETE FROM marquee.decisions WHERE user_id = %s", (user_id,))
            _count(connection, erasure_id, f"{DECISION} {_STORE}", decisions.rowcount)

    def replace_part(self, old: ClosedPart, new: ClosedPart | None, removed: Mapping[str, int]) -> None:
        """Notes that a file stands for another; see `LogRemoval`."""
        kind = DECISION if old.kind == DECISION else _EVENT
        with self._rows_of(old.kind) as connection:
            # A part without successor takes its last sequence along.
            if kind == _EVENT:
                _remember_last(connection, old.last_sequence)
            connection.execute("DELETE FROM marquee.closed_parts WHERE file = %s", (old.file,))
            if new is not None:
                _note_part(connection, new)
            for erasure_id, n_rows in removed.items():
                _count(connection, erasure_id, f"{kind} {_FILES}", n_rows)

    def count_removed(self, erasure_id: str) -> RemovedRows:
        """Returns how many rows were deleted; see `LogRemoval`."""
        statement: LiteralString = "SELECT place, n_rows FROM marquee.removed_rows WHERE erasure_id = %s"
        found = dict(self._database.read(statement, (erasure_id,)))
        return RemovedRows(
            *(found.get(f"{kind} {place}", 0) for place in (_STORE, _FILES) for kind in (_EVENT, DECISION))
        )

    def counted(self) -> set[str]:
        """Returns the erasures whose rows are counted; see `LogRemoval`."""
        rows = self._database.read("SELECT DISTINCT erasure_id FROM marquee.removed_rows")
        return {erasure_id for (erasure_id,) in rows}

    def drop_counts(self, erasure_ids: Collection[str]) -> None:
        """Deletes the counts of erasures; see `LogRemoval`."""
        if erasure_ids:
            with self._rows_of(_EVENT) as connection:
                statement: LiteralString = "DELETE FROM marquee.removed_rows WHERE erasure_id = ANY(%s)"
                connection.execute(statement, (list(erasure_ids),))

    def expire_events(self, before: int) -> int:
        """Deletes old events; see `LogRemoval`."""
        with self._rows_of(_EVENT) as connection:
            _remember_last(connection)
            return connection.execute(_OLD_EVENTS, (before,)).rowcount

    def expire_decisions(self, before_ms: int) -> int:
        """Deletes old decisions; see `LogRemoval`."""
        with self._rows_of(DECISION) as connection:
            return connection.execute(_OLD_DECISIONS, (before_ms,)).rowcount

    def wipe(self) -> bool:
        """Frees the room of deleted rows, which new ones then overwrite; see `LogRemoval`."""
        # What has gone into PostgreSQL's own WAL, and from there into backups, nobody can take back.
        self._database.vacuum("marquee.events", "marquee.decisions")
        return True


def _remember_last(connection: Connection, sequence: int = 0) -> None:
    """Remembers the last sequence before rows go: that of the events, or of a file if it is higher."""
    connection.execute(_REMEMBER_LAST, (sequence,))
    connection.execute(_KEEP_HIGHEST)


def close_part(connection: Connection, part: ClosedPart) -> None:
    """Notes a file and deletes its rows; raises EventLogError if these are not as many as it holds."""
    if part.kind == DECISION:
        start = part.day * MS_PER_DAY
        deleted = connection.execute(
            "DELETE FROM marquee.decisions WHERE time_ms >= %s AND time_ms < %s AND sequence <= %s",
            (start, start + MS_PER_DAY, part.last_sequence),
        )
    else:
        start = part.day * SECONDS_PER_DAY
        deleted = connection.execute(
            """DELETE FROM marquee.events
            WHERE timestamp >= %s AND timestamp < %s AND sequence <= %s AND kind = %s""",
            (start, start + SECONDS_PER_DAY, part.last_sequence, part.kind),
        )
    # The last guard before rows are gone: the error undoes the deletion with its transaction.
    if deleted.rowcount != part.n_rows:
        raise EventLogError(
            f"{part.file} must hold all rows of its day, got {part.n_rows} of {deleted.rowcount}; nothing "
            "was deleted"
        )
    _note_part(connection, part)


def _note_part(connection: Connection, part: ClosedPart) -> None:
    """Lists a file of a closed day."""
    connection.execute(
        """INSERT INTO marquee.closed_parts(file, day, kind, n_rows, last_sequence)
        VALUES (%s, %s, %s, %s, %s)""",
        (part.file, part.day, part.kind, part.n_rows, part.last_sequence),
    )


def _count(connection: Connection, erasure_id: str, place: str, n_rows: int) -> None:
    """Adds to the rows that were deleted for an erasure."""
    if n_rows:
        connection.execute(
            """INSERT INTO marquee.removed_rows AS old VALUES (%s, %s, %s)
            ON CONFLICT (erasure_id, place) DO UPDATE SET n_rows = old.n_rows + excluded.n_rows""",
            (erasure_id, place, n_rows),
        )
