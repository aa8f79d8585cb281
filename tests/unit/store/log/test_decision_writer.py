"""Decisions are written in groups, and what is not written is said and counted."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from marquee.errors import EventLogFullError, EventLogGoneError
from marquee.store.log.decision_writer import DecisionWriter
from marquee.store.log.event_log import DecisionRow
from marquee.store.log.log_rows import decision_row
from marquee.store.log.sqlite import SqliteEventLog
from tests.support.event_stores import decision

WAIT_S = 20.0


def row(decision_id: str) -> DecisionRow:
    return decision_row(decision(decision_id))


class Log:
    """Keeps groups; refuses while it is told to, and can be made to wait."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.refuses = False
        self.was_asked = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def append(self, decisions: Sequence[DecisionRow]) -> None:
        self.was_asked.set()
        assert self.may_go_on.wait(WAIT_S)
        if self.refuses:
            raise EventLogGoneError(f"gone with {len(decisions)}")
        self.groups.append([one.decision_id for one in decisions])


def test_decisions_of_a_moment_share_a_transaction() -> None:
    log = Log()
    writer = DecisionWriter(log.append)
    assert all([writer.record(row(f"d{i}")) for i in range(100)])
    assert writer.close(WAIT_S) == 0
    assert [decision_id for group in log.groups for decision_id in group] == [f"d{i}" for i in range(100)]
    assert len(log.groups) <= 3


def test_decision_is_on_disk_without_closing(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path)
    seen = threading.Event()

    def append(decisions: Sequence[DecisionRow]) -> None:
        log.append_decision_rows(decisions)
        seen.set()

    writer = DecisionWriter(append)
    writer.record(row("d1"))
    assert seen.wait(WAIT_S)
    assert log.find_decision("d1") == decision("d1")
    writer.close(WAIT_S)
    log.close()


def test_decisions_that_come_while_others_are_written_follow() -> None:
    log = Log()
    log.may_go_on.clear()
    writer = DecisionWriter(log.append)
    writer.record(row("d1"))
    assert log.was_asked.wait(WAIT_S)
    writer.record(row("d2"))
    log.may_go_on.set()
    writer.close(WAIT_S)
    assert log.groups == [["d1"], ["d2"]]


def test_full_queue_refuses_and_counts() -> None:
    log = Log()
    log.may_go_on.clear()
    writer = DecisionWriter(log.append, max_queued=3)
    assert [writer.record(row(f"d{i}")) for i in range(5)] == [True] * 3 + [False] * 2
    assert not writer.is_recording
    log.may_go_on.set()
    assert writer.close(WAIT_S) == 0
    assert [one for group in log.groups for one in group] == ["d0", "d1", "d2"]


def test_store_that_refuses_is_said_and_gets_what_was_promised_when_it_is_back() -> None:
    log = Log()
    log.refuses = True
    writer = DecisionWriter(log.append)
    assert writer.record(row("promised"))
    assert log.was_asked.wait(WAIT_S)
    deadline = threading.Event()
    while writer.is_recording:  # until the refusal has arrived
        assert not deadline.wait(0.01)
    assert not writer.record(row("refused"))
    log.refuses = False
    while not writer.is_recording:
        deadline.wait(0.01)
    assert writer.record(row("after"))
    writer.close(WAIT_S)
    assert log.groups == [["promised"], ["after"]]


@pytest.mark.parametrize("error", [EventLogFullError, EventLogGoneError])
def test_closing_gives_up_on_a_store_that_refuses_and_counts_what_is_lost(error: type[Exception]) -> None:
    def append(decisions: Sequence[DecisionRow]) -> None:
        raise error(f"refused {len(decisions)}")

    writer = DecisionWriter(append)
    writer.record(row("d1"))
    writer.record(row("d2"))
    assert writer.close(WAIT_S) == 2
    assert not writer.record(row("late"))
