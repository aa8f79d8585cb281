"""Erasure: how soon nobody knows a person any more, the cost of a pass, and what a kill loses."""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import msgspec
import numpy as np
import polars as pl

from benchmarks.probe import slowness
from benchmarks.rows import Measured, Row
from marquee.store.log.closed_days import EVENT_SCHEMA, ROWS_PER_GROUP
from marquee.store.log.event_log import ClosedPart
from marquee.store.people.erasing.eraser import SETTLE_S, PassReport, Retention
from marquee.store.people.opening import open_users
from marquee.store.people.user_key import validate_key
from serving.recording.erasing_terms import Order, Terms
from tests.support.bundles import publish_tiny
from tests.support.erasures import ASKED, Service, fill, rows_of
from tests.support.event_stores import Store
from tests.support.people import AUTHORIZATION, KEY, handle, pseudonym, service_settings
from tests.support.service_process import running_service

N_ROWS, N_PARTS, N_USERS, N_ERASED = 10_000_000, 30, 100_000, 100
MOST_S, MOST_MIB, MOST_TIMES = 60.0, 300.0, 1.5
N_KILLS = 100
N_ASKED, N_CONNECTIONS, MOST_MS = 200, 2, 100.0
LATER = ASKED + SETTLE_S
# Calls of one client that pauses between two: what else the pass does to them is seen, not their own queue.
PAUSE_S, ALONE_S = 0.01, 15.0


def rows(_root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        f"{N_ERASED} users of {N_ROWS:,} exposures in {N_PARTS} files",
        "23 s on busy cores, 174 MiB",
        f"<= {MOST_S:g} s, <= {MOST_MIB:g} MiB, answers' p99 <= {MOST_TIMES} x meanwhile",
        measure_pass,
    )
    yield Row(
        "from erasure to the anonymous answer", "one flush, 4 ms", f"p99 <= {MOST_MS:g} ms", measure_delay
    )
    yield Row("erasure killed", "-", f"goes on after {N_KILLS} of {N_KILLS}", measure_kills)


