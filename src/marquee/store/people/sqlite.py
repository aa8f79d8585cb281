"""The users in a SQLite file of the folder of the event log, which all workers of a machine share."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import apsw

from marquee.store.log.removing.sqlite_wiping import wipe_file
from marquee.store.log.sqlite_file import Durability, SqliteFile, translated
from marquee.store.people.consent import Tier
from marquee.store.people.handle_filter import HandleFilter, bits_of
from marquee.store.people.marks import Marks
from marquee.store.people.users import STRANGER, USERS_FILE, Consent, Forgotten, Person

_SCHEMA = """
CREATE TABLE IF NOT EXISTS users(
    handle BLOB PRIMARY KEY, pseudonym TEXT UNIQUE, tier TEXT, changed INTEGER NOT NULL, erased INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS consents(
    number INTEGER PRIMARY KEY, handle BLOB NOT NULL, time INTEGER NOT NULL, tier TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS consents_by_user ON consents(handle, number);
CREATE TABLE IF NOT EXISTS forgotten(
    pseudonym TEXT PRIMARY KEY, handle BLOB NOT NULL, erased INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS user_key(number INTEGER PRIMARY KEY CHECK (number = 1), fingerprint BLOB NOT NULL)
    STRICT;
"""
_FIND = "SELECT pseudonym, tier, changed, erased FROM users WHERE handle = ?"
_FIND_SOME = "SELECT handle, pseudonym, tier, changed, erased FROM users WHERE handle IN"
_MANY = 500
_FIND_NAMED = "SELECT pseudonym, tier, changed, erased FROM users WHERE pseudonym = ?"
_IS_TOMBSTONE = "tier IS NULL AND pseudonym IS NULL"
_MARKS_FILE, _FILTER_FILE = "users.marks", "users.seen"
_HANDLES_AT_ONCE = 100_000
_PAGE = 10_000
_MAY_BE_NAMED = f"pseudonym IS NULL AND (tier = '{Tier.personal}' OR tier IS NULL AND erased IS NULL)"


Result = TypeVar("Result")


class SqliteUsers:
    """`Users` in a folder.

    Args:
        folder: Made if it is not there.

    Raises:
        ConfigError: If SQLite is too old or the file has another format.
        EventLogError: If the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        # Full: a pseudonym that is lost with the power leaves rows that nobody can erase any more.
        self._file = SqliteFile(folder / USERS_FILE, _SCHEMA, Durability.full)
        with translated(_MARKS_FILE):
            self._marks = Marks(folder / _MARKS_FILE)
        with translated(_FILTER_FILE):
            # Under the lock: no row may be written between the look at all of them and the first added one.
            self._filter = self._file.write(
                lambda connection: HandleFilter(
                    folder / _FILTER_FILE, self._file.inode, lambda: _all_handles(connection)
                )
            )

    def find(self, handle: bytes) -> Person:
        """Returns the row of a user as it is now; see `Users`."""
        rows = self._file.read(_FIND, (handle,))
        return _person(rows[0]) if rows else STRANGER

    def find_many(self, handles: Collection[bytes]) -> dict[bytes, Person]:
        """Returns the row of each of several users; see `Users`."""
        found: dict[bytes, Person] = {}
        wanted = list(handles)
        # A statement for many: a body of events names hundreds.
        for first in range(0, len(wanted), _MANY):
            some = wanted[first : first + _MANY]
            rows = self._file.read(f"{_FIND_SOME} ({', '.join('?' * len(some))})", some)
            found |= {bytes(row[0]): _person(row[1:]) for row in rows}
        return {handle: found.get(handle, STRANGER) for handle in wanted}

    def find_named(self, pseudonyms: Collection[str]) -> dict[str, Person]:
        """Returns the rows of users by their pseudonyms; see `Users`."""
        found = {name: self._file.read(_FIND_NAMED, (name,)) for name in pseudonyms}
        return {name: _person(rows[0]) for name, rows in found.items() if rows}

    def mark(self, handle: bytes) -> int | None:
        """Returns a number that changes with a user; see `Users`."""
        return self._marks.of(handle)

    def is_stranger(self, handle: bytes) -> bool:
        """Returns whether a user surely has no row; see `Users`."""
        return self._filter.lacks(handle)

    def name(self, new: Mapping[bytes, str]) -> dict[bytes, Person]:
        """Returns the users with pseudonyms; see `Users`."""
        return self._change(new, lambda connection: _name(connection, new))

    def set_tier(self, handle: bytes, tier: Tier, now: int) -> Person:
        """Notes what was said for a user; see `Users`."""
        return self._change([handle], lambda connection: _set_tier(connection, handle, tier, now))

    def consents(self, handle: bytes) -> list[Consent]:
        """Returns the statements for a user; see `Users`."""
        rows = self._file.read("SELECT time, tier FROM consents WHERE handle = ? ORDER BY number", (handle,))
        return [Consent(time, Tier(tier)) for time, tier in rows]

    def forget(self, handle: bytes, now: int) -> Person:
        """Drops what is held of a user and leaves a tombstone; see `Users`."""
        return self._change([handle], lambda connection: _forget(connection, handle, now))

    def forgotten(self) -> list[Forgotten]:
        """Returns the dropped pseudonyms whose rows are still to be deleted; see `Users`."""
        rows = self._file.read("SELECT handle, pseudonym, erased FROM forgotten ORDER BY erased, pseudonym")
        return [Forgotten(*row) for row in rows]

    def end_forgotten(self, pseudonyms: Collection[str]) -> None:
        """Notes that no row of some dropped pseudonyms is left; see `Users`."""
        rows = [(pseudonym,) for pseudonym in pseudonyms]
        statement = "DELETE FROM forgotten WHERE pseudonym = ?"
        self._file.write(lambda connection: connection.executemany(statement, rows))

    def drop_tombstones(self, before: int) -> int:
        """Deletes old tombstones; see `Users`."""
        found = self._file.read(f"SELECT handle FROM users WHERE {_IS_TOMBSTONE} AND erased < ?", (before,))
        handles = [handle for (handle,) in found]
        if not handles:
            return 0
        # Again as a condition: somebody may have consented since.
        statement = f"DELETE FROM users WHERE handle = ? AND {_IS_TOMBSTONE}"

        def drop(connection: apsw.Connection) -> int:
            n_before = connection.total_changes()
            connection.executemany(statement, [(handle,) for handle in handles])
            return connection.total_changes() - n_before

        states: list[tuple[int, int]] = []
        n_dropped = self._change(handles, drop, lambda _connection: states.append(self._filter.state()))
        # Or else the bits would still tell who has the key that somebody was here.
        self._renew_filter(states[0])
        return n_dropped

    def wipe(self) -> bool:
        """Overwrites what deleted rows have left; see `Users`."""
        return wipe_file(self._file)

    def n_users(self) -> int:
        """Returns how many rows there are; see `Users`."""
        return int(self._file.read("SELECT count(*) FROM users")[0][0])

    def key_fingerprint(self) -> bytes | None:
        """Returns the fingerprint of the key; see `Users`."""
        rows = self._file.read("SELECT fingerprint FROM user_key")
        return bytes(rows[0][0]) if rows else None

    def note_key(self, fingerprint: bytes) -> bytes:
        """Notes the fingerprint of the key; see `Users`."""
        noted = self.key_fingerprint()
        if noted is None:
            statement = "INSERT OR IGNORE INTO user_key VALUES (1, ?)"
            self._file.write(lambda connection: connection.execute(statement, (fingerprint,)))
            noted = self.key_fingerprint()
        assert noted is not None, "a fingerprint that was noted must be there, got none"
        return noted

    def close(self) -> None:
        """Gives up all connections; see `Users`."""
        self._file.close()
        self._marks.close()
        self._filter.close()

    def _renew_filter(self, state: tuple[int, int]) -> None:
        """Makes the bits of all rows anew; others wait for the copy of the bits alone, not for the rows."""
        bits = bits_of(self._pages_of_handles())

        def replace(connection: apsw.Connection) -> None:
            if not self._filter.renew_from(bits, state):
                self._filter.renew(_all_handles(connection))

        self._file.write(replace)

    def _pages_of_handles(self) -> Iterator[list[bytes]]:
        """Yields the handles of all rows in short reads: a long one would keep the WAL from starting anew."""
        statement = "SELECT handle FROM users WHERE handle > ? ORDER BY handle LIMIT ?"
        last = b""
        while rows := self._file.read(statement, (last, _PAGE)):
            yield [handle for (handle,) in rows]
            last = rows[-1][0]

    def _change(
        self,
        handles: Collection[bytes],
        work: Callable[[apsw.Connection], Result],
        then: Callable[[apsw.Connection], None] = lambda _connection: None,
    ) -> Result:
        """Changes rows of users in a transaction, lets every worker know, and does something after it."""

        def marked(connection: apsw.Connection) -> Result:
            self._marks.begin(handles)
            self._filter.add(handles)
            return work(connection)

        def committed(connection: apsw.Connection) -> None:
            self._marks.end(handles)
            then(connection)

        # An error leaves the marks as they are: nobody believes what was read, until the next change.
        return self._file.write(marked, committed)


def _person(row: Sequence[Any]) -> Person:
    """Returns a person from a row of pseudonym, tier, time of it and time of erasure."""
    pseudonym, tier, changed, erased = row
    return Person(pseudonym, tier and Tier(tier), changed, erased)


def _all_handles(connection: apsw.Connection) -> Iterator[list[bytes]]:
    """Yields the handles of all rows, some at a time."""
    rows = connection.execute("SELECT handle FROM users")
    while some := [handle for (handle,) in islice(rows, _HANDLES_AT_ONCE)]:
        yield some


def _find(connection: apsw.Connection, handle: bytes) -> Person:
    """Returns the row of a user within a transaction."""
    rows: Sequence[Sequence[Any]] = connection.execute(_FIND, (handle,)).fetchall()
    return _person(rows[0]) if rows else STRANGER


def _name(connection: apsw.Connection, new: Mapping[bytes, str]) -> dict[bytes, Person]:
    """Gives pseudonyms to those who have none and may have one."""
    rows = [(handle, pseudonym) for handle, pseudonym in new.items()]
    # The row first, the pseudonym then: who has a row with a tier alone needs the second as well.
    connection.executemany(
        "INSERT OR IGNORE INTO users(handle, changed) VALUES (?, 0)", [row[:1] for row in rows]
    )
    statement = f"UPDATE users SET pseudonym = ?2 WHERE handle = ?1 AND {_MAY_BE_NAMED}"
    connection.executemany(statement, rows)
    return {handle: _find(connection, handle) for handle in new}


def _set_tier(connection: apsw.Connection, handle: bytes, tier: Tier, now: int) -> Person:
    """Notes what was said for a user."""
    if _find(connection, handle).tier is tier:
        return _find(connection, handle)
    connection.execute(
        """INSERT INTO users(handle, tier, changed) VALUES (?1, ?2, ?3)
        ON CONFLICT (handle) DO UPDATE SET tier = ?2, changed = ?3""",
        (handle, tier.value, now),
    )
    consent = "INSERT INTO consents(handle, time, tier) VALUES (?, ?, ?)"
    connection.execute(consent, (handle, now, tier.value))
    return _find(connection, handle)


def _forget(connection: apsw.Connection, handle: bytes, now: int) -> Person:
    """Drops what is held of a user, leaves a tombstone and returns what was held."""
    before = _find(connection, handle)
    if before.is_erased:
        return before
    erased = before.erased_at(now)
    connection.execute(
        """INSERT INTO users(handle, changed, erased) VALUES (?1, 0, ?2)
        ON CONFLICT (handle) DO UPDATE SET pseudonym = NULL, tier = NULL, changed = 0, erased = ?2""",
        (handle, erased),
    )
    connection.execute("DELETE FROM consents WHERE handle = ?", (handle,))
    if before.pseudonym is not None:
        noted = "INSERT INTO forgotten(pseudonym, handle, erased) VALUES (?, ?, ?)"
        connection.execute(noted, (before.pseudonym, handle, erased))
    return before
