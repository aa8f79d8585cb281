"""Memory that workers share for counters and limits, reserved on disk before it is written.

Trap: the files are mapped into memory, and a page that the disk has no room for when it is first written
ends the process (SIGBUS): with a full disk the next request would kill the worker that counts it
(test_full_disk_stops_no_answer).
"""

import atexit
import errno
import logging
import mmap
import os
import shutil
import tempfile
from pathlib import Path

logger = logging.getLogger(__name__)

FILE_BYTES = 1 << 20
"""Holds some thousand lines of `/metrics`; what counts has bounded labels and needs a tenth of it."""

_BYTES_PER_NUMBER = 8  # float64

_KINDS = ("counter", "histogram", "gauge_livemin", "gauge_livemax", "gauge_livesum", "gauge_max")
"""How the names of the files begin that `serving.telemetry.metrics` writes."""

# Needed when the disk is full: memory still has room.
_MEMORY = Path("/dev/shm")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def reserve(folder: Path, variable: str) -> None:
    """Takes the room that this process needs for its counters in the folder that the workers share.

    Without room there the process counts apart, in memory, until it is started again: to count less is
    better than to answer nothing.

    Args:
        folder: Which the workers share.
        variable: The variable of the environment that names it to whoever counts.
    """
    files = [folder / f"{kind}_{os.getpid()}.db" for kind in _KINDS]
    for file in files:
        try:
            os.close(allocate(file, FILE_BYTES))
        except OSError as error:
            # A missing folder or right is a fault of the installation, which must be seen.
            if error.errno not in _FULL:
                raise
            for begun in files:
                # All or none: some of the files would be read as all that this worker counts.
                begun.unlink(missing_ok=True)
            alone = tempfile.mkdtemp(prefix="marquee-", dir=_MEMORY if _MEMORY.is_dir() else None)
            logger.error(
                "no room for this worker's counters in %s: they are kept apart, in %s; make room and restart",
                folder,
                alone,
            )
            os.environ[variable] = alone
            # Nobody else knows this folder, or would remove it.
            atexit.register(shutil.rmtree, alone, ignore_errors=True)
            return


def shared_numbers(n: int, path: Path | None, alone: str) -> "memoryview[float]":
    """Returns n float64, zeros at first, which all processes see that name the same file.

    Args:
        n: How many.
        path: The file; None for numbers of this process.
        alone: What is logged where there is no room for the file, so that the numbers are this process's.
    """
    n_bytes = max(1, n) * _BYTES_PER_NUMBER
    if path is None:
        return memoryview(mmap.mmap(-1, n_bytes)).cast("d")
    try:
        descriptor = allocate(path, n_bytes)
    except OSError as error:
        logger.error("%s: %s", alone, error)
        return memoryview(mmap.mmap(-1, n_bytes)).cast("d")
    try:
        return memoryview(mmap.mmap(descriptor, n_bytes)).cast("d")
    finally:
        os.close(descriptor)


def is_alive(pid: int) -> bool:
    """Returns whether there is a process of that number."""
    try:
        # Signal 0 hits nobody; it only asks whether the process is there.
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def allocate(path: Path, n_bytes: int) -> int:
    """Returns a descriptor of a file that has n_bytes of the disk; raises OSError if that is full."""
    # No link is followed: others may write to the folder, and could aim it elsewhere.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        # Not `truncate`, which makes a file of holes that has no room on the disk.
        os.posix_fallocate(descriptor, 0, n_bytes)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
