"""Releases: another takes the place of the one that answers, or is refused and changes nothing."""

import gc
import json
import logging
import shutil
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marquee.bundle.releases import CURRENT, Role, activate
from marquee.decision.golden_requests import make_golden_requests, to_json
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, Request
from marquee.errors import BundleError, BundleNotFoundError, ChecksumError, UnknownIdError
from serving.releases.channel import Channel
from serving.releases.loading import VERIFIED_FOLDER, Loader, share_verified, verified_here, warm_up
from serving.telemetry.metrics import Metrics
from tests.support.bundles import NOW, publish_tiny
from tests.support.counters import changes


@pytest.fixture(autouse=True)
def _unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return publish_tiny(tmp_path)


def loaded(home: Path, metrics: Metrics | None = None) -> Channel:
    releases = Channel(home, metrics)
    releases.load()
    return releases


def version(releases: Channel) -> str:
    assert releases.recommender is not None
    return releases.recommender.version


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o644)  # files of a version are read-only
    file.write_bytes(content)


def test_release_that_becomes_current_is_taken(first: Path) -> None:
    releases = loaded(first.parent)
    second = publish_tiny(first.parents[1], seed=1)
    assert version(releases) == first.name
    assert releases.refresh()
    assert version(releases) == second.name


def test_nothing_is_loaded_while_the_pointer_stays(first: Path) -> None:
    releases = loaded(first.parent)
    before = releases.recommender
    assert not releases.refresh()
    activate(first)  # written again, to the same release
    assert not releases.refresh()
    assert releases.recommender is before


def test_requests_in_flight_finish_on_the_release_they_began_with(first: Path) -> None:
    releases = loaded(first.parent)
    held = releases.recommender
    assert held is not None
    publish_tiny(first.parents[1], seed=1)
    releases.refresh()
    (answer,) = held.recommend([Request(timestamp=NOW, user_id="u1")])
    assert answer.version == first.name


DAMAGES = [
    "missing manifest",
    "damaged manifest",
    "flipped byte",
    "truncated",
    "missing file",
    "link",
    "pointer to nothing",
    "pointer outside",
    "binary pointer",
    "no pointer",
    "not numbers",
    "other answers",
    "other format",
]

# What may be there a moment later is tried again, after a pause.
PASSING = {"missing manifest", "missing file", "pointer to nothing", "no pointer"}


def damage(release: Path, how: str) -> None:
    """Makes a published release one that must not answer, in one of many ways."""
    file, pointer = release / "item_vectors.npy", release.parent / CURRENT
    if how == "missing manifest":
        (release / "manifest.json").unlink()
    elif how == "damaged manifest":
        flip_a_byte(release / "manifest.json")
    elif how == "other format":
        text = (release / "manifest.json").read_text(encoding="utf-8")
        (release / "manifest.json").write_text(text.replace('"format_version": ', '"format_version": 9'))
    elif how == "flipped byte":
        flip_a_byte(file)
    elif how == "truncated":
        file.write_bytes(file.read_bytes()[:-7])
    elif how == "missing file":
        file.unlink()
    elif how == "link":
        shutil.move(file, release / "elsewhere")
        file.symlink_to(release / "elsewhere")
    elif how == "no pointer":
        pointer.unlink()
    else:
        texts = {
            "pointer to nothing": b"gone\n",
            "pointer outside": b"../../etc\n",
            "binary pointer": b"\xff\0",
        }
        pointer.write_bytes(texts[how])


