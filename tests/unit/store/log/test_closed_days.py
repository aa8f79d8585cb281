"""Closed days: every row is in the store or in a noted file, whatever kills the process that moves it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from marquee.store.files import watching_steps
from marquee.store.log import closed_days
from marquee.store.log.closed_days import (
    Known,
    close_days,
    days_of,
    find_decision,
    is_over,
    read_file,
    read_rows,
)
from marquee.store.log.decision_ids import decision_id
from marquee.store.log.event_log import Decision, EventLog
from marquee.store.log.event_rows import MAX_CLOCK_ERROR, EventLimits
from marquee.store.log.log_rows import DECISION
from marquee.store.log.sqlite import SqliteEventLog
from tests.support.event_stores import DAY, NOW, Store, decision, event
from tests.support.filled import filled
from tests.support.paths import ROOT

LIMITS = EventLimits()
EVERYTHING = [Known(sequence=10**9)]
LATER = NOW + 30 * DAY
TODAY = NOW // DAY
KINDS = ("click", "view", DECISION)


class KilledError(Exception):
    """Stands for the end of the process."""


def fill(log: EventLog) -> None:
    """Two kinds over two days, out of order, and a decision on each day."""
    log.append(
        [
            event(f"e{i}", timestamp=NOW - (i % 2) * DAY - i * 7 % 5, kind=("click", "view")[i // 3 % 2])
            for i in range(12)
        ]
    )
    log.append_decisions([decision("d1"), decision("d2", time_ms=(NOW - DAY) * 1000)])


def found(log: EventLog, folder: Path) -> dict[int, list[str]]:
    """Returns the ids of all rows by day, in the order in which they are read."""
    return {
        day: [
            row_id
            for frame in read_rows(log, folder, day, KINDS)
            for row_id in frame["decision_id" if "items" in frame.columns else "event_id"]
        ]
        for day in days_of(log)
    }


def test_rows_read_the_same_before_and_after_they_have_moved(store: Store, tmp_path: Path) -> None:
    log = store.open()
    fill(log)
    before, frames = found(log, tmp_path), [*read_rows(log, tmp_path, TODAY, KINDS)]
    parts = close_days(log, tmp_path, LATER, EVERYTHING, LIMITS)
    assert [(part.day - TODAY, part.kind, part.n_rows) for part in parts] == [
        *((-1, kind, n) for kind, n in (("click", 2), ("decision", 1), ("view", 4))),
        *((0, kind, n) for kind, n in (("click", 4), ("decision", 1), ("view", 2))),
    ]
    assert log.open_days() == []
    assert log.read(0, 100) == []
    assert found(log, tmp_path) == before
    for moved, still in zip(read_rows(log, tmp_path, TODAY, KINDS), frames, strict=True):
        assert moved.equals(still)
    assert sum(map(len, before.values())) == 14
    times = pl.concat(read_rows(log, tmp_path, TODAY, ["click"]))["timestamp"].to_list()
    assert times == sorted(times)


def test_day_stays_until_no_event_of_it_can_come(store: Store, tmp_path: Path) -> None:
    log = store.open()
    log.append([event("e")])
    end = (TODAY + 1) * DAY + LIMITS.horizon + 2 * MAX_CLOCK_ERROR
    assert close_days(log, tmp_path, end, EVERYTHING, LIMITS) == []
    assert len(close_days(log, tmp_path, end + 1, EVERYTHING, LIMITS)) == 1
    assert not is_over(TODAY, end, LIMITS)


def test_day_that_the_release_does_not_know_whole_stays(store: Store, tmp_path: Path) -> None:
    log = store.open()
    log.append([event("e1"), event("e2"), event("e3", timestamp=NOW - DAY)])
    last_of_today = log.read(0, 3)[1].sequence
    assert close_days(log, tmp_path, LATER, [Known(last_of_today - 1)], LIMITS) == []
    assert [part.day for part in close_days(log, tmp_path, LATER, [Known(last_of_today)], LIMITS)] == [TODAY]
    assert [logged.event.event_id for logged in log.read(0, 9)] == ["e3"]


def test_second_part_of_a_day_stands_beside_the_first(store: Store, tmp_path: Path) -> None:
    log = store.open()
    log.append([event("e1")])
    close_days(log, tmp_path, LATER, EVERYTHING, LIMITS)
    log.append([event("e2")])
    close_days(log, tmp_path, LATER, EVERYTHING, LIMITS)
    assert found(log, tmp_path) == {TODAY: ["e1", "e2"]}
    assert len(log.closed_parts()) == 2


def test_day_of_many_rows_leaves_in_parts_and_reads_as_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed_days, "PART_ROWS", 3)
    monkeypatch.setattr(closed_days, "PAGE_ROWS", 2)
    log = store.open()
    log.append([event(f"e{i}", timestamp=NOW - i * 7 % 5) for i in range(10)])
    (before,) = read_rows(log, tmp_path, TODAY, ["click"])
    parts = close_days(log, tmp_path, LATER, EVERYTHING, LIMITS)
    assert sorted(part.n_rows for part in parts) == [1, 3, 3, 3]
    assert len({part.file for part in parts}) == 4
    (after,) = read_rows(log, tmp_path, TODAY, ["click"])
    assert after.equals(before)
    assert after["timestamp"].is_sorted()


def test_nobody_closes_days_twice_at_once(store: Store, tmp_path: Path) -> None:
    log, other = store.open(), store.open()
    fill(log)
    with other.only_closer():
        assert close_days(log, tmp_path, LATER, EVERYTHING, LIMITS) == []


def killed_at(log: EventLog, folder: Path, n: int) -> bool:
    """Closes days and ends at the n-th step; returns whether there was one."""
    n_steps = 0

    def watch(_step: str) -> None:
        nonlocal n_steps
        n_steps += 1
        if n_steps == n:
            raise KilledError

    try:
        with watching_steps(watch):
            close_days(log, folder, LATER, EVERYTHING, LIMITS)
    except KilledError:
        return True
    return False


def test_closing_that_ends_at_any_step_loses_and_doubles_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three events a time: a day is closed in several parts.
    monkeypatch.setattr(closed_days, "PART_ROWS", 2)
    n, was_killed = 0, True
    while was_killed:
        n += 1
        log = store.open()
        log.append([event(f"{n}-{i}", timestamp=NOW - i) for i in range(3)])
        log.append_decisions([decision(f"{n}-d")])
        expected = sorted(found(log, tmp_path)[TODAY])
        was_killed = killed_at(log, tmp_path, n)
        assert sorted(found(store.open(), tmp_path)[TODAY]) == expected
        close_days(store.open(), tmp_path, LATER, EVERYTHING, LIMITS)
        assert sorted(found(store.open(), tmp_path)[TODAY]) == expected
        assert store.open().open_days() == []
        store.close()
    assert n > 14


KILLED = """
import os, sys
from pathlib import Path
from marquee.store.log.closed_days import Known, close_days
from marquee.store.log.event_rows import EventLimits
from marquee.store.files import watching_steps
from marquee.store.log.sqlite import SqliteEventLog

