"""One SQLite file that several processes read and write: connections, locks and what its errors mean.

```
<name>.db         the data; beside it SQLite's own <name>.db-wal and <name>.db-shm
.<name>.lock      held around each write transaction and each checkpoint
```

SQLite waits for a lock by polling with growing pauses, which is unfair to whoever has waited longest; a file
lock of the system is handed over at once. Reading needs no lock. Every read ends before it returns: the log
that SQLite writes ahead (WAL) can start anew only when nobody reads from it.

Needs SQLite 3.51.3: before it, a WAL that two processes write and checkpoint could be damaged
(sqlite.org/wal.html, "the WAL-reset bug"). The interpreter's own SQLite is whatever the system has, so the
connection comes from apsw, which brings its own.
"""

import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from marquee.errors import ConfigError, EventLogError, EventLogFullError, EventLogGoneError

try:
    import apsw
except ImportError as error:
    raise ConfigError(
        f"the event log in a folder needs apsw, got {error}; run pip install 'marquee[serve]'"
    ) from error

OLDEST_SQLITE = (3, 51, 3)
# For what the file lock does not cover, such as a tool that opens the file beside the service.
BUSY_TIMEOUT_MS = 5_000
# A read ends within milliseconds; a longer one is met by trying again later.
_REST_TIMEOUT_MS = 250
CHECKPOINT_PAGES = 16_000
"""The WAL is copied into the file from this many pages on, 64 MB.

A page that changes often, as those of an index by user do, is copied once for all its changes: of a million
events the disk takes a third of what it takes at 2,000 pages.
"""

# Cuts the WAL back after a burst; SQLite alone keeps it as large as it ever was.
_WAL_LIMIT_BYTES = 96 * 2**20
# Each insert looks its event id up in the unique index, anywhere in it; a reader touches few pages.
_WRITER_CACHE_KIB = 65_536
_READER_CACHE_KIB = 8_192
_FORMAT = 1
_DISK_IS_FULL = (28, 122)  # ENOSPC, EDQUOT

Result = TypeVar("Result")
Bindings = Sequence[str | int | float | bytes | None]


class Durability(StrEnum):
    """When a commit is forced to disk."""

    full = "FULL"  # before it returns
    normal = "NORMAL"  # at the next checkpoint: it survives the process, not always the machine


def validate_sqlite(version: str) -> None:
    """Raises ConfigError if a version of SQLite can damage a file that two processes write."""
    numbers = tuple(int(part) for part in version.split("."))
    if numbers < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise ConfigError(
            f"the event log needs SQLite {oldest} or later, got {version}: earlier ones can damage a log "
            "that two processes write; run pip install --upgrade apsw"
        )


