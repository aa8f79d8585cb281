"""Random events, decisions, retries, restarts and closings against a model in memory, on both stores."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from marquee.store.log.closed_days import Known, close_days, days_of, find_decision, is_over, read_rows
from marquee.store.log.decision_ids import decision_id
from marquee.store.log.event_log import Event, EventLog, Kept
from marquee.store.log.event_rows import EventLimits
from tests.support.event_stores import DAY, NOW, Postgres, Store, decision, event

LIMITS = EventLimits(horizon=DAY)
EVENT_IDS = st.integers(0, 15).map(lambda number: f"e{number}")
EVENTS = st.builds(
    lambda event_id, user, item, day, late: event(
        event_id, user_id=user, item_id=item, timestamp=NOW - day * DAY, received=NOW + late
    ),
    EVENT_IDS,
    st.sampled_from(["u1", "u2", None]),
    st.sampled_from("ab"),
    st.integers(0, 2),
    st.integers(0, 3),
)


class Model(RuleBasedStateMachine):
    """The invariants of a log, whichever worker did what to it."""

    def __init__(self, make: Callable[[], Store], folder: Path) -> None:
        super().__init__()
        self.store = make()
        self.folder = folder
        self.logs: list[EventLog] = [self.store.open(), self.store.open()]
        self.events: dict[str, Event] = {}  # what is still in the store, in order
        self.closed: dict[str, Event] = {}
        self.decisions: set[str] = set()

    @rule(batch=st.lists(EVENTS, max_size=6), worker=st.integers(0, 1))
    def append(self, batch: list[Event], worker: int) -> None:
        # An id can be forgotten only when its event would be refused: the door is not part of this test.
        batch = [one for one in batch if one.event_id not in self.closed]
        expected: list[Kept] = []
        for one in batch:
            if one.event_id not in self.events:
                expected.append(Kept.accepted)
            else:
                is_same = self.events[one.event_id].digest() == one.digest()
                expected.append(Kept.repeated if is_same else Kept.event_id_reused)
            self.events.setdefault(one.event_id, one)
        assert self.logs[worker].append(batch) == expected

    @rule(number=st.integers(0, 5), day=st.integers(0, 2), worker=st.integers(0, 1))
    def decide(self, number: int, day: int, worker: int) -> None:
        name = f"d{number}"
        # The id says the time, so that the one number on two days is two decisions.
        name = decision_id((NOW - day * DAY) * 1000, number.to_bytes(10))
        if name in self.decisions and find_decision(self.logs[worker], self.folder, name) is None:
            raise AssertionError(f"{name} is lost")
        # A writer that does not know what became of a group sends it again, but never after days.
        if self.logs[worker].find_decision(name) is not None or name not in self.decisions:
            self.logs[worker].append_decisions([decision(name, time_ms=(NOW - day * DAY) * 1000)] * 2)
        self.decisions.add(name)

    @rule(worker=st.integers(0, 1))
    def restart(self, worker: int) -> None:
        self.logs[worker].close()
        self.logs[worker] = self.store.open()

    @rule(later=st.integers(0, 6), worker=st.integers(0, 1))
    def close(self, later: int, worker: int) -> None:
        now = NOW + later * DAY
        close_days(self.logs[worker], self.folder, now, [Known(10**9)], LIMITS)
        for event_id, one in list(self.events.items()):
            if is_over(one.timestamp // DAY, now, LIMITS):
                self.closed[event_id] = self.events.pop(event_id)

    @invariant()
    def store_holds_what_the_model_holds(self) -> None:
        read = [logged.event for logged in self.logs[0].read(0, 1000)]
        assert read == list(self.events.values())
        for user in ("u1", "u2"):
            mine = [one for one in self.events.values() if one.user_id == user]
            assert [logged.event for logged in self.logs[1].read_events_of(user, 0, 1000)] == mine
            by_time = sorted(mine, key=lambda one: one.timestamp)  # equal times in the order of the log
            profile = self.logs[0].read_profile(user, 0, 0, 1000)
            assert [one.item_id for one in profile] == [one.item_id for one in by_time]
        everything = [
            row_id
            for day, kinds in days_of(self.logs[1]).items()
            for frame in read_rows(self.logs[1], self.folder, day, sorted(kinds))
            for row_id in frame["decision_id" if "items" in frame.columns else "event_id"]
        ]
        # Each exactly once, in the store or in a file.
        assert sorted(everything) == sorted([*self.events, *self.closed, *self.decisions])
        for name in self.decisions:
            found = find_decision(self.logs[0], self.folder, name)
            assert found is not None
            assert found.decision_id == name

    def teardown(self) -> None:
        self.store.close()


def run(make: Callable[[], Store], folder: Path, n: int) -> None:
    run_state_machine_as_test(
        lambda: Model(make, Path(tempfile.mkdtemp(dir=folder))),  # type: ignore[arg-type]  # it calls it, no more
        settings=settings(
            max_examples=n,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
def test_folder_keeps_what_a_model_keeps(tmp_path: Path) -> None:
    run(lambda: Store(tempfile.mkdtemp(dir=tmp_path)), tmp_path, 40)


@pytest.mark.slow
def test_database_keeps_what_a_model_keeps(postgres: Postgres, tmp_path: Path) -> None:
    run(lambda: Store(postgres.empty()), tmp_path, 15)
