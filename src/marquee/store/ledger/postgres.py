"""The ledger in a database, for services on several machines."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, LiteralString

from marquee.store.ledger.ledger import DRAIN_MS, Ledger, Result
from marquee.store.ledger.rows import Books
from marquee.store.ledger.tables import CAP_TABLES, MONEY_TABLES
from marquee.store.log.postgres_database import CAPS_LOCK, MONEY_LOCK, Connection, PostgresDatabase

_FORMAT = 1
# The second number of a lock is the user's: "ads" in ASCII keeps these apart from others of two numbers.
_USERS = 0x616473
_HEAD: LiteralString = """
CREATE SCHEMA IF NOT EXISTS marquee;
CREATE TABLE IF NOT EXISTS marquee.ledger_format(version integer NOT NULL);
"""


@cache
def _translated(statement: str) -> bytes:
    """Returns a statement as PostgreSQL has it."""
    return statement.replace("ledger_", "marquee.ledger_").replace("?", "%s").encode()


class _PostgresBooks:
    """The tables of a database within a transaction; see `Books`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, statement: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Returns the rows of one statement."""
        cursor = self._connection.execute(_translated(statement), bindings)
        return cursor.fetchall() if cursor.description else []

    def run_many(self, statement: str, bindings: Sequence[Sequence[Any]]) -> None:
        """Runs one statement once for each row of values, without a round trip for each."""
        with self._connection.cursor() as cursor:
            cursor.executemany(_translated(statement), bindings)


class PostgresLedger(Ledger):
    """A `Ledger` in a database.

    Args:
        url: `postgresql://…`, as libpq reads it.
        drain_ms: As for `Ledger`.
        by_own_clock: Whether leases end by the clock of the database: those of several machines differ.
    """

    is_remote = True

    def __init__(self, url: str, drain_ms: int = DRAIN_MS, *, by_own_clock: bool = True) -> None:
        super().__init__(drain_ms)
        self._by_own_clock = by_own_clock
        self._database = PostgresDatabase(url, (MONEY_LOCK, CAPS_LOCK), unflushed=(CAPS_LOCK,))
        self._database.make_tables(_HEAD, "marquee.ledger_format", _FORMAT)
        self._money(lambda books: _make(books, MONEY_TABLES + CAP_TABLES))

    def close(self) -> None:
        """Gives up all connections; see `Ledger`."""
        self._database.close()

    def wipe(self) -> bool:
        """Frees the room of deleted rows; see `Ledger`."""
        tables = ("ledger_shown", "ledger_reservations", "ledger_early", "ledger_settled", "ledger_fading")
        self._database.vacuum(*(f"marquee.{one}" for one in tables))
        return True

    def _opened(self) -> int:
        """Returns how often a connection to what is shown was opened; see `Ledger`."""
        return self._database.n_opened(CAPS_LOCK)

    def _now_ms(self, books: Books, now_ms: int) -> int:
        """Returns the time of the database; see `Ledger`."""
        if not self._by_own_clock:
            return now_ms
        return int(books.run("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")[0][0])

    def _money(self, work: Callable[[Books], Result]) -> Result:
        """Runs work on money; see `Ledger`."""
        with self._database.turn(MONEY_LOCK) as connection:
            return work(_PostgresBooks(connection))

    def _caps(self, user_id: str, work: Callable[[Books], Result]) -> Result:
        """Runs work on what is shown; see `Ledger`."""
        with self._database.writer(CAPS_LOCK) as connection, connection.transaction():
            # By user: nobody waits for the ads of somebody else.
            connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_USERS, user_id))
            return work(_PostgresBooks(connection))

    def _read_money(self, statement: str, bindings: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Returns the rows of a query; see `Ledger`."""
        return self._database.read(_translated(statement), bindings)

    def _read_shown(self, statement: str, bindings: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Returns the rows of a query; see `Ledger`."""
        return self._database.read(_translated(statement), bindings)


def _make(books: Books, tables: str) -> None:
    """Makes tables that are not there yet; under a lock, since `IF NOT EXISTS` looks before it makes."""
    for statement in tables.split(";"):
        if statement.strip():
            books.run(statement)
