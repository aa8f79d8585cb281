"""Tables in a PostgreSQL, as one process uses them: connections, turns of writers and what its errors mean.

Writers of one kind of rows take turns by an advisory lock that ends with their transaction. It also makes
creating the tables safe: `CREATE … IF NOT EXISTS` fails where two do it at once.
"""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, LiteralString

from marquee.errors import ConfigError, EventLogFullError, EventLogGoneError

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
# Advisory locks are numbers that all users of a database share: ours begin with "marquee" in ASCII. All stand
# here, so that no two kinds of rows have the same one and wait behind each other.
_FIRST = 0x6D61727175656500
_SCHEMA_LOCK = _FIRST
EVENTS_LOCK, DECISIONS_LOCK, CLOSING_LOCK = _FIRST + 1, _FIRST + 2, _FIRST + 3
USERS_LOCK, RECEIPTS_LOCK, CONVERSION_LOCK = _FIRST + 16, _FIRST + 17, _FIRST + 18
RULES_LOCK = _FIRST + 32
CAMPAIGNS_LOCK = _FIRST + 48
MONEY_LOCK, CAPS_LOCK = _FIRST + 64, _FIRST + 65

Connection = psycopg.Connection[tuple[Any, ...]]


class PostgresDatabase:
    """A database, as one process sees it. Every method may be called from several threads.

    Args:
        url: `postgresql://…`, as libpq reads it.
        locks: The advisory locks of the kinds of rows that are written.
        unflushed: Those of them whose commits do not wait for the disk.
    """

    def __init__(self, url: str, locks: Collection[int], unflushed: Collection[int] = ()) -> None:
        self._url = url
        self._unflushed = frozenset(unflushed)
        self._readers: deque[Connection] = deque()
        # Apart for each kind of rows: a decision must not wait behind the flush of an event.
        self._writing = {lock: Lock() for lock in locks}
        self._writers: dict[int, Connection] = {}
        self._n_opened = dict.fromkeys(locks, 0)

    def make_tables(self, schema: LiteralString, name: LiteralString, version: int) -> None:
        """Makes tables if they are not there.

        Args:
            schema: Statements that make what is not there yet.
            name: Table that holds the version of their format.
            version: The one that this release reads.

        Raises:
            ConfigError: If another release made them.
            EventLogError: If the database cannot be reached.
        """
        with self.translated():
            connection = self.connect()
            try:
                with connection.transaction():
                    # Trap: `IF NOT EXISTS` looks before it makes, and two services that start together both
                    # find nothing.
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
                    connection.execute(schema)
                    _validate_format(connection, name, version)
            finally:
                connection.close()

    def read(
        self, statement: LiteralString | bytes, bindings: Sequence[object] = ()
    ) -> list[tuple[Any, ...]]:
        """Returns all rows of a query.

        Raises:
            EventLogError: If the database cannot be reached.
        """
        with self.translated():
            if self._readers:
                try:
                    return self._read_by(self._readers.pop(), statement, bindings)
                # IndexError: another thread took the last one between the look and the pop.
                except (IndexError, psycopg.OperationalError):
                    # The database was restarted since: the other connections are as old as this one.
                    while self._readers:
                        self._readers.pop().close()
            return self._read_by(self.connect(), statement, bindings)

    def n_opened(self, lock: int) -> int:
        """Returns how many connections were opened, one after the other, to write rows of one kind."""
        return self._n_opened[lock]

    @contextmanager
    def writer(self, lock: int) -> Iterator[Connection]:
        """Gives the connection that writes rows of one kind, to one thread at a time."""
        with self._writing[lock], self.translated():
            connection = self._writers.get(lock)
            try:
                if connection is None:
                    connection = self._writers[lock] = self.connect()
                    self._n_opened[lock] += 1
                    if lock in self._unflushed:
                        connection.execute("SET synchronous_commit = off")
                yield connection
            # Whatever went wrong, the state of the session is unknown: the next write begins with a new one.
            except BaseException:
                if connection is not None:
                    connection.close()
                self._writers.pop(lock, None)
                raise

    @contextmanager
    def turn(self, lock: int) -> Iterator[Connection]:
        """Gives the same connection in a transaction that holds the lock in the whole database."""
        with self.writer(lock) as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
            yield connection

    @contextmanager
    def try_lock(self, lock: int) -> Iterator[bool]:
        """Holds a lock if nobody else does, and tells whether it does; dying gives it back."""
        with self.translated():
            # A connection of its own: the lock belongs to its session.
            connection = self.connect()
            try:
                held = connection.execute("SELECT pg_try_advisory_lock(%s)", (lock,)).fetchall()
                yield bool(held[0][0])
                # A closed connection gives its lock back only once the server has noticed.
                connection.execute("SELECT pg_advisory_unlock_all()")
            finally:
                connection.close()

    def vacuum(self, *tables: LiteralString) -> None:
        """Frees the room of deleted rows, for new ones to overwrite.

        Raises:
            EventLogError: If the database cannot be reached.
        """
        with self.translated():
            # Of its own: it takes long, and must hold up nobody.
            connection = self.connect()
            try:
                for table in tables:
                    connection.execute(f"VACUUM {table}")
            finally:
                connection.close()

    def connect(self) -> Connection:
        """Returns a new connection that commits each statement by itself."""
        return psycopg.connect(
            # Autocommit: a read that left its transaction open would keep old rows from being vacuumed.
            self._url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            tcp_user_timeout=UNANSWERED_MS,
        )

    def close(self) -> None:
        """Gives up all connections."""
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

    def _read_by(
        self, connection: Connection, statement: LiteralString | bytes, bindings: Sequence[object]
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

    @contextmanager
    def translated(self) -> Iterator[None]:
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


def _validate_format(connection: Connection, name: LiteralString, version: int) -> None:
    """Notes the format of new tables; raises ConfigError if the tables have another one."""
    found = connection.execute(f"SELECT version FROM {name}").fetchall()
    if not found:
        connection.execute(f"INSERT INTO {name} VALUES (%s)", (version,))
    elif found[0][0] != version:
        raise ConfigError(
            f"the tables of the event log must have format {version}, got {found[0][0]}; use the release "
            "that made them, or another database"
        )
