"""The contract of removal, asked of both stores, and the bytes that it leaves in a folder."""

import random
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from marquee.store.log.event_log import ClosedPart, EventLog, RemovedRows
from marquee.store.log.log_rows import ROWS_PER_REMOVAL
from marquee.store.log.removing import sqlite_wiping
from marquee.store.log.removing.sqlite_wiping import unused_room
from marquee.store.log.sqlite import SqliteEventLog
from tests.support.event_stores import DAY, NOW, Store, decision, event


def ids(log: EventLog) -> set[str]:
    """Returns the ids of all rows."""
    events = {logged.event.event_id for logged in log.read(0, 1000)}
    return events | {logged.decision.decision_id for logged in log.read_decisions(0, 1000)}


def test_rows_of_a_user_go_and_nobody_elses(store: Store) -> None:
    log = store.open()
    log.append_decisions([decision("d1"), decision("d2", user_id="u2"), decision("d3", user_id=None)])
    log.append(
        [
            event("own"),
            event("own in the future", timestamp=NOW + 300),
            event("of nobody to a decision of theirs", user_id=None, decision_id="d1"),
            event("of another to a decision of theirs", user_id="u2", decision_id="d1"),
            event("of nobody to a decision of another", user_id=None, decision_id="d2"),
            event("of nobody to a decision in a file", user_id=None, decision_id="d0"),
        ]
    )
    log.removal.erase_user("u1", "erasure", ["d0"])
    assert store.open().removal.count_removed("erasure") == RemovedRows(events=4, decisions=1)
    assert ids(store.open()) == {
        "of another to a decision of theirs",
        "of nobody to a decision of another",
        "d2",
        "d3",
    }
    log.removal.erase_user("u1", "erasure", ["d0"])
    assert log.removal.count_removed("erasure") == RemovedRows(events=4, decisions=1)
    log.append([event("acknowledged while it ran")])
    log.removal.erase_user("u1", "erasure")
    assert log.removal.count_removed("erasure") == RemovedRows(events=5, decisions=1)
    assert log.removal.count_removed("another") == RemovedRows()


def test_rows_of_a_user_are_read_in_pages(store: Store) -> None:
    log = store.open()
    log.append([event(f"e{i}", user_id=("u1", "u2")[i % 2]) for i in range(8)])
    log.append_decisions([decision(f"d{i}", user_id=("u1", "u2")[i % 2]) for i in range(8)])
    first = log.read_events_of("u1", 0, 3)
    assert [one.event.event_id for one in first] == ["e0", "e2", "e4"]
    assert [one.event.event_id for one in log.read_events_of("u1", first[-1].sequence, 3)] == ["e6"]
    decisions = log.read_decisions_of("u1", 0, 3)
    assert [one.decision.decision_id for one in decisions] == ["d0", "d2", "d4"]
    assert [one.decision.decision_id for one in log.read_decisions_of("u1", decisions[-1].sequence, 3)] == [
        "d6"
    ]


def test_rows_before_a_moment_expire_in_steps(store: Store) -> None:
    log = store.open()
    log.append([event(f"e{i}", timestamp=NOW - i % 2 * DAY) for i in range(2 * ROWS_PER_REMOVAL + 4)])
    log.append_decisions([decision("old", time_ms=NOW * 1000 - 1), decision("new")])
    expired = [log.removal.expire_events(NOW) for _ in range(3)]
    assert expired == [ROWS_PER_REMOVAL, 2, 0]
    assert min(logged.event.timestamp for logged in log.read(0, 1000)) == NOW
    assert [log.removal.expire_decisions(NOW * 1000) for _ in range(2)] == [1, 0]
    assert [one.decision.decision_id for one in log.read_decisions(0, 9)] == ["new"]


def test_last_sequence_stays_when_the_last_rows_go(store: Store) -> None:
    log = store.open()
    log.append([event("e1"), event("e2", user_id="u2")])
    last = log.last_sequence()
    log.removal.erase_user("u2", "x")
    log.removal.expire_events(NOW + 1)
    assert log.read(0, 9) == []
    assert store.open().last_sequence() == last
    log.append([event("e3")])
    assert log.read(0, 9)[0].sequence > last


