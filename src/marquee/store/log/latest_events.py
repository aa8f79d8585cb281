"""Up to where the log knows of each user, in memory that the workers of a machine share: without a read.

```
<name>.latest     header, then N_SLOTS numbers of 8 bytes; the name of a user says which one is theirs
one number        how often it was touched, and the highest sequence of an event of any user that shares it
```

Users that share a slot make each other look younger than they are: that costs a read, and never an event. The
file follows the store: each writer brings it up to date after its commit, with what a writer left undone
that was killed between the two, and all of them where the file does not belong to the store.
"""

import mmap
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

N_SLOTS = 2**20
"""8 MB: with a million users that were active since the store began, two in three share a slot."""

_HEADER = 8  # numbers before the slots
_FORMAT, _STORE, _LAST = 0, 1, 2  # of these: what the file is, whose it is, up to where it knows
_VERSION = 1
_SEQUENCE_BITS = 48
_SEQUENCES = 2**_SEQUENCE_BITS - 1
_TOUCHES = 2**16


class Freshness(NamedTuple):
    """A bound of a user's latest event, known without a read.

    Attributes:
        last_sequence: No event of the user has a higher one.
        mark: Another one as soon as the user has a new event, or has lost some.
    """

    last_sequence: int
    mark: int


class LatestEvents:
    """The file. Reading needs no lock; whoever writes holds the store's.

    Args:
        path: The file; made if it is not there.

    Raises:
        OSError: If the disk has no room for it.
    """

    def __init__(self, path: Path) -> None:
        size = 8 * (_HEADER + N_SLOTS)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Trap: a write into a mapped file without room behind it ends the process.
            os.posix_fallocate(descriptor, 0, size)
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self._numbers = memoryview(self._map).cast("Q")

    def of(self, user_id: str) -> Freshness:
        """Returns the bound and the mark of a user."""
        # One number of 8 bytes, read at once: never half of what another process writes.
        mark = self._numbers[_slot(user_id)]
        return Freshness(mark & _SEQUENCES, mark)

    def known_until(self, store: int) -> int:
        """Returns up to which sequence the file knows the events of a store, 0 for a store that is another.

        Args:
            store: Number of the store's file, its inode: a copy of a folder is another store.
        """
        numbers = self._numbers
        if (numbers[_FORMAT], numbers[_STORE]) != (_VERSION, store):
            numbers[_LAST] = 0
            numbers[_FORMAT], numbers[_STORE] = _VERSION, store
        return numbers[_LAST]

    def add(self, events: Iterable[tuple[str | None, int]], last: int) -> None:
        """Adds events, each as user and sequence, up to the sequence `last`; needs the store's lock."""
        numbers = self._numbers
        for user_id, sequence in events:
            if user_id is not None:
                slot = _slot(user_id)
                if sequence > numbers[slot] & _SEQUENCES:
                    numbers[slot] = (numbers[slot] & ~_SEQUENCES) | sequence
                else:
                    # Never lower: what stands there is another user's, or of a store that was here before.
                    # The mark changes all the same, or a profile in memory would outlive the event.
                    self._touch(slot)
        # Last: a writer that is killed above leaves the rest to the next one.
        numbers[_LAST] = last

    def touch(self, user_ids: Iterable[str]) -> None:
        """Tells that users have lost events; needs the store's lock."""
        for user_id in user_ids:
            self._touch(_slot(user_id))

    def _touch(self, slot: int) -> None:
        """Gives a slot another mark, and leaves its sequence."""
        touches = ((self._numbers[slot] >> _SEQUENCE_BITS) + 1) % _TOUCHES
        self._numbers[slot] = touches << _SEQUENCE_BITS | self._numbers[slot] & _SEQUENCES

    def close(self) -> None:
        """Gives the memory back."""
        self._numbers.release()
        self._map.close()


def _slot(user_id: str) -> int:
    """Returns the position of a user's number; the same in every process, unlike `hash`."""
    return _HEADER + zlib.crc32(user_id.encode()) % N_SLOTS
