"""Files that are whole or not there: forced to disk when written, never followed through a link when read.

Knows nothing of what stands in a file. Every step of writing is announced before it is taken to whoever
watches (see `watching_steps`), so that a test can end the process there.
"""

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from marquee.errors import BundleBusyError, BundleError

# Trap: hashlib lets other threads run between calls, not within one: chunks, not whole files.
CHUNK_BYTES = 8 * 2**20
_LOCK = ".lock"

Watcher = Callable[[str], None]
FileWriter = Callable[[IO[bytes]], object]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Size and checksum of a file."""

    sha256: str
    bytes: int


def _ignore_step(_step: str) -> None:
    """Lets a step pass."""


# A context variable: the faults of a test reach the disk without a parameter in every function between.
_watcher: ContextVar[Watcher] = ContextVar("watcher", default=_ignore_step)


@contextmanager
def watching_steps(watcher: Watcher) -> Iterator[None]:
    """Tells `watcher` the name of each step of writing before it is taken: for faults in tests."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def announce_step(step: str) -> None:
    """Tells whoever watches which step is about to be taken."""
    _watcher.get()(step)


@contextmanager
def only_publisher(home: Path) -> Iterator[None]:
    """Holds the lock of a channel; the system gives it back when its holder dies.

    Raises:
        BundleBusyError: If another process holds it.
    """
    with (home / _LOCK).open("w") as lock:
        try:
            # Not waited for: a second publisher is likely a mistake, and the first may take long.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BundleBusyError(
                f"another process is publishing to {home}; wait for it or end it"
            ) from error
        yield


class _CountedFile:
    """A file that is being written: takes the checksum along and announces each write."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self._sha256 = hashlib.sha256()
        self._n_bytes = 0

    def write(self, content: bytes) -> int:
        """Writes some bytes."""
        announce_step(f"write {self._name}")
        # On the way out: a second pass would read a large file again.
        self._sha256.update(content)
        self._n_bytes += len(content)
        return self._file.write(content)

    def facts(self) -> FileFacts:
        """Returns size and checksum of what was written so far."""
        return FileFacts(sha256=self._sha256.hexdigest(), bytes=self._n_bytes)


def write_file(path: Path, write: FileWriter) -> FileFacts:
    """Writes a file, forces it to disk and returns its size and checksum."""
    announce_step(f"create {path.name}")
    with path.open("wb") as file:
        counted = _CountedFile(file, path.name)
        write(counted)  # type: ignore[arg-type]  # writers use only what _CountedFile has
        # Python's own buffer first: fsync forces out only what the system has.
        file.flush()
        announce_step(f"sync {path.name}")
        os.fsync(file.fileno())
    return counted.facts()


def replace_file(path: Path, content: bytes) -> None:
    """Writes a small file aside and renames it: every reader sees the old one or the new one."""
    # In the same folder: a rename is atomic only within one file system.
    aside = path.parent / f".{path.name}.new"
    write_file(aside, lambda file: file.write(content))
    announce_step(f"rename {path.name}")
    aside.rename(path)
    # A rename survives a power cut only once its folder is on disk.
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Forces to disk which files a folder holds."""
    announce_step(f"sync the folder {folder.name}")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_regular_file(path: Path) -> bytes:
    """Returns the bytes of a small file; raises BundleError if it is a link or no file."""
    # A duplicate: each of the two contexts closes its own.
    with open_regular_file(path) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read()


@contextmanager
def open_regular_file(path: Path) -> Iterator[int]:
    """Opens a file for reading; raises BundleError if it is missing, a link or no file."""
    try:
        # O_NONBLOCK: opening a FIFO would wait for a writer that never comes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        # A machine without descriptors or memory says nothing of the file.
        is_of_machine = error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE)
        what_to_do = "try again once that has passed" if is_of_machine else "publish the bundle again"
        raise BundleError(
            f"{path.name} must be a regular file in {path.parent}, got {error.strerror}; {what_to_do}"
        ) from error
    try:
        # Asked of the opened file: nobody can exchange it after the look.
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleError(
                f"{path.name} must be a regular file in {path.parent}, got another kind of entry"
            )
        yield descriptor
    finally:
        os.close(descriptor)
