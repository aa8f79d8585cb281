"""Items that come, change and go between two releases: an append-only file that every worker follows.

```
<folder>/<name>.items     a line per change: checksum, space, JSON; the last one of an item counts
<folder>/.<name>.lock     held while a line is written: one writer at a time
```

A change is acknowledged only when it is forced to disk. A writer that dies leaves at most a line without an
end, which nobody reads and the next writer cuts off. When most lines are outdated the file is written anew
and renamed. Decides what is kept; leaves to `item_pool` what becomes of an item in an answer.
"""

import errno
import fcntl
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import RLock

from marquee.core.catalog import ItemKind
from marquee.core.schema import AVAILABLE_FROM, AVAILABLE_UNTIL
from marquee.errors import ConfigError, ItemsFullError
from marquee.store.files import replace_file, sync_folder

_SPARE_LINES = 1000
_SPARE_BYTES = 16_384
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CHECKSUM_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class LiveItem:
    """The latest state of an item.

    Attributes:
        item_id: Its name.
        kind: Content or ad.
        available_from: First second in which it may be shown, None for always.
        available_until: First second in which it may no longer be shown, None for never.
        attributes: As in the items table, by column.
        is_withdrawn: True: it must not be shown, whatever else holds it; only `changes` then says more.
        is_posted: False: nothing but `changes` was said of it.
        changes: Values in place of those of a release, by column, each with its moment, seconds since 1970
            UTC; a release that was made later has its own.
    """

    item_id: str
    kind: ItemKind = ItemKind.content
    available_from: int | None = None
    available_until: int | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)
    is_withdrawn: bool = False
    is_posted: bool = True
    changes: Mapping[str, tuple[object, int]] = field(default_factory=dict)

    def upon(self, before: "LiveItem | None") -> "LiveItem":
        """Returns the state that this makes of the one before.

        What is posted stands in place of what was posted; what is changed, in place of that column alone.
        """
        if before is None:
            return self
        changes = {**before.changes, **self.changes}
        if self.is_posted or self.is_withdrawn:
            return replace(self, changes=changes)
        values = {column: value for column, (value, _) in self.changes.items()}
        start = values.pop(AVAILABLE_FROM, before.available_from)
        end = values.pop(AVAILABLE_UNTIL, before.available_until)
        return replace(
            before,
            available_from=start,  # type: ignore[arg-type]  # a moment, by whoever made the change
            available_until=end,  # type: ignore[arg-type]
            attributes={**before.attributes, **values},
            changes=changes,
        )

    def to_line(self) -> bytes:
        """Returns the line of the file that says this."""
        body: dict[str, object] = {
            "item_id": self.item_id,
            "kind": self.kind.value,
            "available_from": self.available_from,
            "available_until": self.available_until,
            "attributes": dict(self.attributes),
            "is_withdrawn": self.is_withdrawn,
        }
        if self.changes:  # else the line stays one that services before changes can read
            body |= {"is_posted": self.is_posted, "changes": self.changes}
        # JSON escapes line feeds, so that a line is always one change.
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        return b"%08x %s\n" % (zlib.crc32(text), text)

    @classmethod
    def from_line(cls, line: bytes) -> "LiveItem | None":
        """Reads an item from a line without its end; returns None if the line is damaged."""
        checksum, _, text = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(text):
            return None
        try:
            body = json.loads(text)
            changes = {column: (value, moment) for column, (value, moment) in body.pop("changes", {}).items()}
            # A field that a later release added counts as damage: an item is never half read.
            return cls(**{**body, "kind": ItemKind(body["kind"]), "changes": changes})
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


Expendable = Callable[[Mapping[str, LiveItem]], Iterable[str]]
"""Names the items that may be forgotten, of all that there are."""


def _none(_items: Mapping[str, LiveItem]) -> Iterable[str]:
    """Names no item."""
    return ()


@dataclass(frozen=True, slots=True)
class ItemLimits:
    """How much a file of live items may hold. Withdrawn items count apart: see `ItemLog.append`.

    Attributes:
        max_items: Most items that are not withdrawn.
        max_bytes: Most bytes of their lines together.
    """

    max_items: int = 10_000
    max_bytes: int = 64 * 2**20


