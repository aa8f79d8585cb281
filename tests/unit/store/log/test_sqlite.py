"""Faults of a log in a folder: old libraries, full disks, vanished files, endless readers, kills."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from marquee.errors import ConfigError, EventLogFullError, EventLogGoneError
from marquee.store.log import sqlite, sqlite_file
from marquee.store.log.event_log import Kept, ProfileEvent
from marquee.store.log.sqlite import DECISIONS_FILE, EVENTS_FILE, SqliteEventLog
from marquee.store.log.sqlite_file import validate_sqlite
from tests.support.event_stores import decision, event
from tests.support.log_writer import acknowledged, start_writer

N_KILLS = 20


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    opened = SqliteEventLog(tmp_path / "log")
    yield opened
    opened.close()


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.9.99"])
def test_library_that_can_damage_a_log_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match=rf"needs SQLite 3\.51\.3 or later, got {version}"):
        validate_sqlite(version)


def test_library_that_is_installed_is_good_enough() -> None:
    validate_sqlite(apsw.sqlite_lib_version())
    validate_sqlite("3.51.3")


def test_events_are_forced_to_disk_and_decisions_are_not(log: SqliteEventLog) -> None:
    log.append([event("e")])
    log.append_decisions([decision("d")])
    for file, expected in ((log._events, 2), (log._decisions, 1)):
        assert file._writer is not None
        assert file._writer.execute("PRAGMA synchronous").fetchall() == [(expected,)]
        assert file._writer.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


def test_profile_is_one_read_of_an_index_alone(log: SqliteEventLog) -> None:
    rows = log._events.read(f"EXPLAIN QUERY PLAN {sqlite._PROFILE}", ("u", 5, 0, 200))
    plan = " ".join(row[3] for row in rows)
    assert "USING COVERING INDEX profiles_by_user (user_id=? AND sequence>?)" in plan
    assert "TEMP B-TREE" not in plan


def test_log_of_an_earlier_release_gets_the_index_of_profiles(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path)
    log.append([event("e1", item_id="a", kind="rating", value=2.0)])
    log.close()
    connection = apsw.Connection(str(tmp_path / EVENTS_FILE))
    connection.execute("DROP INDEX profiles_by_user").fetchall()
    connection.execute("CREATE INDEX events_by_user ON events(user_id, sequence)").fetchall()
    connection.close()
    log = SqliteEventLog(tmp_path)
    named = log._events.read("SELECT name FROM sqlite_schema WHERE name LIKE '%by_user'")
    assert named == [("profiles_by_user",)]
    assert log.read_profile("u1", 0, 0, 9) == [ProfileEvent("a", "rating", 2.0)]
    log.close()


def test_full_disk_keeps_nothing_and_remembers_nothing(log: SqliteEventLog) -> None:
    log.append([event("before")])
    assert log._events._writer is not None
    log._events._writer.execute("PRAGMA max_page_count = 1").fetchall()  # as many as there are now
    many = [event(f"e{i}", text="x" * 2000) for i in range(50)]
    with pytest.raises(EventLogFullError, match=r"disk of events\.db is full.*nothing was kept, make room"):
        log.append(many)
    assert [logged.event.event_id for logged in log.read(0, 99)] == ["before"]
    assert log.append(many) == [Kept.accepted] * 50  # there is room again


def test_vanished_folder_is_not_begun_anew(log: SqliteEventLog, tmp_path: Path) -> None:
    log.append([event("e1")])
    (tmp_path / "log").rename(tmp_path / "away")
    with pytest.raises(EventLogGoneError, match=r"events\.db"):
        log.append([event("e2")])
    with pytest.raises(EventLogGoneError, match="bring it back"):
        log.read(0, 9)
    with pytest.raises(EventLogGoneError, match=r"decisions\.db"):
        log.append_decisions([decision("d")])
    assert not (tmp_path / "log").exists()
    (tmp_path / "away").rename(tmp_path / "log")
    assert log.append([event("e1"), event("e2")]) == [Kept.repeated, Kept.accepted]


def test_log_that_another_replaced_is_not_written_to(log: SqliteEventLog, tmp_path: Path) -> None:
    log.append([event("e1")])
    shutil.copy(tmp_path / "log" / EVENTS_FILE, tmp_path / "copy")
    (tmp_path / "copy").replace(tmp_path / "log" / EVENTS_FILE)
    with pytest.raises(EventLogGoneError, match="another or no file"):
        log.append([event("e2")])


def test_file_of_another_format_is_refused(log: SqliteEventLog, tmp_path: Path) -> None:
    log.close()
    connection = apsw.Connection(str(tmp_path / "log" / DECISIONS_FILE))
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(ConfigError, match=r"decisions\.db must have format 1, got 7"):
        SqliteEventLog(tmp_path / "log")


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / EVENTS_FILE).write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(EventLogGoneError, match="cannot be used"):
        SqliteEventLog(tmp_path)


def test_reader_that_never_ends_does_not_let_the_wal_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 8 MB, so that 25 MB of texts begin it anew several times.
    monkeypatch.setattr(sqlite_file, "CHECKPOINT_PAGES", 2_000)
    log = SqliteEventLog(tmp_path / "log")

    def follow() -> Iterator[str]:
        after = 0
        while True:
            for logged in log.read(after, 10):
                after = logged.sequence
                yield logged.event.event_id

    reader = follow()
    log.append([event(f"first{i}", text="x" * 500) for i in range(20)])
    next(reader)  # and it stands there, in the middle of a page
    sizes = []
    for round_ in range(40):
        log.append([event(f"{round_}-{i}", text="x" * 2000) for i in range(300)])
        sizes.append(log.wal_bytes())
    assert max(sizes) < 24 * 2**20  # 40 rounds are 25 MB of text alone, and more of pages
    assert max(sizes[20:]) <= max(sizes[:20]) * 1.5
    assert next(reader) == "first1"
    log.close()


@pytest.mark.slow
def test_killed_writers_lose_and_double_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    folder, promised = tmp_path / "log", set[str]()
    SqliteEventLog(folder).close()
    for number in range(N_KILLS):
        writers = [start_writer(folder, f"{number}-{i}") for i in range(2)]
        for writer in writers:
            promised |= acknowledged(writer, 3 + number % 5)
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
        for writer in writers:
            promised |= acknowledged(writer, None)
            assert writer.wait(20) == -signal.SIGKILL
    log = SqliteEventLog(folder)
    kept = [logged.event.event_id for logged in log.read(0, 10**6)]
    assert len(kept) == len(set(kept))
    assert promised <= set(kept)
    assert len(promised) > N_KILLS * 2 * 30
    assert log._events.read("PRAGMA integrity_check") == [("ok",)]
    log.close()


def test_missing_library_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['apsw'] = None; import marquee.store.log.sqlite_file"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "pip install 'marquee[serve]'" in ran.stderr
