"""A server under load: started on a free port, loaded by wrk, measured with what it costs."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import psutil

ROOT = Path(__file__).parents[1]
START_S = 90
STOP_S = 20

LUA = """
local bodies = {{{bodies}}}
local n = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  n = n % #bodies + 1
  return wrk.format(nil, "{path}", nil, bodies[n])
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
    """The figures of runs of wrk, and their cost for the server.

    Attributes:
        per_second: Replies of status 2xx or 3xx per second, over all runs.
        p50_ms: Median latency; of several runs the median.
        p99_ms: 99th percentile of it; of several runs the median.
        failed: Replies of another status.
        broken: Connections that broke or timed out.
        cpu_us: Processor time of all processes of the server per reply, microseconds; of several runs the
            least, since whatever else runs on the machine, or beside it on the same host, only adds to it.
        memory_mb: Private memory of all processes of the server after the last run.
        slowest: Of the runs, its replies per second.
        fastest: The same.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int
    broken: int
    cpu_us: float
    memory_mb: float
    slowest: float
    fastest: float

    @classmethod
    def of_rounds(cls, loads: "Sequence[Load]") -> "Load":
        """Returns several runs of the same length as one.

        Replies are added up, for the speed of a server may lie in two places: where one worker happens to
        take all connections, and where two do. A median of few runs is then one or the other by chance.
        """
        speeds = [load.per_second for load in loads]
        return cls(
            per_second=mean(speeds),
            p50_ms=median(load.p50_ms for load in loads),
            p99_ms=median(load.p99_ms for load in loads),
            failed=sum(load.failed for load in loads),
            broken=sum(load.broken for load in loads),
            cpu_us=min(load.cpu_us for load in loads),
            memory_mb=loads[-1].memory_mb,
            slowest=min(speeds),
            fastest=max(speeds),
        )


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        port: Where it listens.
        process: The one that was started.
        helpers: Others that work for it.
    """

    port: int
    process: psutil.Popen
    helpers: tuple[psutil.Process, ...] = ()

    def family(self) -> list[psutil.Process]:
        """Returns all processes of the server."""
        return [self.process, *self.process.children(recursive=True), *self.helpers]

    def measure(self, script: Path, connections: int, seconds: int) -> Load:
        """Runs wrk over so many connections."""
        before = _cpu_seconds(self.family())
        command = ["wrk", f"-c{connections}", "-t1", f"-d{seconds}s", "--timeout", "10s", "-s", str(script)]
        run = subprocess.run(
            [*command, f"http://127.0.0.1:{self.port}"], capture_output=True, text=True, check=True
        )
        cpu = _cpu_seconds(self.family()) - before
        facts = json.loads(run.stdout.splitlines()[-1])
        per_second = (facts["requests"] - facts["failed"]) / facts["seconds"]
        return Load(
            per_second=per_second,
            p50_ms=facts["p50_ms"],
            p99_ms=facts["p99_ms"],
            failed=facts["failed"],
            broken=facts["broken"],
            cpu_us=cpu / max(1, facts["requests"]) * 1e6,
            memory_mb=sum(process.memory_full_info().uss for process in self.family()) / 1e6,
            slowest=per_second,
            fastest=per_second,
        )


def take_turns(
    servers: Mapping[str, tuple[Server, Path]],
    connections: Sequence[int],
    seconds: int,
    rounds: int,
    before_round: Callable[[], None] = lambda: None,
) -> dict[str, dict[int, Load]]:
    """Returns the loads of several servers by name and connections, each over some rounds.

    The servers run all the while and are loaded one after the other, again and again: what else the machine
    does then falls on all of them alike.

    Args:
        servers: By name, each with what wrk sends it.
        connections: Numbers of connections.
        seconds: Of each measurement.
        rounds: Measurements of each.
        before_round: Called before each round, to measure the host itself.
    """
    for server, script in servers.values():
        server.measure(script, 16, 3)  # all workers warm
    found: dict[str, dict[int, list[Load]]] = {name: {n: [] for n in connections} for name in servers}
    for _ in range(rounds):
        before_round()
        for n in connections:
            for name, (server, script) in servers.items():
                found[name][n].append(server.measure(script, n, seconds))
    return {name: {n: Load.of_rounds(loads) for n, loads in by_n.items()} for name, by_n in found.items()}


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """Returns the processor time that processes have used so far."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


@contextmanager
def listening(
    command: Sequence[str], port: int, log: Path, environment: Mapping[str, str], ready_path: str = "/readyz"
) -> Iterator[Server]:
    """Runs a server that listens at `port` until the block ends; what it prints goes to `log`."""
    with log.open("wb") as output:
        process = psutil.Popen(
            [*command],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Linux shares a busy processor out by session, and BentoML's workers have sessions of their own.
            start_new_session=True,
        )
    try:
        _wait_until_ready(port, process, log, ready_path)
        yield Server(port, process)
    finally:
        try:
            if process.is_running():  # nobody has ended it already
                process.send_signal(signal.SIGTERM)
            process.wait(STOP_S)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()


def inherited() -> dict[str, str]:
    """Returns our environment without the settings of a service."""
    return {key: value for key, value in os.environ.items() if not key.startswith("MARQUEE_")}


def _wait_until_ready(port: int, process: psutil.Popen, log: Path, path: str) -> None:
    """Returns when the server answers; raises RuntimeError with its log if it does not."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:  # it answers, if only that there is nothing
                return
            time.sleep(0.2)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the server was not ready within {START_S} s:\n{log.read_text()}")


def write_script(
    path: Path, bodies: Sequence[object], url_path: str = "/recommend", pause_ms: int = 0
) -> Path:
    """Writes what wrk sends: the bodies in turn, as JSON, each connection pausing before its next request."""
    texts = ", ".join(f"[[{json.dumps(body)}]]" for body in bodies)
    pause = f"delay = function() return {pause_ms} end\n" if pause_ms else ""
    path.write_text(LUA.format(bodies=texts, path=url_path) + pause)
    return path
