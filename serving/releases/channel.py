"""The releases of one channel in one process, and how others take their place while requests go on.

A worker looks at the files of the channel all the time (see `following`). An operator changes them over HTTP;
this worker then loads the release first, so that no file ever names one that does not work. Whatever is wrong
with a new release, the old one goes on answering.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from marquee.bundle.manifest import MANIFEST, validate_name
from marquee.bundle.releases import (
    Candidate,
    Role,
    activate,
    drop_candidate,
    go_back,
    name_candidate,
    previous,
)
from marquee.decision.recommender import Recommender
from marquee.errors import BundleBusyError, ConfigError, UnknownIdError
from serving.releases.answering import Answering, AnsweringState, Loaded
from serving.releases.following import Follower, is_pinned
from serving.releases.listing import Release, list_releases
from serving.releases.loading import Loader, be_nice
from serving.telemetry.background import Background, ThreadMetrics
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

# An operator who waits longer believes that nothing happens, and sends it again.
_PATIENCE_S = 5.0


class Channel:
    """The recommenders of one channel that answer in this process, and their replacement.

    Args:
        path: As for `Bundle.load`. A folder of one version is served for ever: there is nothing to follow.
        metrics: What counts.
        loader: Loads releases.
        clock: Returns seconds; for the pauses between two tries.
        arms: Versions that arms of experiments are answered by.

    Attributes:
        home: Folder that holds the versions.
        name: Of that folder: the channel's identity, whatever a manifest says.
        state: What answers.
    """

    def __init__(
        self,
        path: str | Path,
        metrics: Metrics | None = None,
        loader: Loader | None = None,
        clock: Callable[[], float] = time.monotonic,
        arms: Sequence[str] = (),
    ) -> None:
        self._home = Path(path)
        self._metrics = metrics or Metrics()
        self._loader = loader or Loader()
        self.home = self._home.parent if is_pinned(self._home) else self._home
        # Resolved: a path such as `.` has no name of its own.
        self.name = self.home.resolve().name or "bundle"
        self.state = AnsweringState()
        self._follower = Follower(
            self._home, self.name, self.state, self._loader, self._metrics, clock, arms=arms
        )
        self._changing = threading.Lock()
        self._thread: Background | None = None

    @property
    def answering(self) -> Answering | None:
        """The releases that answer, None before one is warm."""
        return self.state.answering

    @property
    def recommender(self) -> Recommender | None:
        """The current release, None before it is warm."""
        return self.answering.current if self.answering else None

    @property
    def is_pinned(self) -> bool:
        """Whether the path names one version and not a folder of them."""
        return is_pinned(self._home)

    @property
    def is_behind(self) -> bool:
        """Whether another release answers than the one that `CURRENT` named at the last look."""
        return self._follower.is_behind

    def load(self) -> None:
        """Loads the first release; raises as `Follower.load_first` does."""
        with self._changing:
            self._follower.load_first()

    def refresh(self) -> bool:
        """Follows the files of the channel; returns whether another release is current now.

        Raises:
            OSError: If the files cannot be looked at.
        """
        with self._changing:
            return self._follower.look()

    def activate(self, version: str) -> Recommender:
        """Makes a release the current one, for this worker now and for the others when they look.

        It is loaded and warmed up first: `CURRENT` never comes to name what does not work. It is then no
        candidate any more.

        Raises:
            UnknownIdError: If there is no such release.
            BundleError: If it cannot be used.
            OSError: If `CURRENT` cannot be written.
        """
        with _held(self._changing):
            return self._make_current(_folder(self._home, version), activate)

    def go_back(self) -> Recommender:
        """Makes the release current that was so before; raises as `activate` does."""
        with _held(self._changing):
            return self._make_current(previous(self._home), lambda folder: go_back(folder.parent))

    def name_candidate(self, version: str, role: Role, share: float) -> Recommender:
        """Makes a release a candidate, for this worker now and for the others when they look.

        Raises:
            UnknownIdError: If there is no such release.
            ConfigError: If the share is out of range.
            BundleError: If it cannot be used, or is the current one.
            OSError: If `ROLLOUT` cannot be written.
        """
        with _held(self._changing):
            folder, candidate = _folder(self._home, version), Candidate(role, version, share)
            # Before the file is written: the others must not follow it to a release that fails.
            recommender = self._follower.load(folder)
            name_candidate(folder, role, share)
            self._follower.note_own_change()
            self._follower.set_candidate(role, Loaded(candidate, recommender))
            self._follower.follow_arms()
            return recommender

    def drop_candidate(self, version: str) -> None:
        """Takes a release out of every role, for this worker now and for the others when they look.

        Raises:
            BundleNotFoundError: If it is no candidate.
            BundleError: If `ROLLOUT` cannot be read.
            OSError: If it cannot be written.
        """
        with _held(self._changing):
            # The file first: if it cannot be written, this worker must not differ from the others.
            drop_candidate(self._home, version)
            self._follower.note_own_change()
            self._follower.follow_rollout()
            self._follower.follow_arms()

    def listed(self) -> list[Release]:
        """Lists the releases in the folder, newest first; waits for nothing that loads."""
        return list_releases(self._home, self.answering)

    def watch(self, interval_s: float) -> None:
        """Begins to look at the files in a thread of its own, every `interval_s` seconds."""
        # A thread per channel: one whose disk hangs does not keep the others from following.
        self._thread = Background(
            f"releases of {self.name}",
            self.refresh,
            interval_s,
            self._metrics.family(ThreadMetrics),
            prepare=be_nice,
        )
        self._thread.start()

    def close(self) -> None:
        """Stops looking, and waiting for a release that is being loaded."""
        # First: the thread ends only after a load that it waits for.
        self._loader.close()
        if self._thread is not None:
            self._thread.close()

    def _make_current(self, folder: Path, point: Callable[[Path], object]) -> Recommender:
        """Loads a release, then lets `point` name it in `CURRENT`, then takes it."""
        recommender = self._follower.load(folder)
        # Loaded first: the other workers follow the file at once, and should not all find a bad release.
        point(folder)
        self._follower.note_own_change()
        self._follower.take(recommender)
        self._follower.follow_rollout()
        # The release that answered until now may be that of an arm: no later look would load it.
        self._follower.follow_arms()
        return recommender


def _folder(home: Path, version: str) -> Path:
    """Returns the folder of a version; raises UnknownIdError if there is none."""
    folder = home / version
    try:
        validate_name(version, "a version")
    except ConfigError as error:
        raise UnknownIdError(f"there is no release {version[:128]!r}: {error}") from error
    # A link could lead out of the folder of releases, and names come from a request.
    if folder.is_symlink() or not (folder / MANIFEST).is_file():
        raise UnknownIdError(f"there is no release {version!r}; GET /v1/releases lists those there are")
    return folder


@contextmanager
def _held(changing: threading.Lock) -> Iterator[None]:
    """Holds the lock of changes; raises BundleBusyError if another change holds it for long."""
    if not changing.acquire(timeout=_PATIENCE_S):
        raise BundleBusyError(
            f"another release has been loading here for {_PATIENCE_S:g} s and longer; nothing was changed, "
            "send it again later"
        )
    try:
        yield
    finally:
        changing.release()
