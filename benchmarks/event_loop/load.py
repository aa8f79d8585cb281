"""Load on the event log from processes of their own: batches, single callers, readers of profiles."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from marquee.core.identity.uuids import RANDOM_BYTES, uuid7
from marquee.store.log.event_log import EventLog
from marquee.store.log.event_rows import EventLimits, keep_rows
from marquee.store.log.opening import open_event_log

N_USERS, N_ITEMS = 100_000, 20_000
PREFILL_BATCH = 20_000
PROFILE_LENGTH = 200


@dataclass(frozen=True)
class Load:
    """The work of one process on the log.

    Attributes:
        where: The log.
        kind: `batches`, `singles` or `profiles`.
        seconds: For how long.
        n_callers: Threads that wait for an answer each.
        batch: Rows of a call.
        rate: Calls per second over all callers; 0 for as many as there can be.
        seed: What its rows follow from.
    """

    where: str
    kind: str
    seconds: float
    n_callers: int = 1
    batch: int = 500
    rate: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Calls:
    """The times of the calls of one or more processes, ms, and the seconds over which they ran."""

    took_ms: list[float]
    seconds: float

    def quantile(self, q: float) -> float:
        """Returns a quantile of what a call took, ms."""
        return float(np.quantile(self.took_ms, q))

    @property
    def rate(self) -> float:
        """Calls per second."""
        return len(self.took_ms) / self.seconds


def rows(rng: np.random.Generator, n: int, now: int) -> list[dict[str, object]]:
    """Returns rows as an app sends them, with ids that the client made."""
    randomness = rng.bytes(RANDOM_BYTES * n)
    users, items = rng.integers(0, N_USERS, n).tolist(), rng.integers(0, N_ITEMS, n).tolist()
    return [
        {
            "event_id": uuid7(now * 1000, randomness[RANDOM_BYTES * i : RANDOM_BYTES * (i + 1)]),
            "kind": "click",
            "item_id": f"item-{items[i]}",
            "timestamp": now,
            "user_id": f"user-{users[i]}",
        }
        for i in range(n)
    ]


def prefill(log: EventLog, n: int) -> None:
    """Puts n events into an empty log."""
    rng, now = np.random.default_rng(0), int(time.time())
    for _ in range(0, n, PREFILL_BATCH):
        keep_rows(log, rows(rng, PREFILL_BATCH, now), now, EventLimits())


def run_loads(loads: Sequence[Load]) -> list[Calls]:
    """Runs all loads at once; returns the times of each one's calls."""
    command = [sys.executable, "-m", "benchmarks.event_loop.load"]
    running = [
        subprocess.Popen([*command, json.dumps(asdict(load))], stdout=subprocess.PIPE, text=True)
        for load in loads
    ]
    outputs = [
        process.communicate(timeout=load.seconds + 60)[0]
        for process, load in zip(running, loads, strict=True)
    ]
    return [Calls(**json.loads(output)) for output in outputs]


def together(calls: Sequence[Calls]) -> Calls:
    """Returns the calls of several processes as one."""
    return Calls([ms for one in calls for ms in one.took_ms], max(one.seconds for one in calls))


def _call_of(load: Load, log: EventLog, rng: np.random.Generator) -> Callable[[], object]:
    """Returns one call."""
    if load.kind == "profiles":
        # The read that an answer waits for, as the service makes it (`serving.recording.profiles`).
        return lambda: log.read_profile(f"user-{int(rng.integers(N_USERS))}", 0, 0, PROFILE_LENGTH)

    def send() -> None:
        now = int(time.time())
        sent = rows(rng, load.batch, now)
        receipt = keep_rows(log, sent, now, EventLimits())
        assert receipt.accepted == load.batch, receipt

    return send


def _caller(load: Load, log: EventLog, number: int, began: float) -> list[float]:
    """Calls until the time is over and returns what each call took, ms."""
    call = _call_of(load, log, np.random.default_rng((load.seed, number)))
    took: list[float] = []
    pause = load.n_callers / load.rate if load.rate else 0.0
    due = began
    while time.perf_counter() - began < load.seconds:
        started = time.perf_counter()
        call()
        took.append((time.perf_counter() - started) * 1000)
        due += pause
        time.sleep(max(0.0, due - time.perf_counter()))
    return took


def main() -> None:
    """Runs the load that the first argument describes and prints its calls."""
    load = Load(**json.loads(sys.argv[1]))
    log = open_event_log(load.where)
    log.read_profile("user-0", 0, 0, 1)
    began = time.perf_counter()
    with ThreadPoolExecutor(load.n_callers) as pool:
        parts = list(pool.map(lambda number: _caller(load, log, number, began), range(load.n_callers)))
    seconds = time.perf_counter() - began
    log.close()
    print(json.dumps(asdict(Calls([ms for part in parts for ms in part], seconds))))


if __name__ == "__main__":
    main()