def watch(step):
    if step.startswith(sys.argv[2]):
        os.kill(os.getpid(), 9)

with watching_steps(watch):
    log, folder = SqliteEventLog(Path(sys.argv[1])), Path(sys.argv[1]) / "closed"
    close_days(log, folder, int(sys.argv[3]), [Known(10**9)], EventLimits())
"""


@pytest.mark.parametrize("step", ["rename", "noted"])
def test_killed_process_gives_its_locks_back(tmp_path: Path, step: str) -> None:
    store = Store(str(tmp_path))
    log = store.open()
    fill(log)
    before = found(log, tmp_path / "closed")
    arguments = [sys.executable, "-c", KILLED, str(tmp_path), step, str(LATER)]
    assert subprocess.run(arguments, cwd=ROOT, timeout=60, check=False).returncode == -9
    assert found(store.open(), tmp_path / "closed") == before
    assert close_days(store.open(), tmp_path / "closed", LATER, EVERYTHING, LIMITS)
    assert found(log, tmp_path / "closed") == before
    store.close()


def test_file_of_decisions_holds_all_of_them_and_nothing_is_left_aside(store: Store, tmp_path: Path) -> None:
    log = store.open()
    fill(log)
    part = next(
        part for part in close_days(log, tmp_path, LATER, EVERYTHING, LIMITS) if part.kind == DECISION
    )
    frame = pl.read_parquet(tmp_path / part.file)
    assert part.file.startswith("kind=decision/day=")
    assert frame["propensities"].to_list() == [[0.25, 1.0]]
    assert frame["history"].to_list() == [["x", "y"]]
    assert not list(tmp_path.rglob(".*.new"))


def test_decision_of_a_closed_day_is_found_with_every_field_it_had(store: Store, tmp_path: Path) -> None:
    log, made = store.open(), [decision_id(NOW * 1000 + i, bytes([i] * 10)) for i in range(3)]
    wanted = replace(filled(Decision), decision_id=made[1], time_ms=NOW * 1000 + 1)
    log.append_decisions([decision(made[0]), wanted])
    assert find_decision(log, tmp_path, made[1]) == wanted
    close_days(log, tmp_path, LATER, EVERYTHING, LIMITS)
    assert log.find_decision(made[1]) is None
    assert find_decision(log, tmp_path, made[1]) == wanted
    assert find_decision(log, tmp_path, made[0]) == decision(made[0])


def test_decision_is_found_in_the_file_that_an_erasure_has_put_in_the_place_of_another(
    tmp_path: Path,
) -> None:
    log, made = SqliteEventLog(tmp_path / "log"), decision_id(NOW * 1000, bytes(10))
    log.append_decisions([decision(made), decision("of somebody else", time_ms=NOW * 1000 + 1)])
    (part,) = close_days(log, tmp_path, LATER, EVERYTHING, LIMITS)
    other = replace(part, file=part.file.replace(".parquet", ".r1.parquet"))

    def read(path: Path) -> str:
        # Between list and read: the file is written anew, listed and its old one deleted.
        if path.name == Path(part.file).name and path.exists():
            path.rename(tmp_path / other.file)
            log.removal.replace_part(part, other, {})
            raise FileNotFoundError(path)
        return path.name

    assert read_file(log, tmp_path, part, read) == Path(other.file).name
    # As it was listed before: the list is read anew.
    assert read_file(log, tmp_path, part, lambda path: len(pl.read_parquet(path))) == 2
    found = find_decision(log, tmp_path, made)
    assert found == decision(made)
    (tmp_path / other.file).unlink()
    with pytest.raises(FileNotFoundError):
        read_file(log, tmp_path, part, lambda path: len(pl.read_parquet(path)))
    log.removal.replace_part(other, None, {})
    assert read_file(log, tmp_path, part, lambda path: len(pl.read_parquet(path))) is None
    log.close()


def test_decision_that_nobody_made_is_not_found(store: Store, tmp_path: Path) -> None:
    log = store.open()
    log.append_decisions([decision(decision_id(NOW * 1000, bytes(10)))])
    close_days(log, tmp_path, LATER, EVERYTHING, LIMITS)
    unknown = decision_id(NOW * 1000, bytes([1] * 10))
    for one in (unknown, decision_id(0, bytes(10)), "", "d1", unknown.replace("-7", "-4"), unknown.upper()):
        assert find_decision(log, tmp_path, one) is None


@pytest.mark.parametrize(
    ("known", "n_closed"),
    [
        ([], 2),
        ([Known(timestamp=(TODAY + 1) * DAY - 1)], 2),
        ([Known(timestamp=(TODAY + 1) * DAY - 2)], 1),
        ([Known(sequence=10**9), Known(timestamp=TODAY * DAY - 1)], 1),
        ([Known(sequence=10**9), Known()], 0),
    ],
    ids=[
        "nobody-answers",
        "to-its-last-second",
        "second-less",
        "of-two-the-older",
        "one-knows-nothing",
    ],
)
def test_day_stays_for_the_release_that_knows_least(
    store: Store, tmp_path: Path, known: list[Known], n_closed: int
) -> None:
    log = store.open()
    log.append([event("e1"), event("e2", timestamp=NOW - DAY)])
    assert len(close_days(log, tmp_path, LATER, known, LIMITS)) == n_closed


def test_decisions_of_one_millisecond_and_of_a_clock_set_back_are_all_found(
    store: Store, tmp_path: Path
) -> None:
    # Midnight lies between: the clock is set back by two seconds, and goes on.
    midnight = TODAY * DAY * 1000
    times = [midnight + 500, midnight + 500, midnight - 1500, midnight - 1500, midnight - 1, midnight + 500]
    made = [decision_id(at, number.to_bytes(10)) for number, at in enumerate(times)]
    log = store.open()
    log.append_decisions([decision(name, time_ms=at) for name, at in zip(made, times, strict=True)])
    assert [row.decision.decision_id for row in log.read_decisions(0, 10)] == made
    assert [part.n_rows for part in close_days(log, tmp_path, LATER, EVERYTHING, LIMITS)] == [3, 3]
    for name, at in zip(made, times, strict=True):
        assert find_decision(log, tmp_path, name) == decision(name, time_ms=at)
