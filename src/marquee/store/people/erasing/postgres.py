"""The receipts of erasures in PostgreSQL, beside the event log of services on several machines."""

from collections.abc import Mapping
from typing import LiteralString

import msgspec

from marquee.store.log.postgres_database import RECEIPTS_LOCK, PostgresDatabase
from marquee.store.people.erasing.receipts import SignedReceipt, stays

_FORMAT = 1

_SCHEMA: LiteralString = """
CREATE SCHEMA IF NOT EXISTS marquee;
CREATE TABLE IF NOT EXISTS marquee.receipts_format(version integer NOT NULL);
CREATE TABLE IF NOT EXISTS marquee.receipts(
    erasure_id text PRIMARY KEY, handle bytea NOT NULL, asked bigint NOT NULL, body text NOT NULL
);
CREATE INDEX IF NOT EXISTS receipts_by_handle ON marquee.receipts(handle, asked);
CREATE TABLE IF NOT EXISTS marquee.holding(
    version text NOT NULL, erasure_id text NOT NULL, PRIMARY KEY (version, erasure_id)
);
CREATE TABLE IF NOT EXISTS marquee.passes(
    number integer PRIMARY KEY CHECK (number = 1), ended bigint NOT NULL
);
"""
_FIND_ONE: LiteralString = "SELECT body FROM marquee.receipts WHERE erasure_id = %s"
_KEEP: LiteralString = """
INSERT INTO marquee.receipts VALUES (%s, %s, %s, %s)
ON CONFLICT (erasure_id) DO UPDATE SET body = excluded.body
"""
_NOTE_HOLDING: LiteralString = """
INSERT INTO marquee.holding SELECT version, %s FROM unnest(%s::text[]) AS new(version) ON CONFLICT DO NOTHING
"""
_DROP_HOLDING: LiteralString = """
DELETE FROM marquee.holding WHERE erasure_id IN (SELECT erasure_id FROM marquee.receipts WHERE asked < %s)
"""
_NOTE_PASS: LiteralString = """
INSERT INTO marquee.passes VALUES (1, %s) ON CONFLICT (number) DO UPDATE SET ended = excluded.ended
"""


class PostgresReceipts:
    """`Receipts` in a database.

    Args:
        url: `postgresql://…`, as libpq reads it.

    Raises:
        ConfigError: If the tables have another format.
        EventLogError: If the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._database = PostgresDatabase(url, (RECEIPTS_LOCK,))
        self._database.make_tables(_SCHEMA, "marquee.receipts_format", _FORMAT)

    def keep(self, signed: SignedReceipt) -> SignedReceipt:
        """Keeps a receipt; see `Receipts`."""
        receipt = signed.receipt
        body = msgspec.json.encode(signed).decode()
        versions = [release.version for release in receipt.releases]
        with self._database.turn(RECEIPTS_LOCK) as connection:
            found = connection.execute(_FIND_ONE, (receipt.erasure_id,)).fetchall()
            if found and (before := stays(found[0][0], signed)):
                return before
            connection.execute(
                _KEEP, (receipt.erasure_id, bytes.fromhex(receipt.handle), receipt.asked, body)
            )
            connection.execute(_NOTE_HOLDING, (receipt.erasure_id, versions))
        return signed

    def find(self, handle: bytes) -> list[SignedReceipt]:
        """Returns the receipts of a person; see `Receipts`."""
        statement: LiteralString = "SELECT body FROM marquee.receipts WHERE handle = %s ORDER BY asked DESC"
        rows = self._database.read(statement, (handle,))
        return [msgspec.json.decode(body, type=SignedReceipt) for (body,) in rows]

    def held(self) -> Mapping[str, int]:
        """Returns how many erased users each release holds; see `Receipts`."""
        return dict(self._database.read("SELECT version, count(*) FROM marquee.holding GROUP BY version"))

    def drop(self, before: int) -> int:
        """Deletes old receipts; see `Receipts`."""
        with self._database.turn(RECEIPTS_LOCK) as connection:
            connection.execute(_DROP_HOLDING, (before,))
            return connection.execute("DELETE FROM marquee.receipts WHERE asked < %s", (before,)).rowcount

    def begin_pass(self) -> None:
        """Notes that a pass has begun; see `Receipts`."""
        with self._database.turn(RECEIPTS_LOCK) as connection:
            connection.execute("DELETE FROM marquee.passes")

    def note_pass(self, now: int) -> None:
        """Notes when the last pass ended; see `Receipts`."""
        with self._database.turn(RECEIPTS_LOCK) as connection:
            connection.execute(_NOTE_PASS, (now,))

    def last_pass(self) -> int | None:
        """Returns when the last pass ended; see `Receipts`."""
        rows = self._database.read("SELECT ended FROM marquee.passes")
        return int(rows[0][0]) if rows else None

    def wipe(self) -> bool:
        """Frees the room of deleted rows; see `Receipts`."""
        self._database.vacuum("marquee.receipts", "marquee.holding")
        return True

    def close(self) -> None:
        """Gives up all connections; see `Receipts`."""
        self._database.close()
