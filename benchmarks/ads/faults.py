"""Budgets and caps of a real service over HTTP whose workers are killed and stopped; on both stores."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from benchmarks.ads.judging import Judged, judge, settle_at
from benchmarks.ads.visitors import Visitors, book_over_http
from benchmarks.rows import Measured, Row
from marquee.client import Client
from marquee.store.ledger.sqlite import LEDGER_FILE, SHOWN_FILE
from tests.support.bundles import publish_tiny
from tests.support.event_stores import Postgres, postgres_server
from tests.support.service_process import RunningService, running_service, workers_of

N_CLIENTS, N_REQUESTS, N_KILLS, N_STOPS = 50, 10_000, 20, 5
STOP_S = 100.0
"""Longer than a lease and the time in which the log is drained after it: its money was given to others."""

# Every lease ends within half a minute, and is drained a minute later.
_SETTLED_MS = 600_000
_KEY = "of-the-benchmark"
_N_WORKERS = 2


def rows(root: Path) -> Iterator[Row]:
    """Yields the rows."""
    del root  # nothing is read
    must = "no cap or budget exceeded, nothing twice, log and ledger equal"
    for name in ("SQLite", "PostgreSQL"):
        yield Row(
            f"faults: {N_CLIENTS} clients over HTTP, {N_KILLS} kill -9, {name}",
            "-",
            must,
            lambda name=name: killed(name),  # type: ignore[misc]
        )
    yield Row(
        f"faults: two services on one PostgreSQL, {N_KILLS} kill -9",
        "-",
        must,
        lambda: killed("PostgreSQL", n_services=2),
    )
    yield Row(
        f"faults: PostgreSQL ends {N_STOPS} times as if killed, under a service",
        "-",
        must,
        lambda: store_killed(N_STOPS),
    )
    yield Row(
        "faults: PostgreSQL goes back to an older copy, under a service",
        "-",
        f"{must}; what only the lost part knew is unbilled",
        store_went_back,
    )
    yield Row(
        "faults: the ledger of a service is lost between two starts, SQLite",
        "-",
        must,
        ledger_lost,
    )
    yield Row(
        f"faults: a worker of a service stopped for {STOP_S:g} s, PostgreSQL",
        "-",
        f"{must}; what it sold too late is unbilled",
        lambda: stopped("PostgreSQL"),
    )


def killed(store: str, n_services: int = 1, n_requests: int = N_REQUESTS, n_kills: int = N_KILLS) -> Measured:
    """Kills workers at random while visitors ask and click."""
    with _Served(store, n_services) as served:
        visitors = Visitors(served.urls, _KEY, N_CLIENTS, n_requests)
        visitors.start()
        killer = Killer(served.services, visitors, n_kills)
        killer.run()
        visitors.join()
        n_ads = visitors.n_ads
    judged = served.judge()
    return _measured(judged, visitors, f"{killer.n_killed} killed", n_ads > 0 and not visitors.lost)


def stopped(store: str, stop_s: float = STOP_S) -> Measured:
    """Stops one of two workers, and lets it go on when its money was given away."""
    with _Served(store, 1, MARQUEE_HANG_TIMEOUT_MS="0") as served:
        visitors = Visitors(served.urls, _KEY, 10, 10**9, pause_s=0.1, timeout_s=2.0)
        visitors.start()
        time.sleep(3.0)
        victim = random.Random(0).choice(workers_of(served.services[0]))
        os.kill(victim.pid, signal.SIGSTOP)
        time.sleep(stop_s)
        os.kill(victim.pid, signal.SIGCONT)
        time.sleep(5.0)
        visitors.is_over.set()
        visitors.join()
    return _measured(served.judge(), visitors, f"stopped for {stop_s:g} s", not visitors.lost)


def store_killed(n_stops: int, n_requests: int = 3_000) -> Measured:
    """Ends the database as if it were killed, again and again, and starts it anew."""
    with _Served("PostgreSQL", 1) as served:
        visitors = Visitors(served.urls, _KEY, 20, n_requests)
        visitors.start()
        for number in range(1, n_stops + 1):
            visitors.wait_until(number * n_requests // (n_stops + 1))
            served.server.stop()
            time.sleep(1.0)
            served.server.start()
        visitors.join()
    return _measured(served.judge(), visitors, f"{n_stops} stops", not visitors.lost)


def store_went_back(n_requests: int = 3_000) -> Measured:
    """Replaces the database by a copy of some time before; workers and visitors go on."""
    with _Served("PostgreSQL", 1) as served:
        visitors = Visitors(served.urls, _KEY, 20, n_requests)
        data, copy = served.server.folder / "data", served.server.folder / "copy"
        visitors.start()
        visitors.wait_until(n_requests // 4)
        served.server.stop("fast")
        subprocess.run(["cp", "-a", data, copy], check=True)
        served.server.start()
        visitors.wait_until(n_requests // 2)
        served.server.stop("fast")
        shutil.rmtree(data)
        copy.rename(data)
        served.server.start()
        visitors.join()
    return _measured(served.judge(), visitors, "gone back once", not visitors.lost)


def ledger_lost(n_requests: int = 3_000) -> Measured:
    """Deletes the files of the ledger, money and caps alike, while the service does not run."""
    with _Served("SQLite", 1) as served:
        first = Visitors(served.urls, _KEY, 20, n_requests // 2)
        first.start()
        first.join()
        served.stop()
        for name in (LEDGER_FILE, SHOWN_FILE):
            for file in Path(served.where).glob(f"{name}*"):
                file.unlink()
        served.start()
        second = Visitors(served.urls, _KEY, 20, n_requests - n_requests // 2)
        second.start()
        second.join()
    return _measured(served.judge(), second, "lost once", not (first.lost or second.lost))


class Killer:
    """Kills workers at random, one after the other, as long as there is something to be in the middle of.

    Args:
        services: Whose workers.
        visitors: Who ask them.
        n_kills: At most so many.
        seed: Of its choice.

    Attributes:
        n_killed: Workers so far.
    """

    def __init__(
        self, services: list[RunningService], visitors: Visitors, n_kills: int, seed: int = 0
    ) -> None:
        self._services = services
        self._visitors = visitors
        self._n_kills = n_kills
        self._rng = random.Random(seed)
        self.n_killed = 0

    def run(self) -> None:
        """Kills until all is asked or enough are killed."""
        each = max(1, self._visitors.n_requests // (self._n_kills + 1))
        while self.n_killed < self._n_kills and self._visitors.are_asking:
            # Between two kills: so many answers that each worker is in the middle of something.
            until = (self.n_killed + 1) * each
            self._visitors.wait_until(until)
            service = self._rng.choice(self._services)
            workers = workers_of(service)
            if len(workers) < _N_WORKERS:
                time.sleep(0.1)
                continue  # the last one that was killed is not replaced yet
            with suppress(psutil.NoSuchProcess):
                self._rng.choice(workers).kill()
                self.n_killed += 1


class _Served:
    """Services on one store with campaigns booked, ended with the block; the store stays until it is judged.

    Args:
        store: SQLite or PostgreSQL.
        n_services: That use it.
        settings: Of each.
    """

    def __init__(self, store: str, n_services: int, **settings: str) -> None:
        self._store = store
        self._n_services = n_services
        self._settings = settings
        self._stores, self._running = ExitStack(), ExitStack()
        self.services: list[RunningService] = []
        self.where = ""
        self._server: Postgres | None = None
        self._folder = self._bundle = Path()

    @property
    def server(self) -> Postgres:
        """The database."""
        assert self._server is not None, f"only PostgreSQL is a server, got {self._store}"
        return self._server

    @property
    def urls(self) -> list[str]:
        """Where the services answer."""
        return [one.url for one in self.services]

    def __enter__(self) -> "_Served":
        try:
            self._open()
        except BaseException:
            self._running.close()
            self._stores.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._running.close()

    def start(self) -> None:
        """Starts the services; those that run end before."""
        self._running.close()
        self.services.clear()
        for number in range(self._n_services):
            home = self._folder / str(number)
            home.mkdir(exist_ok=True)
            settings = service_settings(home, self._bundle, self.where) | self._settings
            running = running_service(self._bundle, home, **settings)
            self.services.append(self._running.enter_context(running))

    def stop(self) -> None:
        """Ends the services; the store stays."""
        self._running.close()

    def judge(self) -> Judged:
        """Judges what is left, and gives up the store."""
        with self._stores:
            settle_at(self.where, time.time_ns() // 1_000_000 + _SETTLED_MS)
            return judge(self.where)

    def _open(self) -> None:
        """Starts all, and books the campaigns."""
        folder = Path(self._stores.enter_context(tempfile.TemporaryDirectory(prefix="marquee-served-")))
        if self._store == "SQLite":
            self.where = str(folder / "events")
        else:
            self._server = self._stores.enter_context(postgres_server(flushes=True))
            self.where = self._server.url()
        self._folder, self._bundle = folder, publish_tiny(folder / "bundles")
        self.start()
        with Client(self.urls[0], key=_KEY) as client:
            book_over_http(client)


def service_settings(folder: Path, bundle: Path, where: str) -> dict[str, str]:
    """Returns the settings of a service of two workers that sells slots, and its key for everything."""
    digest = hashlib.sha256(_KEY.encode()).hexdigest()
    scopes = ["recommend", "events", "campaigns"]
    (folder / "keys.json").write_text(
        json.dumps({"keys": [{"name": "benchmark", "sha256": digest, "scopes": scopes}]})
    )
    slots = "{first: 1, every: 2, floor: 20000}"
    (folder / "surfaces.yaml").write_text(f"surfaces:\n  home: {{bundle: {bundle}, slots: {slots}}}\n")
    return {
        "MARQUEE_BUNDLE": "",  # the file of surfaces names it
        "MARQUEE_WORKERS": str(_N_WORKERS),
        "MARQUEE_KEYS": str(folder / "keys.json"),
        "MARQUEE_EVENTS": where,
        "MARQUEE_SURFACES": str(folder / "surfaces.yaml"),
    }


def _measured(judged: Judged, visitors: Visitors, done: str, is_whole: bool) -> Measured:
    """Returns the judgement as a measure."""
    text = (
        f"{visitors.n_answers} answers, {done}, calls failed {dict(visitors.failed)}; "
        f"{judged.n_sold} sold, {judged.n_charged} charged ({judged.used:.0%} of all budgets), "
        f"{judged.n_unbilled} unbilled; above budget {judged.over_budget}, above caps {judged.over_cap}, "
        f"twice {judged.doubled}, log minus ledger {judged.difference} millionths, held for nothing "
        f"{judged.unsettled}"
    )
    return Measured(text, is_whole and judged.n_charged > 0 and not any(judged.faults))
