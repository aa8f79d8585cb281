"""The counts of dead workers: added up in one file per kind, whatever their files look like."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from serving.telemetry.counter_files import merge_dead_workers, reading
from serving.workers.shared_memory import FILE_BYTES

COUNTING = """
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
registry = CollectorRegistry()
counter = Counter("asked", "d", ["route"], registry=registry)
counter.labels("a").inc({n}); counter.labels("b").inc()
Histogram("seconds", "d", buckets=(1, 2), registry=registry).observe({n})
Gauge("seen", "d", multiprocess_mode="max", registry=registry).set({n})
Gauge("held", "d", multiprocess_mode="livesum", registry=registry).set({n})
"""


def count_and_die(folder: Path, n: int) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", COUNTING.format(n=n)], env=environment, check=True)


def shown(folder: Path) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]  # its own annotations
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("*.db"))


def test_counts_of_dead_workers_stay_and_their_files_go(tmp_path: Path) -> None:
    for n in (1, 2):
        count_and_die(tmp_path, n)
    before = shown(tmp_path)
    for _ in range(2):  # a second time adds nothing
        merge_dead_workers(tmp_path)
        assert files(tmp_path) == ["counter_merged.db", "gauge_max_merged.db", "histogram_merged.db"]
        assert shown(tmp_path) == {key: n for key, n in before.items() if key != ("held",)}
    count_and_die(tmp_path, 4)
    merge_dead_workers(tmp_path)
    after = shown(tmp_path)
    assert (after["asked_total", "a"], after["asked_total", "b"], after["seen",]) == (7, 3, 4)
    assert (after["seconds_sum",], after["seconds_bucket", "1.0"], after["seconds_count",]) == (7, 1, 3)


def test_file_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    own = tmp_path / f"counter_{os.getpid()}.db"
    MmapedDict(str(own)).close()  # type: ignore[no-untyped-call]  # its own annotations
    merge_dead_workers(tmp_path)
    assert files(tmp_path) == [own.name]


def test_many_starts_leave_one_file_each_kind(tmp_path: Path) -> None:
    for pid in range(2**22 + 1, 2**22 + 50):
        for kind in ("counter", "histogram", "gauge_max", "gauge_livemin"):
            (tmp_path / f"{kind}_{pid}.db").write_bytes(bytes(4096))  # reserved and never written
        merge_dead_workers(tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 3 * FILE_BYTES


def test_file_that_cannot_be_read_keeps_no_other_from_being_merged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    count_and_die(tmp_path, 2)
    broken = tmp_path / f"counter_{2**22 + 1}.db"
    broken.write_bytes(b"\xff\x00\x00\x00" + b"\x01" * 300)
    merge_dead_workers(tmp_path)
    assert files(tmp_path)[:2] == [broken.name, "counter_merged.db"]
    assert f"{broken.name} cannot be read" in caplog.text


def test_full_disk_leaves_the_counters_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    count_and_die(tmp_path, 2)
    before = shown(tmp_path)

    def full(_descriptor: int, _offset: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    merge_dead_workers(tmp_path)
    assert shown(tmp_path) == {key: n for key, n in before.items() if key != ("held",)}
    assert "counters of dead workers stay in files of their own" in caplog.text


def test_reading_goes_on_where_there_is_no_room_for_a_lock(tmp_path: Path) -> None:
    with reading(tmp_path / "nowhere"):
        pass
