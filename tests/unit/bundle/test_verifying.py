"""A bundle is read whole once for each machine, and whatever changes afterwards is noticed."""

import errno
import os
import time
from pathlib import Path

import pytest

from marquee.bundle import verifying
from marquee.bundle.bundle import Bundle
from marquee.bundle.verifying import VerifiedFiles
from marquee.errors import ChecksumError
from tests.support.bundles import publish_tiny

LATER_NS = 10_000_000_000


class CountedReads:
    """The names of the files whose content was read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        real = verifying._require_content

        def counted(path: Path, descriptor: int, facts: object) -> None:
            self.names.append(path.name)
            real(path, descriptor, facts)  # type: ignore[arg-type]

        monkeypatch.setattr(verifying, "_require_content", counted)

    def of(self, bundle: Path, verified: VerifiedFiles | None) -> list[str]:
        """Returns the files that a load reads."""
        self.names.clear()
        Bundle.load(bundle, verified=verified)
        return sorted(self.names)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return publish_tiny(tmp_path / "bundles")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> CountedReads:
    return CountedReads(monkeypatch)


@pytest.fixture
def verified(tmp_path: Path) -> VerifiedFiles:
    (tmp_path / "notes").mkdir(mode=0o700)
    # As if the bundle had been published some seconds ago.
    return VerifiedFiles(tmp_path / "notes", lambda: time.time_ns() + LATER_NS)


def files_of(bundle: Path) -> list[str]:
    return sorted(path.name for path in bundle.iterdir() if path.name != "manifest.json")


def test_second_load_reads_no_checksum(bundle: Path, verified: VerifiedFiles, reads: CountedReads) -> None:
    assert reads.of(bundle, verified) == files_of(bundle)
    assert reads.of(bundle, verified) == []
    assert reads.of(bundle, None) == files_of(bundle)


def test_file_that_is_changed_afterwards_is_noticed(bundle: Path, verified: VerifiedFiles) -> None:
    Bundle.load(bundle, verified=verified)
    path = bundle / "user_vectors.npy"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    # As whoever wants to hide a change would: size and time of the content are those of before.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(ChecksumError, match=r"user_vectors\.npy"):
        Bundle.load(bundle, verified=verified)


def test_file_that_is_exchanged_afterwards_is_read_again(
    bundle: Path, verified: VerifiedFiles, reads: CountedReads
) -> None:
    reads.of(bundle, verified)
    path = bundle / "popularity.npy"
    aside = bundle.parent / "aside"
    aside.write_bytes(path.read_bytes())
    aside.rename(path)

    assert reads.of(bundle, verified) == ["popularity.npy"]
    assert reads.of(bundle, verified) == []


def test_file_that_is_too_young_is_not_noted(bundle: Path, tmp_path: Path, reads: CountedReads) -> None:
    (tmp_path / "notes").mkdir(mode=0o700)
    verified = VerifiedFiles(tmp_path / "notes", time.time_ns)

    # It could be changed again within the resolution of the clock of its file system.
    assert reads.of(bundle, verified) == reads.of(bundle, verified) == files_of(bundle)


def test_notes_of_another_manifest_hold_for_nothing(
    bundle: Path, tmp_path: Path, verified: VerifiedFiles, reads: CountedReads
) -> None:
    reads.of(bundle, verified)
    other = publish_tiny(tmp_path / "others", seed=1)

    assert reads.of(other, verified) == files_of(other)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_notes_that_others_may_write_are_not_trusted(
    bundle: Path, verified: VerifiedFiles, reads: CountedReads, mode: int
) -> None:
    reads.of(bundle, verified)
    verified.folder.chmod(mode)

    assert reads.of(bundle, verified) == files_of(bundle)


def test_half_written_notes_are_none(bundle: Path, verified: VerifiedFiles, reads: CountedReads) -> None:
    reads.of(bundle, verified)
    (note,) = verified.folder.glob("*.json")
    note.write_bytes(note.read_bytes()[:20])

    assert reads.of(bundle, verified) == files_of(bundle)


def test_folder_of_notes_that_is_gone_costs_a_reading(
    bundle: Path, tmp_path: Path, reads: CountedReads
) -> None:
    assert reads.of(bundle, VerifiedFiles(tmp_path / "gone", time.time_ns)) == files_of(bundle)


def test_notes_that_cannot_be_written_cost_a_reading(
    bundle: Path, verified: VerifiedFiles, reads: CountedReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(_path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(verifying, "replace_file", is_full)
    assert reads.of(bundle, verified) == files_of(bundle)
    assert reads.of(bundle, verified) == files_of(bundle)


def test_lock_that_cannot_be_made_costs_a_reading(
    bundle: Path, verified: VerifiedFiles, reads: CountedReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = Path.open

    def is_full(path: Path, mode: str = "r", **more: object) -> object:
        if path.suffix == ".lock":
            raise OSError(errno.ENOSPC, "no space left")
        return opens(path, mode, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", is_full)
    assert reads.of(bundle, verified) == files_of(bundle)
    assert reads.of(bundle, verified) == files_of(bundle)
