"""The files in which the workers of a service keep their counters, one per process and kind.

What dead workers have counted is added up in one file per kind and their own files are removed: each start
would otherwise leave some megabytes behind, which every scrape reads.
"""

import fcntl
import logging
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

from serving.workers.shared_memory import FILE_BYTES, allocate, is_alive

logger = logging.getLogger(__name__)

MERGED = "merged"
"""Stands in the name of a file for the number of a process."""

_LOCK = "marquee-counters.lock"
_NEW = "marquee-counters.new"  # no name that is taken for counters
_MERGES: dict[str, Callable[[float, float], float]] = {
    "counter": float.__add__,
    "histogram": float.__add__,
    "gauge_max": max,
}
"""How the values of two processes become one, by kind; those of `live` gauges die with their process."""


def merge_dead_workers(folder: Path) -> None:
    """Adds up what dead workers have counted, and removes their files.

    A file that cannot be read, and all of them where the disk is full, stay as they are.

    Args:
        folder: Which the workers share.
    """
    with _locked(folder, fcntl.LOCK_EX):
        # Unread: a gauge of this kind says what a living worker is at.
        for file in folder.glob("gauge_live*.db"):
            if _is_of_dead(file):
                file.unlink(missing_ok=True)
        for kind, merge in _MERGES.items():
            dead = [file for file in folder.glob(f"{kind}_*.db") if _is_of_dead(file)]
            try:
                _merge(folder / f"{kind}_{MERGED}.db", sorted(dead), merge)
            except OSError as error:
                logger.error("the counters of dead workers stay in files of their own: %s", error)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Keeps the files as they are until the block ends: in the middle of a merge, counts would be double."""
    with _locked(folder, fcntl.LOCK_SH):
        yield


def _merge(target: Path, dead: Sequence[Path], merge: Callable[[float, float], float]) -> None:
    """Puts what `target` and the files of dead workers say into `target`, and removes the latter."""
    values: dict[str, tuple[float, float]] = {}
    merged = []
    for file in [target, *dead] if target.exists() else dead:
        read = _read(file)
        if read is None:
            continue
        # Only what was read is removed: a file that cannot be read is kept for people to look at.
        merged.append(file)
        for key, (value, at) in read.items():
            before, before_at = values.get(key, (value, at))
            values[key] = (merge(before, value) if key in values else value, max(at, before_at))
    if not set(merged) - {target}:
        return
    # Written beside and renamed: a crash on the way leaves the old file whole.
    new = target.with_name(_NEW)
    new.unlink(missing_ok=True)
    # Room first: a write into a mapped file ends the process where the disk is full (`shared_memory`).
    os.close(allocate(new, FILE_BYTES))
    written = MmapedDict(str(new))  # type: ignore[no-untyped-call]  # its own annotations
    for key, (value, at) in values.items():
        written.write_value(key, value, at)  # type: ignore[no-untyped-call]  # as above
    written.close()  # type: ignore[no-untyped-call]  # as above
    new.replace(target)
    for file in merged:
        if file != target:
            file.unlink(missing_ok=True)


def _read(file: Path) -> dict[str, tuple[float, float]] | None:
    """Returns value and time by key, None for a file that a crash has left half-written."""
    # Made and never written: nothing was counted, and nothing is wrong.
    if not file.stat().st_size:
        return {}
    try:
        read = MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]  # as above
        return {key: (value, at) for key, value, at, _ in read}
    except (RuntimeError, ValueError, struct.error) as error:
        logger.error("%s cannot be read, its counts are left out: %s", file.name, error)
        return None


def _is_of_dead(file: Path) -> bool:
    """Returns whether a file belongs to a process that has ended."""
    number = file.stem.rpartition("_")[2]
    return number.isdigit() and not is_alive(int(number))


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Waits for the lock of the files; goes on without where there is no room or right for it."""
    descriptor = -1
    with suppress(OSError):
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, how)
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)
