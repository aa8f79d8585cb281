"""Faults that happen to a service across its processes, each with a count: what was asked, what was lost.

Load and service share the machine and its loopback; every scenario is bounded in requests and in time.
Callers are `marquee.client`, with retries where a caller would have them, without where loss is counted.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.load import Server
from benchmarks.serving import running
from marquee.client import Client, RecommendRequest, RefusedError, RetryPolicy, ServiceError

N_CALLERS = 8
PATIENCE_S = 60.0
OURS = "this service"
KEY = "rehearsal"
DISK_BYTES = 16 << 20
ONCE = RetryPolicy(max_attempts=1)
ASKED = RecommendRequest(history=["item-1", "item-2", "item-3"], k=5)

WITHDRAWN = "item-999"


@dataclass(frozen=True)
class Outcome:
    """The consequences of a fault.

    Attributes:
        fault: In words.
        n: Requests, or attempts of whatever was tried.
        failed: How many of them failed.
        allowed: How many may.
        remarks: What else was seen.
    """

    fault: str
    n: int
    failed: int
    allowed: int
    remarks: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether the promise holds."""
        return self.failed <= self.allowed and self.n > 0


@dataclass
class Callers:
    """Threads that ask until they are told to stop, or have asked so often.

    Attributes:
        url: The service.
        key: API key.
        policy: How patient each call is.
        deadline_s: Seconds of a call.
        attempt_s: Seconds of an attempt.
        limit: Calls that all of them together begin.
        answered: How many calls were answered.
        failures: Why the others were not.
        retries: What was tried again, by reason; known after `join`.
    """

    url: str
    key: str = ""
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    deadline_s: float = 10.0
    attempt_s: float | None = None
    limit: int = 10**9
    answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._begun = 0
        self._client = Client(
            self.url, key=self.key, deadline_s=self.deadline_s, attempt_s=self.attempt_s, retries=self.policy
        )
        self._threads = [threading.Thread(target=self._ask) for _ in range(N_CALLERS)]

    @property
    def n(self) -> int:
        """Calls that have ended, one way or the other."""
        return self.answered + self.failures.total()

    def start(self) -> None:
        """Begins to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begins no further call; those in flight go on."""
        self._ending.set()

    def join(self) -> None:
        """Waits for the calls in flight."""
        for thread in self._threads:
            thread.join()
        self.retries.update(self._client.retries)
        self._client.close()

    def wait_until(self, n: int) -> None:
        """Waits until so many calls have ended."""
        wait_for(lambda: self.n >= n or not any(thread.is_alive() for thread in self._threads))

    def _ask(self) -> None:
        """Asks again and again."""
        while not self._ending.is_set():
            with self._lock:
                if self._begun >= self.limit:
                    return
                self._begun += 1
            try:
                answer = self._client.recommend(ASKED)
                with self._lock:
                    if answer.returned == ASKED.k:
                        self.answered += 1
                    else:
                        self.failures[f"{answer.returned} items"] += 1
            except ServiceError as error:
                with self._lock:
                    self.failures[f"{type(error).__name__} {error}"[:160]] += 1


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> float:
    """Waits until a condition holds and returns the seconds that took; raises TimeoutError if it does not."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.02)
    return time.monotonic() - started


def workers_of(server: Server) -> list[psutil.Process]:
    """Returns the processes of a server that answer."""
    return [one for one in server.process.children(recursive=True) if _is_worker(one)]


def busiest_of(server: Server) -> psutil.Process:
    """Returns the worker with the most connections: all may have come to one, and only its end is felt."""
    return max(workers_of(server), key=lambda worker: len(worker.net_connections("tcp")))


def _is_worker(process: psutil.Process) -> bool:
    """Returns whether a process lives and answers; one that has just ended does not."""
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE and "worker" in str(process.cmdline())
    return False


@contextmanager
def served(bundle: Path, folder: Path, **settings: str) -> Iterator[tuple[Server, str]]:
    """Runs the service with two workers, both of them ready, until the block ends."""
    limits = {"MARQUEE_WORKERS": "2", "MARQUEE_DEADLINE_MS": "10000"}
    with running(OURS, bundle, folder, **{**limits, **settings}) as server:
        wait_for(lambda: sum(_listens(worker) for worker in workers_of(server)) == 2)
        yield server, f"http://127.0.0.1:{server.port}"


def _listens(worker: psutil.Process) -> bool:
    """Returns whether a worker is past its start: it then holds its bundle's files."""
    with suppress(psutil.NoSuchProcess):
        return any(region.path.endswith(".npy") for region in worker.memory_maps())
    return False


