"""The service beside a stock BentoML endpoint and bare Starlette: the same model and load, taking turns.

    python -m benchmarks.serving                         about eight minutes
    python -m benchmarks.serving --check                 exit status 1 outside the tolerances
    python -m benchmarks.serving --requests 1000000      memory over so many requests; ten minutes more

The stock endpoint runs as `pip install bentoml` leaves it, on asyncio and h11. Installing this service brings
uvloop and httptools, which BentoML then takes as well: the row below it is the same endpoint with them.

Needs `wrk`. Every server has two workers, every request a history of 50 items and k = 10. Servers and load
share the machine, so absolute figures are this machine's. What is required are shares: of what the other
servers do in the same rounds, and limits that grow with the time that a fixed piece of work takes in them
(`benchmarks.probe`).
The processor time of a request is the steadiest figure. The stock endpoint has two speeds: its loop takes all
connections that come at once, so that a pool of them often has one worker to answer it. All rounds count.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from benchmarks.load import Load, Server, inherited, listening, take_turns, write_script
from benchmarks.probe import probe_us, slowness
from benchmarks.serving_bundle import MIN_RECALL, Made, make_bundle
from demo.processes import free_port

DEADLINE_MS = 100
CONNECTIONS = (1, 16, 64)
ROUNDS = 5
OVERLOAD_CONNECTIONS = 1024
OVERLOAD = 2  # times the capacity

MIN_SPEED_UP = 3.5
MIN_SHARE_OF_STARLETTE = 1.0
MAX_CPU_OF_STOCK = 0.33
MAX_P50_MS = 1.2  # these three on the host that the probe knows, and more on a slower one
MAX_P99_MS = 3.0
MAX_CPU_US = 500.0
MAX_GROWTH_MB = 3.0
MAX_OVERLOAD_P99_MS = 2.0 * DEADLINE_MS
MIN_SHARE_UNDER_OVERLOAD = 0.5

BENTOML = (sys.executable, "-m", "bentoml", "serve")
UVICORN = (sys.executable, "-m", "uvicorn", "--workers", "2", "--no-access-log", "--log-level", "warning")
OURS, STOCK, STARLETTE = "this service", "stock BentoML endpoint", "bare Starlette"
SERVERS: Mapping[str, tuple[str, ...]] = {
    OURS: (*BENTOML, "serving.service:MarqueeService"),
    STOCK: (*BENTOML, "benchmarks.stock_service:StockService"),
    "with uvloop, httptools": (*BENTOML, "benchmarks.stock_service:StockService"),
    STARLETTE: (*UVICORN, "benchmarks.starlette_service:app"),
}
NOT_IN_STOCK = ("uvloop", "httptools")


@contextmanager
def running(name: str, bundle: Path, folder: Path, **settings: str) -> Iterator[Server]:
    """Runs one of `SERVERS` over a bundle until the block ends."""
    port = free_port()
    own = {
        "MARQUEE_BUNDLE": str(bundle),
        "BENCH_BUNDLE": str(bundle),
        "BENTOML_HOME": str(folder / f"home-{port}"),
        "BENTOML_DO_NOT_TRACK": "true",
        "OMP_NUM_THREADS": "1",
    }
    if name == STOCK:
        own["PYTHONPATH"] = os.pathsep.join([str(hide(folder / "hidden")), inherited().get("PYTHONPATH", "")])
    command = [*SERVERS[name], "--host", "127.0.0.1", "--port", str(port)]
    with listening(
        command, port, folder / f"{name}-{port}.log", {**inherited(), **own, **settings}
    ) as server:
        yield server


def hide(folder: Path) -> Path:
    """Returns a folder before which the packages that a stock installation lacks cannot be imported."""
    folder.mkdir(exist_ok=True)
    for name in NOT_IN_STOCK:
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is hidden')\n", encoding="utf-8")
    return folder


def write_histories(path: Path, made: Made, pause_ms: int = 0) -> Path:
    """Writes what wrk sends: the histories in turn."""
    bodies = [{"history": history, "k": 10} for history in made.histories]
    return write_script(path, bodies, pause_ms=pause_ms)


def strain(server: Server, made: Made, folder: Path, seconds: int) -> tuple[Load, Load]:
    """Returns the load within the capacity of our service, and that of about twice as many requests.

    Each connection asks again after a pause, answered or refused, so that what is offered does not grow with
    what is refused.
    """
    calm = server.measure(write_histories(folder / "calm.lua", made), 16, seconds)
    pause_ms = round(1000 * OVERLOAD_CONNECTIONS / (OVERLOAD * calm.per_second))
    script = write_histories(folder / "overload.lua", made, pause_ms)
    return calm, server.measure(script, OVERLOAD_CONNECTIONS, seconds)


def compare(made: Made, script: Path, folder: Path, seconds: int) -> tuple[dict[str, dict[int, Load]], float]:
    """Returns the loads of every server by name and connections, and the probe's time beside them, us."""
    probes: list[float] = []
    with ExitStack() as stack:
        servers = {
            name: (stack.enter_context(running(name, made.folder, folder)), script) for name in SERVERS
        }
        found = take_turns(servers, CONNECTIONS, seconds, ROUNDS, lambda: probes.append(probe_us()))
    return found, median(probes)


