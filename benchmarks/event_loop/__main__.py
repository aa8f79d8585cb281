"""The cost of the event loop: events kept per second, profiles read, policies drawn, beside reference.

`python -m benchmarks.event_loop --check` fails beyond a bound. `--events` says how many events a store holds
before, `--postgres` measures a database too: the address of an empty one, or `start` for one of its own;
`--kills N` ends N writers by `kill -9`, `--service-kills N` as many workers of a service under load, and both
count what is lost or double; `--exposures N` makes a training table of N exposures. A service with two
workers answers what goes over HTTP; needs `wrk`. Wall-clock figures: on cores that are busy with other work
they say what is left.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.event_loop.answers import answer_figures
from benchmarks.event_loop.figure import Figure
from benchmarks.event_loop.load import Load, prefill, run_loads, together
from benchmarks.event_loop.reading import measure_reading
from benchmarks.event_loop.service import service_figures, service_kill_figures
from benchmarks.event_loop.table import measure_table
from benchmarks.reranking import NOW, candidates
from marquee.decision.arranging import arrange
from marquee.decision.policies.choosing import GREEDY, build_chooser
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.policies.thompson import ClickCounts
from marquee.decision.reranking import Reranking
from marquee.store.log.opening import open_event_log
from tests.support.event_stores import postgres_server
from tests.support.log_writer import acknowledged, start_writer

N_ROUNDS, CALLS_PER_ROUND = 30, 20
K = 10


def store_figures(where: str, name: str, n_events: int, seconds: float) -> Iterator[Figure]:
    """Yields what a store keeps and reads."""
    log = open_event_log(where)
    started = time.perf_counter()
    prefill(log, n_events)
    print(f"{name}: {n_events:,} events kept before, in {time.perf_counter() - started:.0f} s", flush=True)
    is_folder = name == "SQLite"
    batches = together(run_loads([Load(where, "batches", seconds, seed=seed) for seed in (1, 2)]))
    floor = "13,400/s, 208 ms" if is_folder else "12,300/s"
    yield Figure(f"{name}: batches of 500, two writers", batches.rate * 500, "events/s", 10_000, True, floor)
    yield Figure(f"{name}: p99 of a batch", batches.quantile(0.99), "ms", 200, False, floor)
    singles = together(
        run_loads([Load(where, "singles", seconds, n_callers=16, batch=1, seed=seed) for seed in (3, 4)])
    )
    yield Figure(
        f"{name}: single events, 32 callers", singles.rate, "events/s", 1_500, True, "2,800/s, 34 ms"
    )
    yield Figure(f"{name}: p99 of a single event", singles.quantile(0.99), "ms", 50, False, "2,800/s, 34 ms")
    beside = [Load(where, "batches", seconds, batch=100, rate=20, seed=5)] if is_folder else []
    reads = run_loads([Load(where, "profiles", seconds, rate=200, seed=6), *beside])[0]
    what = "profile read beside 2,000 events/s" if is_folder else "profile read, idle"
    bound, floor = (0.5, "0.29 ms") if is_folder else (1.0, "p50 0.09 ms")
    yield Figure(f"{name}: p99, {what}", reads.quantile(0.99), "ms", bound, False, floor)
    log.close()


def policy_figures() -> Iterator[Figure]:
    """Yields what each policy adds to an answer of 10 among 200, processor time."""
    given, config = candidates(), Reranking()
    n = len(given.scores)
    counts = ClickCounts(
        clicks=given.scores.astype(float) ** 2 // 1, shown=given.scores.astype(float) ** 2 + 40
    )
    greedy_ms = _cost_ms(lambda _: arrange(config, given, K, NOW, GREEDY))
    for policy in PolicyName:
        if policy is PolicyName.greedy:
            continue
        exploration = Exploration(policy=policy, share=0.3, floor=0.05)

        def draw(number: int, exploration: Exploration = exploration) -> None:
            arrange(config, given, K, NOW, build_chooser(exploration, str(number), counts))

        bound, floor = (1.0, "0.58 ms") if policy is PolicyName.thompson else (0.1, "0.02 ms")
        name = f"{policy}, {K} of {n}, above greedy"
        yield Figure(name, _cost_ms(draw) - greedy_ms, "ms", bound, False, floor)


def _cost_ms(call: Callable[[int], object]) -> float:
    """Returns the processor time of a call, ms: the least of several rounds' means."""
    rounds = []
    for _ in range(N_ROUNDS):
        started = time.process_time()
        for number in range(CALLS_PER_ROUND):
            call(number)
        rounds.append((time.process_time() - started) / CALLS_PER_ROUND * 1000)
    return min(rounds)


