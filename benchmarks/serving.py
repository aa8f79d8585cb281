"""The service beside a plain BentoML endpoint and bare Starlette: the same model and load, taking turns.

    python -m benchmarks.serving            about three minutes
    python -m benchmarks.serving --check    exit status 1 outside the tolerances

Needs `wrk`. Every server has two workers, every request a history of 50 items and k = 10. Servers and load
share the machine, so absolute figures are this machine's; the shares between rows are what counts. The
processor time of a request is the steadiest figure.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.serving_bundle import Made, make_bundle

ROOT = Path(__file__).parents[1]
START_S = 90
STOP_S = 20
DEADLINE_MS = 250
OVERLOAD_CONNECTIONS = 256

MIN_SPEED_UP = 3.5
MIN_SHARE_OF_STARLETTE = 1.0
MAX_P50_MS = 1.2
MAX_P99_MS = 3.0
MAX_CPU_US = 500.0
MIN_RECALL = 0.98
MAX_GROWTH_MB = 3.0
MAX_OVERLOAD_P99_MS = 2.0 * DEADLINE_MS
MIN_SHARE_UNDER_OVERLOAD = 0.5

BENTOML = (sys.executable, "-m", "bentoml", "serve")
UVICORN = (sys.executable, "-m", "uvicorn", "--workers", "2", "--no-access-log", "--log-level", "warning")
SERVERS: Mapping[str, tuple[str, ...]] = {
    "this service": (*BENTOML, "serving.service:MarqueeService"),
    "plain BentoML endpoint": (*BENTOML, "benchmarks.stock_service:StockService"),
    "bare Starlette": (*UVICORN, "benchmarks.starlette_service:app"),
}
LUA = """
local bodies = {{{bodies}}}
local n = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  n = n % #bodies + 1
  return wrk.format(nil, "/recommend", nil, bodies[n])
