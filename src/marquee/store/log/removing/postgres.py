"""Removes rows from the event log in PostgreSQL."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import LiteralString

from marquee.core.event_kinds import EventKind
from marquee.errors import EventLogError
from marquee.store.log.event_log import ClosedPart, RemovedRows
from marquee.store.log.log_rows import DECISION, MS_PER_DAY, ROWS_PER_REMOVAL, SECONDS_PER_DAY
from marquee.store.log.postgres_database import Connection, PostgresDatabase

_EVENT = EventKind.click.value
"""All kinds of events lie in one table, under one lock: any of them names it."""

# A sequence is never given up: whoever asks for the last one must not see it fall as rows go.
_REMEMBER_LAST: LiteralString = """
WITH highest AS (SELECT max(sequence) AS sequence FROM marquee.events),
    older AS (DELETE FROM marquee.removed WHERE last_sequence < (SELECT sequence FROM highest))
INSERT INTO marquee.removed SELECT sequence FROM highest WHERE sequence IS NOT NULL
    AND NOT EXISTS (SELECT FROM marquee.removed WHERE last_sequence >= highest.sequence)
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

    def erase_user(self, user_id: str, decision_ids: Sequence[str] = ()) -> RemovedRows:
        """Deletes the rows of a user; see `LogRemoval`."""
        found = self._database.read(
            "SELECT decision_id FROM marquee.decisions WHERE user_id = %s", (user_id,)
        )
        named = list({*decision_ids, *(row[0] for row in found)})
        # Events first: killed between the two, the decisions still say which events of nobody are theirs.
        with self._rows_of(_EVENT) as connection:
            connection.execute(_REMEMBER_LAST)
            own = connection.execute("DELETE FROM marquee.events WHERE user_id = %s", (user_id,))
            of_nobody = connection.execute(
                "DELETE FROM marquee.events WHERE user_id IS NULL AND decision_id = ANY(%s)", (named,)
            )
        with self._rows_of(DECISION) as connection:
            decisions = connection.execute("DELETE FROM marquee.decisions WHERE user_id = %s", (user_id,))
        return RemovedRows(own.rowcount + of_nobody.rowcount, decisions.rowcount)

    def expire_events(self, before: int) -> int:
        """Deletes old events; see `LogRemoval`."""
        with self._rows_of(_EVENT) as connection:
            connection.execute(_REMEMBER_LAST)
            return connection.execute(_OLD_EVENTS, (before,)).rowcount

    def expire_decisions(self, before_ms: int) -> int:
        """Deletes old decisions; see `LogRemoval`."""
        with self._rows_of(DECISION) as connection:
            return connection.execute(_OLD_DECISIONS, (before_ms,)).rowcount

    def note_rewritten(self, part: ClosedPart) -> None:
        """Notes how many rows a file holds now; see `LogRemoval`."""
        with self._rows_of(part.kind) as connection:
            connection.execute(
                "UPDATE marquee.closed_parts SET n_rows = %s WHERE file = %s", (part.n_rows, part.file)
            )

    def forget_part(self, part: ClosedPart) -> None:
        """Takes a file out of the list; see `LogRemoval`."""
        with self._rows_of(part.kind) as connection:
            if part.kind != DECISION:
                connection.execute("INSERT INTO marquee.removed VALUES (%s)", (part.last_sequence,))
            connection.execute("DELETE FROM marquee.closed_parts WHERE file = %s", (part.file,))

    def wipe(self) -> bool:
        """Frees the room of deleted rows, which new ones then overwrite; see `LogRemoval`."""
        # What has gone into PostgreSQL's own WAL, and from there into backups, nobody can take back.
        self._database.vacuum("marquee.events", "marquee.decisions", "marquee.closed_parts")
        return True


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
    connection.execute(
        """INSERT INTO marquee.closed_parts(file, day, kind, n_rows, last_sequence)
        VALUES (%s, %s, %s, %s, %s)""",
        (part.file, part.day, part.kind, part.n_rows, part.last_sequence),
    )
