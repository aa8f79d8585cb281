"""The event log in PostgreSQL, for services on several machines.

Writers take turns by an advisory lock that ends with their transaction. Without it two transactions could
commit in another order than that of their sequences, and a follower would pass over the one that comes late.
It also makes creating the tables safe: `CREATE … IF NOT EXISTS` fails where two do it at once.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, LiteralString

from marquee.errors import ConfigError, EventLogError, EventLogFullError, EventLogGoneError
from marquee.store.log.event_log import (
    ClosedPart,
    DayRows,
    Decision,
    Event,
    Kept,
    LoggedDecision,
    LoggedEvent,
    ProfileEvent,
)
from marquee.store.log.group_commit import GroupCommit
from marquee.store.log.log_rows import (
    DECISION,
    MS_PER_DAY,
    SECONDS_PER_DAY,
    decision_row,
    logged_decision,
    logged_event,
    outcomes_of,
    profile_of,
    row_of,
)

try:
    import psycopg
except ImportError as error:
    raise ConfigError(
        f"an event log in PostgreSQL needs psycopg, got {error}; run pip install 'marquee[serve]'"
    ) from error

# libpq waits for a silent host without end unless it is told otherwise.
CONNECT_TIMEOUT_S = 3
# A host that vanishes sends no reset: without this a write would wait until TCP itself gives up.
UNANSWERED_MS = 5_000
# Advisory locks are numbers that all users of a database share: ours begin with "marquee" in ASCII.
_SCHEMA_LOCK, _EVENTS_LOCK, _DECISIONS_LOCK, _CLOSING_LOCK = (0x6D61727175656500 + i for i in range(4))
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
CREATE TABLE IF NOT EXISTS marquee.decisions(
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, decision_id text NOT NULL UNIQUE,
    time_ms bigint NOT NULL, user_id text, body text NOT NULL
);
CREATE INDEX IF NOT EXISTS decisions_by_time ON marquee.decisions(time_ms);
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
# The generator's own value would count rows whose transaction has not committed.
_LAST: LiteralString = f"""SELECT greatest(
    (SELECT max(sequence) FROM marquee.events),
    (SELECT max(last_sequence) FROM marquee.closed_parts WHERE kind <> '{DECISION}'), 0)"""

Connection = psycopg.Connection[tuple[Any, ...]]


class PostgresEventLog:
    """An `EventLog` in a database.

    Args:
        url: `postgresql://…`, as libpq reads it.

    Raises:
        ConfigError: If the tables have another format.
        EventLogError: If the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._group = GroupCommit(self._write_events)
        self._readers: deque[Connection] = deque()
        # Apart for events and decisions: a decision must not wait behind the flush of an event.
        self._writing = {_EVENTS_LOCK: Lock(), _DECISIONS_LOCK: Lock()}
        self._writers: dict[int, Connection] = {}
        with self._translated():
            self._make_schema()

    def append(self, events: Sequence[Event]) -> list[Kept]:
        """Keeps events and returns what became of each; see `EventLog`."""
        return self._group.submit(events)

    def _write_events(self, events: Sequence[Event]) -> list[Kept]:
        """Keeps events in one transaction."""
        with self._writer(_EVENTS_LOCK) as connection:
            return _insert(connection, events)

    def read(self, after: int, limit: int) -> list[LoggedEvent]:
        """Returns the first events after a sequence; see `EventLog`."""
        statement: LiteralString = f"{_EVENTS} WHERE sequence > %s ORDER BY sequence LIMIT %s"
        return [logged_event(row) for row in self._read(statement, (after, limit))]

    def read_user(self, user_id: str, after: int, limit: int) -> list[LoggedEvent]:
        """Returns the last events of a user after a sequence; see `EventLog`."""
        statement: LiteralString = (
            f"{_EVENTS} WHERE user_id = %s AND sequence > %s ORDER BY sequence DESC LIMIT %s"
        )
        return [logged_event(row) for row in reversed(self._read(statement, (user_id, after, limit)))]

    def read_profile(self, user_id: str, after: int, since: int, limit: int) -> list[ProfileEvent]:
        """Returns the last events of a user that a history needs; see `EventLog`."""
        return profile_of(self._read(_PROFILE, (user_id, after, since, limit)))

    def last_sequence(self) -> int:
        """Returns the highest sequence that was ever kept; see `EventLog`."""
        return int(self._read(_LAST)[0][0])

    def append_decisions(self, decisions: Sequence[Decision]) -> None:
        """Keeps decisions; see `EventLog`."""
        columns = _columns([decision_row(decision) for decision in decisions])
        # zip of no rows has no columns, which would leave the statement without bindings.
        if columns:
            with self._writer(_DECISIONS_LOCK) as connection:
                connection.execute(_INSERT_DECISIONS, [_DECISIONS_LOCK, *columns])

    def read_decisions(self, after: int, limit: int) -> list[LoggedDecision]:
        """Returns the first decisions after a sequence; see `EventLog`."""
        statement: LiteralString = f"{_DECISIONS} WHERE sequence > %s ORDER BY sequence LIMIT %s"
        return [logged_decision(row) for row in self._read(statement, (after, limit))]

    def find_decision(self, decision_id: str) -> Decision | None:
        """Returns a decision that is still in the store; see `EventLog`."""
        rows = self._read(f"{_DECISIONS} WHERE decision_id = %s", (decision_id,))
        return logged_decision(rows[0]).decision if rows else None

    def open_days(self) -> list[DayRows]:
        """Returns which kinds and days the store holds; see `EventLog`."""
        events = self._read(
            f"""SELECT timestamp / {SECONDS_PER_DAY}, kind, count(*), max(sequence)
            FROM marquee.events GROUP BY 1, 2"""
        )
        decisions = self._read(
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
        return [logged_event(row) for row in self._read(statement, bindings)]

    def read_decisions_of_day(self, rows: DayRows, after: int, limit: int) -> list[LoggedDecision]:
        """Returns decisions of one day; see `EventLog`."""
        statement: LiteralString = f"""{_DECISIONS} WHERE sequence > %s AND sequence <= %s
            AND time_ms >= %s AND time_ms < %s ORDER BY sequence LIMIT %s"""
        start = rows.day * MS_PER_DAY
        bindings = (after, rows.last_sequence, start, start + MS_PER_DAY, limit)
        return [logged_decision(row) for row in self._read(statement, bindings)]

    def closed_parts(self) -> list[ClosedPart]:
        """Lists the parts of the log that were moved into files; see `EventLog`."""
        rows = self._read("SELECT day, kind, file, n_rows, last_sequence FROM marquee.closed_parts")
        return [ClosedPart(*row) for row in sorted(rows)]

    def note_closed(self, part: ClosedPart) -> None:
        """Notes a file and deletes its rows; see `EventLog`."""
        lock = _DECISIONS_LOCK if part.kind == DECISION else _EVENTS_LOCK
        with self._writer(lock) as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
            _close_part(connection, part)

    @contextmanager
    def only_closer(self) -> Iterator[bool]:
        """Holds the lock of who closes days; see `EventLog`."""
        with self._translated():
            # A connection of its own: the lock belongs to its session, and dying gives it back.
            connection = self._connect()
            try:
                # Tried, not waited for: whoever holds it does the same work.
                held = connection.execute("SELECT pg_try_advisory_lock(%s)", (_CLOSING_LOCK,)).fetchall()
                yield bool(held[0][0])
                # A closed connection gives its lock back only once the server has noticed.
                connection.execute("SELECT pg_advisory_unlock_all()")
            finally:
                connection.close()

    def n_bytes(self) -> int:
        """Returns how much the tables and their indexes hold."""
        return int(
            self._read(
                """SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
                JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'marquee' AND c.relkind = 'r'"""
            )[0][0]
        )

    def close(self) -> None:
        """Closes all connections; see `EventLog`."""
        for writing in self._writing.values():
            # A write that is under way ends first: nobody closes a connection beneath it.
            writing.acquire()
        while self._readers:
            self._readers.pop().close()
        for connection in self._writers.values():
            connection.close()
        self._writers.clear()
        for writing in self._writing.values():
            writing.release()

    @contextmanager
    def _writer(self, lock: int) -> Iterator[Connection]:
        """Gives the connection that writes rows of one kind, to one thread at a time."""
        with self._writing[lock], self._translated():
            connection = self._writers.get(lock)
            try:
                if connection is None:
                    connection = self._writers[lock] = self._connect()
                    if lock == _DECISIONS_LOCK:  # as with SQLite: answers never wait for a flush
                        connection.execute("SET synchronous_commit = off")
                yield connection
            # Whatever went wrong, the state of the session is unknown: the next write begins with a new one.
            except BaseException:
                if connection is not None:
                    connection.close()
                self._writers.pop(lock, None)
                raise

    def _read(self, statement: LiteralString, bindings: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Returns all rows of a query."""
        with self._translated():
            if self._readers:
                try:
                    return self._read_by(self._readers.pop(), statement, bindings)
                # IndexError: another thread took the last one between the look and the pop.
                except (IndexError, psycopg.OperationalError):
                    # The database was restarted since: the other connections are as old as this one.
                    while self._readers:
                        self._readers.pop().close()
            return self._read_by(self._connect(), statement, bindings)

    def _read_by(
        self, connection: Connection, statement: LiteralString, bindings: Sequence[object]
    ) -> list[tuple[Any, ...]]:
        """Returns all rows of a query by one connection, which is then kept for the next one."""
        try:
            rows = connection.execute(statement, bindings).fetchall()
        except BaseException:
            connection.close()
            raise
        # Only after success: a connection that has failed is never handed on.
        self._readers.append(connection)
        return rows

    def _connect(self) -> Connection:
        """Returns a new connection that commits each statement by itself."""
        return psycopg.connect(
            # Autocommit: a read that left its transaction open would keep old rows from being vacuumed.
            self._url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            tcp_user_timeout=UNANSWERED_MS,
        )

    def _make_schema(self) -> None:
        """Makes the tables if they are not there; raises ConfigError if another release made them."""
        connection = self._connect()
        try:
            with connection.transaction():
                # Trap: `IF NOT EXISTS` looks before it makes, and two services that start together both find
                # nothing.
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
                connection.execute(_SCHEMA)
                found = connection.execute("SELECT version FROM marquee.format").fetchall()
                if not found:
                    connection.execute("INSERT INTO marquee.format VALUES (%s)", (_FORMAT,))
                elif found[0][0] != _FORMAT:
                    raise ConfigError(
                        f"the tables of the event log must have format {_FORMAT}, got {found[0][0]}; use the "
                        "release that made them, or another database"
                    )
        finally:
            connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raises what the database reports as errors of ours."""
        try:
            yield
        # Before psycopg.Error, its base: only this is mended by making room.
        except psycopg.errors.DiskFull as error:
            raise EventLogFullError(
                f"the disk of the event log is full: {error}; nothing was kept, make room and send it again"
            ) from error
        except psycopg.Error as error:
            raise EventLogGoneError(
                f"the database of the event log cannot be used: {error}; see whether it runs, and send again"
            ) from error


def _insert(connection: Connection, events: Sequence[Event]) -> list[Kept]:
    """Inserts what is new and returns what became of each event."""
    columns = _columns([row_of(event) for event in events])
    inserted: dict[str, bytes] = dict(connection.execute(_INSERT_EVENTS, [_EVENTS_LOCK, *columns]).fetchall())
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


def _close_part(connection: Connection, part: ClosedPart) -> None:
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