end
done = function(summary, latency, requests)
  io.write(string.format(
    '{{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "failed": %d, "broken": %d}}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw, and what it cost the server.

    Attributes:
        per_second: Replies of status 2xx or 3xx per second.
        p50_ms: Median latency.
        p99_ms: 99th percentile of it.
        failed: Replies of another status.
        broken: Connections that broke or timed out.
        cpu_us: Processor time of all processes of the server per reply, microseconds.
        memory_mb: Private memory of all processes of the server after the run.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int
    broken: int
    cpu_us: float
    memory_mb: float


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    process: psutil.Popen

    def family(self) -> list[psutil.Process]:
        """Returns all processes of the server."""
        return [self.process, *self.process.children(recursive=True)]

    def measure(self, script: Path, connections: int, seconds: int) -> Load:
        """Returns what wrk sees over so many connections."""
        before = _cpu_seconds(self.family())
        command = ["wrk", f"-c{connections}", "-t1", f"-d{seconds}s", "--timeout", "10s", "-s", str(script)]
        run = subprocess.run(
            [*command, f"http://127.0.0.1:{self.port}"], capture_output=True, text=True, check=True
        )
        cpu = _cpu_seconds(self.family()) - before
        facts = json.loads(run.stdout.splitlines()[-1])
        return Load(
            per_second=(facts["requests"] - facts["failed"]) / facts["seconds"],
            p50_ms=facts["p50_ms"],
            p99_ms=facts["p99_ms"],
            failed=facts["failed"],
            broken=facts["broken"],
            cpu_us=cpu / max(1, facts["requests"]) * 1e6,
            memory_mb=sum(process.memory_full_info().uss for process in self.family()) / 1e6,
        )


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """Returns the processor time that processes have used so far."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


@contextmanager
def running(name: str, bundle: Path, folder: Path, **settings: str) -> Iterator[Server]:
    """Runs one of `SERVERS` over a bundle until the block ends."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    own = {
        "MARQUEE_BUNDLE": str(bundle),
        "BENCH_BUNDLE": str(bundle),
        "BENTOML_HOME": str(folder / f"home-{port}"),
        "BENTOML_DO_NOT_TRACK": "true",
        "OMP_NUM_THREADS": "1",
    }
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MARQUEE_")}
    log = folder / f"{name}-{port}.log"
    with log.open("wb") as output:
        process = psutil.Popen(
            [*SERVERS[name], "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env={**inherited, **own, **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_ready(port, process, log)
        yield Server(port, process)
    finally:
        try:
            if process.is_running():  # nobody has ended it already
                process.send_signal(signal.SIGTERM)
            process.wait(STOP_S)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(port: int, process: psutil.Popen, log: Path) -> None:
    """Returns when the server answers; raises RuntimeError with its log if it does not."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the server was not ready within {START_S} s:\n{log.read_text()}")


def write_script(path: Path, made: Made) -> Path:
    """Writes what wrk sends: the histories in turn."""
    bodies = [json.dumps({"history": history, "k": 10}) for history in made.histories]
    path.write_text(LUA.format(bodies=", ".join(f"[[{body}]]" for body in bodies)))
    return path


def compare(made: Made, script: Path, folder: Path, seconds: int) -> dict[str, dict[int, Load]]:
    """Returns the loads of every server by name and connections."""
    found: dict[str, dict[int, Load]] = {}
    for name in SERVERS:
        with running(name, made.folder, folder) as server:
            server.measure(script, 16, 3)  # both workers warm
            found[name] = {n: server.measure(script, n, seconds) for n in (1, 16, 64)}
    return found


def grow(server: Server, script: Path, seconds: int) -> tuple[int, float]:
    """Returns how many requests were answered, and by how many MB private memory then had grown."""
    before = server.measure(script, 16, seconds)
    after = server.measure(script, 16, 2 * seconds)
    return round(after.per_second * 2 * seconds), after.memory_mb - before.memory_mb


def print_loads(found: Mapping[str, Mapping[int, Load]]) -> None:
    """Prints one row per server and number of connections."""
    columns = "".join(f"{name:>9}" for name in ("conns", "req/s", "p50 ms", "p99 ms", "CPU us", "failed"))
    print(f"\n{'server, 2 workers':<26}{columns}")
    for name, loads in found.items():
        for n, load in loads.items():
            print(
                f"{name:<26}{n:>9}{load.per_second:>9.0f}{load.p50_ms:>9.2f}{load.p99_ms:>9.2f}"
                f"{load.cpu_us:>9.0f}{load.failed + load.broken:>9}"
            )


def report(
    made: Made, found: Mapping[str, Mapping[int, Load]], strain: tuple[Load, Load], growth: tuple[int, float]
) -> bool:
    """Prints measured beside required; returns whether every line is within.

    Args:
        made: What was served.
        found: Loads by server and connections.
        strain: Our service within its capacity, then beyond it.
        growth: Requests, and the growth of private memory over them.
    """
    ours, stock, starlette = (found[name] for name in SERVERS)
    calm, overload = strain
    speed = ours[16].per_second
    lines = [
        ("recall@10 of the index", made.recall, ">=", MIN_RECALL),
        ("requests/s at 16 connections, of plain BentoML", speed / stock[16].per_second, ">=", MIN_SPEED_UP),
        (
            "requests/s at 16 connections, of bare Starlette",
            speed / starlette[16].per_second,
            ">=",
            MIN_SHARE_OF_STARLETTE,
        ),
        ("p50 at 1 connection, ms", ours[1].p50_ms, "<=", MAX_P50_MS),
        ("p99 at 1 connection, ms", ours[1].p99_ms, "<=", MAX_P99_MS),
        ("server CPU per request at 16 connections, us", ours[16].cpu_us, "<=", MAX_CPU_US),
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
    print(
        f"beyond capacity: {OVERLOAD_CONNECTIONS} connections that ask again at once; "
        f"{overload.per_second:.0f} answers/s beside {calm.per_second:.0f} at 16 connections, "
        f"{overload.failed} refused with 503, {overload.broken} connections broken"
    )
    return all(results)


def main() -> int:
    """Prints measured beside reference; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--ef-search", type=int, default=128)
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement")
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("benchmarks.serving needs wrk, which is not on the PATH: apt-get install wrk", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = make_bundle(folder / "bundles", options.items, options.ef_search)
        script = write_script(folder / "requests.lua", made)
        print(f"{options.items:,} items x 64 dimensions, HNSW with ef_search {options.ef_search}", flush=True)
        found = compare(made, script, folder, options.seconds)
        print_loads(found)
        with running("this service", made.folder, folder, MARQUEE_DEADLINE_MS=str(DEADLINE_MS)) as server:
            growth = grow(server, script, options.seconds)
            calm = server.measure(script, 16, options.seconds)
            overload = server.measure(script, OVERLOAD_CONNECTIONS, options.seconds)
        is_within = report(made, found, (calm, overload), growth)
    return int(options.check and not is_within)


if __name__ == "__main__":
    sys.exit(main())