def measure_pass() -> Measured:
    """Measures a pass over many files, and answers of a service of the same log meanwhile."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        where, closed = folder / "log", folder / "log" / "closed"
        names = write_parts(Store(str(where)), closed)
        # The thread of the service would take the lock first, or find the same work.
        settings = {**service_settings(folder), "MARQUEE_ERASE_HOURS": "720"}
        with running_service(publish_tiny(folder / "bundles"), folder, **settings) as service:
            service.client.headers.update(AUTHORIZATION)
            for user in names:
                service.client.delete(f"/v1/users/{user}").raise_for_status()
            alone = ask(service.client, ALONE_S)
            order = Order(
                where=str(where),
                closed=str(closed),
                terms=Terms(receipt_key="", hours=720, retention=Retention()),
                now=int(time.time()),
                settle_s=0,
            )
            began = time.perf_counter()
            process = subprocess.Popen(
                # As a worker starts it.
                [sys.executable, "-m", "serving.workers.idle", "serving.recording.erasing_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert process.stdin is not None, "it is a pipe"
            process.stdin.write(msgspec.json.encode(order))
            process.stdin.close()
            peaks: list[float] = []
            meanwhile = ask(service.client, MOST_S, lambda: is_running(process, peaks))
            assert process.stdout is not None, "it is a pipe"
            told = process.stdout.read()
            seconds, mib = time.perf_counter() - began, max(peaks)
            # Before and after: what else the machine does changes from minute to minute.
            alone += ask(service.client, ALONE_S)
        assert process.wait() == 0, process.returncode
        report = msgspec.json.decode(told, type=PassReport)
        left = count_left(closed, len(names))
    times = quantile(meanwhile, 0.99) / quantile(alone, 0.99)
    return Measured(
        f"{seconds:.1f} s, {mib:.0f} MiB, p99 {1000 * quantile(alone, 0.99):.1f} ms alone and "
        f"{1000 * quantile(meanwhile, 0.99):.1f} ms meanwhile ({times:.2f} x), {left} rows left",
        (seconds, mib, times) <= (MOST_S, MOST_MIB, MOST_TIMES)
        and mib <= MOST_MIB
        and times <= MOST_TIMES
        and left == 0
        and report.finished == len(names),
    )


def write_parts(store: Store, closed: Path) -> list[str]:
    """Writes the files of closed days; returns the ids of the users who are to be erased."""
    rng, n = np.random.default_rng(0), N_ROWS // N_PARTS
    log = store.open()
    users = open_users(store.where)
    validate_key(users, KEY)  # a log that holds rows is not begun with a key
    users.name({handle(f"user-{i}"): pseudonym(i) for i in range(N_ERASED)})
    users.close()
    # Scattered over the alphabet as drawn ones are; the first are those of the users by name.
    others = [f"{rng.integers(2**63):016x}{rng.integers(2**63):016x}" for _ in range(N_USERS - N_ERASED)]
    every = pl.Series([*(pseudonym(i) for i in range(N_ERASED)), *others])
    (closed / "kind=exposure").mkdir(parents=True)
    for day in range(N_PARTS):
        frame = pl.DataFrame(
            {
                "sequence": np.arange(day * n, (day + 1) * n) + 1,
                "event_id": [f"e{day}-{i}" for i in range(n)],
                "kind": pl.repeat("exposure", n, eager=True),
                "item_id": [f"item-{item}" for item in rng.integers(0, 10_000, n)],
                "timestamp": np.sort(rng.integers(0, 86_400, n)) + (19_000 + day) * 86_400,
                "received": pl.repeat((19_000 + day) * 86_400, n, eager=True, dtype=pl.Int64),
                "user_id": every.gather(rng.integers(0, N_USERS, n)),
                "decision_id": [f"018bcfe5-{day:04x}-7000-8000-{i // 10:012x}" for i in range(n)],
                "value": pl.repeat(None, n, eager=True, dtype=pl.Float64),
                "text": pl.repeat(None, n, eager=True, dtype=pl.String),
            },
            schema=EVENT_SCHEMA,
        )
        file = f"kind=exposure/day=2022-01-{day + 1:02d}.{(day + 1) * n}.parquet"
        frame.write_parquet(closed / file, compression="zstd", row_group_size=ROWS_PER_GROUP)
        part = ClosedPart(19_000 + day, "exposure", file, n, (day + 1) * n)
        # Listed without having been in the store: ten million inserts would be another benchmark.
        log.removal.replace_part(part, part, {})
    store.close()
    return [f"user-{i}" for i in range(N_ERASED)]


def count_left(closed: Path, n_users: int) -> int:
    """Returns how many rows of erased users are left in files."""
    names = [pseudonym(i) for i in range(n_users)]
    files = pl.scan_parquet(closed / "**/*.parquet").filter(pl.col("user_id").is_in(names))
    return int(files.select(pl.len()).collect().item())


def ask(client: httpx.Client, seconds: float, goes_on: Callable[[], bool] = lambda: True) -> list[float]:
    """Asks for recommendations one after the other; returns the seconds that each took.

    Args:
        client: Of the service.
        seconds: How long at most.
        goes_on: Whether to ask once more.
    """
    found: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and goes_on():
        body = {"user_id": f"asking-{len(found) % 50}", "k": 10}
        began = time.perf_counter()
        client.post("/v1/recommend", json=body).raise_for_status()
        found.append(time.perf_counter() - began)
        time.sleep(PAUSE_S)
    return found


def is_running(process: "subprocess.Popen[bytes]", peaks: list[float]) -> bool:
    """Returns whether a process runs, and notes the most memory that it has held, MiB."""
    if process.poll() is not None:
        return False
    # Not by its resource usage: that begins with the memory of whoever started it.
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    if found:
        peaks.append(int(found[1]) / 1024)
    return True


def measure_delay() -> Measured:
    """Measures from the request to erase to the first answer of another worker that is anonymous."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {**service_settings(folder), "MARQUEE_WORKERS": "2"}
        found, n_known_after = [], 0
        with (
            running_service(publish_tiny(folder / "bundles"), folder, **settings) as service,
            ExitStack() as stack,
        ):
            service.client.headers.update(AUTHORIZATION)
            # Connections of their own: the workers take them in turn.
            others = [
                stack.enter_context(
                    httpx.Client(base_url=service.url, headers=AUTHORIZATION, trust_env=False)
                )
                for _ in range(N_CONNECTIONS)
            ]
            for number in range(N_ASKED):
                user = f"user-{number}"
                for client in others:
                    tier_of(client, user)
                began = time.perf_counter()
                service.client.delete(f"/v1/users/{user}").raise_for_status()
                n_known_after += sum(tier_of(client, user) != "none" for client in others)
                found.append(time.perf_counter() - began)
    p99 = 1000 * quantile(found, 0.99)
    return Measured(
        f"p99 {p99:.1f} ms with {N_CONNECTIONS} answers of 2 workers one after the other, {n_known_after} of "
        f"{N_CONNECTIONS * N_ASKED} knew the user",
        p99 <= MOST_MS * slowness() and n_known_after == 0,
    )