def test_list_of_parts_follows_what_became_of_the_files(store: Store) -> None:
    log = store.open()
    log.append([event("e1"), event("e2")])
    log.append_decisions([decision("d1")])
    last = log.last_sequence()
    for rows in log.open_days():
        log.note_closed(
            ClosedPart(rows.day, rows.kind, f"{rows.kind}.parquet", rows.n_rows, rows.last_sequence)
        )
    clicks, decisions = log.closed_parts()
    shorter = ClosedPart(clicks.day, clicks.kind, "click.2.parquet", 1, clicks.last_sequence)
    log.removal.replace_part(clicks, shorter, {"one": 1, "other": 0})
    assert store.open().closed_parts() == [shorter, decisions]
    log.removal.replace_part(shorter, None, {"one": 2})
    log.removal.replace_part(decisions, None, {"one": 7})
    assert log.removal.count_removed("one") == RemovedRows(events_in_files=3, decisions_in_files=7)
    assert log.removal.count_removed("other") == RemovedRows()
    assert store.open().closed_parts() == []
    assert log.last_sequence() == last


def test_wiping_changes_no_row(store: Store) -> None:
    log, other = store.open(), store.open()
    log.append([event(f"e{i}", user_id=f"u{i % 7}") for i in range(200)])
    log.removal.erase_user("u3", "x")
    before = ids(log)
    assert log.removal.wipe()
    assert ids(log) == ids(other) == before
    other.append([event("after")])
    log.append([event("and after that")])
    assert ids(log) == before | {"after", "and after that"}


# Another process reads the bytes: closing a file here would give up the locks of SQLite in this one.
COUNT = """
import pathlib, sys
content = b"".join(file.read_bytes() for file in pathlib.Path(sys.argv[1]).rglob("*") if file.is_file())
print(sum(content.count(name.encode()) for name in sys.argv[2:]))
"""


def traces(folder: Path, names: list[str]) -> int:
    """Returns how often some names stand in the bytes of the files of a folder."""
    arguments = [sys.executable, "-c", COUNT, str(folder), *names]
    return int(subprocess.run(arguments, capture_output=True, timeout=60, check=True).stdout)


def test_no_byte_of_an_erased_user_is_left_in_a_folder(tmp_path: Path) -> None:
    log, other = SqliteEventLog(tmp_path), SqliteEventLog(tmp_path)
    draw = random.Random(1)  # without wiping, this order leaves copies of two rows behind
    users = [f"{draw.getrandbits(128):032x}" for _ in range(50)]
    for step in range(20):  # in small steps: pages are parted again and again
        some = [draw.choice(users) for _ in range(100)]
        log.append(
            [event(f"{user}-{step}-{i}", user_id=user, text="x" * (i % 60)) for i, user in enumerate(some)]
        )
        other.append_decisions(
            [decision(f"d-{user}-{step}-{i}", user_id=user) for i, user in enumerate(some)]
        )
    gone = users[:45]
    assert traces(tmp_path, gone) > 1000
    for user in gone:
        log.removal.erase_user(user, "x")
    others = [f"{draw.getrandbits(128):032x}" for _ in range(400)]
    # Another process remembers the pages as they are now; it must not write that back later.
    other.append([event(f"{user}-1", user_id=user) for user in others])
    assert log.removal.wipe()
    assert traces(tmp_path, gone) == 0
    other.append([event(f"{user}-2", user_id=user) for user in others])
    assert traces(tmp_path, gone) == 0
    log.close()
    other.close()
    for name in ("events.db", "decisions.db"):
        connection = apsw.Connection(str(tmp_path / name))
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()


def test_reader_in_the_middle_puts_wiping_off(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path)
    log.append([event("e1")])
    reader = apsw.Connection(str(tmp_path / "events.db"))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchall()
    log.append([event("e2")])
    assert not log.removal.wipe()
    reader.execute("COMMIT")
    reader.close()
    assert log.removal.wipe()
    assert len(log.read(0, 9)) == 2
    log.close()


def test_every_page_is_wiped_whatever_the_length_of_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_wiping, "PAGES_PER_STEP", 3)
    log = SqliteEventLog(tmp_path)
    log.append([event(f"e{i}", user_id=f"user-{i % 9}", text="t" * 500) for i in range(300)])
    log.removal.erase_user("user-4", "x")
    assert log.removal.wipe()
    assert traces(tmp_path, ["user-4"]) == 0
    log.close()


def test_page_of_no_tree_has_no_room_and_a_damaged_one_ends() -> None:
    assert unused_room(bytes([0, 0, 0, 7]) + bytes(4092), 0) == []
    page = bytearray(4096)
    page[0], page[3:5], page[5:7] = 13, (1).to_bytes(2), (4000).to_bytes(2)
    assert unused_room(bytes(page), 0) == [(10, 4000)]
    page[1:3] = (4010).to_bytes(2)
    page[4010:4014] = (4010).to_bytes(2) + (20).to_bytes(2)  # a block that names itself as the next one
    assert unused_room(bytes(page), 0) == [(10, 4000), (4014, 4030)]
