"""A fault that may pass is tried again, with a growing pause; a verdict is final."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from marquee.bundle.releases import CURRENT, ROLLOUT, Role, activate, name_candidate
from marquee.decision.recommender import Recommender
from marquee.errors import BundleBusyError, BundleError, BundleNotFoundError, ChecksumError
from marquee.store.files import only_publisher
from serving.releases.channel import Channel
from serving.releases.following import FIRST_PAUSE_S, LONGEST_PAUSE_S
from serving.releases.loading import Loader, is_final
from serving.telemetry.metrics import Metrics
from tests.support.bundles import publish_tiny
from tests.support.counters import changes


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Failing(Loader):
    """Fails as often as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.n_tried = 0

    def load(self, folder: Path, *, is_pinned: bool) -> Recommender:
        self.n_tried += 1
        if self.error is not None:
            raise self.error
        return super().load(folder, is_pinned=is_pinned)


class Worker:
    """A worker on the first of two versions; the second becomes current."""

    def __init__(self, folder: Path) -> None:
        self.first = publish_tiny(folder)
        self.clock, self.loader, self.metrics = Clock(), Failing(), Metrics()
        self.channel = Channel(self.first.parent, self.metrics, self.loader, self.clock)
        self.channel.load()
        self.second = publish_tiny(folder, seed=1)
        self.loader.n_tried = 0

    @property
    def version(self) -> str:
        assert self.channel.recommender is not None
        return self.channel.recommender.version

    def n_tries(self, seconds: float) -> int:
        """Looks once a second; returns how often a release was loaded meanwhile."""
        before = self.loader.n_tried
        for _ in range(int(seconds)):
            self.channel.refresh()
            self.clock.now += 1.0
        return self.loader.n_tried - before


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


PASSING: list[Exception] = [
    OSError(code, os.strerror(code)) for code in (errno.EMFILE, errno.ENOMEM, errno.EIO, errno.ESTALE)
]
PASSING += [MemoryError(), RuntimeError("faiss: could not open x: Too many open files")]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_release_is_taken_once_a_fault_has_passed(worker: Worker, error: Exception) -> None:
    worker.loader.error = error
    assert worker.n_tries(3) >= 2
    assert (worker.version, worker.channel.is_behind) == (worker.first.name, True)
    worker.loader.error = None
    worker.n_tries(10)
    assert (worker.version, worker.channel.is_behind) == (worker.second.name, False)
    assert changes(worker.metrics)["refused"] == 0


def test_pause_grows_while_a_fault_lasts(worker: Worker) -> None:
    worker.loader.error = OSError(errno.EIO, "I/O")
    assert worker.n_tries(1000) < 20
    assert worker.n_tries(LONGEST_PAUSE_S + 2) in (1, 2), "it never gives up"
    worker.loader.error = None
    activate(worker.second)  # written again: at once, whatever the pause
    assert worker.n_tries(FIRST_PAUSE_S) == 1
    assert worker.version == worker.second.name


def test_verdict_is_final_until_the_pointer_is_written_again(worker: Worker) -> None:
    worker.loader.error = ChecksumError("a byte has changed")
    assert worker.n_tries(1000) == 1
    worker.loader.error = None
    assert worker.n_tries(1000) == 0
    activate(worker.second)
    assert worker.n_tries(1) == 1


def test_verdict_on_the_current_release_is_not_repeated_for_the_sake_of_a_candidate(worker: Worker) -> None:
    """Their retries share a look, not a verdict."""
    content = bytearray((worker.second / "item_vectors.npy").read_bytes())
    content[-1] ^= 1
    (worker.second / "item_vectors.npy").chmod(0o644)
    (worker.second / "item_vectors.npy").write_bytes(content)
    (worker.first.parent / ROLLOUT).write_text('{"canary": {"version": "to-come", "share": 0.5}}')
    assert worker.n_tries(100) == 1
    assert changes(worker.metrics)["postponed"] > 3


def test_candidate_that_is_still_on_its_way_is_taken_when_it_is_there(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    activate(worker.first)
    aside = worker.second.rename(tmp_path / "aside")
    (worker.first.parent / ROLLOUT).write_text(
        f'{{"canary": {{"version": "{worker.second.name}", "share": 1.0}}}}'
    )
    worker.n_tries(3)
    aside.rename(worker.second)
    worker.n_tries(20)
    assert worker.channel.answering is not None
    assert worker.channel.answering.choose("anybody").version == worker.second.name


def test_pointer_that_cannot_be_read_for_a_moment_is_read_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> Path:
        raise PermissionError(errno.EACCES, "refused")

    monkeypatch.setattr("serving.releases.following.resolve", refused)
    worker.n_tries(2)
    monkeypatch.undo()
    worker.n_tries(10)
    assert worker.version == worker.second.name


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: ChecksumError("x"), True),
        (lambda: BundleError("x"), True),
        (lambda: ZeroDivisionError("x"), True),
        (lambda: BundleNotFoundError("x"), False),
        (lambda: BundleBusyError("x"), False),
        (lambda: caused(BundleError("x"), OSError(errno.EMFILE, "x")), False),
        (lambda: caused(BundleError("x"), OSError(errno.ELOOP, "a link")), True),
        (lambda: caused(BundleError("x"), ValueError("no array")), True),
        (lambda: caused(BundleError("x"), RuntimeError("std::bad_alloc")), False),
    ],
)
def test_error_is_final_only_if_it_is_about_the_release(
    make: Callable[[], Exception], expected: bool
) -> None:
    assert is_final(make()) is expected


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def test_publisher_at_work_is_no_verdict(worker: Worker) -> None:
    with only_publisher(worker.first.parent), pytest.raises(BundleBusyError, match="another process"):
        name_candidate(worker.first, Role.canary, 0.5)
    assert (worker.first.parent / CURRENT).read_text() == f"{worker.second.name}\n"
