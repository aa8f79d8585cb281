"""Faults of a log in PostgreSQL: workers that come at once, lost connections, kills."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from marquee.errors import ConfigError, EventLogError, EventLogGoneError
from marquee.store.log import postgres_database
from marquee.store.log.event_log import Kept
from marquee.store.log.postgres import PostgresEventLog
from tests.support.event_stores import Postgres, Store, decision, event, postgres_server
from tests.support.log_writer import acknowledged, start_writer

N_KILLS = 4


@pytest.fixture
def store(postgres: Postgres) -> Iterator[Store]:
    opened = Store(postgres.empty())
    yield opened
    opened.close()


def test_workers_that_make_the_tables_at_once_do_not_fail(postgres: Postgres) -> None:
    for _ in range(5):
        url = postgres.empty()
        together = threading.Barrier(4)

        def open_together(_: int, url: str = url, together: threading.Barrier = together) -> PostgresEventLog:
            together.wait()
            return PostgresEventLog(url)

        with ThreadPoolExecutor(4) as pool:
            logs = list(pool.map(open_together, range(4)))
        for number, log in enumerate(logs):
            assert log.append([event(f"e{number}")]) == [Kept.accepted]
            log.close()


def test_tables_of_another_format_are_refused(store: Store) -> None:
    store.open()
    with psycopg.connect(store.where, autocommit=True) as connection:
        connection.execute("UPDATE marquee.format SET version = 9")
    with pytest.raises(ConfigError, match="must have format 1, got 9"):
        store.open()


def test_profile_is_one_indexed_read(store: Store) -> None:
    log = store.open()
    log.append([event(f"e{i}", user_id=f"u{i % 50}") for i in range(2000)])
    with psycopg.connect(store.where, autocommit=True) as connection:
        connection.execute("ANALYZE marquee.events")
        explained = """EXPLAIN SELECT * FROM marquee.events WHERE user_id = 'u7' AND sequence > 1900
            ORDER BY sequence DESC LIMIT 50"""
        plan = " ".join(row[0] for row in connection.execute(explained))
    assert "Index Cond: ((user_id = 'u7'::text) AND (sequence > 1900))" in plan


def test_lost_connection_is_replaced(store: Store) -> None:
    log = store.open()
    log.append([event("e1")])
    log.append_decisions([decision("d")])
    log.read(0, 1)
    with psycopg.connect(store.where, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        )
    assert [logged.event.event_id for logged in log.read(0, 9)] == ["e1"]
    with pytest.raises(EventLogGoneError, match="see whether it runs"):
        log.append([event("e2")])
    assert log.append([event("e1"), event("e2")]) == [Kept.repeated, Kept.accepted]


def test_server_that_cannot_be_reached_is_said() -> None:
    with pytest.raises(EventLogGoneError, match="cannot be used"):
        PostgresEventLog("postgresql://nobody@127.0.0.1:1/none")


@pytest.mark.slow
def test_server_killed_under_load_loses_nothing_that_was_acknowledged() -> None:
    with postgres_server(flushes=True) as server:
        log, kept, is_over = PostgresEventLog(server.url()), list[str](), threading.Event()
        refused = 0

        def send(worker: int) -> int:
            number, n_refused = 0, 0
            while not is_over.is_set():
                batch = [event(f"{worker}-{number}-{i}") for i in range(5)]
                try:
                    log.append(batch)
                except EventLogError:
                    n_refused += 1  # and the very same again
                    is_over.wait(0.02)
                    continue
                kept.extend(one.event_id for one in batch)
                number += 1
            return n_refused

        with ThreadPoolExecutor(4) as pool:
            workers = [pool.submit(send, worker) for worker in range(4)]
            for round_ in range(3):
                before = len(kept)
                while len(kept) < before + 100:
                    is_over.wait(0.01)
                server.stop("immediate" if round_ else "fast")
                server.start()
            before = len(kept)
            while len(kept) < before + 100:
                is_over.wait(0.01)
            is_over.set()
            refused = sum(worker.result() for worker in workers)
        found = [logged.event.event_id for logged in log.read(0, 10**6)]
        log.close()
    assert refused > 0
    assert len(found) == len(set(found))
    assert set(kept) <= set(found)


@pytest.mark.slow
def test_killed_writers_lose_and_double_nothing_that_was_acknowledged(store: Store) -> None:
    log, promised = store.open(), set[str]()
    for number in range(N_KILLS):
        writers = [start_writer(store.where, f"{number}-{i}") for i in range(2)]
        for writer in writers:
            promised |= acknowledged(writer, 3)
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            promised |= acknowledged(writer, None)
            writer.wait(20)
    found = [logged.event.event_id for logged in log.read(0, 10**6)]
    assert len(found) == len(set(found))
    assert promised <= set(found)


def test_every_kind_of_rows_has_a_lock_of_its_own() -> None:
    locks = [number for name, number in vars(postgres_database).items() if name.endswith("_LOCK")]
    assert len(locks) == len(set(locks)) >= 11