def grow(server: Server, script: Path, seconds: int, n_requests: int) -> tuple[int, float]:
    """Returns how many requests were answered, and by how many MB private memory then had grown.

    A quarter as many go before: over the first 100,000 or so the heap of each worker finds its size.

    Args:
        server: Ours.
        script: What wrk sends.
        seconds: Half of the least that is measured.
        n_requests: How many are wanted, about.
    """
    pace = server.measure(script, 16, seconds).per_second
    measured_s = max(2 * seconds, round(n_requests / pace))
    before = server.measure(script, 16, max(seconds, measured_s // 4))
    after = server.measure(script, 16, measured_s)
    return round(after.per_second * measured_s), after.memory_mb - before.memory_mb


def print_loads(found: Mapping[str, Mapping[int, Load]]) -> None:
    """Prints one row per server and number of connections."""
    names = ("conns", "req/s", "slowest", "fastest", "p50 ms", "p99 ms", "CPU us", "failed")
    print(f"\n{'server, 2 workers':<26}{''.join(f'{name:>9}' for name in names)}")
    for name, loads in found.items():
        for n, load in loads.items():
            print(
                f"{name:<26}{n:>9}{load.per_second:>9.0f}{load.slowest:>9.0f}{load.fastest:>9.0f}"
                f"{load.p50_ms:>9.2f}{load.p99_ms:>9.2f}"
                f"{load.cpu_us:>9.0f}{load.failed + load.broken:>9}"
            )


def report(
    made: Made,
    found: Mapping[str, Mapping[int, Load]],
    probe: float,
    strained: tuple[Load, Load],
    growth: tuple[int, float],
) -> bool:
    """Prints measured beside required; returns whether every line is within.

    Args:
        made: What was served.
        found: Loads by server and connections.
        probe: Processor time of the fixed work in the same rounds, us.
        strained: Our service within its capacity, then beyond it.
        growth: Requests, and the growth of private memory over them.
    """
    ours, stock, starlette = (found[name] for name in (OURS, STOCK, STARLETTE))
    calm, overload = strained
    speed, cpu_us, slower = ours[16].per_second, ours[16].cpu_us, slowness(probe)
    lines = [
        ("recall@10 of the index", made.recall, ">=", MIN_RECALL),
        ("requests/s at 16 connections, of stock BentoML", speed / stock[16].per_second, ">=", MIN_SPEED_UP),
        (
            "requests/s at 16 connections, of bare Starlette",
            speed / starlette[16].per_second,
            ">=",
            MIN_SHARE_OF_STARLETTE,
        ),
        ("server CPU per request at 16, of stock's", cpu_us / stock[16].cpu_us, "<=", MAX_CPU_OF_STOCK),
        ("server CPU per request at 16 connections, us", cpu_us, "<=", MAX_CPU_US * slower),
        ("p50 at 1 connection, ms", ours[1].p50_ms, "<=", MAX_P50_MS * slower),
        ("p99 at 1 connection, ms", ours[1].p99_ms, "<=", MAX_P99_MS * slower),
        (f"p99 beyond capacity, deadline {DEADLINE_MS} ms", overload.p99_ms, "<=", MAX_OVERLOAD_P99_MS),
        (
            "answers/s beyond capacity, of those within it",
            overload.per_second / calm.per_second,
            ">=",
            MIN_SHARE_UNDER_OVERLOAD,
        ),
        (f"growth of private memory over {growth[0]:,} requests, MB", growth[1], "<=", MAX_GROWTH_MB),
    ]
    print(f"\n{'':<58}{'measured':>10}{'required':>12}")
    results = []
    for what, value, sense, required in lines:
        results.append(value >= required if sense == ">=" else value <= required)
        print(f"{what:<58}{value:>10.2f}{f'{sense} {required:g}':>12}{'' if results[-1] else '  MISSED'}")
    print(f"limits in time are {slower:.2f} times those of the reference host: a probe took {probe:.0f} us")
    print(
        f"beyond capacity: {OVERLOAD_CONNECTIONS} connections that together ask for twice what 16 got; "
        f"{overload.per_second:.0f} answers/s beside {calm.per_second:.0f}, "
        f"{overload.failed} refused with 503, {overload.broken} connections broken"
    )
    return all(results)


def main() -> int:
    """Prints measured beside reference; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--ef-search", type=int, help="the least that finds enough if left out")
    parser.add_argument("--requests", type=int, default=0, help="to measure the growth of memory over")
    parser.add_argument("--seconds", type=int, default=6, help="of each measurement")
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("benchmarks.serving needs wrk, which is not on the PATH: apt-get install wrk", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = make_bundle(folder / "bundles", options.items, options.ef_search)
        script = write_histories(folder / "requests.lua", made)
        print(f"{options.items:,} items x 64 dimensions, HNSW with ef_search {made.ef_search}", flush=True)
        found, probe = compare(made, script, folder, options.seconds)
        print_loads(found)
        with running(OURS, made.folder, folder, MARQUEE_DEADLINE_MS=str(DEADLINE_MS)) as server:
            growth = grow(server, script, options.seconds, options.requests)
            strained = strain(server, made, folder, options.seconds)
        is_within = report(made, found, probe, strained, growth)
    return int(options.check and not is_within)


if __name__ == "__main__":
    sys.exit(main())
