"""Which bundle answers, and how another takes its place while requests go on.

A worker looks at `CURRENT` all the time, and loads what it names: verify, load, warm up, then replace one
reference. A batch keeps the recommender that it began with, so nothing is mixed and nothing is dropped.
Whatever is wrong with a new release, the old one stays.
"""

import fcntl
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from marquee.bundle import activate, resolve
from marquee.catalog import ItemKind
from marquee.errors import BundleError, BundleNotFoundError, ConfigError, MarqueeError, UnknownIdError
from marquee.manifest import MANIFEST, Manifest, validate_name
from marquee.pointers import CURRENT
from marquee.recommender import Recommender
from marquee.requests import HistoryEvent, Request

logger = logging.getLogger(__name__)

WARM_UP_BATCHES = (1, 4, 32)
MAX_LISTED = 100
_NICENESS = 15

OnChange = Callable[[Recommender | None], None]
"""Told the recommender that now answers, or None when a release was refused."""
Pointer = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Release:
    """One version in the folder of bundles.

    Attributes:
        version: Its name.
        manifest: What it says of itself, None if that cannot be read.
        is_current: Whether `CURRENT` names it.
        is_answering: Whether this worker answers from it.
    """

    version: str
    manifest: Manifest | None
    is_current: bool
    is_answering: bool


