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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from marquee.bundle.bundle import Bundle
from marquee.core.ids import PADDING_INDEX
from marquee.decision.new_items import takes_new_items, unused
from marquee.decision.recommender import Recommender
from marquee.errors import ConfigError, ItemsFullError, UnknownIdError
from marquee.store.live_items import ItemLog, LiveItem
from serving.http.errors import Problem, Refusal, unavailable
from serving.releases.channel import Channel
from serving.releases.metrics import ItemMetrics
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class ItemState(StrEnum):
    """What became of an item."""

    live = "live"  # it is searched beside the items of the release
    in_release = "in_release"  # the release holds it: its own copy answers, what was posted is kept
    withdrawn = "withdrawn"  # no answer holds it


class PlacedItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of an item, and which of its attributes the release ignores or cannot read.

    Attributes:
        item_id: The item.
        state: `live`: it is searched. `in_release`: the release's own copy answers. `withdrawn`.
        unknown_attributes: Attributes that the catalog does not have; they say nothing.
        unread_attributes: Attributes whose value is of another type; they count as not given.
    """

    item_id: str
    state: ItemState
    unknown_attributes: tuple[str, ...] = ()
    unread_attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What a change of items came to.

    Attributes:
        version: The release that it was proved on.
        items: What became of each.
        n_kept: Items that the file now speaks of, withdrawn ones included.
    """

    version: str
    items: tuple[PlacedItem, ...]
    n_kept: int


class LiveItems:
    """The live items of one process. Several threads may change and follow them.

    Args:
        channels: The releases that answer, once each.
        folder: Where the files are; None for a service that keeps no live items.
        max_items: Most items that one file may speak of.
        metrics: What counts.
        clock: Returns the time, seconds since 1970 UTC; for the counters.
    """

    def __init__(
        self,
        channels: Iterable[Channel],
        folder: Path | None,
        max_items: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.max_items = max_items
        self._channels = tuple(channels)
        self._folder = folder
        self._metrics = metrics.family(ItemMetrics)
        self._clock = clock
        self._logs: Mapping[str, ItemLog] = {}
        self._spreading = threading.Lock()
        self._closing = threading.Event()

    def open(self) -> None:
        """Reads the files and puts their items on what answers; the releases must be loaded.

        Raises:
            ConfigError: If the folder cannot be written.
        """
        if self._folder is None:
            return
        names = dict.fromkeys(_current(channel).bundle.manifest.name for channel in self._channels)
        self._logs = {name: ItemLog(self._folder, name, self.max_items) for name in names}
        for name in names:
            self._spread(name)

    def watch(self, interval_s: float) -> None:
        """Begins to follow the files in a thread of its own, every `interval_s` seconds."""
        if self._logs:
            threading.Thread(target=self._watch, args=(interval_s,), name="items", daemon=True).start()

    def close(self) -> None:
        """Stops following."""
        self._closing.set()

    def refresh(self) -> None:
        """Puts on what answers what others have written."""
        for name, log in self._logs.items():
            n_damaged = log.n_unreadable
            try:
                has_changed = log.refresh()
            except OSError as error:  # what is known goes on; the next look may do better
                logger.error("live items of %s cannot be read: %s", name, error)
                continue
            if log.n_unreadable > n_damaged:
                logger.error("%s damaged lines among the live items of %s", log.n_unreadable, name)
            if has_changed:
                self._metrics.show_index_change(self._clock())
                self._spread(name)

    def put(self, channel: Channel, items: Sequence[LiveItem]) -> Change:
        """Adds items, or says anew what they are; returns once this worker answers with them.

        Raises:
            Refusal: If the service keeps none, the release cannot embed one, or the disk refuses.
            ItemsFullError: If there is no room.
        """
        log, current = self._log(channel), _current(channel)
        _validate_embeddings(current, items)
        self._write(log, current.bundle, items)
        placed = []
        for item in items:
            is_own = item.item_id in current.bundle.catalog.item_ids
            problems = unused(current.bundle, item)
            state = ItemState.in_release if is_own else ItemState.live
            placed.append(PlacedItem(item.item_id, state, problems.unknown, problems.unread))
        return Change(current.version, tuple(placed), len(log.items))

    def withdraw(self, channel: Channel, item_id: str) -> Change:
        """Withdraws an item, of the release or live; returns once no answer of this worker holds it.

        Raises:
            UnknownIdError: If there is no such item.
            Refusal: If the service keeps no live items, or the disk refuses.
            ItemsFullError: If there is no room.
        """
        log, current = self._log(channel), _current(channel)
        log.refresh()
        if item_id not in log.items and item_id not in current.bundle.catalog.item_ids:
            raise UnknownIdError(
                f"there is no item {item_id[:128]!r}, neither in release {current.version} nor live; "
                "correct the id"
            )
        self._write(log, current.bundle, [LiveItem(item_id=item_id, is_withdrawn=True)])
        return Change(current.version, (PlacedItem(item_id, ItemState.withdrawn),), len(log.items))

    def _write(self, log: ItemLog, bundle: Bundle, changes: Sequence[LiveItem]) -> None:
        """Writes changes to the file and puts them on what answers."""
        held = [id_ for id_, item in log.items.items() if not item.is_withdrawn]
        try:
            log.append(changes, [id_ for id_ in held if id_ in bundle.catalog.item_ids])
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
        self._spread(bundle.manifest.name)

    def _spread(self, name: str) -> None:
        """Puts the items of a file on all that answers from bundles of its name."""
        log = self._logs[name]
        with self._spreading:  # or else an older reading could come last
            for channel in self._channels:
                if _current(channel).bundle.manifest.name == name:
                    channel.take_live_items(log.items)
                    item_pool = _current(channel).item_pool
                    self._metrics.show_items(name, item_pool.n_added, item_pool.n_withdrawn)

    def _log(self, channel: Channel) -> ItemLog:
        """Returns the file of a channel; raises Refusal if there is none."""
        log = self._logs.get(_current(channel).bundle.manifest.name)
        if log is None:
            raise Refusal(
                Problem.not_configured,
                "this service keeps no live items; start it with MARQUEE_ITEMS, the folder to keep them in",
            )
        return log

    def _watch(self, interval_s: float) -> None:
        """Follows until `close` is called."""
        while not self._closing.wait(interval_s):
            self.refresh()


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


def _validate_embeddings(recommender: Recommender, items: Sequence[LiveItem]) -> None:
    """Raises Refusal unless the release can embed every item that it does not hold."""
    new = {item.item_id: item for item in items if item.item_id not in recommender.bundle.catalog.item_ids}
    if not new:
        return
    if not takes_new_items(recommender.bundle):
        raise Refusal(
            Problem.invalid_request,
            f"release {recommender.version} knows items by their ids alone, got {len(new)} new ones; export "
            "a model with item features, or publish a release that holds them",
            field="items",
        )
    item_pool = recommender.item_pool.with_live_items(new)
    for item_id in new:
        if item_pool.table.index(item_id) == PADDING_INDEX:
            raise Refusal(
                Problem.invalid_request,
                f"item {item_id!r} has no finite embedding in release {recommender.version}; correct its "
                "attributes",
                field="items",
            )
