"""Which workers hang, when a service is given up, and how a worker tells that it lives."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from circus.watcher import Watcher

from serving.http.settings import MAX_DRAIN_MS
from serving.workers.heartbeat import PARENT_VARIABLE, Heartbeat
from serving.workers.supervisor import HangWatch, StartWatch, Supervisor, Watch
from serving.workers.table import WorkerState, WorkerTable, read_workers


def state(pid: int, *, is_ready: bool = True, silent_s: float = 0.0) -> WorkerState:
    return WorkerState(pid, is_ready, silent_s)


def test_worker_that_is_silent_for_too_long_hangs() -> None:
    watch = HangWatch(hang_s=30, look_s=2)
    states = [state(1, silent_s=31), state(2, silent_s=29), state(3, silent_s=99)]
    assert watch.hanging({1, 2}, states, now=0) == []  # nothing is known of the time before the first look
    assert watch.hanging({1, 2}, states, now=2) == [1]


def test_pause_of_the_whole_machine_is_no_hang() -> None:
    watch = HangWatch(hang_s=30, look_s=2)
    watch.hanging({1}, [], now=0)
    assert watch.hanging({1}, [state(1, silent_s=100)], now=100) == []
    assert watch.hanging({1}, [state(1, silent_s=102)], now=102) == [1]


def test_no_worker_hangs_where_the_operator_says_so() -> None:
    watch = HangWatch(hang_s=0, look_s=2)
    assert [watch.hanging({1}, [state(1, silent_s=1e9)], now) for now in (0, 2, 4)] == [[], [], []]


def test_service_is_given_up_when_all_starts_fail() -> None:
    watch = StartWatch(max_failed=2)
    assert not watch.is_hopeless({1, 2}, {1, 2}, [])
    assert not watch.is_hopeless({2, 3}, {2, 3}, [state(2, is_ready=False)])
    assert not watch.is_hopeless({4}, {4}, [])  # without a word of any worker nothing is known
    assert watch.is_hopeless({4}, {4}, [state(2, is_ready=False)])


def test_worker_that_ends_between_two_looks_counts() -> None:
    watch = StartWatch(2)
    assert not watch.is_hopeless({1}, [], [state(1, is_ready=False)])
    assert watch.is_hopeless({2}, [], [state(1, is_ready=False)])


def test_service_that_has_answered_is_never_given_up() -> None:
    watch = StartWatch(max_failed=1)
    assert not watch.is_hopeless({1}, {1}, [state(1)])
    assert not watch.is_hopeless({2}, {2}, [state(2, is_ready=False)])


def test_table_tells_who_is_ready_and_since_when_it_is_silent(tmp_path: Path) -> None:
    now = 100.0
    table = WorkerTable(2, 1, tmp_path, clock=lambda: now)
    assert read_workers(2, tmp_path, 103.0) == [WorkerState(os.getpid(), False, 3.0)]
    table.tell_ready()
    now = 103.0
    table.beat()
    assert read_workers(2, tmp_path, 103.0) == [WorkerState(os.getpid(), True, 0.0)]


def test_worker_that_cannot_answer_leaves_connections_to_one_that_can(tmp_path: Path) -> None:
    first, second = (WorkerTable(2, number, tmp_path) for number in (1, 2))
    assert not first.leaves_all()  # nobody can: the health pages answer
    second.tell_ready()
    assert first.leaves_all()
    second.add(100)
    assert not second.has_enough()  # the other holds less, but cannot answer
    first.tell_ready()
    assert not first.leaves_all()
    assert second.has_enough()


def test_worker_ends_when_its_parent_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: told.append((pid, number)))
    monkeypatch.setenv(PARENT_VARIABLE, str(os.getppid()))
    loop = asyncio.new_event_loop()
    Heartbeat.of_worker(WorkerTable()).begin(loop)
    assert told == []
    monkeypatch.setenv(PARENT_VARIABLE, "1" if os.getppid() != 1 else "2")
    Heartbeat.of_worker(WorkerTable()).begin(loop)
    loop.close()
    assert told == [(os.getpid(), signal.SIGTERM)]


def test_process_that_nobody_watches_does_not_look_for_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PARENT_VARIABLE, raising=False)
    beats: list[str] = []
    loop = asyncio.new_event_loop()
    Heartbeat.of_worker(WorkerTable(), [lambda: beats.append("beat")]).begin(loop)
    loop.close()
    assert beats == ["beat"]


def test_worker_that_does_not_end_is_killed_before_its_operator_loses_patience() -> None:
    watcher = Watcher("service", "true", graceful_timeout=86_400)  # as BentoML makes it
    supervisor = Supervisor([watcher], watch=Watch(1, 30, "FOLDER"), endpoint="tcp://127.0.0.1:1")
    supervisor.ctrl.sys_hdl.stop()  # or else its signals would be this process's
    assert watcher.graceful_timeout * 1000 > MAX_DRAIN_MS
    assert watcher.graceful_timeout <= 45  # TimeoutStopSec of deploy/marquee.service
    assert supervisor.endpoint.startswith("inproc://")
    assert watcher.env[PARENT_VARIABLE] == str(os.getpid())
