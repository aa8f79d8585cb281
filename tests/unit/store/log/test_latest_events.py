"""Up to where the log knows of each user: whatever became of the writer, the file and the store."""

import shutil
from pathlib import Path

import pytest

from marquee.errors import EventLogFullError
from marquee.store.log.latest_events import LatestEvents
from marquee.store.log.sqlite import SqliteEventLog
from tests.support.event_stores import NOW, event


def last(log: SqliteEventLog, user_id: str) -> int:
    fresh = log.freshness(user_id)
    assert fresh is not None
    return fresh.last_sequence


def test_next_writer_notes_what_a_killed_one_has_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, survivor = SqliteEventLog(tmp_path), SqliteEventLog(tmp_path)
    with monkeypatch.context() as killed:  # after its commit, before its note
        killed.setattr(LatestEvents, "add", lambda *_: None)
        log.append([event("e1")])
    assert last(survivor, "u1") == 0
    survivor.append([event("e2", user_id="u2")])
    assert (last(survivor, "u1"), last(survivor, "u2")) == (1, 2)


@pytest.mark.parametrize("lost", [True, False], ids=["file-lost", "folder-copied"])
def test_log_that_comes_without_its_file_is_noted_anew(tmp_path: Path, lost: bool) -> None:
    log = SqliteEventLog(tmp_path / "log")
    log.append([event("e1"), event("e2", user_id=None, decision_id="d")])
    log.close()
    folder = tmp_path / "log"
    if lost:
        (folder / "events.latest").unlink()
    else:
        folder = Path(shutil.copytree(folder, tmp_path / "copy"))
        # As if the file were of the store that the copy replaces.
        (folder / "events.latest").write_bytes(b"\1" + bytes(7) + b"\7" + bytes(7) + b"\xff" * 6 + bytes(10))
    opened = SqliteEventLog(folder)
    assert last(opened, "u1") == 1
    opened.close()


def test_new_event_gives_another_mark_also_where_another_store_left_a_higher_sequence(tmp_path: Path) -> None:
    latest = LatestEvents(tmp_path / "latest")
    latest.add([("u1", 900)], 900)
    latest.known_until(7)
    before = latest.of("u1")
    latest.add([("u1", 1)], 1)
    after = latest.of("u1")
    assert (after.last_sequence, after.mark != before.mark) == (900, True)
    latest.close()


def test_users_who_lose_events_are_marked(tmp_path: Path) -> None:
    latest = LatestEvents(tmp_path / "latest")
    latest.add([("u1", 5), ("u1", 3), (None, 7)], 7)
    before, other = latest.of("u1"), latest.of("u2")
    latest.touch(["u1"])
    after = latest.of("u1")
    assert (before.last_sequence, after.last_sequence) == (5, 5)
    assert before.mark != after.mark
    assert latest.of("u2") == other
    for _ in range(2**16 - 1):  # the count begins anew, and leaves the sequence alone
        latest.touch(["u1"])
    assert latest.of("u1") == before
    latest.close()


def test_profile_in_memory_goes_with_events_that_are_too_old(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path)
    log.append([event("e1", timestamp=NOW - 9), event("e2", user_id="u2", timestamp=NOW)])
    before = log.freshness("u1"), log.freshness("u2")
    assert log.removal.expire_events(NOW) == 1
    assert log.freshness("u1") != before[0]
    assert log.freshness("u2") == before[1]
    log.close()


def test_disk_without_room_for_it_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", no_room)
    with pytest.raises(EventLogFullError, match=r"the disk of events\.latest is full"):
        SqliteEventLog(tmp_path)
