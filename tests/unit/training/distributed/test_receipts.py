"""A result counts as done only beside its receipt; what has changed or is damaged is named."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from marquee.errors import TaskError
from tests.support.tasks import adding, parting, partitions
from training.distributed.cluster import Cluster
from training.distributed.plan import Outcome
from training.distributed.receipts import receipt_path


@pytest.fixture
def days(tmp_path: Path) -> list[Path]:
    return partitions(tmp_path / "days", 2)


@pytest.fixture
def parted(local_cluster: Cluster, tmp_path: Path, days: list[Path]) -> Path:
    local_cluster.run("parting", parting(days, tmp_path, 2))
    return tmp_path / "parts"


@pytest.mark.usefixtures("parted")
def test_partition_that_changed_underneath_is_named(
    local_cluster: Cluster, tmp_path: Path, days: list[Path]
) -> None:
    # As many bytes as before: only the content tells.
    days[1].write_text(days[1].read_text().replace("100", "999"))
    with pytest.raises(TaskError, match=r"was made with another content of .*day-1, which has changed"):
        local_cluster.run("parting", parting(days, tmp_path, 2))


@pytest.mark.usefixtures("parted")
def test_partition_that_was_only_copied_is_the_same(
    local_cluster: Cluster, tmp_path: Path, days: list[Path]
) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(days[0].read_bytes())
    copy.rename(days[0])
    os.utime(days[1], (1, 1))
    assert local_cluster.run("parting", parting(days, tmp_path, 2)) == Outcome(done=0, skipped=2, retried=0)


@pytest.mark.usefixtures("parted")
def test_result_of_other_arguments_is_named(local_cluster: Cluster, tmp_path: Path, days: list[Path]) -> None:
    with pytest.raises(TaskError, match=r"was made with n_parts=2, not with n_parts=3"):
        local_cluster.run("parting", parting(days, tmp_path, 3))


@pytest.mark.usefixtures("parted")
def test_result_that_may_be_renewed_is(local_cluster: Cluster, tmp_path: Path, days: list[Path]) -> None:
    local_cluster.run("adding", adding(days, tmp_path, 2, factor=1))
    assert local_cluster.run("adding", adding(days, tmp_path, 2, factor=3)).done == 2
    numbers = [int(line) for day in days for line in day.read_text().split()]
    assert int((tmp_path / "sums" / "sum-0").read_text()) == 3 * sum(n for n in numbers if n % 2 == 0)


def test_damaged_part_is_named_before_it_is_read(
    local_cluster: Cluster, tmp_path: Path, days: list[Path], parted: Path
) -> None:
    part = parted / "day-0" / "part-1"
    part.write_bytes(part.read_bytes().replace(b"1", b"7", 1))
    with pytest.raises(TaskError, match=r"day-0/part-1 is damaged: expected .* by its receipt"):
        local_cluster.run("adding", adding(days, tmp_path, 2))


@pytest.mark.parametrize("damage", ["shorter", "gone"])
def test_part_that_lost_bytes_is_named_before_it_is_skipped(
    local_cluster: Cluster, tmp_path: Path, days: list[Path], parted: Path, damage: str
) -> None:
    part = parted / "day-1" / "part-0"
    part.write_bytes(b"") if damage == "shorter" else part.unlink()
    with pytest.raises(TaskError, match=r"day-1/part-0 is damaged: .*remove .*day-1 and start again"):
        local_cluster.run("parting", parting(days, tmp_path, 2))


def test_result_without_receipt_is_made_again(
    local_cluster: Cluster, tmp_path: Path, days: list[Path], parted: Path
) -> None:
    # As after a death between the rename and the receipt.
    receipt_path(parted / "day-0").unlink()
    (parted / "day-0" / "part-0").write_text("left over")
    assert local_cluster.run("parting", parting(days, tmp_path, 2)) == Outcome(done=1, skipped=1, retried=0)
    assert (parted / "day-0" / "part-0").read_text() != "left over"


def test_receipt_that_is_none_is_named(
    local_cluster: Cluster, tmp_path: Path, days: list[Path], parted: Path
) -> None:
    receipt_path(parted / "day-0").write_bytes(b"{")
    with pytest.raises(TaskError, match=r"\.day-0\.receipt must be a receipt"):
        local_cluster.run("parting", parting(days, tmp_path, 2))


@pytest.mark.usefixtures("parted")
def test_other_function_is_named(local_cluster: Cluster, tmp_path: Path, days: list[Path]) -> None:
    other = "tests.support.tasks:write_nothing"
    tasks = [replace(task, function=other) for task in parting(days, tmp_path, 2)]
    with pytest.raises(TaskError, match=r"was made with .*part_numbers, not with .*write_nothing"):
        local_cluster.run("parting", tasks)


def test_moved_folder_is_still_done(local_cluster: Cluster, tmp_path: Path) -> None:
    at = tmp_path / "here"
    local_cluster.run("parting", parting(partitions(at / "days", 2), at, 2))
    moved = at.rename(tmp_path / "there")
    days = [moved / "days" / f"day-{number}" for number in range(2)]
    assert local_cluster.run("parting", parting(days, moved, 2)).skipped == 2