class Releases:
    """The recommender that answers in this process, and its replacement.

    Args:
        path: As for `Bundle.load`. A folder of one version is served for ever: there is nothing to watch.
        on_change: Told of every release that was taken or refused.
    """

    def __init__(self, path: str | Path, on_change: OnChange = lambda _recommender: None) -> None:
        self.recommender: Recommender | None = None  # until it is warm
        self._home = Path(path)
        self._on_change = on_change
        self._seen: Pointer = None
        self._changing = threading.Lock()
        self._closing = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def is_pinned(self) -> bool:
        """Whether the path names one version and not a folder of them."""
        return (self._home / MANIFEST).exists()

    def load(self) -> None:
        """Loads the first release; raises as `Bundle.load` does, for a service without one is of no use."""
        with self._changing:
            self._seen = self._pointer()
            self._take(_loaded(resolve(self._home)))

    def refresh(self) -> bool:
        """Takes the release that `CURRENT` names, if that has changed; returns whether another answers now.

        A release that cannot be used is refused once, with a log line, and tried again only when `CURRENT`
        is written again.
        """
        with self._changing:
            pointer = self._pointer()
            if self.is_pinned or pointer == self._seen:
                return False
            self._seen = pointer
            try:
                folder = resolve(self._home)
                if self.recommender is not None and folder == self.recommender.bundle.path:
                    return False
                self._take(_loaded(folder))
            except Exception as error:  # whatever a release does, the one that answers goes on
                self._refuse(error)
                return False
            return True

    def activate(self, version: str) -> Recommender:
        """Makes a release the current one, for this worker now and for the others when they look.

        It is loaded and warmed up first: `CURRENT` never comes to name what does not work.

        Raises:
            UnknownIdError: If there is no such release.
            BundleError: If it cannot be used.
            OSError: If `CURRENT` cannot be written.
        """
        with self._changing:
            folder = self._folder(version)
            try:
                recommender = _loaded(folder)
                activate(folder)
            except Exception as error:
                self._refuse(error)
                raise
            self._seen = self._pointer()
            self._take(recommender)
            return recommender

    def listed(self) -> list[Release]:
        """Returns the releases in the folder, newest first, at most `MAX_LISTED`."""
        home = self._home.parent if self.is_pinned else self._home
        current = None
        with suppress(MarqueeError):
            current = resolve(self._home).name
        answering = self.recommender.version if self.recommender else None
        folders = [folder for folder in home.iterdir() if (folder / MANIFEST).is_file()]
        releases = [
            Release(folder.name, _manifest(folder), folder.name == current, folder.name == answering)
            for folder in folders
            if not folder.name.startswith(".")
        ]
        releases.sort(key=lambda release: (_created(release), release.version), reverse=True)
        return releases[:MAX_LISTED]

    def watch(self, interval_s: float) -> None:
        """Begins to look at `CURRENT` in a thread of its own, every `interval_s` seconds."""
        self._watcher = threading.Thread(target=self._watch, args=(interval_s,), name="releases", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Stops looking."""
        self._closing.set()

    def _watch(self, interval_s: float) -> None:
        """Looks until `close` is called."""
        be_nice()
        while not self._closing.wait(interval_s):
            self.refresh()

    def _take(self, recommender: Recommender) -> None:
        """Lets a warm recommender answer; what the old one holds goes with its last batch."""
        gc.collect()
        gc.freeze()
        self.recommender = recommender
        logger.info("release %s answers", recommender.version)
        self._on_change(recommender)

    def _refuse(self, error: Exception) -> None:
        """Tells the log and the counters that a release was refused."""
        answering = self.recommender.version if self.recommender else None
        logger.error("a release was refused, %s goes on answering: %s", answering, error, exc_info=error)
        self._on_change(None)

    def _folder(self, version: str) -> Path:
        """Returns the folder of a version; raises UnknownIdError if there is none."""
        folder = self._home / version
        try:
            validate_name(version, "a version")
        except ConfigError as error:
            raise UnknownIdError(f"there is no release {version[:128]!r}: {error}") from error
        if folder.is_symlink() or not (folder / MANIFEST).is_file():
            raise UnknownIdError(f"there is no release {version!r}; GET /v1/releases lists those there are")
        return folder

    def _pointer(self) -> Pointer:
        """Returns what tells one writing of `CURRENT` from the next, None if it is not there."""
        try:
            facts = (self._home / CURRENT).lstat()
        except OSError:
            return None
        return facts.st_ino, facts.st_mtime_ns, facts.st_size


def be_nice() -> None:
    """Lets the calling thread wait for those that answer: loading must not slow requests down."""
    with suppress(OSError, AttributeError):  # AttributeError: not on this system
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def warm_up(recommender: Recommender) -> None:
    """Sends every kind of request through the model, in batches of one and of many.

    Raises:
        BundleError: If the model answers one of them with no numbers.
    """
    item_ids = recommender.bundle.catalog.item_ids.ids[:3]
    user_ids = recommender.bundle.user_ids.ids[:1]
    timestamp = int(time.time())
    history = tuple(HistoryEvent(item_id) for item_id in item_ids)
    requests = [
        Request(timestamp=timestamp),
        Request(timestamp=timestamp, history=history),
        *(
            Request(timestamp=timestamp, user_id=user_id, kind=kind)
            for user_id in user_ids
            for kind in ItemKind
        ),
    ]
    for batch in WARM_UP_BATCHES:
        answers = recommender.recommend([requests[position % len(requests)] for position in range(batch)])
        for answer in answers:
            if answer.fallback_reason:
                raise BundleError(
                    f"release {recommender.version} fails its first requests: {answer.fallback_reason}; "
                    "train again"
                )
    for item_id in item_ids:
        recommender.similar(item_id, k=10, kind=None, exclude=(), timestamp=timestamp)


def _loaded(folder: Path) -> Recommender:
    """Returns the warm recommender of a release; one worker at a time loads it."""
    with _only_loader(folder):
        recommender = Recommender.load(folder)
        warm_up(recommender)
    return recommender


@contextmanager
def _only_loader(folder: Path) -> Iterator[None]:
    """Waits until no other worker loads the release: else every core would load and none would answer."""
    try:
        manifest = (folder / MANIFEST).open("rb")
    except OSError as error:
        raise BundleNotFoundError(
            f"{folder} has no readable {MANIFEST}: {error}; publish it again"
        ) from error
    with manifest:
        with suppress(OSError):  # a file system without locks: workers then load at the same time
            fcntl.flock(manifest, fcntl.LOCK_EX)
        yield


def _manifest(folder: Path) -> Manifest | None:
    """Returns the manifest of a release, None if it cannot be read."""
    try:
        return Manifest.from_json((folder / MANIFEST).read_bytes())
    except (MarqueeError, OSError):
        return None


def _created(release: Release) -> int:
    """Returns when a release was made, 0 if that is not known."""
    return release.manifest.created if release.manifest else 0
