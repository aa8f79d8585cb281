"""The users in PostgreSQL, beside the event log of services on several machines."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, LiteralString

from marquee.store.log.postgres_database import USERS_LOCK, Connection, PostgresDatabase
from marquee.store.people.consent import Tier
from marquee.store.people.users import STRANGER, Consent, Forgotten, Person

# Behind those of the event log.
_FORMAT = 1

_SCHEMA: LiteralString = """
CREATE SCHEMA IF NOT EXISTS marquee;
CREATE TABLE IF NOT EXISTS marquee.users_format(version integer NOT NULL);
CREATE TABLE IF NOT EXISTS marquee.users(
    handle bytea PRIMARY KEY, pseudonym text UNIQUE, tier text, changed bigint NOT NULL, erased bigint
);
CREATE TABLE IF NOT EXISTS marquee.consents(
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, handle bytea NOT NULL, time bigint NOT NULL,
    tier text NOT NULL
);
CREATE INDEX IF NOT EXISTS consents_by_user ON marquee.consents(handle, number);
CREATE TABLE IF NOT EXISTS marquee.forgotten(
    pseudonym text PRIMARY KEY, handle bytea NOT NULL, erased bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS marquee.user_key(
    number integer PRIMARY KEY CHECK (number = 1), fingerprint bytea NOT NULL
);
"""
_ROWS: LiteralString = "SELECT handle, pseudonym, tier, changed, erased FROM marquee.users"
_FIND: LiteralString = f"{_ROWS} WHERE handle = ANY(%s)"
_FIND_NAMED: LiteralString = f"{_ROWS} WHERE pseudonym = ANY(%s)"
# One statement for both kinds: who has no row, and who has one without a pseudonym.
_NAME: LiteralString = """
INSERT INTO marquee.users AS old(handle, pseudonym, changed)
SELECT handle, pseudonym, 0 FROM unnest(%s::bytea[], %s::text[]) AS new(handle, pseudonym) ORDER BY handle
ON CONFLICT (handle) DO UPDATE SET pseudonym = excluded.pseudonym
WHERE old.pseudonym IS NULL AND (old.tier = 'personal' OR old.tier IS NULL AND old.erased IS NULL)
"""


class PostgresUsers:
    """`Users` in a database.

    Args:
        url: `postgresql://…`, as libpq reads it.

    Raises:
        ConfigError: If the tables have another format.
        EventLogError: If the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._database = PostgresDatabase(url, (USERS_LOCK,))
        self._database.make_tables(_SCHEMA, "marquee.users_format", _FORMAT)

    def find(self, handle: bytes) -> Person:
        """Returns the row of a user as it is now; see `Users`."""
        return self.find_many([handle])[handle]

    def find_many(self, handles: Collection[bytes]) -> dict[bytes, Person]:
        """Returns the row of each of several users; see `Users`."""
        return _persons(handles, self._database.read(_FIND, (list(handles),)))

    def find_named(self, pseudonyms: Collection[str]) -> dict[str, Person]:
        """Returns the rows of users by their pseudonyms; see `Users`."""
        rows = self._database.read(_FIND_NAMED, (list(pseudonyms),))
        return {row[1]: _person(row) for row in rows}

    def mark(self, _handle: bytes) -> None:
        """Returns None: what other machines have changed is known to the database alone; see `Users`."""
        return

    def is_stranger(self, _handle: bytes) -> bool:
        """Returns False: only the database can tell; see `Users`."""
        return False

    def name(self, new: Mapping[bytes, str]) -> dict[bytes, Person]:
        """Returns the users with pseudonyms; see `Users`."""
        with self._database.turn(USERS_LOCK) as connection:
            connection.execute(_NAME, (list(new), list(new.values())))
            return _find(connection, new)

    def set_tier(self, handle: bytes, tier: Tier, now: int) -> Person:
        """Notes what was said for a user; see `Users`."""
        with self._database.turn(USERS_LOCK) as connection:
            if _find(connection, [handle])[handle].tier is not tier:
                connection.execute(
                    """INSERT INTO marquee.users(handle, tier, changed) VALUES (%s, %s, %s)
                    ON CONFLICT (handle) DO UPDATE SET tier = excluded.tier, changed = excluded.changed""",
                    (handle, tier.value, now),
                )
                connection.execute(
                    "INSERT INTO marquee.consents(handle, time, tier) VALUES (%s, %s, %s)",
                    (handle, now, tier.value),
                )
            return _find(connection, [handle])[handle]

    def consents(self, handle: bytes) -> list[Consent]:
        """Returns the statements for a user; see `Users`."""
        statement: LiteralString = "SELECT time, tier FROM marquee.consents WHERE handle = %s ORDER BY number"
        return [Consent(time, Tier(tier)) for time, tier in self._database.read(statement, (handle,))]

    def forget(self, handle: bytes, now: int) -> Person:
        """Drops what is held of a user and leaves a tombstone; see `Users`."""
        with self._database.turn(USERS_LOCK) as connection:
            before = _find(connection, [handle])[handle]
            if not before.is_erased:
                _forget(connection, handle, before, before.erased_at(now))
            return before

    def forgotten(self) -> list[Forgotten]:
        """Returns the dropped pseudonyms whose rows are still to be deleted; see `Users`."""
        rows = self._database.read(
            "SELECT handle, pseudonym, erased FROM marquee.forgotten ORDER BY erased, pseudonym"
        )
        return [Forgotten(*row) for row in rows]

    def end_forgotten(self, pseudonyms: Collection[str]) -> None:
        """Notes that no row of some dropped pseudonyms is left; see `Users`."""
        with self._database.turn(USERS_LOCK) as connection:
            connection.execute("DELETE FROM marquee.forgotten WHERE pseudonym = ANY(%s)", (list(pseudonyms),))

    def drop_tombstones(self, before: int) -> int:
        """Deletes old tombstones; see `Users`."""
        with self._database.turn(USERS_LOCK) as connection:
            return connection.execute(
                "DELETE FROM marquee.users WHERE tier IS NULL AND pseudonym IS NULL AND erased < %s",
                (before,),
            ).rowcount

    def wipe(self) -> bool:
        """Frees the room of deleted rows; see `Users`."""
        self._database.vacuum("marquee.users", "marquee.consents", "marquee.forgotten")
        return True

    def n_users(self) -> int:
        """Returns how many rows there are; see `Users`."""
        return int(self._database.read("SELECT count(*) FROM marquee.users")[0][0])

    def key_fingerprint(self) -> bytes | None:
        """Returns the fingerprint of the key; see `Users`."""
        rows = self._database.read("SELECT fingerprint FROM marquee.user_key")
        return bytes(rows[0][0]) if rows else None

    def note_key(self, fingerprint: bytes) -> bytes:
        """Notes the fingerprint of the key; see `Users`."""
        with self._database.turn(USERS_LOCK) as connection:
            connection.execute(
                "INSERT INTO marquee.user_key VALUES (1, %s) ON CONFLICT (number) DO NOTHING", (fingerprint,)
            )
        noted = self.key_fingerprint()
        assert noted is not None, "a fingerprint that was noted must be there, got none"
        return noted

    def close(self) -> None:
        """Gives up all connections; see `Users`."""
        self._database.close()


def _persons(handles: Collection[bytes], rows: Sequence[Sequence[Any]]) -> dict[bytes, Person]:
    """Returns persons by handle from rows of handle, pseudonym, tier and two times."""
    found = {bytes(row[0]): _person(row) for row in rows}
    return {handle: found.get(handle, STRANGER) for handle in handles}


def _person(row: Sequence[Any]) -> Person:
    """Returns a person from a row of handle, pseudonym, tier and two times."""
    _, pseudonym, tier, changed, erased = row
    return Person(pseudonym, tier and Tier(tier), changed, erased)


def _find(connection: Connection, handles: Collection[bytes]) -> dict[bytes, Person]:
    """Returns the rows of users within a transaction."""
    return _persons(handles, connection.execute(_FIND, (list(handles),)).fetchall())


def _forget(connection: Connection, handle: bytes, before: Person, erased: int) -> None:
    """Drops what is held of a user and leaves a tombstone."""
    connection.execute(
        """INSERT INTO marquee.users(handle, changed, erased) VALUES (%s, 0, %s)
        ON CONFLICT (handle) DO UPDATE
        SET pseudonym = NULL, tier = NULL, changed = 0, erased = excluded.erased""",
        (handle, erased),
    )
    connection.execute("DELETE FROM marquee.consents WHERE handle = %s", (handle,))
    if before.pseudonym is not None:
        connection.execute(
            "INSERT INTO marquee.forgotten(pseudonym, handle, erased) VALUES (%s, %s, %s)",
            (before.pseudonym, handle, erased),
        )
