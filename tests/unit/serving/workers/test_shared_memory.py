"""Counters have their place on the disk before they are written; without one they are kept apart."""

import errno
import os
import re
from pathlib import Path

import pytest

from serving.workers import shared_memory as counter_files
from serving.workers.shared_memory import FILE_BYTES, allocate, reserve
from tests.architecture.sources import read_text, tracked_files

VARIABLE = "COUNTERS_OF_A_TEST"


def is_whole(file: Path) -> bool:
    """Returns whether every byte of a file has its place on the disk."""
    return file.stat().st_blocks * 512 >= file.stat().st_size


def test_files_of_this_process_lie_on_the_disk_whole(tmp_path: Path) -> None:
    reserve(tmp_path, VARIABLE)
    files = sorted(tmp_path.iterdir())
    assert {file.name for file in files} == {
        f"{kind}_{os.getpid()}.db"
        for kind in ("counter", "histogram", "gauge_livemin", "gauge_livemax", "gauge_livesum", "gauge_max")
    }
    assert {file.stat().st_size for file in files} == {FILE_BYTES}
    assert all(is_whole(file) for file in files)
    assert VARIABLE not in os.environ


def test_full_disk_leaves_the_counters_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _offset: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    reserve(tmp_path, VARIABLE)
    alone = Path(os.environ[VARIABLE])
    assert alone != tmp_path
    assert alone.is_dir()
    assert list(tmp_path.iterdir()) == []
    alone.rmdir()


def test_other_troubles_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        reserve(tmp_path / "nowhere", VARIABLE)


def test_file_that_is_there_keeps_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "limits"
    file.write_bytes(b"12345678")
    os.close(allocate(file, 16))
    assert file.read_bytes() == b"12345678" + bytes(8)


def test_every_kind_of_gauge_that_is_counted_has_a_file() -> None:
    sources = "".join(read_text(name) for name in tracked_files("serving/*.py"))
    modes = set(re.findall(r'multiprocess_mode="(\w+)"', sources))
    assert modes
    assert {f"gauge_{mode}" for mode in modes} <= set(counter_files._KINDS)
