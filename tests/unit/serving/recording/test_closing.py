"""Days leave the log while the service runs: only those that every release knows, whatever ends the work."""

import signal
import sys
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from marquee.decision.recommender import Recommender
from marquee.errors import EventLogError
from marquee.store.log.closed_days import Known
from marquee.store.log.decision_ids import decision_id
from marquee.store.log.event_log import EventLog
from marquee.store.log.log_rows import DECISION
from marquee.store.log.opening import folder_of_closed_days
from serving.recording.closing import DayCloser
from serving.recording.opening import OpenedLog
from serving.releases.answering import Answering, known_by
from serving.telemetry.metrics import Metrics
from tests.support.bundles import publish_tiny
from tests.support.counters import samples
from tests.support.event_stores import DAY, NOW, Store, decision, event
from tests.support.service_process import eventually

LATER = NOW + 30 * DAY
EVERYTHING = [Known(sequence=10**9)]
SLEEPING = [sys.executable, "-c", "import time; time.sleep(600)"]
MADE = decision_id(NOW * 1000, bytes(10))


class Closing:
    """A closer of a log whose clock and releases a test moves."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.now = float(LATER)
        self.known: Collection[Known] | None = EVERYTHING
        self.metrics = Metrics()
        self.closer = DayCloser(
            store.where, folder, 7 * DAY, 3600, lambda: self.known, self.metrics, lambda: self.now
        )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(str(tmp_path / "log"))
    yield store
    store.close()


@pytest.fixture
def log(store: Store) -> EventLog:
    log = store.open()
    log.append([event("e1"), event("e2"), event("e3", kind="view")])
    log.append_decisions([decision(MADE)])
    return log


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    return tmp_path / "days"


@pytest.fixture
def made(log: EventLog, store: Store, closed: Path) -> Closing:
    assert log.open_days()
    return Closing(store, closed)


def test_days_are_closed_at_the_second_turn_and_then_once_an_hour(made: Closing, log: EventLog) -> None:
    assert made.closer.look() == []
    assert sorted((part.kind, part.n_rows) for part in made.closer.look()) == [
        ("click", 2),
        (DECISION, 1),
        ("view", 1),
    ]
    assert log.open_days() == []
    log.append([event("e4")])
    made.now += 3599
    assert made.closer.look() == []
    made.now += 1
    assert [part.n_rows for part in made.closer.look()] == [1]
    counted = samples(made.metrics)
    assert [counted["marquee_closed_rows_total", kind] for kind in ("click", "view", DECISION)] == [3, 1, 1]


def test_days_stay_that_a_release_of_this_or_the_last_turn_does_not_know(
    made: Closing, log: EventLog
) -> None:
    turns: list[list[Known] | None] = [None, EVERYTHING, [Known(1)], [*EVERYTHING, Known(1)], EVERYTHING]
    for made.known in turns:
        made.closer.look()
        made.now += 3600
        assert {rows.kind for rows in log.open_days()} >= {"click", "view"}
    made.closer.look()
    assert log.open_days() == []


def test_process_that_is_killed_is_followed_by_one_that_goes_on(
    made: Closing, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.closer.look()
    killed = [sys.executable, "-c", f"import os; os.kill(os.getpid(), {signal.SIGKILL:d})"]
    with monkeypatch.context() as patched:
        patched.setattr(made.closer._process, "command", killed)
        with pytest.raises(EventLogError, match=r"ended with -9.*tried again"):
            made.closer.look()
    assert len(log.open_days()) == 3
    assert len(made.closer.look()) == 3


def test_process_that_takes_too_long_is_ended(made: Closing, monkeypatch: pytest.MonkeyPatch) -> None:
    made.closer.look()
    monkeypatch.setattr(made.closer._process, "command", SLEEPING)
    monkeypatch.setattr(made.closer._process, "patience_s", 0.1)
    with pytest.raises(EventLogError, match=r"not take longer than 0\.1 s"):
        made.closer.look()
    assert made.closer._process.process is not None
    assert made.closer._process.process.returncode == -signal.SIGKILL
    # Cores that are never idle must not bar the next one for ever.
    assert made.closer._process.command[-1] == "nice"


def test_worker_that_ends_ends_the_process(made: Closing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made.closer._process, "command", SLEEPING)
    made.closer.look()
    errors: list[EventLogError] = []

    def look() -> None:
        try:
            made.closer.look()
        except EventLogError as error:
            errors.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    assert eventually(lambda: made.closer._process.process is not None)
    made.closer.close()
    looking.join(20)
    assert "ended with -9" in str(errors[0])
    made.now += 3600
    assert made.closer.look() == []


def test_store_that_is_gone_is_told_in_words(tmp_path: Path) -> None:
    made = Closing(Store("postgresql://nobody@127.0.0.1:1/none"), tmp_path)
    made.closer.look()
    with pytest.raises(EventLogError, match="database of the event log cannot be used"):
        made.closer.look()


def test_each_release_that_answers_is_asked_what_it_knows(tmp_path: Path) -> None:
    first, second = (Recommender.load(publish_tiny(tmp_path, seed=seed)) for seed in range(2))
    until = [Known(0, one.bundle.manifest.known_until.timestamp) for one in (first, second)]
    assert known_by([Answering(first), Answering(second)]) == until
    assert known_by([Answering(first), None]) is None


def test_folder_of_closed_days_stands_beside_the_log_unless_it_is_named() -> None:
    assert folder_of_closed_days("events", "") == Path("events/closed")
    assert folder_of_closed_days("postgresql://x", "") is None
    assert folder_of_closed_days("postgresql://x", "days") == Path("days")


def test_decision_of_a_closed_day_is_found_by_the_service(made: Closing, store: Store, closed: Path) -> None:
    made.closer.look()
    opened, without = OpenedLog(store.where, closed=closed), OpenedLog(store.where)
    for expected in (decision(MADE), None):
        assert opened.find_decision(MADE) == decision(MADE)
        assert without.find_decision(MADE) == expected
        made.closer.look()
    opened.close()
    without.close()