def kill_figures(n_kills: int) -> Iterator[Figure]:
    """Yields how many acknowledged events were lost or kept twice when writers were killed."""
    with _folder() as folder:
        where, promised = str(folder), set[str]()
        open_event_log(where).close()
        for number in range(n_kills // 2):
            writers = [start_writer(where, f"{number}-{i}") for i in range(2)]
            for writer in writers:
                promised |= acknowledged(writer, 3 + number % 20)
            for writer in writers:
                os.kill(writer.pid, signal.SIGKILL)
            for writer in writers:
                promised |= acknowledged(writer, None)
                writer.wait(20)
        log = open_event_log(where)
        kept = [logged.event.event_id for logged in log.read(0, 10**9)]
        log.close()
    print(f"{n_kills} writers killed, {len(promised):,} events acknowledged, {len(kept):,} kept")
    yield Figure("acknowledged events lost by kills", len(promised - set(kept)), "events", 0, False, "0")
    yield Figure("events kept twice", len(kept) - len(set(kept)), "events", 0, False, "0")


def table_figures(n_exposures: int) -> Iterator[Figure]:
    """Yields what a training table takes."""
    with _folder() as folder:
        tenth, whole = (measure_table(folder / str(n), n) for n in (n_exposures // 10, n_exposures))
        n_bytes = measure_reading(folder / str(n_exposures) / "table")
    name = f"table of {n_exposures:,} exposures"
    yield Figure(f"{name}: memory", whole.peak_mib, "MiB", 300, False, "202 MiB; in one join 1,558 MiB")
    yield Figure(
        f"{name}: above a tenth of it", whole.peak_mib - tenth.peak_mib, "MiB", 60, False, "as for a tenth"
    )
    yield Figure(f"{name}: time", whole.seconds, "s", 90 * n_exposures / 1e7, False, "63 s for 10,000,000")
    yield Figure(f"{name}: training reads it", n_bytes, "B/event", 200, False, "500 B with its texts")


@contextmanager
def _folder() -> Iterator[Path]:
    """Gives a folder where temporary files go; set TMPDIR where that is in memory."""
    folder = Path(tempfile.mkdtemp(prefix="marquee-event-loop-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def figures(arguments: argparse.Namespace) -> Iterator[Figure]:
    """Yields what is asked for."""
    yield from policy_figures()
    with _folder() as folder:
        yield from _figures_of(str(folder / "log"), "SQLite", arguments)
        yield from answer_figures(folder / "answers", max(1, round(arguments.seconds / 10)))
    if arguments.postgres == "start":
        with postgres_server(flushes=True) as server:
            yield from _figures_of(server.url(), "PostgreSQL", arguments)
    elif arguments.postgres:
        yield from _figures_of(arguments.postgres, "PostgreSQL", arguments)
    if arguments.kills:
        yield from kill_figures(arguments.kills)
    if arguments.service_kills:
        with _folder() as folder:
            yield from service_kill_figures(folder, arguments.service_kills)
    if arguments.exposures:
        yield from table_figures(arguments.exposures)


def _figures_of(where: str, name: str, arguments: argparse.Namespace) -> Iterator[Figure]:
    """Yields the figures of one store, without HTTP and over it."""
    yield from store_figures(where, name, arguments.events, arguments.seconds)
    with _folder() as folder:
        yield from service_figures(folder, where, name, arguments.seconds)


def main() -> int:
    """Prints the table; returns 1 under --check if a figure is beyond its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail beyond a bound")
    parser.add_argument("--events", type=int, default=1_000_000, help="in the store before")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--postgres", default="", help="address of an empty database, or start")
    parser.add_argument("--kills", type=int, default=0, help="writers to kill")
    parser.add_argument("--service-kills", type=int, default=0, help="workers of a service to kill")
    parser.add_argument("--exposures", type=int, default=0, help="of the training table")
    arguments = parser.parse_args()
    all_hold = True
    for figure in figures(arguments):
        all_hold &= figure.holds
        print(figure.line(), flush=True)
    return int(arguments.check and not all_hold)


if __name__ == "__main__":
    sys.exit(main())
