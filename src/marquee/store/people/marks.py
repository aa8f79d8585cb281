"""Whether a user's row has changed since it was read, in memory that the workers of a machine share.

```
<name>.marks    some numbers of 8 bytes; the handle of a user says which one is theirs
one number      even: how often rows of its users changed; odd: one of them may be changing now
```

The rules, of which one set holds for all, have a file of one number.

A row that was read while its number was even holds as long as the number stays. A writer makes the number
odd before it changes a row, and even again after the commit. Where it is killed between the two the number
stays odd: the users that share it are read each time, until another of their rows changes. Nothing here needs
to last: whoever starts anew has read nothing yet.
"""

import mmap
import os
from collections.abc import Collection
from pathlib import Path

N_SLOTS = 2**18
"""2 MB. Users that share a slot cost each other a read now and then."""

_BYTES = 8


class Marks:
    """The file. Reading needs no lock; whoever writes holds the store's.

    Args:
        path: The file; made if it is not there.
        n_slots: How many numbers it holds.

    Raises:
        OSError: If the disk has no room for it.
    """

    def __init__(self, path: Path, n_slots: int = N_SLOTS) -> None:
        self._n_slots = n_slots
        size = _BYTES * n_slots
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Trap: a write into a mapped file without room behind it ends the process.
            os.posix_fallocate(descriptor, 0, size)
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self._numbers = memoryview(self._map).cast("Q")

    def of(self, handle: bytes) -> int | None:
        """Returns the number of a user; None while their row may be changing."""
        # One number of 8 bytes, read at once: never half of what another process writes.
        number = self._numbers[self._slot(handle)]
        return None if number % 2 else number

    def begin(self, handles: Collection[bytes]) -> None:
        """Tells that the rows of users may change from now on; needs the store's lock."""
        for handle in handles:
            self._numbers[self._slot(handle)] |= 1

    def end(self, handles: Collection[bytes]) -> None:
        """Tells that they have changed; needs the store's lock."""
        # By slot: two users that share one must not make it odd again.
        for slot in {self._slot(handle) for handle in handles}:
            self._numbers[slot] = (self._numbers[slot] | 1) + 1

    def close(self) -> None:
        """Gives the memory back."""
        self._numbers.release()
        self._map.close()

    def _slot(self, handle: bytes) -> int:
        """Returns the position of a user's number; a handle is as good as random."""
        return int.from_bytes(handle[:_BYTES]) % self._n_slots
