"""Callers share transactions: each gets the outcomes of its own rows, or the error of all."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from marquee.errors import EventLogFullError
from marquee.store.log import group_commit
from marquee.store.log.group_commit import GroupCommit

WAIT_S = 20.0


class Disk:
    """Writes numbers as texts; the first time only when it is told to, and fails if it is told to."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.began = threading.Event()
        self.may_end = threading.Event()
        self.error: BaseException | None = None

    def write(self, rows: Sequence[int]) -> list[str]:
        self.groups.append(list(rows))
        self.began.set()
        assert self.may_end.wait(WAIT_S)
        if self.error is not None and len(self.groups) > 1:
            raise self.error
        return [str(row) for row in rows]


def queued(disk: Disk, pool: ThreadPoolExecutor, n: int) -> tuple[Future[list[str]], list[Future[list[str]]]]:
    """Has one caller write, and n more with two rows each wait behind it."""
    group = GroupCommit(disk.write)
    first = pool.submit(group.submit, [0])
    assert disk.began.wait(WAIT_S)
    others = [pool.submit(group.submit, [number, number + 100]) for number in range(1, n + 1)]
    while len(group._queue) < n:
        threading.Event().wait(0.005)
    disk.may_end.set()
    return first, others


def test_callers_that_come_meanwhile_share_the_next_transaction() -> None:
    disk = Disk()
    with ThreadPoolExecutor(9) as pool:
        first, others = queued(disk, pool, 8)
        assert first.result(WAIT_S) == ["0"]
        for number, other in enumerate(others, start=1):
            assert other.result(WAIT_S) == [str(number), str(number + 100)]
    assert [len(rows) for rows in disk.groups] == [1, 16]


def test_lone_caller_waits_for_nobody() -> None:
    disk = Disk()
    disk.may_end.set()
    group = GroupCommit(disk.write)
    assert [group.submit([number]) for number in range(3)] == [["0"], ["1"], ["2"]]
    assert group.submit([]) == []
    assert disk.groups == [[0], [1], [2]]


def test_refusal_reaches_everybody_whose_rows_shared_the_transaction() -> None:
    disk = Disk()
    disk.error = EventLogFullError("full")
    with ThreadPoolExecutor(9) as pool:
        first, others = queued(disk, pool, 8)
        errors = [other.exception(WAIT_S) for other in others]
        assert first.result(WAIT_S) == ["0"]
    assert [type(error) for error in errors] == [EventLogFullError] * 8
    assert len(set(map(id, errors))) == 8


def test_fault_of_ours_leaves_nobody_waiting() -> None:
    disk = Disk()
    disk.error = ZeroDivisionError("a fault")
    with ThreadPoolExecutor(5) as pool:
        _, others = queued(disk, pool, 4)
        assert [type(other.exception(WAIT_S)) for other in others] == [ZeroDivisionError] * 4


def test_group_has_a_bound_and_the_rest_comes_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_ROWS_PER_GROUP", 5)
    disk = Disk()
    with ThreadPoolExecutor(9) as pool:
        _, others = queued(disk, pool, 8)
        assert all(other.result(WAIT_S) for other in others)
    assert [len(rows) for rows in disk.groups] == [1, 6, 6, 4]
