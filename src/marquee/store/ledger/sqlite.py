"""The ledger in a folder: two SQLite files that all workers of a machine share.

What users are shown has a file of its own: it is written at every decision without a flush, and must not wait
behind the flush of money.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw

from marquee.store.ledger.ledger import DRAIN_MS, Ledger, Result
from marquee.store.ledger.rows import Books
from marquee.store.ledger.tables import CAP_TABLES, MONEY_TABLES
from marquee.store.log.removing.sqlite_wiping import wipe_file
from marquee.store.log.sqlite_file import Durability, SqliteFile

LEDGER_FILE = "ledger.db"
SHOWN_FILE = "shown.db"


class _SqliteBooks:
    """The tables of a file within a transaction; see `Books`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def run(self, statement: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Returns the rows of one statement."""
        return self._connection.execute(statement, bindings).fetchall()

    def run_many(self, statement: str, bindings: Sequence[Sequence[Any]]) -> None:
        """Runs one statement once for each row of values."""
        self._connection.executemany(statement, bindings)


class SqliteLedger(Ledger):
    """A `Ledger` in two files.

    Args:
        folder: Where they are, that of the event log.
        drain_ms: As for `Ledger`.
    """

    def __init__(self, folder: Path, drain_ms: int = DRAIN_MS) -> None:
        super().__init__(drain_ms)
        self._file = SqliteFile(folder / LEDGER_FILE, MONEY_TABLES, Durability.full)
        self._shown_file = SqliteFile(folder / SHOWN_FILE, CAP_TABLES, Durability.normal)

    def close(self) -> None:
        """Closes the files; see `Ledger`."""
        self._file.close()
        self._shown_file.close()

    def wipe(self) -> bool:
        """Overwrites what deleted rows have left; see `Ledger`."""
        return all([wipe_file(self._file), wipe_file(self._shown_file)])

    def _money(self, work: Callable[[Books], Result]) -> Result:
        """Runs work on money; see `Ledger`."""
        return self._file.write(lambda connection: work(_SqliteBooks(connection)))

    def _caps(self, _user_id: str, work: Callable[[Books], Result]) -> Result:
        """Runs work on what is shown; see `Ledger`. A file has one writer, whoever the user is."""
        return self._shown_file.write(lambda connection: work(_SqliteBooks(connection)))

    def _read_money(self, statement: str, bindings: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Returns the rows of a query; see `Ledger`."""
        return self._file.read(statement, bindings)

    def _read_shown(self, statement: str, bindings: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Returns the rows of a query; see `Ledger`."""
        return self._shown_file.read(statement, bindings)
