"""The cost of record and profile in an answer: two services with one bundle, and a log for one of them.

They run all the while and are loaded in turns, so that what else the machine does falls on both alike. Half
of the users that ask have events in the log which the bundle does not know.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.event_loop.figure import Figure
from benchmarks.event_loop.load import N_USERS, prefill
from benchmarks.load import Load, Server, inherited, listening, write_script
from benchmarks.serving_bundle import Made, make_bundle
from demo.processes import free_port
from marquee.store.log.opening import open_event_log

N_ITEMS = 20_000
CONNECTIONS = (1, 8)
ROUNDS = 10
STRIDE = N_USERS // 500
SERVICE = (sys.executable, "-m", "bentoml", "serve", "serving.service:MarqueeService", "--host", "127.0.0.1")


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
    # Into a later second than the one up to which the bundle knows all: else nobody has a profile.
    time.sleep(1.0)
    prefill(log, n_events)
    log.close()
    script = _write_requests(folder / "requests.lua", made)
    with running(made, folder) as plain, running(made, folder, MARQUEE_EVENTS=where) as with_log:
        for server in (plain, with_log):
            server.measure(script, max(CONNECTIONS), 3)  # all of it warm
        for n in CONNECTIONS:
            yield from _figures(n, _pairs(plain, with_log, script, n, seconds))


def _pairs(plain: Server, with_log: Server, script: Path, n: int, seconds: int) -> list[tuple[Load, Load]]:
    """Returns the loads of both services in turns, a pair for each round."""
    pairs = []
    for number in range(ROUNDS):
        # Each goes first in half of the rounds: whatever comes second runs on a warmer machine.
        if number % 2:
            second, first = with_log.measure(script, n, seconds), plain.measure(script, n, seconds)
        else:
            first, second = plain.measure(script, n, seconds), with_log.measure(script, n, seconds)
        pairs.append((first, second))
    return pairs


def _figures(n: int, pairs: Sequence[tuple[Load, Load]]) -> Iterator[Figure]:
    """Yields the figures of one number of connections: the medians over the rounds."""
    name = f"an answer, {n} connection{'s' * (n > 1)}"
    for plain, with_log in pairs:
        assert not plain.failed + plain.broken + with_log.failed + with_log.broken, (plain, with_log)
    without = f"{median(one.cpu_us for one, _ in pairs):.0f} us without"
    # By pairs: what else the machine does changes from minute to minute, and falls on both of a pair.
    more_us = median(other.cpu_us - one.cpu_us for one, other in pairs)
    yield Figure(f"{name}: CPU more", more_us, "us", 100, False, without)
    without = f"p99 {median(one.p99_ms for one, _ in pairs):.2f} ms without"
    times = median(other.p99_ms / one.p99_ms for one, other in pairs)
    yield Figure(f"{name}: p99, times", times, "x", 1.5, False, without)


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
