"""Items that come and go while the service runs: kept in a file, followed by every worker.

```
POST /v1/items      a change ── proved on this release ── forced to disk ── answers here at once
                                                              └── the other workers look a few times a second
```

Loading a release takes seconds, a change of items must not: the two wait for each other only where what
answers is replaced.
"""

import errno
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

import msgspec

from marquee.decision.item_changes import is_changed
from marquee.decision.new_items import unused
from marquee.decision.recommender import Recommender
from marquee.errors import ConfigError, ItemsFullError, UnknownIdError
from marquee.store.live_items import ItemLimits, ItemLog, LiveItem
from serving.http.errors import Problem, Refusal, unavailable
from serving.releases.channel import Channel
from serving.releases.item_validation import build_change, validate_embeddings, validate_size, validate_sizes
from serving.releases.listing import held_items, names_of_releases
from serving.releases.metrics import ItemMetrics
from serving.releases.settings import ReleaseSettings
from serving.telemetry.background import Background, ThreadMetrics
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class ItemState(StrEnum):
    """The outcome for an item."""

    live = "live"  # it is searched beside the items of the release
    in_release = "in_release"  # the release holds it: its own copy answers, what was posted is kept
    changed = "changed"  # it answers with what was changed
    withdrawn = "withdrawn"  # no answer holds it


class PlacedItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The outcome for an item, and which of its attributes the release ignores or cannot read.

    Attributes:
        item_id: The item.
        state: `live`: it is searched. `in_release`: the release's own copy answers. `changed`: it answers
            with what was changed. `withdrawn`.
        unknown_attributes: Attributes that the catalog does not have; they say nothing.
        unread_attributes: Attributes whose value is of another type; they count as not given.
        caution: Why it changes no answer although it was taken; null if nothing is in the way.
    """

    item_id: str
    state: ItemState
    unknown_attributes: tuple[str, ...] = ()
    unread_attributes: tuple[str, ...] = ()
    caution: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """The outcome of a change of items.

    Attributes:
        version: The release that it was proved on.
        items: What became of each.
        n_kept: Items that the file now speaks of, withdrawn ones included.
    """

    version: str
    items: tuple[PlacedItem, ...]
    n_kept: int


@dataclass(frozen=True, slots=True)
class LiveItemLimits:
    """How much a service keeps.

    Attributes:
        max_item_bytes: Largest item, in bytes of JSON.
        of_file: Of all items of a channel together.
    """

    max_item_bytes: int = 32_768
    of_file: ItemLimits = field(default_factory=ItemLimits)

    @classmethod
    def of(cls, settings: ReleaseSettings) -> "LiveItemLimits":
        """Returns the operator's limits."""
        of_file = ItemLimits(settings.max_live_items, settings.max_live_items_bytes)
        return cls(settings.max_live_item_bytes, of_file)


