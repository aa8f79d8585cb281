"""The event log in PostgreSQL, for services on several machines.

Writers take turns by an advisory lock that ends with their transaction. Without it two transactions could
commit in another order than that of their sequences, and a follower would pass over the one that comes late.
"""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import LiteralString

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
from marquee.store.log.latest_events import Freshness
from marquee.store.log.log_rows import (
    DECISION,
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
from marquee.store.log.postgres_database import (
    CLOSING_LOCK,
    DECISIONS_LOCK,
    EVENTS_LOCK,
    Connection,
    PostgresDatabase,
)
from marquee.store.log.removing.postgres import REMOVED, PostgresRemoval, close_part

_FORMAT = 1

_SCHEMA: LiteralString = """
CREATE SCHEMA IF NOT EXISTS marquee;
CREATE TABLE IF NOT EXISTS marquee.format(version integer NOT NULL);
CREATE TABLE IF NOT EXISTS marquee.events(
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id text NOT NULL UNIQUE,
    kind text NOT NULL, item_id text NOT NULL, timestamp bigint NOT NULL, sent_timestamp bigint NOT NULL,
    received bigint NOT NULL, user_id text, decision_id text, value double precision, text text,
    digest bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_user ON marquee.events(user_id, sequence) WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_of_nobody ON marquee.events(decision_id) WHERE user_id IS NULL;
CREATE TABLE IF NOT EXISTS marquee.decisions(
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, decision_id text NOT NULL UNIQUE,
    time_ms bigint NOT NULL, user_id text, body text NOT NULL
);
CREATE INDEX IF NOT EXISTS decisions_by_time ON marquee.decisions(time_ms);
CREATE INDEX IF NOT EXISTS decisions_by_user ON marquee.decisions(user_id, sequence)
    WHERE user_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS marquee.closed_parts(
    file text PRIMARY KEY, day bigint NOT NULL, kind text NOT NULL, n_rows bigint NOT NULL,
    last_sequence bigint NOT NULL
);
"""
_EVENT_COLUMNS: LiteralString = (
    "event_id, kind, item_id, timestamp, sent_timestamp, received, user_id, decision_id, value, text"
)
# One statement is one round trip and one transaction. Rows are numbered as they leave the sort, and so after
# the lock is held; a row that was committed while this one waited for it is met by ON CONFLICT all the same.
_INSERT_EVENTS: LiteralString = f"""
WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(%s))
INSERT INTO marquee.events({_EVENT_COLUMNS}, digest)
SELECT {_EVENT_COLUMNS}, digest
FROM turn, unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[],
    %s::text[], %s::float8[], %s::text[], %s::bytea[]) WITH ORDINALITY
    AS row({_EVENT_COLUMNS}, digest, number)
ORDER BY number ON CONFLICT (event_id) DO NOTHING RETURNING event_id, digest
"""
_INSERT_DECISIONS: LiteralString = """
WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(%s))
INSERT INTO marquee.decisions(decision_id, time_ms, user_id, body)
SELECT decision_id, time_ms, user_id, body
FROM turn, unnest(%s::text[], %s::bigint[], %s::text[], %s::text[]) WITH ORDINALITY
    AS row(decision_id, time_ms, user_id, body, number)
ORDER BY number ON CONFLICT (decision_id) DO NOTHING
"""
_EVENTS: LiteralString = f"SELECT sequence, {_EVENT_COLUMNS} FROM marquee.events"
_PROFILE: LiteralString = """SELECT item_id, kind, value, timestamp FROM marquee.events
    WHERE user_id = %s AND sequence > %s AND timestamp > %s AND kind <> 'exposure'
    ORDER BY sequence DESC LIMIT %s"""
_DECISIONS: LiteralString = "SELECT sequence, decision_id, time_ms, user_id, body FROM marquee.decisions"
_LAST_OF_PAGE: LiteralString = """SELECT max(sequence) FROM
    (SELECT sequence FROM marquee.decisions WHERE sequence > %s ORDER BY sequence LIMIT %s) AS page"""
_BY_SURFACE: LiteralString = """SELECT coalesce(body::json ->> 'surface', ''), count(*)
    FROM marquee.decisions WHERE time_ms >= %s AND time_ms < %s GROUP BY 1"""
# The generator's own value would count rows whose transaction has not committed.
_LAST: LiteralString = f"""SELECT greatest(
    (SELECT max(sequence) FROM marquee.events),
    (SELECT max(last_sequence) FROM marquee.closed_parts WHERE kind <> '{DECISION}'),
    (SELECT max(last_sequence) FROM marquee.removed), 0)"""


class PostgresEventLog:
    """An `EventLog` in a database.

    Args:
        url: `postgresql://…`, as libpq reads it.

    Raises:
        ConfigError: If the tables have another format.
        EventLogError: If the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        # As with SQLite: answers never wait for a flush.
        self._database = PostgresDatabase(url, (EVENTS_LOCK, DECISIONS_LOCK), unflushed=(DECISIONS_LOCK,))
        self._group = GroupCommit(self._write_events)
        self.removal = PostgresRemoval(self._database, self._rows_of)
        self._database.make_tables(_SCHEMA + REMOVED, "marquee.format", _FORMAT)

    def append(self, events: Sequence[Event]) -> list[Kept]:
        """Keeps events and returns what became of each; see `EventLog`."""
        return self._group.submit(events)

    def _write_events(self, events: Sequence[Event]) -> list[Kept]:
        """Keeps events in one transaction."""
        with self._database.writer(EVENTS_LOCK) as connection:
            return _insert(connection, events)

    def read(self, after: int, limit: int) -> list[LoggedEvent]:
        """Returns the first events after a sequence; see `EventLog`."""
        statement: LiteralString = f"{_EVENTS} WHERE sequence > %s ORDER BY sequence LIMIT %s"
        return [logged_event(row) for row in self._database.read(statement, (after, limit))]

    def read_profile(self, user_id: str, after: int, since: int, limit: int) -> list[ProfileEvent]:
        """Returns the last events of a user that a history needs; see `EventLog`."""
        return profile_of(self._database.read(_PROFILE, (user_id, after, since, limit)))

    def read_events_of(self, user_id: str, after: int, limit: int) -> list[LoggedEvent]:
        """Returns the first events of a user after a sequence; see `EventLog`."""
        statement: LiteralString = (
            f"{_EVENTS} WHERE user_id = %s AND sequence > %s ORDER BY sequence LIMIT %s"
        )
        return [logged_event(row) for row in self._database.read(statement, (user_id, after, limit))]

    def read_events_of_nobody(
        self, decision_ids: Collection[str], after: int, limit: int
    ) -> list[LoggedEvent]:
        """Returns events that name one of some decisions and no user; see `EventLog`."""
        statement: LiteralString = f"""{_EVENTS} WHERE user_id IS NULL AND sequence > %s
            AND decision_id = ANY(%s) ORDER BY sequence LIMIT %s"""
        rows = self._database.read(statement, (after, list(decision_ids), limit))
        return [logged_event(row) for row in rows]

    def read_decisions_of(self, user_id: str, after: int, limit: int) -> list[LoggedDecision]:
        """Returns the first decisions of a user after a sequence; see `EventLog`."""
        statement: LiteralString = (
            f"{_DECISIONS} WHERE user_id = %s AND sequence > %s ORDER BY sequence LIMIT %s"
        )
        return [logged_decision(row) for row in self._database.read(statement, (user_id, after, limit))]

    def freshness(self, _user_id: str) -> Freshness | None:
        """Returns None: what other machines have added is known to the database alone; see `EventLog`."""
        return None

    def last_sequence(self) -> int:
        """Returns the highest sequence that was ever kept; see `EventLog`."""
        return int(self._database.read(_LAST)[0][0])

    def append_decisions(self, decisions: Sequence[Decision]) -> None:
        """Keeps decisions; see `EventLog`."""
        self.append_decision_rows([decision_row(decision) for decision in decisions])

    def append_decision_rows(self, rows: Sequence[DecisionRow]) -> None:
        """Keeps decisions that were made rows before; see `EventLog`."""
        columns = _columns(rows)
        # zip of no rows has no columns, which would leave the statement without bindings.
        if columns:
            with self._database.writer(DECISIONS_LOCK) as connection:
                connection.execute(_INSERT_DECISIONS, [DECISIONS_LOCK, *columns])

    def read_decisions(self, after: int, limit: int) -> list[LoggedDecision]:
        """Returns the first decisions after a sequence; see `EventLog`."""
        statement: LiteralString = f"{_DECISIONS} WHERE sequence > %s ORDER BY sequence LIMIT %s"
        return [logged_decision(row) for row in self._database.read(statement, (after, limit))]

    def read_sold(self, after: int, limit: int) -> tuple[int, list[LoggedDecision]]:
        """Returns decisions that sold ads, and up to where it looked; see `EventLog`."""
        ((last,),) = self._database.read(_LAST_OF_PAGE, (after, limit))
        if last is None:
            return after, []
        statement: LiteralString = f"""{_DECISIONS} WHERE sequence > %s AND sequence <= %s
            AND strpos(body, %s) > 0 ORDER BY sequence"""
        rows = self._database.read(statement, (after, last, SOLD))
        return last, [logged_decision(row) for row in rows]

    def count_by_surface(self, since_ms: int, until_ms: int) -> dict[str, int]:
        """Returns how many decisions of a span of time are in the store; see `EventLog`."""
        return dict(self._database.read(_BY_SURFACE, (since_ms, until_ms)))

    def users_of(self, decision_ids: Collection[str]) -> dict[str, str | None]:
        """Returns the users of decisions; see `EventLog`."""
        statement: LiteralString = (
            "SELECT decision_id, user_id FROM marquee.decisions WHERE decision_id = ANY(%s)"
        )
        return dict(self._database.read(statement, (list(decision_ids),)))

    def read_last_decisions(self, limit: int) -> list[LoggedDecision]:
        """Returns the last decisions; see `EventLog`."""
        statement: LiteralString = f"{_DECISIONS} ORDER BY sequence DESC LIMIT %s"
        return [logged_decision(row) for row in reversed(self._database.read(statement, (limit,)))]

    def find_decision(self, decision_id: str) -> Decision | None:
        """Returns a decision that is still in the store; see `EventLog`."""
        rows = self._database.read(f"{_DECISIONS} WHERE decision_id = %s", (decision_id,))
        return logged_decision(rows[0]).decision if rows else None

    def open_days(self) -> list[DayRows]:
        """Returns which kinds and days the store holds; see `EventLog`."""
        events = self._database.read(
            f"""SELECT timestamp / {SECONDS_PER_DAY}, kind, count(*), max(sequence)
            FROM marquee.events GROUP BY 1, 2"""
        )
        decisions = self._database.read(
            f"""SELECT time_ms / {MS_PER_DAY}, '{DECISION}', count(*), max(sequence)
            FROM marquee.decisions GROUP BY 1"""
        )
        return [DayRows(*row) for row in sorted([*events, *decisions])]

    def read_day(self, rows: DayRows, after: int, limit: int) -> list[LoggedEvent]:
        """Returns events of one kind and day; see `EventLog`."""
        statement: LiteralString = f"""{_EVENTS} WHERE sequence > %s AND sequence <= %s AND kind = %s
            AND timestamp >= %s AND timestamp < %s ORDER BY sequence LIMIT %s"""
        start = rows.day * SECONDS_PER_DAY
        bindings = (after, rows.last_sequence, rows.kind, start, start + SECONDS_PER_DAY, limit)
        return [logged_event(row) for row in self._database.read(statement, bindings)]

    def read_decisions_of_day(self, rows: DayRows, after: int, limit: int) -> list[LoggedDecision]:
        """Returns decisions of one day; see `EventLog`."""
        statement: LiteralString = f"""{_DECISIONS} WHERE sequence > %s AND sequence <= %s
            AND time_ms >= %s AND time_ms < %s ORDER BY sequence LIMIT %s"""
        start = rows.day * MS_PER_DAY
        bindings = (after, rows.last_sequence, start, start + MS_PER_DAY, limit)
        return [logged_decision(row) for row in self._database.read(statement, bindings)]

    def closed_parts(self) -> list[ClosedPart]:
        """Lists the parts of the log that were moved into files; see `EventLog`."""
        rows = self._database.read("SELECT day, kind, file, n_rows, last_sequence FROM marquee.closed_parts")
        return [ClosedPart(*row) for row in sorted(rows)]

    def note_closed(self, part: ClosedPart) -> None:
        """Notes a file and deletes its rows; see `EventLog`."""
        with self._rows_of(part.kind) as connection:
            close_part(connection, part)

    def _rows_of(self, kind: str) -> AbstractContextManager[Connection]:
        """Gives a transaction in which nobody else writes rows of a kind."""
        return self._database.turn(DECISIONS_LOCK if kind == DECISION else EVENTS_LOCK)

    def only_closer(self) -> AbstractContextManager[bool]:
        """Holds the lock of who closes days; see `EventLog`."""
        # Tried, not waited for: whoever holds it does the same work.
        return self._database.try_lock(CLOSING_LOCK)

    def n_bytes(self) -> int:
        """Returns how much the tables and their indexes hold."""
        return int(
            self._database.read(
                """SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
                JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'marquee' AND c.relkind = 'r'"""
            )[0][0]
        )

    def close(self) -> None:
        """Closes all connections; see `EventLog`."""
        self._database.close()


def _insert(connection: Connection, events: Sequence[Event]) -> list[Kept]:
    """Inserts what is new and returns what became of each event."""
    columns = _columns([row_of(event) for event in events])
    inserted: dict[str, bytes] = dict(connection.execute(_INSERT_EVENTS, [EVENTS_LOCK, *columns]).fetchall())
    # The usual case, all new: no second round trip to compare digests.
    if len(inserted) == len(events):
        return [Kept.accepted] * len(events)
    # Those that were there before the batch: an id that stands in it twice is among `inserted`.
    others = list({event.event_id for event in events} - inserted.keys())
    found = connection.execute(
        "SELECT event_id, digest FROM marquee.events WHERE event_id = ANY(%s)", (others,)
    )
    before: dict[str, bytes] = dict(found.fetchall())
    return outcomes_of(events, inserted | before, before)


def _columns(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    """Returns rows as columns."""
    return [list(column) for column in zip(*rows, strict=True)]
