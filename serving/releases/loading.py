"""Makes a release ready to answer: verify, load, ask it its golden requests, warm it up.

Whatever is wrong with a release is found here, before it answers anybody. One worker of a machine loads at a
time, with less priority than the requests.
"""

import atexit
import errno
import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from marquee.bundle.manifest import MANIFEST
from marquee.bundle.verifying import VerifiedFiles
from marquee.core.catalog import ItemKind
from marquee.decision.golden_requests import read_golden_requests, validate_golden_requests
from marquee.decision.recommender import Recommender
from marquee.decision.requests import HistoryEvent, Request
from marquee.errors import BundleBusyError, BundleError, BundleNotFoundError, MarqueeError
from marquee.store.signing import TrustedKeys

# On either side of `BLAS_BATCH`, where FAISS scans in another way, and a large one.
WARM_UP_BATCHES = (1, 4, 32)
# A load takes a core for seconds, and those who are answered come first.
_NICENESS = 15
_TURN_S = 0.1

# An error with one of these comes from the release itself: a link stays a link.
_FINAL_ERRNOS = frozenset({errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG})
# FAISS and onnxruntime tell a lack of memory or of descriptors in words alone.
_PASSING_WORDS = (
    "too many open files",
    "cannot allocate memory",
    "bad_alloc",
    "bad allocation",
    "failed to allocate memory",
    "input/output error",
    "stale file handle",
)

