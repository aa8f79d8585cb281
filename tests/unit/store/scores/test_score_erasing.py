"""Folders of scores fall under erasure and retention, also where a process ends in the middle."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from marquee.errors import EventLogError
from marquee.store.files import watching_steps
from marquee.store.people.erasing.eraser import Eraser, Retention
from marquee.store.people.users import Forgotten
from marquee.store.scores.erasing import erase_from_scores, expire_scores, files_holding
from marquee.store.scores.folder import ScoreFolder
from tests.support.bundles import N_USERS, NOW, publish_tiny
from tests.support.erasures import ASKED, Service, fill
from tests.support.event_stores import Store
from tests.support.people import handle
from training.cli.console import open_console
from training.distributed.config import LocalClusterConfig
from training.distributed.receipts import read_receipt, result_facts
from training.score.config import ScoreConfig
from training.score.users import score_bundle

DAY = 86_400


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of scores, the second with what differs."""
    home = tmp_path_factory.mktemp("scores")
    bundle = publish_tiny(tmp_path_factory.mktemp("bundles"))
    shared = {"bundle": str(bundle), "k": 5, "cluster": LocalClusterConfig(processes=1)}
    first = ScoreConfig(to=str(home / "1"), at=NOW, buckets=2, **shared)  # type: ignore[arg-type]
    score_bundle(first, open_console(quiet=True))
    second = ScoreConfig(
        to=str(home / "2"),
        at=NOW + 2 * DAY,
        against=str(home / "1"),
        **shared,  # type: ignore[arg-type]
    )
    score_bundle(second, open_console(quiet=True))
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "scores"))


def users_in(home: Path) -> set[str]:
    parts = [pl.read_parquet(file, columns=["user_id"]) for file in home.glob("*/*/*.parquet")]
    return set(pl.concat(parts)["user_id"])


def test_files_of_a_user_are_listed_and_rewritten(home: Path) -> None:
    files = list(files_holding(home, "u1"))
    rows = sum(pl.read_parquet(file).filter(user_id="u1").height for file in files)

    assert {file.relative_to(home).parts[:2] for file in files} == {
        ("1", "parts"),
        ("2", "parts"),
        ("2", "changes"),
    }
    assert erase_from_scores(home, ["u1", "nobody"]) == rows > 2
    assert list(files_holding(home, "u1")) == []
    assert users_in(home) == {f"u{number}" for number in range(2, N_USERS + 1)}
    assert erase_from_scores(home, ["u1"]) == 0


def test_receipts_of_parts_are_those_of_the_parts_that_are_left(home: Path) -> None:
    erase_from_scores(home, ["u1"])

    for part in home.glob("*/*/*.parquet"):
        receipt = read_receipt(part)
        assert receipt is not None
        assert receipt.files == result_facts(part)


def test_erasure_that_ends_in_the_middle_goes_on(home: Path) -> None:
    steps: list[str] = []
    with watching_steps(steps.append):
        erase_from_scores(Path(shutil.copytree(home, home.parent / "whole")), ["u1"])
    for last in range(len(steps)):
        copy = Path(shutil.copytree(home, home.parent / f"copy-{last}"))
        left = iter(range(last))

        def die(_step: str, left: object = left) -> None:
            if next(left, None) is None:  # type: ignore[call-overload]
                raise KeyboardInterrupt

        with watching_steps(die), pytest.raises(KeyboardInterrupt):
            erase_from_scores(copy, ["u1"])
        erase_from_scores(copy, ["u1"])
        assert "u1" not in users_in(copy)


def test_old_folders_of_scores_go_whole(home: Path) -> None:
    assert expire_scores(home, NOW) == 0
    assert expire_scores(home, NOW + DAY) == 1
    assert sorted(path.name for path in home.iterdir()) == ["2"]
    assert expire_scores(home / "absent", NOW) == 0
    # A folder that is named itself is not one of several: nobody meant it to go.
    assert expire_scores(home / "2", NOW + 5 * DAY) == 0


def test_deletion_that_was_cut_off_is_completed(home: Path) -> None:
    def die(step: str) -> None:
        if step == "delete old scores":
            raise KeyboardInterrupt

    with watching_steps(die), pytest.raises(KeyboardInterrupt):
        expire_scores(home, NOW + DAY)
    for manifest in home.glob(".*/scores.json"):
        manifest.unlink()
    expire_scores(home, NOW + DAY)
    assert sorted(path.name for path in home.iterdir()) == ["2"]


def test_receipt_that_is_none_is_named(home: Path) -> None:
    for receipt in home.glob("*/*/.*.receipt"):
        receipt.write_bytes(b"no receipt")
    with pytest.raises(EventLogError, match=r"scores in .* cannot be read or written"):
        erase_from_scores(home, ["u1"])


def test_scores_that_cannot_be_read_are_named(home: Path) -> None:
    for part in home.glob("1/parts/*.parquet"):
        part.write_bytes(b"no parquet")

    with pytest.raises(EventLogError, match=r"scores in .* cannot be read or written"):
        erase_from_scores(home, ["u1"])
    (home / "1" / "scores.json").write_text("{}")
    with pytest.raises(EventLogError, match=r"must be a folder of scores with a scores\.json"):
        expire_scores(home, NOW + DAY)


def test_erased_user_leaves_scores_at_once_and_old_ones_go_in_a_pass(home: Path, tmp_path: Path) -> None:
    service = Service(Store(str(tmp_path / "log")), tmp_path / "closed", retention=Retention(scores=30))
    eraser = service.eraser()
    eraser = replace(eraser, places=replace(eraser.places, scores=home))

    # Nobody whom the service knows: the operator trained on ids of their own.
    eraser.begin(handle("u3"), "u3", NOW)
    assert "u3" not in users_in(home)
    assert eraser.run(NOW + 31 * DAY) is not None

    assert sorted(path.name for path in home.iterdir()) == ["2"]
    service.close()


def test_scores_written_after_an_erasure_lose_the_person_in_the_pass(home: Path, tmp_path: Path) -> None:
    service = Service(Store(str(tmp_path / "log")), tmp_path / "closed")
    eraser = service.eraser()
    eraser = replace(eraser, places=replace(eraser.places, scores=home))
    fill(eraser, 1)
    # The person's pseudonym is a user of the release.
    (name,) = [one.pseudonym for one in _erased(eraser)]
    part = next(home.glob("1/parts/*.parquet"))
    frame = pl.read_parquet(part)
    folder = ScoreFolder.read(home / "1")
    for file in folder.files_of(name):
        known = pl.read_parquet(file)
        pl.concat([known, frame.head(1).with_columns(user_id=pl.lit(name))]).write_parquet(file)
    assert name in users_in(home)

    assert eraser.run(ASKED + DAY) is not None

    assert name not in users_in(home)
    service.close()


def _erased(eraser: Eraser) -> Sequence[Forgotten]:
    """Erases the one user and returns who waits for a pass."""
    eraser.begin(handle("user-0"), "user-0", ASKED)
    return eraser.places.users.forgotten()
