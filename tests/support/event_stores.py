"""Both stores of the event log for tests: a folder, and a PostgreSQL that is started here and ended again."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from demo.processes import free_port
from marquee.store.log.event_log import Decision, Event, EventLog, Place
from marquee.store.log.opening import open_event_log
from marquee.store.log.sales import Sale

INSTALL = "apt-get install postgresql"
NOW = 1_700_000_000
DAY = 86_400


def event(event_id: str, **changes: object) -> Event:
    """Returns a click of u1 on item a, now, changed in some fields."""
    timestamp = changes.get("timestamp", NOW)
    fields = {
        "kind": "click",
        "item_id": "a",
        "timestamp": NOW,
        "sent_timestamp": timestamp,
        "received": NOW,
        "user_id": "u1",
    }
    return Event(event_id=event_id, **{**fields, **changes})  # type: ignore[arg-type]


def decision(decision_id: str, **changes: object) -> Decision:
    """Returns a decision of two places for u1, now, changed in some fields."""
    fields: dict[str, object] = {
        "time_ms": NOW * 1000,
        "user_id": "u1",
        "request_id": "r",
        "surface": "home",
        "release": "v1",
        "failed_release": "v2",
        "source": "history",
        "policy": "softmax",
        "parameters": {"temperature": 0.1},
        "places": (Place("a", 1.5, 0.25), Place("b", 0.5, 1.0)),
        "history": ("x", "y"),
        "tier": "personal",
        "rules": ("front",),
        "rules_not_applied": (("gone", "why"),),
        "rules_version": 3,
        "creatives": ("short", ""),
        "creative_propensities": (0.5, 1.0),
        "experiments": (("order", "1", "b"),),
        "asked": {"timestamp": NOW, "k": 2, "history": [["x", "click", None], ["y", "rating", 4.5]]},
        "live_items": "00ff00ff00ff00ff",
        "sales": (Sale("b", "spring", "cpc", 400_000, 400_000, 7, "2023-11-14", (NOW + 60) * 1000),),
        "auction": {"places": [1], "content_worth": [0.5], "told": [["b", "Acme", ["surface"]]], "lost": {}},
    }
    return Decision(decision_id=decision_id, **{**fields, **changes})  # type: ignore[arg-type]


@dataclass
class Store:
    """One empty store that may be opened several times, as several workers do.

    Attributes:
        where: What `open_event_log` takes.
    """

    where: str
    _opened: list[EventLog] = field(default_factory=list)

    def open(self) -> EventLog:
        """Returns the log as a new worker sees it; closed when the test ends."""
        log = open_event_log(self.where)
        self._opened.append(log)
        return log

    def close(self) -> None:
        """Closes whatever was opened."""
        while self._opened:
            self._opened.pop().close()


@dataclass
class Postgres:
    """A PostgreSQL server on a free port of the loopback interface.

    Attributes:
        folder: Its data, log and socket.
        programs: Where PostgreSQL's programs are.
        user: Who runs it, None for whoever runs the tests.
        port: Where it listens.
        flushes: Whether commits are forced to disk; a killed server loses nothing without it, a machine does.
    """

    folder: Path
    programs: Path
    user: str | None
    port: int
    flushes: bool

    def run(self, program: str, *arguments: str) -> None:
        """Runs one of PostgreSQL's programs, never as root."""
        subprocess.run(
            [self.programs / program, *arguments],
            user=self.user,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=True,
        )

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        options += "" if self.flushes else " -c fsync=off"
        self.run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Ends the server; by default as if it were killed."""
        self.run("pg_ctl", "-D", "data", "-w", "-m", mode, "stop")

    def url(self) -> str:
        """Returns the address of its database."""
        return f"postgresql://marquee@127.0.0.1:{self.port}/postgres"

    def empty(self) -> str:
        """Drops the tables of the log and returns the address of the database."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS marquee CASCADE")
        return self.url()


@contextmanager
def postgres_server(flushes: bool = False) -> Iterator[Postgres]:
    """Starts a server of its own; skips the test where PostgreSQL is not installed."""
    found = shutil.which("pg_ctl") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")), None)
    if found is None:
        pytest.skip(f"there is no PostgreSQL here; {INSTALL}")
    is_root = os.geteuid() == 0
    folder = Path(tempfile.mkdtemp(prefix="marquee-postgres-"))
    if is_root:  # the server refuses to run as root; the package makes a user for it
        shutil.chown(folder, "postgres")
    server = Postgres(folder, Path(found).parent, "postgres" if is_root else None, free_port(), flushes)
    try:
        server.run("initdb", "-D", "data", "-U", "marquee", "-A", "trust", "-E", "UTF8", "--no-sync")
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