VERIFIED_FOLDER = "BUNDLES_VERIFIED_DIR"
"""Variable of the environment by which workers find it: no setting, for nobody is to set it."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """How long a release may take.

    Attributes:
        load_s: Seconds for waiting for other workers, and for reading and verifying the files.
        rehearsal_s: Seconds for its golden requests and its first batches.
    """

    load_s: float = 600.0
    rehearsal_s: float = 30.0


class Loader:
    """Loads releases, each within its limits. Belongs to one thread at a time.

    The work runs in threads of its own that can be left behind: a disk that hangs, or a model that does not
    come to an end, costs a refusal. It never holds up the caller or the end of the process.

    Args:
        trusted: Keys whose releases are taken; None for anybody's.
        validate: Raises BundleError or ConfigError if a loaded release is not fit for its surfaces.
        limits: How long each may take.
        verified: Notes of files that were read before; None to read every one.
    """

    def __init__(
        self,
        trusted: TrustedKeys | None = None,
        validate: Callable[[Recommender], None] = lambda _recommender: None,
        limits: LoadLimits = LoadLimits(),
        verified: VerifiedFiles | None = None,
    ) -> None:
        self._verified = verified
        self._trusted = trusted
        self._validate = validate
        self._limits = limits
        self._closing = threading.Event()

    def load(self, folder: Path, *, is_pinned: bool) -> Recommender:
        """Loads a release and proves that it may answer.

        Args:
            folder: Of one version.
            is_pinned: Whether the folder may have any name.

        Raises:
            BundleError: If it must not answer, or takes too long; the message says why.
        """
        # One limit for waiting and reading: an operator who set it cares about their sum.
        deadline = time.monotonic() + self._limits.load_s
        with self._only_loader(folder, deadline):
            recommender = self._within(
                # Who waited for the lock to the end still gets a turn.
                max(_TURN_S, deadline - time.monotonic()),
                lambda: Recommender.load(folder, self._trusted, self._verified),
                BundleBusyError(
                    f"reading {folder} took longer than {self._limits.load_s:g} s; see whether its disk "
                    "answers, or raise MARQUEE_RELEASE_LOAD_MS"
                ),
            )
            if not is_pinned and recommender.version != folder.name:
                raise BundleError(
                    f"{folder} must hold version {folder.name!r}, got {recommender.version!r}: it was "
                    "renamed; publish it again"
                )
            self._rehearse(recommender)
        self._validate(recommender)
        return recommender

    def close(self) -> None:
        """Ends the wait for whatever is being loaded, with BundleBusyError."""
        self._closing.set()

    def _rehearse(self, recommender: Recommender) -> None:
        """Asks a release its golden requests and its first batches, and stops its model after the limit."""

        def rehearse() -> None:
            validate_golden_requests(recommender)
            warm_up(recommender)

        self._within(
            self._limits.rehearsal_s,
            rehearse,
            BundleError(
                f"release {recommender.version} did not answer its golden requests within "
                f"{self._limits.rehearsal_s:g} s; train again, or raise MARQUEE_RELEASE_REHEARSAL_MS"
            ),
            # Left alone, the model would run on, on a processor of its own, for ever.
            abandon=recommender.bundle.stop,
        )

    def _within(
        self,
        limit_s: float,
        work: Callable[[], Result],
        too_slow: BundleError,
        abandon: Callable[[], None] = lambda: None,
    ) -> Result:
        """Returns the result of `work`; raises `too_slow` after the limit, BundleBusyError at the end.

        Args:
            limit_s: Seconds that `work` may take.
            work: Runs in a thread of its own.
            too_slow: What is raised after the limit.
            abandon: Called when nobody waits for `work` any more.
        """
        future: Future[Result] = Future()
        # Not a pool: a thread that hangs in native code cannot be ended, only left behind, as a daemon.
        threading.Thread(target=_run, args=(work, future), name="loading", daemon=True).start()
        deadline = time.monotonic() + limit_s
        while True:
            try:
                return future.result(timeout=_TURN_S)
            except TimeoutError:
                if future.done():  # a TimeoutError of the work itself
                    raise
            if self._closing.is_set() or time.monotonic() > deadline:
                abandon()
                raise _ending() if self._closing.is_set() else too_slow

    @contextmanager
    def _only_loader(self, folder: Path, deadline: float) -> Iterator[None]:
        """Waits until no other worker loads the release: else every core would load and none would answer."""
        try:
            manifest = (folder / MANIFEST).open("rb")
        except OSError as error:
            raise BundleNotFoundError(
                f"{folder} has no readable {MANIFEST}: {error}; publish it again"
            ) from error
        # The lock ends with the descriptor, also where this process is killed.
        with manifest:
            # The lock only spares the processors: who has waited for it in vain loads without.
            while not _try_lock(manifest) and time.monotonic() < deadline:
                if self._closing.wait(_TURN_S):
                    raise _ending()
            yield


def is_final(error: BaseException) -> bool:
    """Tells whether an error is a verdict on a release, which trying again cannot change.

    Passing faults are those of the machine (no descriptor, no memory, a disk that fails) and files that are
    not there yet. Checksums, signatures, formats and answers are verdicts.
    """
    if isinstance(error, BundleNotFoundError | BundleBusyError | MemoryError):
        return False
    if isinstance(error, OSError) and error.errno is not None and error.errno not in _FINAL_ERRNOS:
        return False
    words = str(error).lower()
    if not isinstance(error, MarqueeError) and any(word in words for word in _PASSING_WORDS):
        return False
    # Our errors wrap those of the disk: a verdict rests on the cause.
    return error.__cause__ is None or is_final(error.__cause__)


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
        *(one.request for one in read_golden_requests(recommender.bundle)),
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
        # Similar items take a way of their own through the index, which is warmed up as well.
        recommender.similar(item_id, k=10, kind=None, exclude=(), timestamp=timestamp)


def share_verified() -> None:
    """Makes the folder of the notes of verified bundles, for this process and workers that it starts."""
    folder = tempfile.mkdtemp(prefix="marquee-verified-")  # mode 0700
    os.environ[VERIFIED_FOLDER] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def verified_here() -> VerifiedFiles | None:
    """Returns the notes that the processes of this service share, None outside of one."""
    folder = os.environ.get(VERIFIED_FOLDER)
    return VerifiedFiles(Path(folder), time.time_ns) if folder else None


def be_nice() -> None:
    """Lets the calling thread, and the threads that it starts, wait for those that answer requests."""
    with suppress(OSError, AttributeError):  # AttributeError: not on this system
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _ending() -> BundleBusyError:
    """Returns the error of a process that ends before a release is loaded."""
    return BundleBusyError("the service is ending; nothing was changed")


def _run(work: Callable[[], Result], future: "Future[Result]") -> None:
    """Runs `work` and keeps its outcome."""
    try:
        result = work()
    except BaseException as error:  # told to whoever waits, KeyboardInterrupt of a test included
        future.set_exception(error)
    else:
        future.set_result(result)


def _try_lock(file: IO[bytes]) -> bool:
    """Takes the lock of a file unless another process holds it; returns whether to go on."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: workers then load at the same time
        return True
    return True
