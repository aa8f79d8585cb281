"""Follows the files that say which releases of a channel are to answer.

```
CURRENT   the current release answers everybody ...
ROLLOUT   ... but the share of users that the canary answers; the shadow answers nobody
ACTIVATED the way back, for a worker that starts and cannot use what CURRENT names
```
"""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from marquee.bundle.manifest import MANIFEST
from marquee.bundle.releases import (
    ACTIVATED,
    CURRENT,
    ROLLOUT,
    Candidate,
    Role,
    Rollout,
    read_rollout,
    resolve,
    version_folder,
    way_back,
    without,
)
from marquee.decision.recommender import Recommender
from marquee.errors import BundleError, MarqueeError
from serving.releases.answering import Answering, AnsweringState, Loaded
from serving.releases.loading import Loader, is_final
from serving.releases.metrics import ItemMetrics, ReleaseMetrics
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
# A fault may pass at night; five minutes later at most the release is tried again.
LONGEST_PAUSE_S = 300.0

Result = TypeVar("Result")
Pointers = tuple[tuple[int, int, int] | None, ...]


class Follower:
    """Takes the releases that the files of a channel name. Belongs to one thread at a time.

    A release that is refused for good is loaded again only when a file is written again. What failed for a
    passing reason is tried again after a pause, which grows with each failure.

    Args:
        home: Folder of the channel, or of one version, which is then served for ever.
        name: Of the channel.
        state: What answers; is changed.
        loader: Loads releases.
        metrics: What counts.
        clock: Returns seconds; for the pauses.
        now: Returns the time, seconds since 1970 UTC; for the counters.
        arms: Versions that arms of experiments are answered by.
    """

    def __init__(
        self,
        home: Path,
        name: str,
        state: AnsweringState,
        loader: Loader,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        arms: Sequence[str] = (),
    ) -> None:
        self._arms = arms
        self._home = home
        self._name = name
        self._state = state
        self._loader = loader
        self._metrics = metrics.family(ReleaseMetrics)
        self._item_metrics = metrics.family(ItemMetrics)
        self._clock = clock
        self._now = now
        self._seen: Pointers | None = None
        self._refused: set[Path] = set()
        self._retry_at: float | None = None
        self._pause_s = FIRST_PAUSE_S
        self.is_behind = False

    def load_first(self) -> None:
        """Takes the release that `CURRENT` names, or the newest before it that can be used.

        Raises:
            BundleError: If there is none; the error is that of the release that `CURRENT` names.
        """
        if not is_pinned(self._home):
            # Before the load: a change while it runs must be seen as one at the next look.
            self._seen = _pointers(self._home)
        recommender, error = first_usable(self._home, self._load, self.refuse)
        self.take(recommender)
        if error is not None:
            logger.error(
                "release %s answers in place of the one that CURRENT of %s names: %s",
                recommender.version,
                self._name,
                error,
            )
        if not is_pinned(self._home):
            self.follow_rollout()
            self.follow_arms()
        self._show()

    def look(self) -> bool:
        """Follows the files if they have changed or a pause is over; returns whether another one is current.

        Raises:
            OSError: If the files cannot be looked at.
        """
        if self._state.answering is None or is_pinned(self._home):
            return False
        pointers = _pointers(self._home)
        is_due = self._retry_at is not None and self._clock() >= self._retry_at
        was = self._answering.current.bundle
        if pointers != self._seen:
            self._seen, self._pause_s = pointers, FIRST_PAUSE_S
            # Files were written anew: whoever did may have mended the release of the same name.
            self._refused.clear()
            self._follow()
        elif is_due:
            self._follow()
        self._show()
        return self._answering.current.bundle is not was

    def note_own_change(self) -> None:
        """Remembers the files as they are: this worker wrote them and answers by them already."""
        self._seen = _pointers(self._home)
        self._refused.clear()
        self._retry_at, self._pause_s = None, FIRST_PAUSE_S

    def load(self, folder: Path) -> Recommender:
        """Returns the warm recommender of a release, the one that is loaded already if it is.

        Raises:
            BundleError: If it cannot be used; that is counted and logged.
        """
        try:
            return self._load(folder)
        except Exception as error:
            self.refuse(error, folder)
            raise

    def take(self, recommender: Recommender) -> None:
        """Lets a warm recommender be the current one."""
        self._state.take(recommender)
        logger.info("release %s answers", recommender.version)
        manifest = recommender.bundle.manifest
        self._metrics.count_taken(manifest, self._now())
        self._item_metrics.show_index_change(manifest.created)

    def set_candidate(self, role: Role, loaded: Loaded | None) -> None:
        """Gives a role to a warm candidate, or takes it from the one that has it (None)."""
        was = self._state.set_candidate(role, loaded)
        if loaded:
            candidate = loaded.candidate
            logger.info("release %s is the %s of %s", candidate.version, role, candidate.share)
            self._metrics.show_ready([candidate.version], self._now())
        elif was:
            logger.info("release %s is the %s no more", was.candidate.version, role)

    def follow_rollout(self) -> None:
        """Takes the candidates that `ROLLOUT` names, and refuses those that cannot be used."""
        rollout: Rollout = {}
        try:
            rollout = read_rollout(self._home)
        except (BundleError, OSError) as error:
            self.refuse(error, self._home / ROLLOUT)
        # The current release cannot be its own candidate, whatever the file says.
        wanted = without(rollout, self._answering.current.version)
        for role in Role:
            loaded, candidate = self._answering.candidates.get(role), wanted.get(role)
            if candidate != (loaded.candidate if loaded else None):
                self.set_candidate(role, self._loaded_candidate(candidate))

    def follow_arms(self) -> None:
        """Takes the releases of experiments that are not loaded; a refused one suspends its experiment."""
        for version in self._arms:
            if self._answering.of_release(version) is not None or self._home / version in self._refused:
                continue
            try:
                folder = version_folder(self._home, version, "an experiment names version")
            except (BundleError, OSError) as error:
                self.refuse(error, self._home / version)
                continue
            try:
                recommender = self.load(folder)
            except Exception:  # counted and logged by `load`
                continue
            self._state.set_arm(version, recommender)
            logger.info("release %s answers an arm of an experiment", version)

    def refuse(self, error: Exception, folder: Path) -> None:
        """Counts and logs that a release cannot be used; what may pass is tried again after a pause."""
        has_verdict = is_final(error)
        if has_verdict:
            self._refused.add(folder)
        else:
            self._retry_at = self._clock() + self._pause_s
        answering = self._state.answering.current.version if self._state.answering else None
        logger.error(
            "a release was %s, %s goes on answering: %s",
            "refused" if has_verdict else "postponed",
            answering,
            error,
            exc_info=error,
        )
        self._metrics.count_refused(is_final=has_verdict)

    def _load(self, folder: Path) -> Recommender:
        """As `load`, without counting."""
        known = self._state.answering.loaded(folder) if self._state.answering else None
        if known is not None:
            return known
        recommender = self._loader.load(folder, is_pinned=is_pinned(self._home))
        return recommender.with_live_items(self._state.items)  # embedded here, where no request waits for it

    def _follow(self) -> None:
        """Takes what the files name, as far as it has not been refused for good."""
        # What fails in this turn sets it anew.
        self._retry_at = None
        self._follow_current()
        self.follow_rollout()
        self.follow_arms()
        if self._retry_at is not None:
            # Once for each turn, however many releases failed in it.
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _follow_current(self) -> None:
        """Takes the release that `CURRENT` names, or refuses it."""
        pointer = self._home / CURRENT
        try:
            folder = resolve(self._home)
        except Exception as error:  # whatever is wrong with the file, what answers goes on
            self.refuse(error, pointer)
            return
        # A refusal costs a whole load: once per writing of the files is enough.
        if folder == self._answering.current.bundle.path or folder in self._refused:
            return
        try:
            recommender = self.load(folder)
        except Exception:  # counted and logged by `load`
            return
        self.take(recommender)

    def _loaded_candidate(self, candidate: Candidate | None) -> Loaded | None:
        """Loads a candidate; None if there is none, it was refused, or it is the current release."""
        if candidate is None or self._home / candidate.version in self._refused:
            return None
        try:
            folder = version_folder(self._home, candidate.version, f"{self._home / ROLLOUT} names version")
        except (BundleError, OSError) as error:
            self.refuse(error, self._home / candidate.version)
            return None
        try:
            recommender = self.load(folder)
        except Exception:  # counted and logged by `load`
            return None
        # A release cannot be compared with itself, which would count every request twice.
        is_current = recommender.bundle is self._answering.current.bundle
        return None if is_current else Loaded(candidate, recommender)

    def _show(self) -> None:
        """Shows which releases are ready, and whether the current one is that of `CURRENT`."""
        self.is_behind = not is_pinned(self._home) and _named(self._home) != self._answering.current.version
        self._metrics.show_behind(self._name, is_behind=self.is_behind)
        # At every look: `telemetry.metrics` takes a release for gone that nobody has seen for two minutes.
        self._metrics.show_ready([one.version for one in self._answering.recommenders], self._now())

    @property
    def _answering(self) -> Answering:
        """The release that answers, once there is a first one."""
        answering = self._state.answering
        assert answering is not None, "what is followed comes after the first release"
        return answering