class ItemLog:
    """The file of one channel, as one process sees it. Several threads may read `items`.

    Args:
        folder: Where the files of all channels are; made if it is not there.
        name: Of the channel.
        limits: How much it may hold.

    Attributes:
        items: What was last said of each item, in the order in which they first came; replaced, never
            changed.
        n_torn: Lines without an end that this process has cut off.
        n_unreadable: Damaged lines that it has passed over.

    Raises:
        ConfigError: If the folder or the file cannot be written.
    """

    def __init__(self, folder: Path, name: str, limits: ItemLimits) -> None:
        self.items: Mapping[str, LiveItem] = {}
        self.n_torn = 0
        self.n_unreadable = 0
        self._path = folder / f"{name}.items"
        self._lock_path = folder / f".{name}.lock"
        self._spare_path = folder / f".{name}.spare"
        self._limits = limits
        self._inode = -1
        self._offset = 0
        self._n_lines = 0
        self._sizes: dict[str, int] = {}
        self._reading = RLock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._only_writer() as descriptor:
                self._cut_torn_line(descriptor)
                self._keep_spare()
            sync_folder(folder)
            self.refresh()
        except OSError as error:
            raise ConfigError(
                f"live items must be kept in a folder that can be written, got {folder}: {error}; "
                "make it writable or name another"
            ) from error

    @property
    def fill(self) -> float:
        """Share of the room that is taken, by number or by bytes, whichever is more."""
        used = _Used.by(self.items, self._sizes)
        return max(used.n_live / self._limits.max_items, used.n_bytes / self._limits.max_bytes)

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
            # Of the opened file: the path may have been renamed over since the look above.
            facts = os.fstat(file.fileno())
            items, is_anew = dict(self.items), False
            if facts.st_ino != self._inode or facts.st_size < self._offset:  # written anew, or cut
                items, is_anew, self._sizes = {}, True, {}
                self._inode, self._offset, self._n_lines = facts.st_ino, 0, 0
            file.seek(self._offset)
            # Behind the last line feed another worker may be writing: that line is read next time.
            complete, end, _ = file.read().rpartition(b"\n")
        self._offset += len(complete) + len(end)
        has_changed = False
        for line in complete.split(b"\n") if end else ():
            self._n_lines += 1
            item = LiveItem.from_line(line)
            if item is None:
                self.n_unreadable += 1
                continue
            has_changed |= items.get(item.item_id) != item
            items[item.item_id] = item
            self._sizes[item.item_id] = len(line) + 1
        if is_anew:
            has_changed = items != self.items
        if has_changed:
            self.items = items
        return has_changed

    def append(
        self,
        changes: Sequence[LiveItem],
        expendable: Callable[[Mapping[str, LiveItem]], Iterable[str]] = _none,
    ) -> bool:
        """Writes what is now said of some items, all or nothing, and forces it to disk.

        Withdrawals are never refused for want of room: they count apart, and some bytes of the disk are kept
        for them. What is expendable makes room first.

        Args:
            changes: What is said; what was said already in the same words is not written again.
            expendable: Called where room is short, with all items: names those that may be forgotten, the
                most expendable first.

        Returns:
            Whether anything was new.

        Raises:
            ItemsFullError: If there is no room; nothing was written.
            OSError: If the disk refuses; nothing was written.
        """
        with self._only_writer() as descriptor:
            self._cut_torn_line(descriptor)
            self.refresh()
            # Under the lock: of two writers each keeps what the other has changed.
            news = {change.item_id: change.upon(self.items.get(change.item_id)) for change in changes}
            news = {id_: change for id_, change in news.items() if self.items.get(id_) != change}
            if not news:
                return False
            lines = {item_id: change.to_line() for item_id, change in news.items()}
            items = {**self.items, **news}
            sizes = {**self._sizes, **{item_id: len(line) for item_id, line in lines.items()}}
            n_before = len(items)
            self._make_room(items, sizes, frozenset(news), expendable)
            is_outdated = self._n_lines + len(news) > 2 * len(items) + _SPARE_LINES
            if len(items) < n_before or is_outdated:
                replace_file(self._path, b"".join(item.to_line() for item in items.values()))
            # Only withdrawals may use the reserve: an item that must go is worse than one that comes late.
            elif all(change.is_withdrawn for change in news.values()):
                self._append_whatever(descriptor, b"".join(lines.values()))
            else:
                _append(descriptor, b"".join(lines.values()))
            self._keep_spare()
            self.refresh()
        return True

    def _make_room(
        self,
        items: dict[str, LiveItem],
        sizes: Mapping[str, int],
        news: frozenset[str],
        expendable: Expendable,
    ) -> None:
        """Removes what is expendable as far as room is short; raises ItemsFullError if that is not enough."""
        limits, used = self._limits, _Used.by(items, sizes)
        if not used.is_over(limits) and used.n_withdrawn <= limits.max_items:
            return
        # More than is needed at once: else every change of a full file would write all of it anew.
        goal = ItemLimits(_less(limits.max_items), _less(limits.max_bytes))
        for item_id in expendable(dict(items)):  # a copy: what it names is removed meanwhile
            item = items.get(item_id)
            if item is None or item_id in news:
                continue
            is_of_use = used.n_withdrawn > goal.max_items if item.is_withdrawn else used.is_over(goal)
            if is_of_use:
                used.forget(item, sizes[item_id])
                del items[item_id]
        if used.is_over(limits) and not all(items[item_id].is_withdrawn for item_id in news):
            raise ItemsFullError(
                f"there is room for {limits.max_items} live items of {limits.max_bytes} bytes together, got "
                f"{used.n_live} of {used.n_bytes}; publish a release that holds them, or raise "
                "MARQUEE_MAX_LIVE_ITEMS or MARQUEE_MAX_LIVE_ITEMS_BYTES"
            )

    def _append_whatever(self, descriptor: int, lines: bytes) -> None:
        """Appends withdrawals; where the disk is full they get the room that was kept for them."""
        try:
            _append(descriptor, lines)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._spare_path.unlink(missing_ok=True)
            _append(descriptor, lines)

    def _keep_spare(self) -> None:
        """Takes some bytes of the disk for withdrawals to come, if it has them."""
        if self._spare_path.exists():
            return
        with suppress(OSError):
            descriptor = os.open(self._spare_path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            try:
                # Allocated, not only sized: a sparse file would keep nothing free.
                os.posix_fallocate(descriptor, 0, _SPARE_BYTES)
            except OSError:  # the disk is full now: the next change tries again
                self._spare_path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)

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
            # On a file of its own: the file of items is replaced by renames, and a lock on it would go with
            # the old one.
            fcntl.flock(lock, fcntl.LOCK_EX)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
            try:
                yield descriptor
            finally:
                os.close(descriptor)


@dataclass(slots=True)
class _Used:
    """The room that some items take."""

    n_live: int = 0
    n_bytes: int = 0
    n_withdrawn: int = 0

    @classmethod
    def by(cls, items: Mapping[str, LiveItem], sizes: Mapping[str, int]) -> "_Used":
        """Returns the room that items take whose lines have these sizes."""
        live = [item_id for item_id, item in items.items() if not item.is_withdrawn]
        return cls(len(live), sum(map(sizes.__getitem__, live)), len(items) - len(live))

    def is_over(self, limits: ItemLimits) -> bool:
        """Tells whether the live items exceed a limit."""
        return self.n_live > limits.max_items or self.n_bytes > limits.max_bytes

    def forget(self, item: LiveItem, size: int) -> None:
        """Takes an item off."""
        if item.is_withdrawn:
            self.n_withdrawn -= 1
        else:
            self.n_live -= 1
            self.n_bytes -= size


def _less(limit: int) -> int:
    """Returns nine tenths of a limit, rounded up."""
    return limit - limit // 10


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