@pytest.mark.parametrize("how", DAMAGES)
def test_bad_release_is_refused_and_the_old_one_stays(
    first: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    releases = loaded(first.parent, metrics)
    if how == "not numbers":
        users = np.full((7, 4), np.nan, dtype=np.float32)
        publish_tiny(first.parents[1], seed=1, user_vectors=users)
    elif how == "other answers":
        requests = [Request(timestamp=NOW, user_id="u1")]
        golden = make_golden_requests(Recommender.load(first), requests)  # of another model
        publish_tiny(first.parents[1], seed=1, golden_requests=to_json(golden))
    else:
        damage(publish_tiny(first.parents[1], seed=1), how)
    with caplog.at_level(logging.ERROR):
        assert [releases.refresh() for _ in range(3)] == [False] * 3
    assert version(releases) == first.name
    outcome = "postponed" if how in PASSING else "refused"
    assert changes(metrics) == {
        "taken": 1,
        "refused": 0,
        "postponed": 0,
        outcome: 1,
    }  # once, not with every look
    assert f"a release was {outcome}, {first.name} goes on answering" in caplog.text


def test_release_is_tried_again_when_the_pointer_is_written_again(first: Path) -> None:
    releases = loaded(first.parent)
    second = publish_tiny(first.parents[1], seed=1)
    flip_a_byte(second / "item_vectors.npy")
    assert not releases.refresh()
    flip_a_byte(second / "item_vectors.npy")
    activate(second)
    assert releases.refresh()


def test_release_is_activated_and_back(first: Path) -> None:
    releases = loaded(first.parent)
    second = publish_tiny(first.parents[1], seed=1)
    for release in (second, first):
        assert releases.activate(release.name).version == release.name
        assert (first.parent / CURRENT).read_text() == f"{release.name}\n"
        assert version(releases) == release.name
        assert not releases.refresh()


def test_release_of_an_arm_still_answers_it_when_it_is_no_more_current_or_canary(first: Path) -> None:
    second, third = (publish_tiny(first.parents[1], seed=seed) for seed in (1, 2))
    activate(first)
    releases = Channel(first.parent, arms=[first.name, second.name])
    releases.load()

    def arms() -> set[str]:
        assert releases.answering is not None
        return {name for name in (first.name, second.name) if releases.answering.of_release(name)}

    releases.activate(third.name)
    assert arms() == {first.name, second.name}
    releases.activate(second.name)
    releases.name_candidate(first.name, Role.canary, 0.5)
    releases.drop_candidate(first.name)
    releases.activate(third.name)
    assert arms() == {first.name, second.name}


def test_bad_release_is_not_activated(first: Path) -> None:
    metrics = Metrics()
    second = publish_tiny(first.parents[1], seed=1)
    activate(first)
    releases = loaded(first.parent, metrics)
    flip_a_byte(second / "item_vectors.npy")
    with pytest.raises(ChecksumError, match="item_vectors"):
        releases.activate(second.name)
    assert (first.parent / CURRENT).read_text() == f"{first.name}\n"
    assert (version(releases), changes(metrics)["refused"]) == (first.name, 1)


@pytest.mark.parametrize("name", ["gone", "..", ".publishing", "a/b", "é", "x" * 200, ""])
def test_release_that_is_none_is_not_activated(first: Path, name: str) -> None:
    with pytest.raises(UnknownIdError, match="there is no release"):
        loaded(first.parent).activate(name)


def test_folder_of_one_version_is_pinned(first: Path) -> None:
    releases = loaded(first)
    publish_tiny(first.parents[1], seed=1)
    assert releases.is_pinned
    assert not releases.refresh()
    assert version(releases) == first.name


def test_first_release_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="holds neither"):
        Channel(tmp_path).load()


def test_releases_are_listed_newest_first(first: Path) -> None:
    releases = loaded(first.parent)
    second = publish_tiny(first.parents[1], seed=1)
    third = publish_tiny(first.parents[1], seed=2)
    flip_a_byte(third / "manifest.json")
    activate(second)
    facts = [(one.version, one.is_current, one.is_answering) for one in releases.listed()]
    assert facts[:2] == [(second.name, True, False), (first.name, False, True)]
    assert [one.manifest is None for one in releases.listed()] == [False, False, True]


def test_watching_thread_takes_a_release_and_ends(first: Path) -> None:
    releases = loaded(first.parent)
    releases.watch(0.02)
    second = publish_tiny(first.parents[1], seed=1)
    deadline = time.monotonic() + 10
    while version(releases) != second.name and time.monotonic() < deadline:
        time.sleep(0.02)
    assert version(releases) == second.name
    releases.close()
    while time.monotonic() < deadline and any(
        thread.name == f"releases of {releases.name}" for thread in threading.enumerate()
    ):
        time.sleep(0.02)
    assert not any(thread.name == f"releases of {releases.name}" for thread in threading.enumerate())


def test_warm_up_uses_batches_of_every_declared_size(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recommender = Recommender.load(first)
    batches: list[Sequence[Request]] = []

    def remember(requests: Sequence[Request]) -> list[Answer]:
        batches.append(requests)
        return []

    monkeypatch.setattr(recommender, "recommend", remember)
    warm_up(recommender)
    assert [len(batch) for batch in batches] == [1, 4, 32]
    assert {bool(request.history) for request in batches[-1]} == {True, False}
    assert {request.user_id for request in batches[-1]} == {None, "u1"}


def test_warm_up_refuses_a_model_without_numbers(tmp_path: Path) -> None:
    users = np.full((7, 4), np.nan, dtype=np.float32)
    path = publish_tiny(tmp_path, user_vectors=users)
    with pytest.raises(BundleError, match="fails its first requests: the embedding"):
        warm_up(Recommender.load(path))


def test_processes_of_a_service_note_what_they_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = publish_tiny(tmp_path)
    # Set before, so that it is taken back at the end.
    monkeypatch.setenv(VERIFIED_FOLDER, "")
    assert verified_here() is None
    share_verified()
    verified = verified_here()
    assert verified is not None
    settled = replace(verified, now_ns=lambda: time.time_ns() + 10**10)

    Loader(verified=settled).load(bundle, is_pinned=True)

    assert stat.S_IMODE(settled.folder.stat().st_mode) == 0o700
    (note,) = settled.folder.glob("*.json")
    assert set(json.loads(note.read_bytes())) == {path.name for path in bundle.iterdir()} - {"manifest.json"}