def tier_of(client: httpx.Client, user: str) -> str:
    """Returns how much of a user an answer used."""
    reply = client.post("/v1/recommend", json={"user_id": user, "k": 5}).raise_for_status()
    return str(reply.json()["tier"])


KILLED = """
import os, sys
from pathlib import Path
from marquee.store.files import watching_steps
from tests.support.erasures import ASKED, Service
from tests.support.event_stores import Store
from tests.support.people import handle

left = int(sys.argv[3])

def watch(_step):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)

with watching_steps(watch):
    eraser = Service(Store(sys.argv[1]), Path(sys.argv[2])).eraser()
    for user in ("user-1", "user-2"):
        eraser.begin(handle(user), user, ASKED)
    eraser.run(ASKED + 60)
"""


def measure_kills() -> Measured:
    """Kills an erasure at one step after the other, and goes on."""
    with tempfile.TemporaryDirectory() as name:
        template = Path(name) / "template"
        service = Service(Store(str(template / "log")), template / "closed")
        eraser = service.eraser()
        fill(eraser)
        others = rows_of(eraser, "user-3")
        service.close()
        n_killed = n_right = step = 0
        for number in range(10 * N_KILLS):
            step += 1
            folder = Path(name) / str(number)
            shutil.copytree(template, folder)
            arguments = [sys.executable, "-c", KILLED, str(folder / "log"), str(folder / "closed"), str(step)]
            if subprocess.run(arguments, timeout=120, check=False).returncode != -9:
                step = 0  # there is no such step: from the first one again
            else:
                n_killed += 1
                n_right += is_right_after(Service(Store(str(folder / "log")), folder / "closed"), others)
            shutil.rmtree(folder)
            if n_killed == N_KILLS:
                break
    return Measured(f"goes on after {n_right} of {n_killed}", n_right == n_killed == N_KILLS)


def is_right_after(service: Service, others: Sequence[str]) -> bool:
    """Goes on with an erasure that was killed; returns whether all is gone, counted and finished."""
    eraser = service.eraser()
    receipts = [eraser.begin(handle(user), user, ASKED + 5).receipt for user in ("user-1", "user-2")]
    eraser.run(LATER + 5)
    final = [eraser.latest(handle(user)) for user in ("user-1", "user-2")]
    is_right = (
        rows_of(eraser, "user-1") == rows_of(eraser, "user-2") == []
        and rows_of(eraser, "user-3") == others
        and len(receipts) == 2
        and all(
            one is not None
            and one.receipt.finished is not None
            and one.receipt.events + one.receipt.events_in_files == 9
            and one.receipt.decisions + one.receipt.decisions_in_files == 4
            for one in final
        )
    )
    service.close()
    return is_right


def quantile(seconds: Sequence[float], q: float) -> float:
    """Returns a quantile of some seconds."""
    return float(np.quantile(seconds, q))