def is_pinned(home: Path) -> bool:
    """Tells whether a path names one version and not a folder of them."""
    return (home / MANIFEST).exists()


def first_usable(
    home: Path, load: Callable[[Path], Result], on_error: Callable[[Exception, Path], None] = lambda *_: None
) -> tuple[Result, Exception | None]:
    """Loads the release that CURRENT names, or the newest before it that can be used.

    Args:
        home: Folder of a channel, or of one version, which has none before it.
        load: Loads the release in a folder, or raises.
        on_error: Told of each error, with the folder or the pointer that it is about.

    Returns:
        What `load` returns, and why it is not of the release that CURRENT names; None if it is.

    Raises:
        BundleError: If none can be used; the error is that of the release that CURRENT names.
    """
    ways: list[tuple[Path, Callable[[], Path]]] = [(home / CURRENT, partial(resolve, home))]
    if not is_pinned(home):
        who = f"{home / ACTIVATED} names version"
        ways += [(home / name, partial(version_folder, home, name, who)) for name in way_back(home)]
    first_error: Exception | None = None
    for place, find in ways:
        try:
            folder = find()
        except Exception as error:  # whatever it is: an older release that answers beats none
            on_error(error, place)
            # The first one is of the release that was asked for: what people need to read.
            first_error = first_error or error
            continue
        try:
            return load(folder), first_error
        except Exception as error:  # as above
            on_error(error, folder)
            first_error = first_error or error
    assert first_error is not None, "there is one way at least"
    raise first_error


def _named(home: Path) -> str | None:
    """Returns the version that `CURRENT` names, None if it names none."""
    try:
        return resolve(home).name
    except (MarqueeError, OSError):
        return None


def _pointers(home: Path) -> Pointers:
    """Returns the stamp of each pointer file, None for one that is not there."""
    # Not `ACTIVATED`: only a worker that starts reads it.
    return _stamp(home / CURRENT), _stamp(home / ROLLOUT)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Returns a stamp that changes whenever a file is written anew, None if the file is not there."""
    try:
        facts = path.lstat()
    except FileNotFoundError:  # any other error says nothing about the file: the look fails as a whole
        return None
    # The inode as well: a rename within one tick of the clock changes no time.
    return facts.st_ino, facts.st_mtime_ns, facts.st_size
