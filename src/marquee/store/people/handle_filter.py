"""Whether a user may have a row, in memory that the workers of a machine share: without a read.

```
<name>.seen    header of 8 numbers, then N_BITS bits; the handle of a user says which N_PROBES are theirs;
               then the probes of the last N_LAST handles that were added
header         number of the store's file, how often the bits were made anew: odd while they are; how many
               handles were added
```

A Bloom filter: where one of the bits of a handle is 0 the user never had a row, where all are 1 only a read
can tell. A writer sets the bits before it commits the row, so no committed row lacks them. Whoever opens the
file alone makes it anew from the rows: what the machine lost with its power, or a restored copy of the rows
holds, needs no trust then.

Source:
    Bloom 1970, CACM 13(7), "Space/time trade-offs in hash coding with allowable errors".
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

N_BITS = 2**26
"""8 MB: of a million users 1 new one in 100,000 costs a read for nothing, of ten millions 1 in 24."""
N_PROBES = 4
N_LAST = 8192
"""Handles that may be added while the bits are made anew beside them."""

_HEADER_BYTES = 64
_STORE, _RENEWALS, _ADDED = 0, 1, 2
_PROBES = struct.Struct("<4I")
assert _PROBES.size == 4 * N_PROBES, f"a probe is a number of 4 bytes, got {_PROBES.size} for {N_PROBES}"


class HandleFilter:
    """The file. Reading needs no lock; whoever opens it or writes holds the store's.

    Args:
        path: The file; made if it is not there.
        store: Number of the store's file, its inode: a copy of a folder is another store.
        handles: Returns all handles that have a row, some at a time.

    Raises:
        OSError: If the disk has no room for it.
    """

    def __init__(self, path: Path, store: int, handles: Callable[[], Iterable[Collection[bytes]]]) -> None:
        end = _HEADER_BYTES + N_BITS // 8
        size = end + N_LAST * _PROBES.size
        # Held open: its lock tells others that the bits are kept up to date.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Trap: a write into a mapped file without room behind it ends the process.
            os.posix_fallocate(self._descriptor, 0, size)
            self._map = mmap.mmap(self._descriptor, size)
            self._header = memoryview(self._map)[:_HEADER_BYTES].cast("Q")
            self._bits = memoryview(self._map)[_HEADER_BYTES:end]
            self._last = memoryview(self._map)[end:]
            self._store = store
            if self._is_alone() or self._header[_STORE] != store or self._header[_RENEWALS] % 2:
                self.renew(handles())
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        except BaseException:
            os.close(self._descriptor)
            raise

    def lacks(self, handle: bytes) -> bool:
        """Returns whether a handle surely has no row; False where only a read can tell."""
        header, bits = self._header, self._bits
        renewals = header[_RENEWALS]
        if renewals % 2 or header[_STORE] != self._store:
            return False
        for probe in _PROBES.unpack_from(handle):
            place = probe % N_BITS
            if not bits[place >> 3] >> (place & 7) & 1:
                # A 0 of bits that are being made anew says nothing.
                return header[_RENEWALS] == renewals
        return False

    def add(self, handles: Iterable[bytes]) -> None:
        """Adds handles; needs the store's lock, and comes before the commit of their rows."""
        for handle in handles:
            slot = self._header[_ADDED] % N_LAST * _PROBES.size
            self._last[slot : slot + _PROBES.size] = handle[: _PROBES.size]
            self._header[_ADDED] += 1
            for probe in _PROBES.unpack_from(handle):
                place = probe % N_BITS
                self._bits[place >> 3] |= 1 << (place & 7)

    def renew(self, handles: Iterable[Collection[bytes]]) -> None:
        """Makes the bits anew, so that they tell nothing of rows that are gone; needs the store's lock.

        Args:
            handles: All that have a row, some at a time.
        """
        # Killed in between it stays odd: everybody reads until somebody makes them anew.
        self._header[_RENEWALS] |= 1
        self._replace(bits_of(handles))

    def state(self) -> tuple[int, int]:
        """Returns how often bits were made anew and how many handles added; needs the store's lock."""
        return self._header[_RENEWALS], self._header[_ADDED]

    def renew_from(self, bits: NDArray[np.uint8], state: tuple[int, int]) -> bool:
        """Replaces the bits by others that were made without the lock; needs the lock for the copy alone.

        Args:
            bits: `bits_of` all that had a row, read after `state` was.
            state: From `state`.

        Returns:
            Whether it could: not where somebody else made them anew, or more were added than are known.
        """
        renewals, n_before = state
        n_added = self._header[_ADDED]
        if self._header[_RENEWALS] != renewals or n_added - n_before > N_LAST:
            return False
        slots = [number % N_LAST * _PROBES.size for number in range(n_before, n_added)]
        _set_bits(bits, [bytes(self._last[slot : slot + _PROBES.size]) for slot in slots])
        self._header[_RENEWALS] |= 1
        self._replace(bits)
        return True

    def _replace(self, bits: NDArray[np.uint8]) -> None:
        """Puts other bits in the place of those that are marked as being made anew."""
        # A file that is new holds none, and stays without room in memory as long as it does.
        if self._header[_STORE] or bits.any():
            self._bits[:] = bits.tobytes()
            # They name users as the bits do.
            self._last[:] = bytes(len(self._last))
        self._header[_STORE] = self._store
        self._header[_RENEWALS] += 1

    def close(self) -> None:
        """Gives the memory back."""
        self._header.release()
        self._bits.release()
        self._last.release()
        self._map.close()
        os.close(self._descriptor)

    def _is_alone(self) -> bool:
        """Returns whether nobody else has the file open."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def bits_of(handles: Iterable[Collection[bytes]]) -> NDArray[np.uint8]:
    """Returns the bits of handles that come some at a time, shape (N_BITS / 8,)."""
    bits = np.zeros(N_BITS // 8, np.uint8)
    for some in handles:
        _set_bits(bits, some)
    return bits


def _set_bits(bits: NDArray[np.uint8], handles: Collection[bytes]) -> None:
    """Sets the bits of some handles."""
    heads = b"".join([handle[: _PROBES.size] for handle in handles])
    places = np.frombuffer(heads, "<u4") % N_BITS
    np.bitwise_or.at(bits, places >> 3, np.left_shift(1, places & 7).astype(np.uint8))
