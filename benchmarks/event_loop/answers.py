"""The cost of record and profile in an answer: two services with one bundle, and a log for one of them.

They run all the while and are loaded in turns, so that what else the machine does falls on both alike. Half
of the users that ask have events in the log which the bundle does not know.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.event_loop.figure import Figure
from benchmarks.event_loop.load import N_USERS, prefill
from benchmarks.load import Load, Server, inherited, listening, take_turns, write_script
from benchmarks.serving_bundle import Made, make_bundle
from demo.processes import free_port
from marquee.store.log.opening import open_event_log

N_ITEMS = 20_000
CONNECTIONS = (1, 8)
ROUNDS = 4
STRIDE = N_USERS // 500
SERVICE = (sys.executable, "-m", "bentoml", "serve", "serving.service:MarqueeService", "--host", "127.0.0.1")
PLAIN, WITH_LOG = "without a log", "with record and profile"


@contextmanager
def running(made: Made, folder: Path, **settings: str) -> Iterator[Server]:
    """Runs a service over a bundle until the block ends."""
    port = free_port()
    own = {
        "MARQUEE_BUNDLE": str(made.folder),
        "BENTOML_HOME": str(folder / f"home-{port}"),
        "BENTOML_DO_NOT_TRACK": "true",
        "OMP_NUM_THREADS": "1",
    }
    command = [*SERVICE, "--port", str(port)]
    with listening(command, port, folder / f"{port}.log", {**inherited(), **own, **settings}) as server:
        yield server


def answer_figures(folder: Path, seconds: int, n_events: int = 100_000) -> Iterator[Figure]:
    """Yields what an answer costs more with everything on, per number of connections."""
    made = make_bundle(folder / "bundles", N_ITEMS, ef_search=64)
    where = str(folder / "log")
    log = open_event_log(where)
    prefill(log, n_events)
    log.close()
    script = _write_requests(folder / "requests.lua", made)
    with running(made, folder) as plain, running(made, folder, MARQUEE_EVENTS=where) as with_log:
        servers = {PLAIN: (plain, script), WITH_LOG: (with_log, script)}
        found = take_turns(servers, CONNECTIONS, seconds, ROUNDS)
    for n in CONNECTIONS:
        yield from _figures(n, found[PLAIN][n], found[WITH_LOG][n])


def _figures(n: int, plain: Load, with_log: Load) -> Iterator[Figure]:
    """Yields the figures of one number of connections."""
    name = f"an answer, {n} connection{'s' * (n > 1)}"
    without = f"{plain.cpu_us:.0f} us without, p99 {plain.p99_ms:.2f} ms"
    assert not plain.failed + plain.broken + with_log.failed + with_log.broken, (plain, with_log)
    yield Figure(f"{name}: CPU more", with_log.cpu_us - plain.cpu_us, "us", 100, False, without)
    yield Figure(f"{name}: p99, times", with_log.p99_ms / plain.p99_ms, "x", 1.5, False, without)


def _write_requests(path: Path, made: Made) -> Path:
    """Writes what wrk sends: users in turn, each with a history."""
    bodies = [
        # Every other user is one of the log's; the rest have never done anything.
        {
            "user_id": f"user-{number * (N_USERS // 500)}{'' if number % 2 else '-new'}",
            "history": history,
            "k": 10,
        }
        for number, history in enumerate(made.histories)
    ]
    return write_script(path, bodies)