class LiveItems:
    """The live items of one process. Several threads may change and follow them.

    Args:
        channels: The releases that answer, once each.
        folder: Where the files are; None for a service that keeps no live items.
        limits: How much is kept.
        metrics: What counts.
        clock: Returns the time, seconds since 1970 UTC; for the counters.
    """

    def __init__(
        self,
        channels: Iterable[Channel],
        folder: Path | None,
        limits: LiveItemLimits,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits = limits
        self._channels = tuple(channels)
        self._folder = folder
        self._metrics = metrics.family(ItemMetrics)
        self._threads = metrics.family(ThreadMetrics)
        self._clock = clock
        self._logs: Mapping[Channel, ItemLog] = {}
        self._spreading = threading.Lock()
        self._thread: Background | None = None

    def open(self) -> None:
        """Reads the files and puts their items on what answers; the releases must be loaded.

        Raises:
            ConfigError: If the folder cannot be written.
        """
        if self._folder is None:
            return
        names = {channel: _file_name(self._folder, channel) for channel in self._channels}
        logs = {name: ItemLog(self._folder, name, self.limits.of_file) for name in set(names.values())}
        self._logs = {channel: logs[name] for channel, name in names.items()}
        for channel in self._channels:
            self._spread(channel)

    def watch(self, interval_s: float) -> None:
        """Begins to follow the files in a thread of its own, every `interval_s` seconds."""
        if self._logs:
            self._thread = Background("items", self.refresh, interval_s, self._threads, self._clock)
            self._thread.start()

    def close(self) -> None:
        """Stops following."""
        if self._thread is not None:
            self._thread.close()

    def refresh(self) -> None:
        """Puts on what answers what others have written.

        Raises:
            OSError: If a file cannot be read; the others have been followed all the same.
        """
        failed: OSError | None = None
        for log in dict.fromkeys(self._logs.values()):
            n_damaged = log.n_unreadable
            try:
                has_changed = log.refresh()
            except OSError as error:  # what is known goes on; the next look may do better
                failed = error
                continue
            names = ", ".join(channel.name for channel in self._sharing(log))
            if log.n_unreadable > n_damaged:
                logger.error("%s damaged lines among the live items of %s", log.n_unreadable, names)
            if has_changed:
                self._metrics.show_index_change(self._clock())
                for channel in self._sharing(log):
                    self._spread(channel)
        if failed is not None:
            raise failed

    def put(self, channel: Channel, items: Sequence[LiveItem]) -> Change:
        """Adds items, or says anew what they are; returns once this worker answers with them.

        Raises:
            Refusal: If the service keeps none, the release cannot embed one, one is too large, or the disk
                refuses.
            ItemsFullError: If there is no room.
        """
        log, current = self._log(channel), _current(channel)
        validate_sizes(items, self.limits.max_item_bytes)
        validate_embeddings(current, items)
        self._write(log, items)
        placed = []
        for item in items:
            is_own = item.item_id in current.bundle.catalog.item_ids
            problems = unused(current.bundle, item)
            state = ItemState.in_release if is_own else ItemState.live
            caution = self._caution(item, current.version if is_own else None)
            placed.append(PlacedItem(item.item_id, state, problems.unknown, problems.unread, caution))
        return Change(current.version, tuple(placed), len(log.items))

    def change(self, channel: Channel, item_id: str, values: Mapping[str, object]) -> Change:
        """Changes some columns of an item; returns once this worker answers with them.

        Args:
            channel: Whose item.
            item_id: Of the release that answers, or live.
            values: New values by column, availability among them; None takes one away.

        Raises:
            UnknownIdError: If there is no such item.
            Refusal: If the service keeps no live items, the release cannot take a value, the item gets too
                large, or the disk refuses.
            ItemsFullError: If there is no room.
        """
        log, current = self._log(channel), _current(channel)
        log.refresh()
        before = log.items.get(item_id)
        change = build_change(current, before, item_id, values, int(self._clock()))
        after = change.upon(before)
        validate_size(after, self.limits.max_item_bytes, None)
        validate_embeddings(current, [after])
        self._write(log, [change])
        return Change(current.version, (PlacedItem(item_id, ItemState.changed),), len(log.items))

    def withdraw(self, channel: Channel, item_id: str) -> Change:
        """Withdraws an item, of a release or live; returns once no answer of this worker holds it.

        Raises:
            UnknownIdError: If there is no such item.
            Refusal: If the service keeps no live items, or the disk refuses.
        """
        log, current = self._log(channel), _current(channel)
        with suppress(OSError):  # what is known decides; the write below says what is wrong with the disk
            log.refresh()
        if item_id not in log.items and not _is_in_release(channel, item_id):
            raise UnknownIdError(
                f"there is no item {item_id[:128]!r}, neither in release {current.version} nor live; "
                "correct the id"
            )
        self._write(log, [LiveItem(item_id=item_id, is_withdrawn=True)])
        return Change(current.version, (PlacedItem(item_id, ItemState.withdrawn),), len(log.items))

    def kept(self, channel: Channel) -> tuple[Recommender, Mapping[str, LiveItem]]:
        """Returns the release of a channel that answers, and the live items that are kept for it."""
        log = self._logs.get(channel)
        return _current(channel), log.items if log is not None else {}

    def _write(self, log: ItemLog, changes: Sequence[LiveItem]) -> None:
        """Writes changes to the file and puts them on what answers."""
        try:
            log.append(changes, partial(self._expendable, log))
        except ItemsFullError:
            self._metrics.count_changes("refused", len(changes))
            raise
        except OSError as error:
            self._metrics.count_changes("refused", len(changes))
            logger.error("a change of items could not be written: %s", error, exc_info=error)
            if error.errno in _FULL:
                raise Refusal(
                    Problem.no_room,
                    f"the disk has no room for {len(changes)} changes of items, nothing was changed and "
                    "answers go on; make room and send them again",
                ) from error
            raise unavailable("the items could not be written, the service's log says why") from error
        self._metrics.count_changes("taken", len(changes))
        self._metrics.show_index_change(self._clock())
        for sharing in self._sharing(log):
            self._spread(sharing)

    def _spread(self, channel: Channel) -> None:
        """Puts the items of a channel's file on all of its releases that answer."""
        with self._spreading:  # or else an older reading could come last
            log = self._logs[channel]
            channel.state.take_live_items(log.items)
            item_pool = _current(channel).item_pool
            self._metrics.show_items(channel.name, item_pool.n_added, item_pool.n_withdrawn)
            self._metrics.show_fill(channel.name, log.fill)

    def _caution(self, item: LiveItem, holder: str | None) -> str | None:
        """Returns why an item that is taken changes no answer, None if nothing is in the way.

        Args:
            item: The item.
            holder: The release that has a copy of its own, None if it has none.
        """
        if holder is not None:
            return (
                f"release {holder} has a copy of its own, which answers as it was; change it with PATCH, "
                "publish a release with the change, or withdraw the item until there is one"
            )
        until, now = item.available_until, int(self._clock())
        if until is None or until > now:
            return None
        return f"its time is over: available_until is {until}, and it is {now}"

    def _expendable(self, log: ItemLog, items: Mapping[str, LiveItem]) -> Iterator[str]:
        """Names the items that may be forgotten, the most expendable first.

        Those whose time is over come first, then those that the current releases hold. A withdrawal may be
        forgotten only if no release on disk holds the item: else going back would show it again. A change
        stays until every current release was made after it: else the old price would come back unasked.
        """
        now = self._clock()
        channels = self._sharing(log)
        bundles = [_current(channel).bundle for channel in channels]
        live = [
            item
            for item in items.values()
            if not item.is_withdrawn and not any(is_changed(bundle, item) for bundle in bundles)
        ]
        yield from (
            one.item_id for one in live if one.available_until is not None and one.available_until <= now
        )
        catalogs = [bundle.catalog.item_ids for bundle in bundles]
        yield from (one.item_id for one in live if all(one.item_id in ids for ids in catalogs))
        withdrawn = {item_id for item_id, item in items.items() if item.is_withdrawn}
        for channel in channels:
            withdrawn -= held_items(channel.home, withdrawn)
        yield from (item_id for item_id in items if item_id in withdrawn)

    def _sharing(self, log: ItemLog) -> list[Channel]:
        """Returns the channels whose items lie in a file."""
        return [channel for channel in self._channels if self._logs[channel] is log]

    def _log(self, channel: Channel) -> ItemLog:
        """Returns the file of a channel; raises Refusal if there is none."""
        log = self._logs.get(channel)
        if log is None and self._folder is not None:
            raise unavailable("the live items are being loaded; retry after a moment")
        if log is None:
            raise Refusal(
                Problem.not_configured,
                "this service keeps no live items; start it with MARQUEE_ITEMS, the folder to keep them in",
            )
        return log


def validate_folder(folder: Path) -> None:
    """Raises ConfigError unless files can be written in a folder, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"MARQUEE_ITEMS must name a folder that can be written, got {folder}: {error}; make it writable "
            "or name another"
        ) from error


def _current(channel: Channel) -> Recommender:
    """Returns the current recommender of a channel; raises Refusal before it is loaded."""
    if channel.recommender is None:
        raise unavailable("the bundle is being loaded; retry after a moment")
    return channel.recommender


def _file_name(folder: Path, channel: Channel) -> str:
    """Returns the name of a channel's file: that of its folder.

    A manifest may carry any name, and items that followed it would vanish with a release of another name.
    Files of earlier versions of this service, which did follow it, are found and kept.
    """
    if not (folder / f"{channel.name}.items").exists():
        for name in dict.fromkeys(names_of_releases(channel.home)):
            if (folder / f"{name}.items").exists():
                return name
    return channel.name


def _is_in_release(channel: Channel, item_id: str) -> bool:
    """Tells whether a release that answers, a candidate included, holds an item."""
    answering = channel.answering
    recommenders = answering.recommenders if answering else ()
    return any(item_id in one.bundle.catalog.item_ids for one in recommenders)
