"""The receipts of erasures in a SQLite file of the folder of the event log."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec

from marquee.store.log.removing.sqlite_wiping import wipe_file
from marquee.store.log.sqlite_file import Durability, SqliteFile
from marquee.store.people.erasing.receipts import SignedReceipt, stays

RECEIPTS_FILE = "receipts.db"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS receipts(
    erasure_id TEXT PRIMARY KEY, handle BLOB NOT NULL, asked INTEGER NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS receipts_by_handle ON receipts(handle, asked);
CREATE TABLE IF NOT EXISTS holding(
    version TEXT NOT NULL, erasure_id TEXT NOT NULL, PRIMARY KEY (version, erasure_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS passes(number INTEGER PRIMARY KEY CHECK (number = 1), ended INTEGER NOT NULL)
    STRICT;
"""


class SqliteReceipts:
    """`Receipts` in a folder.

    Args:
        folder: Made if it is not there.

    Raises:
        ConfigError: If SQLite is too old or the file has another format.
        EventLogError: If the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._file = SqliteFile(folder / RECEIPTS_FILE, _SCHEMA, Durability.full)

    def keep(self, signed: SignedReceipt) -> SignedReceipt:
        """Keeps a receipt; see `Receipts`."""
        return self._file.write(lambda connection: _keep(connection, signed))

    def find(self, handle: bytes) -> list[SignedReceipt]:
        """Returns the receipts of a person; see `Receipts`."""
        statement = "SELECT body FROM receipts WHERE handle = ? ORDER BY asked DESC"
        return [
            msgspec.json.decode(body, type=SignedReceipt) for (body,) in self._file.read(statement, (handle,))
        ]

    def held(self) -> Mapping[str, int]:
        """Returns how many erased users each release holds; see `Receipts`."""
        return dict(self._file.read("SELECT version, count(*) FROM holding GROUP BY version"))

    def drop(self, before: int) -> int:
        """Deletes old receipts; see `Receipts`."""
        return self._file.write(lambda connection: _drop(connection, before))

    def begin_pass(self) -> None:
        """Notes that a pass has begun; see `Receipts`."""
        self._file.write(lambda connection: connection.execute("DELETE FROM passes"))

    def note_pass(self, now: int) -> None:
        """Notes when the last pass ended; see `Receipts`."""
        statement = "INSERT INTO passes VALUES (1, ?1) ON CONFLICT (number) DO UPDATE SET ended = ?1"
        self._file.write(lambda connection: connection.execute(statement, (now,)))

    def last_pass(self) -> int | None:
        """Returns when the last pass ended; see `Receipts`."""
        rows = self._file.read("SELECT ended FROM passes")
        return int(rows[0][0]) if rows else None

    def wipe(self) -> bool:
        """Overwrites what deleted rows have left; see `Receipts`."""
        return wipe_file(self._file)

    def close(self) -> None:
        """Gives up all connections; see `Receipts`."""
        self._file.close()


def _keep(connection: apsw.Connection, signed: SignedReceipt) -> SignedReceipt:
    """Keeps a receipt, notes which releases it names, and returns the one that is kept."""
    receipt = signed.receipt
    statement = "SELECT body FROM receipts WHERE erasure_id = ?"
    found: Sequence[Sequence[Any]] = connection.execute(statement, (receipt.erasure_id,)).fetchall()
    if found and (before := stays(found[0][0], signed)):
        return before
    row = (
        receipt.erasure_id,
        bytes.fromhex(receipt.handle),
        receipt.asked,
        msgspec.json.encode(signed).decode(),
    )
    connection.execute("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?, ?)", row)
    connection.executemany(
        "INSERT OR IGNORE INTO holding VALUES (?, ?)",
        [(release.version, receipt.erasure_id) for release in receipt.releases],
    )
    return signed


def _drop(connection: apsw.Connection, before: int) -> int:
    """Deletes old receipts and what they say of releases."""
    connection.execute(
        "DELETE FROM holding WHERE erasure_id IN (SELECT erasure_id FROM receipts WHERE asked < ?)", (before,)
    )
    n_before = connection.total_changes()
    connection.execute("DELETE FROM receipts WHERE asked < ?", (before,))
    return connection.total_changes() - n_before
