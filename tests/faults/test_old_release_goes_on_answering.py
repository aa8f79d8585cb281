"""The release before goes on answering: across refusals, crashes, restarts and files that are overwritten."""

import stat
from pathlib import Path

import pytest

from marquee.bundle.releases import CURRENT, activate, go_back, way_back
from marquee.errors import BundleError, ChecksumError
from serving.config import Settings
from serving.releases.channel import Channel
from serving.releases.surface_file import SurfaceFile
from serving.telemetry.metrics import Metrics
from tests.support.bundles import publish_tiny
from tests.support.counters import changes, samples


def point(home: Path, text: str) -> None:
    """Writes CURRENT as an operator does by hand: nothing looks at what it names."""
    (home / ".c").write_text(text)
    (home / ".c").rename(home / CURRENT)


def damage(release: Path) -> None:
    file = release / "item_vectors.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)


@pytest.fixture
def versions(tmp_path: Path) -> list[Path]:
    """Three versions; the first is current, and the only one that ever was."""
    paths = [publish_tiny(tmp_path, seed=seed) for seed in range(3)]
    for pointer in (CURRENT, "ACTIVATED"):
        (paths[0].parent / pointer).unlink()
    activate(paths[0])
    return paths


def started(home: Path, metrics: Metrics | None = None) -> Channel:
    """Returns the channel of a worker that has just started."""
    channel = Channel(home, metrics)
    channel.load()
    return channel


def version(channel: Channel) -> str:
    assert channel.recommender is not None
    return channel.recommender.version


def test_worker_that_starts_takes_the_release_before_a_damaged_one(
    versions: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    first, second, _ = versions
    damage(second)
    point(first.parent, f"{second.name}\n")
    metrics = Metrics()
    channel = started(first.parent, metrics)
    assert version(channel) == first.name
    assert channel.is_behind
    assert "answers in place of the one that CURRENT of tiny names" in caplog.text
    assert samples(metrics)["marquee_workers_behind", "tiny"] == 1
    assert changes(metrics) == {"taken": 1, "refused": 1, "postponed": 0}


def test_worker_that_fell_back_follows_the_next_release(versions: list[Path]) -> None:
    first, second, third = versions
    damage(second)
    point(first.parent, f"{second.name}\n")
    metrics = Metrics()
    channel = started(first.parent, metrics)
    assert not channel.refresh()
    activate(third)
    assert channel.refresh()
    assert (version(channel), channel.is_behind) == (third.name, False)
    assert samples(metrics)["marquee_workers_behind", "tiny"] == 0


@pytest.mark.parametrize("text", ["gone\n", "../../etc\n", "\x00\n", ""])
def test_worker_that_starts_without_a_pointer_takes_what_was_current(versions: list[Path], text: str) -> None:
    point(versions[0].parent, text)
    assert version(started(versions[0].parent)) == versions[0].name
    (versions[0].parent / CURRENT).unlink()
    assert version(started(versions[0].parent)) == versions[0].name


def test_release_that_was_left_by_going_back_is_not_taken(versions: list[Path]) -> None:
    first, second, third = versions
    activate(second)
    activate(third)
    go_back(first.parent)
    damage(second)
    assert way_back(first.parent) == [first.name]
    assert version(started(first.parent)) == first.name


def test_worker_without_any_usable_release_says_what_is_wrong_with_the_current_one(
    versions: list[Path],
) -> None:
    for release in versions:
        damage(release)
    with pytest.raises(ChecksumError, match=versions[0].name):
        started(versions[0].parent)


def test_service_starts_as_long_as_one_release_can_be_used(versions: list[Path]) -> None:
    first, second, _ = versions
    file = SurfaceFile.read(Settings(bundle=str(first.parent)))
    damage(second)
    point(first.parent, f"{second.name}\n")
    file.validate_bundles(None)
    damage(first)
    with pytest.raises(BundleError, match=second.name):
        file.validate_bundles(None)


def test_files_of_a_published_version_are_read_only(versions: list[Path]) -> None:
    modes = {stat.S_IMODE(file.stat().st_mode) for file in versions[0].iterdir()}
    assert modes == {0o444}
