"""Items that come, change and go between two releases: an append-only file that every worker follows.

```
<folder>/<name>.items     a line per change: checksum, space, JSON; the last one of an item counts
<folder>/.<name>.lock     held while a line is written: one writer at a time
```

A change is acknowledged only when it is forced to disk. A writer that dies leaves at most a line without an
end, which nobody reads and the next writer cuts off. When most lines are outdated the file is written anew
and renamed. Decides what is kept; leaves to `item_pool` what becomes of an item in an answer.
"""

import fcntl
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock

from marquee.core.catalog import ItemKind
from marquee.errors import ConfigError, ItemsFullError
from marquee.store.files import replace_file, sync_folder

_SPARE_LINES = 1000
_CHECKSUM_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class LiveItem:
    """What was last said of an item.

    Attributes:
        item_id: Its name.
        kind: Content or ad.
        available_from: First second in which it may be shown, None for always.
        available_until: First second in which it may no longer be shown, None for never.
        attributes: As in the items table, by column.
        is_withdrawn: True: it must not be shown, whatever else holds it; the other fields then say nothing.
    """

    item_id: str
    kind: ItemKind = ItemKind.content
    available_from: int | None = None
    available_until: int | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)
    is_withdrawn: bool = False

    def to_line(self) -> bytes:
        """Returns the line of the file that says this."""
        body = {
            "item_id": self.item_id,
            "kind": self.kind.value,
            "available_from": self.available_from,
            "available_until": self.available_until,
            "attributes": dict(self.attributes),
            "is_withdrawn": self.is_withdrawn,
        }
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        return b"%08x %s\n" % (zlib.crc32(text), text)

    @classmethod
    def from_line(cls, line: bytes) -> "LiveItem | None":
        """Returns what a line says, without its end; None if it is damaged."""
        checksum, _, text = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(text):
            return None
        try:
            body = json.loads(text)
            return cls(**{**body, "kind": ItemKind(body["kind"])})
        except (ValueError, TypeError, KeyError):
            return None


class ItemLog:
    """The file of one channel, as one process sees it. Several threads may read `items`.

    Args:
        folder: Where the files of all channels are; made if it is not there.
        name: Of the channel.
        max_items: Most items that the file speaks of, withdrawn ones included.

    Attributes:
        items: What was last said of each item, in the order in which they first came; replaced, never
            changed.
        n_torn: Lines without an end that this process has cut off.
        n_unreadable: Damaged lines that it has passed over.

    Raises:
        ConfigError: If the folder or the file cannot be written.
    """

    def __init__(self, folder: Path, name: str, max_items: int) -> None:
        self.items: Mapping[str, LiveItem] = {}
        self.n_torn = 0
        self.n_unreadable = 0
        self._path = folder / f"{name}.items"
        self._lock_path = folder / f".{name}.lock"
        self._max_items = max_items
        self._inode = -1
        self._offset = 0
        self._n_lines = 0
        self._reading = RLock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._only_writer() as descriptor:
                self._cut_torn_line(descriptor)
            sync_folder(folder)
            self.refresh()
        except OSError as error:
            raise ConfigError(
                f"live items must be kept in a folder that can be written, got {folder}: {error}; "
                "make it writable or name another"
            ) from error

    def refresh(self) -> bool:
        """Reads what is new in the file; returns whether `items` has changed.

        Raises:
            OSError: If the file cannot be read.
        """
        with self._reading:
            return self._refresh()

    def _refresh(self) -> bool:
        """Reads what is new in the file; no other thread of this process may do so at the same time."""
        facts = self._path.stat()
        if facts.st_ino == self._inode and facts.st_size == self._offset:
            return False
        with self._path.open("rb") as file:
            facts = os.fstat(file.fileno())
            items = dict(self.items)
            if facts.st_ino != self._inode or facts.st_size < self._offset:  # written anew, or cut
                items, self._inode, self._offset, self._n_lines = {}, facts.st_ino, 0, 0
            file.seek(self._offset)
            complete, end, _ = file.read().rpartition(b"\n")
        self._offset += len(complete) + len(end)
        for line in complete.split(b"\n") if end else ():
            self._n_lines += 1
            item = LiveItem.from_line(line)
            if item is None:
                self.n_unreadable += 1
            else:
                items[item.item_id] = item
        has_changed = items != self.items
        if has_changed:
            self.items = items
        return has_changed

    def append(self, changes: Sequence[LiveItem], droppable: Sequence[str] = ()) -> bool:
        """Writes what is now said of some items, all or nothing, and forces it to disk.

        Args:
            changes: What is said; what was said already in the same words is not written again.
            droppable: Items that may be forgotten, from the first on, if there is no room otherwise.

        Returns:
            Whether anything was new.

        Raises:
            ItemsFullError: If there is no room; nothing was written.
            OSError: If the disk refuses; nothing was written.
        """
        with self._only_writer() as descriptor:
            self._cut_torn_line(descriptor)
            self.refresh()
            news = [change for change in changes if self.items.get(change.item_id) != change]
            if not news:
                return False
            items = {**self.items, **{change.item_id: change for change in news}}
            n_surplus = len(items) - self._max_items
            if n_surplus > 0:
                self._drop(items, n_surplus, set(droppable) - {change.item_id for change in news})
            if n_surplus > 0 or self._n_lines + len(news) > 2 * len(items) + _SPARE_LINES:
                lines = b"".join(item.to_line() for item in items.values())
                replace_file(self._path, lines)
            else:
                _append(descriptor, b"".join(change.to_line() for change in news))
            self.refresh()
        return True

    def _drop(self, items: dict[str, LiveItem], n: int, droppable: set[str]) -> None:
        """Removes the first n of the droppable items; raises ItemsFullError if there are fewer."""
        dropped = [item_id for item_id in items if item_id in droppable][:n]
        if len(dropped) < n:
            raise ItemsFullError(
                f"there is room for {self._max_items} live items, withdrawn ones included, got "
                f"{len(items)}; publish a release that holds them, or raise MARQUEE_MAX_LIVE_ITEMS"
            )
        for item_id in dropped:
            del items[item_id]

    def _cut_torn_line(self, descriptor: int) -> None:
        """Cuts off what a writer that died has left behind the last complete line."""
        size = os.fstat(descriptor).st_size
        end, position = size, size
        while position:
            start = max(0, position - 65_536)
            block = os.pread(descriptor, position - start, start)
            newline = block.rfind(b"\n")
            end = start + newline + 1 if newline >= 0 else 0
            if newline >= 0:
                break
            position = start
        if end < size:
            os.ftruncate(descriptor, end)
            os.fsync(descriptor)
            self.n_torn += 1

    @contextmanager
    def _only_writer(self) -> Iterator[int]:
        """Waits for the lock and opens the file; the system gives the lock back when its holder dies."""
        with self._lock_path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
            try:
                yield descriptor
            finally:
                os.close(descriptor)


def _append(descriptor: int, lines: bytes) -> None:
    """Writes lines at the end of a file and forces them to disk; takes them back if the disk refuses."""
    size = os.fstat(descriptor).st_size
    written = 0
    try:
        while written < len(lines):
            written += os.write(descriptor, lines[written:])
        os.fsync(descriptor)
    except OSError:
        with suppress(OSError):  # what is left has no end or no acknowledgement; the next writer cuts it off
            os.ftruncate(descriptor, size)
        raise