def kill_worker(bundle: Path, folder: Path, n_calls: int) -> list[Outcome]:
    """Kills one of two workers under load, as in a container; no call may fail, and another must come."""
    with served(bundle, folder, BENTOML_CONTAINERIZED="true") as (server, url):
        callers = Callers(url, limit=n_calls)
        callers.start()
        callers.wait_until(n_calls // 4)
        victim = busiest_of(server)
        victim.kill()
        killed = time.monotonic()
        wait_for(lambda: len({one.pid for one in workers_of(server)} - {victim.pid}) == 2)
        replaced_s = time.monotonic() - killed
        wait_for(lambda: all(_listens(one) for one in workers_of(server)))
        ready_s = time.monotonic() - killed
        callers.join()
    remarks = (
        f"retries {dict(callers.retries)}, replaced after {replaced_s:.1f} s, loaded after {ready_s:.1f} s"
    )
    failed = callers.failures.total()
    return [Outcome("one of two workers killed, through the client", callers.n, failed, 0, remarks)]


def hang_worker(bundle: Path, folder: Path, n_calls: int) -> list[Outcome]:
    """Stops one of two workers without ending it; callers whose attempts are short must not notice."""
    with served(bundle, folder) as (server, url):
        callers = Callers(url, attempt_s=0.5, limit=n_calls)
        callers.start()
        callers.wait_until(n_calls // 4)
        victim = busiest_of(server)
        victim.suspend()
        try:
            callers.join()
        finally:
            victim.resume()
    failed = callers.failures.total()
    remarks = f"retries {dict(callers.retries)}"
    return [Outcome("one of two workers hangs, through the client", callers.n, failed, 0, remarks)]


def drain_and_end(bundle: Path, folder: Path, n_calls: int) -> list[Outcome]:
    """Drains, stops sending and sends SIGTERM while the last requests are in flight; none may be lost."""
    drain = folder / "drain"
    with served(bundle, folder, MARQUEE_DRAIN_FILE=str(drain)) as (server, url):
        callers = Callers(url, policy=ONCE)
        callers.start()
        callers.wait_until(n_calls // 2)
        drain.touch()
        with Client(url) as balancer:
            wait_for(lambda: not balancer.is_ready())
        callers.wait_until(n_calls)  # whoever has not noticed yet is answered
        callers.stop()
        server.process.send_signal(signal.SIGTERM)
        callers.join()
        server.process.wait(PATIENCE_S)
    drain.unlink()
    return [
        Outcome("SIGTERM after a drain", callers.n, callers.failures.total(), 0, str(dict(callers.failures)))
    ]


def end_at_once(bundle: Path, folder: Path, n_calls: int) -> list[Outcome]:
    """Sends SIGTERM under load without a drain; what may be lost is bounded.

    A connection may lose a call to each worker, and one that waits where nobody takes connections any more.
    """
    with served(bundle, folder) as (server, url):
        callers = Callers(url, policy=ONCE)
        callers.start()
        callers.wait_until(n_calls)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(PATIENCE_S)
        callers.stop()
        callers.join()
    unheard = sum(n for why, n in callers.failures.items() if "ConnectError" in why)  # nobody took these
    lost = callers.failures.total() - unheard
    remarks = f"{N_CALLERS} connections; {unheard} more were refused when nobody listened any more"
    return [Outcome("SIGTERM alone, without a drain", callers.n - unheard, lost, 3 * N_CALLERS, remarks)]


def fill_disk(bundle: Path, folder: Path, n_calls: int) -> list[Outcome]:
    """Fills the disk under log, counters, keys and bundles, and kills a worker on it; root only, to mount it.

    Answers go on, through the client, the new worker's included; what must be written is refused in words.
    """
    with small_disk(folder / "disk") as disk:
        bundles = shutil.copytree(bundle.parent, disk / "bundles")
        other = next(one.name for one in bundles.iterdir() if one.is_dir() and one.name != _current(bundles))
        keys = write_key(disk / "keys.json")
        settings = {"MARQUEE_KEYS": str(keys), "MARQUEE_ITEMS": str(disk / "items")}
        with served(bundles, disk, MARQUEE_LOG_REQUESTS="1", **settings) as (server, url):
            fill(disk / "ballast")
            callers = Callers(url, key=KEY, limit=n_calls)
            callers.start()
            callers.wait_until(n_calls // 2)
            victim = busiest_of(server)
            victim.kill()
            callers.join()
            wait_for(lambda: sum(_listens(one) for one in workers_of(server)) == 2)
            again = Callers(url, key=KEY, limit=n_calls // 2)
            again.start()
            again.join()
            fill(disk / "more")  # the new worker has removed the files of the dead one
            with Client(url, key=KEY, deadline_s=20) as operator:
                refused = refusal_of(lambda: operator.activate(other))
                not_kept = refusal_of(lambda: operator.withdraw_item(WITHDRAWN))
                for ballast in ("ballast", "more"):
                    (disk / ballast).unlink()
                taken = operator.activate(other).version
                kept = operator.withdraw_item(WITHDRAWN).items[0].state
    failed = callers.failures + again.failures
    return [
        Outcome(
            "full disk, one worker killed on it", callers.n + again.n, failed.total(), 0, str(dict(failed))
        ),
        Outcome("full disk: a release is refused in words", 1, int(refused != 409), 0, f"status {refused}"),
        Outcome(
            "full disk: an item is withdrawn all the same",
            1,
            int(not_kept != 0),
            0,
            f"status {not_kept}",
        ),
        Outcome("room again: the release is taken", 1, int(taken != other), 0),
        Outcome("room again: the withdrawn item is taken", 1, int(kept != "withdrawn"), 0, kept),
    ]


def _current(bundles: Path) -> str:
    """Returns the version that CURRENT names."""
    return (bundles / "CURRENT").read_text(encoding="utf8").strip()


def refusal_of(ask: Callable[[], object]) -> int:
    """Returns the status with which a call is refused, 0 if it is not."""
    try:
        ask()
    except RefusedError as refused:
        return refused.status
    return 0


def write_key(path: Path) -> Path:
    """Writes a file with one key, `KEY`, that is good for everything."""
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    key = {"name": "all", "sha256": digest, "scopes": ["recommend", "admin", "items"], "requests_per_s": 1e6}
    path.write_text(json.dumps({"keys": [key]}), encoding="utf8")
    return path


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mounts a disk of `DISK_BYTES` until the block ends."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Writes a file until the disk holds nothing more."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        with suppress(OSError):
            while True:
                os.write(descriptor, bytes(4096))
    finally:
        os.close(descriptor)
