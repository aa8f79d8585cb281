"""Which bundles of a channel answer, and how others take their place while requests go on.

A worker looks at `CURRENT` and `ROLLOUT` all the time, and loads what they name: verify, load, ask the golden
requests, warm up, then replace one reference. A request keeps the recommender that it began with, so nothing
is mixed and nothing is dropped. Whatever is wrong with a new release, the old one stays.

```
CURRENT   the current release answers everybody ...
ROLLOUT   ... but the share of users that the canary answers; the shadow answers nobody
```
"""

import gc
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from marquee.bundle.manifest import MANIFEST, Manifest, validate_name
from marquee.bundle.releases import (
    CURRENT,
    ROLLOUT,
    Candidate,
    Role,
    Rollout,
    activate,
    drop_candidate,
    go_back,
    name_candidate,
    previous,
    read_rollout,
    resolve,
    without,
)
from marquee.decision.recommender import Recommender
from marquee.errors import BundleError, ConfigError, MarqueeError, UnknownIdError
from marquee.store.live_items import LiveItem
from marquee.store.signing import TrustedKeys
from serving.releases.loading import be_nice, load_release

logger = logging.getLogger(__name__)

MAX_LISTED = 100

OnChange = Callable[[Recommender | None], None]
"""Told the recommender that is now the current one, or None when a release was refused."""
Pointers = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A candidate that is ready to answer.

    Attributes:
        candidate: Its role and its share of the traffic.
        recommender: Warm.
    """

    candidate: Candidate
    recommender: Recommender

    def with_live_items(self, items: Mapping[str, LiveItem]) -> "Loaded":
        """Returns the same release with these live items in place of others."""
        return replace(self, recommender=self.recommender.with_live_items(items))


@dataclass(frozen=True, slots=True)
class Answering:
    """The releases that answer in this process; replaced as a whole.

    Attributes:
        current: Answers everybody else.
        candidates: Those that are loaded, by role.
    """

    current: Recommender
    candidates: Mapping[Role, Loaded] = field(default_factory=dict)

    def choose(self, caller: str) -> Recommender:
        """Returns the recommender that answers a caller: a user id, or the id of a request without one."""
        canary = self.candidates.get(Role.canary)
        return canary.recommender if canary and canary.candidate.includes(caller) else self.current

    def with_candidate(self, role: Role, loaded: Loaded | None) -> "Answering":
        """Returns the same releases with another candidate in a role, or none."""
        others = {other: one for other, one in self.candidates.items() if other is not role}
        return replace(self, candidates={**others, role: loaded} if loaded else others)

    def with_live_items(self, items: Mapping[str, LiveItem]) -> "Answering":
        """Returns the same releases with these live items in place of others."""
        candidates = {role: one.with_live_items(items) for role, one in self.candidates.items()}
        return Answering(self.current.with_live_items(items), candidates)

    def loaded(self, folder: Path) -> Recommender | None:
        """Returns the recommender of a release that is loaded already, in any role; None if it is not."""
        recommenders = [self.current, *(one.recommender for one in self.candidates.values())]
        return next((one for one in recommenders if one.bundle.path == folder), None)

    def share(self, role: Role, version: str) -> float:
        """Returns the share that a version has in a role, 0 for none."""
        loaded = self.candidates.get(role)
        return loaded.candidate.share if loaded and loaded.candidate.version == version else 0.0


@dataclass(frozen=True, slots=True)
class Release:
    """One version in the folder of bundles.

    Attributes:
        version: Its name.
        manifest: What it says of itself, None if that cannot be read.
        is_current: Whether `CURRENT` names it.
        is_answering: Whether this worker answers from it, as the current release.
        canary_share: Share of the users that it answers in this worker as the canary.
        shadow_share: Share of the requests that it is asked in this worker as the shadow.
    """

    version: str
    manifest: Manifest | None
    is_current: bool
    is_answering: bool
    canary_share: float
    shadow_share: float


class Channel:
    """The recommenders of one channel that answer in this process, and their replacement.

    Args:
        path: As for `Bundle.load`. A folder of one version is served for ever: there is nothing to watch.
        on_change: Told of every release that becomes current or is refused.
        trusted: Whose releases are taken; None for anybody's.
        validate: Raises BundleError or ConfigError if a loaded release is not fit for its surfaces.
    """

    def __init__(
        self,
        path: str | Path,
        on_change: OnChange = lambda _recommender: None,
        trusted: TrustedKeys | None = None,
        validate: Callable[[Recommender], None] = lambda _recommender: None,
    ) -> None:
        self.answering: Answering | None = None  # until it is warm
        self._home = Path(path)
        self._on_change = on_change
        self._trusted = trusted
        self._validate = validate
        self._seen: Pointers = ()
        self._changing = threading.Lock()
        self._items: Mapping[str, LiveItem] = {}
        self._swapping = threading.Lock()  # held for moments, `_changing` for as long as a release loads
        self._closing = threading.Event()

    @property
    def recommender(self) -> Recommender | None:
        """The current release, None before it is warm."""
        return self.answering.current if self.answering else None

    @property
    def is_pinned(self) -> bool:
        """Whether the path names one version and not a folder of them."""
        return (self._home / MANIFEST).exists()

    def load(self) -> None:
        """Loads the first release; raises as `Bundle.load` does, for a service without one is of no use."""
        with self._changing:
            self._seen = self._pointers()
            self._take(self._loaded(resolve(self._home)))
            if not self.is_pinned:
                self._follow_rollout()

    def refresh(self) -> bool:
        """Follows `CURRENT` and `ROLLOUT`, if they have changed; returns whether another is current now.

        A release that cannot be used is refused once, with a log line, and tried again only when the file
        that names it is written again.
        """
        with self._changing:
            pointers = self._pointers()
            if self.is_pinned or pointers == self._seen or self.answering is None:
                return False
            before, self._seen = self._seen, pointers
            was = self.answering.current.bundle
            if pointers[0] != before[0]:
                self._follow_current()
            self._follow_rollout()
            return self.answering.current.bundle is not was

    def activate(self, version: str) -> Recommender:
        """Makes a release the current one, for this worker now and for the others when they look.

        It is loaded and warmed up first: `CURRENT` never comes to name what does not work. It is then no
        candidate any more.

        Raises:
            UnknownIdError: If there is no such release.
            BundleError: If it cannot be used.
            OSError: If `CURRENT` cannot be written.
        """
        with self._changing:
            return self._make_current(self._folder(version), activate)

    def go_back(self) -> Recommender:
        """Makes the release current that was so before; raises as `activate` does."""
        with self._changing:
            return self._make_current(previous(self._home), lambda folder: go_back(folder.parent))

    def name_candidate(self, version: str, role: Role, share: float) -> Recommender:
        """Makes a release a candidate, for this worker now and for the others when they look.

        Raises:
            UnknownIdError: If there is no such release.
            ConfigError: If the share is out of range.
            BundleError: If it cannot be used, or is the current one.
            OSError: If `ROLLOUT` cannot be written.
        """
        with self._changing:
            folder, candidate = self._folder(version), Candidate(role, version, share)
            recommender = self._loaded_or_refused(folder)
            name_candidate(folder, role, share)
            self._seen = self._pointers()
            self._set_candidate(role, Loaded(candidate, recommender))
            return recommender

    def drop_candidate(self, version: str) -> None:
        """Takes a release out of every role, for this worker now and for the others when they look.

        Raises:
            BundleNotFoundError: If it is no candidate.
            BundleError: If `ROLLOUT` cannot be read.
            OSError: If it cannot be written.
        """
        with self._changing:
            drop_candidate(self._home, version)
            self._seen = self._pointers()
            self._follow_rollout()

    def take_live_items(self, items: Mapping[str, LiveItem]) -> None:
        """Lets every release that answers here, and those that will, answer with these live items."""
        with self._swapping:
            self._items = items
            if self.answering is not None:
                self.answering = self.answering.with_live_items(items)

    def listed(self) -> list[Release]:
        """Returns the releases in the folder, newest first, at most `MAX_LISTED`."""
        home = self._home.parent if self.is_pinned else self._home
        current = None
        with suppress(MarqueeError):
            current = resolve(self._home).name
        folders = [folder for folder in home.iterdir() if (folder / MANIFEST).is_file()]
        releases = [self._described(folder, current) for folder in folders if not folder.name.startswith(".")]
        releases.sort(key=lambda release: (_created(release), release.version), reverse=True)
        return releases[:MAX_LISTED]

    def watch(self, interval_s: float) -> None:
        """Begins to look at the pointers in a thread of its own, every `interval_s` seconds."""
        threading.Thread(target=self._watch, args=(interval_s,), name="releases", daemon=True).start()

    def close(self) -> None:
        """Stops looking."""
        self._closing.set()

    def _watch(self, interval_s: float) -> None:
        """Looks until `close` is called."""
        be_nice()
        while not self._closing.wait(interval_s):
            self.refresh()

    def _follow_current(self) -> None:
        """Takes the release that `CURRENT` names, or refuses it."""
        try:
            folder = resolve(self._home)
            if self.answering is None or folder != self.answering.current.bundle.path:
                self._take(self._loaded(folder))
        except Exception as error:  # whatever a release does, the one that answers goes on
            self._refuse(error)

    def _follow_rollout(self) -> None:
        """Takes the candidates that `ROLLOUT` names, and refuses those that cannot be used."""
        assert self.answering is not None, "candidates come after the current release"
        rollout: Rollout = {}
        try:
            rollout = read_rollout(self._home)
        except BundleError as error:
            self._refuse(error)
        wanted = without(rollout, self.answering.current.version)
        for role in Role:
            loaded, candidate = self.answering.candidates.get(role), wanted.get(role)
            if candidate != (loaded.candidate if loaded else None):
                self._set_candidate(role, self._loaded_candidate(candidate))

    def _loaded_candidate(self, candidate: Candidate | None) -> Loaded | None:
        """Loads a candidate; None if there is none, it was refused, or it is the current release."""
        if candidate is None:
            return None
        try:
            recommender = self._loaded(self._folder(candidate.version))
        except Exception as error:  # as in _follow_current
            self._refuse(error)
            return None
        is_current = self.recommender is not None and recommender.bundle is self.recommender.bundle
        return None if is_current else Loaded(candidate, recommender)

    def _make_current(self, folder: Path, point: Callable[[Path], object]) -> Recommender:
        """Loads a release, then lets `point` name it in `CURRENT`, then takes it."""
        recommender = self._loaded_or_refused(folder)
        try:
            point(folder)
        except Exception as error:
            self._refuse(error)
            raise
        self._seen = self._pointers()
        self._take(recommender)
        self._follow_rollout()
        return recommender

    def _loaded(self, folder: Path) -> Recommender:
        """Returns the recommender of a release, warm and fit; the one that is loaded already if it is."""
        known = self.answering.loaded(folder) if self.answering else None
        if known is not None:
            return known
        recommender = load_release(folder, self._trusted)
        if not self.is_pinned and recommender.version != folder.name:
            raise BundleError(
                f"{folder} must hold version {folder.name!r}, got {recommender.version!r}: it was renamed; "
                "publish it again"
            )
        self._validate(recommender)
        return recommender.with_live_items(self._items)  # embedded here, where nobody waits for it

    def _loaded_or_refused(self, folder: Path) -> Recommender:
        """Returns what `_loaded` does; tells of the refusal where that raises."""
        try:
            return self._loaded(folder)
        except Exception as error:
            self._refuse(error)
            raise

    def _take(self, recommender: Recommender) -> None:
        """Lets a warm recommender be the current one; what the old one holds goes with its last batch."""
        _freeze()
        with self._swapping:
            was, recommender = self.answering, recommender.with_live_items(self._items)
            self.answering = replace(was, current=recommender) if was else Answering(recommender)
        logger.info("release %s answers", recommender.version)
        self._on_change(recommender)

    def _set_candidate(self, role: Role, loaded: Loaded | None) -> None:
        """Gives a role to a warm candidate, or takes it from the one that has it (None)."""
        assert self.answering is not None, "a candidate is compared with a release that answers"
        was = self.answering.candidates.get(role)
        if was is None and loaded is None:
            return
        _freeze()
        with self._swapping:
            new = loaded and loaded.with_live_items(self._items)
            self.answering = self.answering.with_candidate(role, new)
        if loaded:
            logger.info("release %s is the %s of %s", loaded.candidate.version, role, loaded.candidate.share)
        elif was:
            logger.info("release %s is the %s no more", was.candidate.version, role)

    def _refuse(self, error: Exception) -> None:
        """Tells the log and the counters that a release was refused."""
        answering = self.recommender.version if self.recommender else None
        logger.error("a release was refused, %s goes on answering: %s", answering, error, exc_info=error)
        self._on_change(None)

    def _described(self, folder: Path, current: str | None) -> Release:
        """Returns what is told of the release in a folder."""
        now = self.answering
        return Release(
            version=folder.name,
            manifest=_manifest(folder),
            is_current=folder.name == current,
            is_answering=now is not None and now.current.version == folder.name,
            canary_share=now.share(Role.canary, folder.name) if now else 0.0,
            shadow_share=now.share(Role.shadow, folder.name) if now else 0.0,
        )

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

    def _pointers(self) -> Pointers:
        """Returns what tells one writing of each pointer from the next, None for one that is not there."""
        return _stamp(self._home / CURRENT), _stamp(self._home / ROLLOUT)


def _freeze() -> None:
    """Keeps the garbage collector from looking through what will stay."""
    gc.collect()
    gc.freeze()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Returns what tells one writing of a file from the next, None if it is not there."""
    try:
        facts = path.lstat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


def _manifest(folder: Path) -> Manifest | None:
    """Returns the manifest of a release, None if it cannot be read."""
    try:
        return Manifest.from_json((folder / MANIFEST).read_bytes())
    except (MarqueeError, OSError):
        return None


def _created(release: Release) -> int:
    """Returns when a release was made, 0 if that is not known."""
    return release.manifest.created if release.manifest else 0