class SqliteFile:
    """A database file, as one process sees it. Every method may be called from several threads.

    Args:
        path: The file; it and its folder are made if they are not there.
        schema: Statements that make what is not there yet.
        durability: When a commit is forced to disk.

    Raises:
        ConfigError: If SQLite is too old, or the file has another format.
        EventLogError: If the file cannot be made or read.
    """

    def __init__(self, path: Path, schema: str, durability: Durability) -> None:
        validate_sqlite(apsw.sqlite_lib_version())
        self._path = path
        self._schema = schema
        self._durability = durability
        self._lock_path = path.parent / f".{path.stem}.lock"
        self._writing = Lock()
        self._writer: apsw.Connection | None = None
        self._readers: deque[apsw.Connection] = deque()
        self._inode = 0
        with translated(self._path.name):
            path.parent.mkdir(parents=True, exist_ok=True)
        # Under the lock: services that start together make the tables once.
        with self._writing, self._only_writer():
            self._writer = self._open_writer(is_new=True)

    def write(
        self,
        work: Callable[[apsw.Connection], Result],
        then: Callable[[apsw.Connection], None] = lambda _connection: None,
    ) -> Result:
        """Runs `work` in a transaction of its own and returns its result; an error undoes all of it.

        Args:
            work: Writes.
            then: Called after the commit, before anybody else can write.

        Raises:
            EventLogError: If the disk is full or the file cannot be written; nothing was kept.
        """
        with self._writing, self._only_writer():
            if self._writer is None:
                self._writer = self._open_writer(is_new=False)
            try:
                self._validate_present()
                # Immediate: a deferred transaction asks for the write lock in the middle, and may be refused
                # there.
                self._writer.execute("BEGIN IMMEDIATE")
                result = work(self._writer)
                self._writer.execute("COMMIT")
                then(self._writer)
            except BaseException:
                # What SQLite believes of a file whose flush failed cannot be trusted: begin with a new look.
                self._close_writer()
                raise
            return result

    def write_at_once(self, statement: str, bindings: Bindings) -> None:
        """Runs one statement, which is a transaction by itself: fewer calls than `write` takes.

        Raises:
            EventLogError: If the disk is full or the file cannot be written; nothing was kept.
        """
        with self._writing, self._only_writer():
            if self._writer is None:
                self._writer = self._open_writer(is_new=False)
            try:
                self._validate_present()
                self._writer.execute(statement, bindings)
            except BaseException:
                # As in `write`.
                self._close_writer()
                raise

    def read(self, statement: str, bindings: Bindings = ()) -> list[tuple[Any, ...]]:
        """Returns all rows of a query.

        Raises:
            EventLogError: If the file cannot be read.
        """
        # Without `translated`: an answer waits for this, and a generator costs it as much as a system call.
        try:
            self._validate_present()
            try:
                # A deque pops and appends atomically: threads share the connections without a lock.
                reader = self._readers.pop()
            except IndexError:
                reader = self._open_reader()
            try:
                rows = reader.execute(statement, bindings).fetchall()
            except BaseException:
                # A statement that is still open would keep the WAL from starting anew.
                reader.close(force=True)
                raise
        except (apsw.Error, OSError) as error:
            raise _translation(self._path.name, error) from error
        self._readers.append(reader)
        return rows

    @contextmanager
    def at_rest(self) -> Iterator[apsw.VFSFile | None]:
        """Gives the file with all that was written in it; None where readers kept the WAL from ending.

        Nobody writes meanwhile, and afterwards everybody reads it anew.

        Raises:
            EventLogError: If the file cannot be read or written.
        """
        with self._writing, self._only_writer():
            self._validate_present()
            is_whole = self._end_wal()
            if not is_whole:
                yield None
                return
            # Trap: opened by SQLite. A descriptor of our own would give up, as it is closed, the locks that
            # SQLite holds on the file for this process (POSIX).
            flags = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READWRITE
            file = apsw.VFSFile("unix", str(self._path), [flags, 0])
            try:
                yield file
            finally:
                file.xClose()
            self._writer = self._open_writer(is_new=False)
            # A commit that changes nothing: where the WAL was empty before, nothing else tells the other
            # processes to drop what they remember of the file.
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.execute(f"PRAGMA user_version = {_FORMAT}").fetchall()
            self._writer.execute("COMMIT")

    @property
    def inode(self) -> int:
        """The number of the file, which a copy of it does not share."""
        return self._inode

    def wal_bytes(self) -> int:
        """Returns the size of what SQLite has written ahead."""
        wal = self._path.with_name(f"{self._path.name}-wal")
        return wal.stat().st_size if wal.exists() else 0

    def close(self) -> None:
        """Closes all connections; the last one of all processes copies the WAL into the file."""
        with self._writing, self._only_writer():
            while self._readers:
                self._readers.pop().close(force=True)
            self._close_writer()

    def _end_wal(self) -> bool:
        """Copies the WAL into the file, empties it and closes the writer; False if readers barred it."""
        writer = self._writer or self._open_writer(is_new=False)
        # Short: everybody who writes waits behind the lock that is held here.
        writer.set_busy_timeout(_REST_TIMEOUT_MS)
        ((is_busy, _, _),) = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._writer = writer
        # Its cache must not be written over what is changed below it.
        self._close_writer()
        return not is_busy

    def _close_writer(self) -> None:
        """Closes the writing connection, which undoes what it has not committed."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close(force=True)

    def _open_writer(self, is_new: bool) -> apsw.Connection:
        """Opens the file for writing and, the first time, makes what is not there yet."""
        # Trap: where the file was deleted, opening it again must not put an empty log in its place.
        flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if is_new else 0)
        connection = apsw.Connection(str(self._path), flags=flags)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        for statement in (
            "PRAGMA journal_mode = WAL",
            f"PRAGMA synchronous = {self._durability}",
            f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}",
            f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}",
            f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}",
            # Or else a deleted row stays readable in the file; `removing.sqlite_wiping` has what this leaves.
            "PRAGMA secure_delete = ON",
        ):
            connection.execute(statement).fetchall()
        if is_new:
            self._make_schema(connection)
        self._inode = self._path.stat().st_ino
        return connection

    def _make_schema(self, connection: apsw.Connection) -> None:
        """Makes the tables in an empty file; raises ConfigError if it was made by another release."""
        (found,) = connection.execute("PRAGMA user_version").fetchall()[0]
        # 0 is what SQLite says of a new file.
        if found not in (0, _FORMAT):
            raise ConfigError(
                f"{self._path.name} must have format {_FORMAT}, got {found}; use the release that made it, "
                "or another folder"
            )
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(self._schema).fetchall()
        # In the transaction of the tables: no file has a format and lacks them.
        connection.execute(f"PRAGMA user_version = {_FORMAT}").fetchall()
        connection.execute("COMMIT")

    def _open_reader(self) -> apsw.Connection:
        """Opens the file for reading."""
        # Trap: a connection that only reads still writes SQLite's shared memory; query_only bars the rest.
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute("PRAGMA query_only = 1").fetchall()
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}").fetchall()
        return connection

    def _validate_present(self) -> None:
        """Raises EventLogGoneError if another file, or none, stands where the opened one was."""
        # Trap: writing to a deleted file succeeds, and what was acknowledged ends with the process.
        try:
            is_present = os.stat(self._path).st_ino == self._inode
        except OSError:
            is_present = False
        if not is_present:
            while self._readers:
                self._readers.pop().close(force=True)
            raise EventLogGoneError(
                f"the event log must stay where it was opened, got another or no file at {self._path.name}; "
                "bring it back, or restart the service to begin another"
            )

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
        """Waits for the lock of the file; the system gives it back when its holder dies."""
        with translated(self._path.name):
            # Not `open`, whose buffers cost more than all else that a write does before its first row.
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raises what SQLite and the system report of the file `name` as errors of ours."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise _translation(name, error) from error


def _translation(name: str, error: apsw.Error | OSError) -> EventLogError:
    """Returns an error of SQLite or the system as one of ours."""
    is_full = (
        error.errno in _DISK_IS_FULL if isinstance(error, OSError) else isinstance(error, apsw.FullError)
    )
    if is_full:  # only this is mended by making room
        return EventLogFullError(
            f"the disk of {name} is full: {error}; nothing was kept, make room and send it again"
        )
    return EventLogGoneError(f"{name} cannot be used: {error}; nothing was kept, look at its disk and folder")


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Holds a lock file if nobody else does, and tells whether it does."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def size_on_disk(folder: Path) -> int:
    """Returns how many bytes the files of a folder hold, those below it included."""
    return sum(os.stat(Path(base) / name).st_size for base, _, names in os.walk(folder) for name in names)
