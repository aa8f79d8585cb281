"""Proves that the files of a bundle are those that its manifest names, byte for byte, once for each machine.

A load of a large bundle spends its time on reading gigabytes to take their checksums. A process that has
read a file notes which file it was: inode, size, and when it was last changed. One that loads the same bundle
after it trusts the note as long as the file is that one. Does not trust notes that others may write.
"""

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from marquee.bundle.manifest import MANIFEST, OPTIONAL_FILES, Manifest, expected_files
from marquee.errors import BundleError, ChecksumError
from marquee.store.files import CHUNK_BYTES, FileFacts, open_regular_file, replace_file

_SETTLED_NS = 2_000_000_000
"""Age from which on a file is noted: some file systems tell times in whole seconds, and a younger file could
be changed again without another time."""


class FileStamp(msgspec.Struct, frozen=True):
    """The state of a file that no writer can bring back: the system sets the time of the last change itself.

    Attributes:
        device: Of the file system.
        inode: Of the file.
        bytes: Its size.
        mtime_ns: When its content was last changed.
        ctime_ns: When anything of it was.
    """

    device: int
    inode: int
    bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, descriptor: int) -> "FileStamp":
        """Returns the stamp of an opened file."""
        at = os.fstat(descriptor)
        return cls(at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns)


@dataclass(frozen=True)
class VerifiedFiles:
    """Notes of what the processes of one service have verified on one machine.

    Attributes:
        folder: Belongs to this user alone, else nothing in it is trusted.
        now_ns: Returns nanoseconds since 1970, as `time.time_ns` does.
    """

    folder: Path
    now_ns: Callable[[], int]

    @contextmanager
    def only_verifier(self, text: bytes) -> Iterator[dict[str, FileStamp]]:
        """Yields the notes of a bundle, to be added to; waits while another process verifies it.

        Args:
            text: Of its manifest, which holds the checksums: another manifest has other notes.
        """
        if not self._is_ours():
            yield {}
            return
        name = hashlib.sha256(text).hexdigest()
        try:
            lock = (self.folder / f"{name}.lock").open("w")
        # As below: on a full disk each process verifies for itself.
        except OSError:
            yield {}
            return
        with lock:
            # Its holder's end gives it back, whatever ended it.
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = self.folder / f"{name}.json"
            notes = _read_notes(path)
            before = dict(notes)
            yield notes
            if notes != before:
                # On a full disk the files are read again: no reason to refuse a release that is whole.
                with suppress(OSError):
                    replace_file(path, msgspec.json.encode(notes))

    def is_settled(self, found: FileStamp) -> bool:
        """Returns whether a later change of a file would give it another stamp."""
        return self.now_ns() - max(found.mtime_ns, found.ctime_ns) >= _SETTLED_NS

    def _is_ours(self) -> bool:
        """Returns whether nobody else could have written a note."""
        try:
            at = self.folder.lstat()
        except OSError:
            return False
        return stat.S_ISDIR(at.st_mode) and at.st_uid == os.geteuid() and not at.st_mode & 0o022


def verify_files(
    folder: Path, text: bytes, manifest: Manifest, verified: VerifiedFiles | None = None
) -> None:
    """Raises BundleError unless the files are exactly those that the manifest names, byte for byte.

    Args:
        folder: Of the bundle.
        text: Of the manifest.
        manifest: The same, read.
        verified: Notes of what was read before, which spare another reading; None to read every file.

    Raises:
        ChecksumError: If a file differs.
        BundleError: If one is missing, is a link, or more are named than a bundle has.
    """
    expected = expected_files(manifest.index.config.kind)
    # Neither fewer nor more: a file that we do not know may change what the others mean.
    if set(manifest.files) - OPTIONAL_FILES != expected:
        raise BundleError(
            f"{MANIFEST} must name the files {sorted(expected)}, got {sorted(manifest.files)}; export again"
        )
    if verified is None:
        for name, facts in manifest.files.items():
            with open_regular_file(folder / name) as descriptor:
                _require_content(folder / name, descriptor, facts)
        return
    with verified.only_verifier(text) as notes:
        for name, facts in manifest.files.items():
            _verify_once(folder / name, facts, notes, verified)


def _verify_once(path: Path, facts: FileFacts, notes: dict[str, FileStamp], verified: VerifiedFiles) -> None:
    """Verifies a file unless a note says that this very file was; notes it where that is safe."""
    with open_regular_file(path) as descriptor:
        # Before it is read: what is changed meanwhile must have another stamp than the note.
        found = FileStamp.of(descriptor)
        if notes.get(path.name) == found and found.bytes == facts.bytes:
            return
        is_settled = verified.is_settled(found)
        notes.pop(path.name, None)
        _require_content(path, descriptor, facts)
        if is_settled:
            notes[path.name] = found


def _require_content(path: Path, descriptor: int, facts: FileFacts) -> None:
    """Raises ChecksumError unless an opened file has the content that the manifest names."""
    digest, n_bytes = hashlib.sha256(), 0
    # In pieces: a file of vectors is larger than the memory that a worker may use beside it.
    while chunk := os.read(descriptor, CHUNK_BYTES):
        digest.update(chunk)
        n_bytes += len(chunk)
    if (digest.hexdigest(), n_bytes) != (facts.sha256, facts.bytes):
        raise ChecksumError(
            f"{path.name} in {path.parent} has {n_bytes} bytes with SHA-256 {digest.hexdigest()}, expected "
            f"{facts.bytes} with {facts.sha256}; publish the bundle again"
        )


def _read_notes(path: Path) -> dict[str, FileStamp]:
    """Returns the notes of a file, none where it is not there or was written in part."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, FileStamp])
    except (OSError, msgspec.DecodeError):
        # Whatever is wrong with it: without notes everything is read.
        return {}
