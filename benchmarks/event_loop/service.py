"""The event loop over HTTP: a service of two workers, and callers on the same machine."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import cast

import httpx
import numpy as np

from benchmarks.event_loop.answers import running
from benchmarks.event_loop.caller import Connection, Posts, run_posts
from benchmarks.event_loop.figure import Figure
from benchmarks.event_loop.load import together
from benchmarks.load import Server
from benchmarks.serving_bundle import make_bundle
from marquee.client import Client
from tests.support.killing import SteadyLoad, missing_from
from tests.support.service_process import RunningService

N_ITEMS = 20_000
N_CLICKS = 1_000
# More than a service on two cores has been seen to take: who runs out of bodies ends early.
BATCHES_PER_S, SINGLES_PER_S = 60, 400
N_CONNECTIONS = 64
SECRET = "of-the-benchmark"


def service_figures(
    folder: Path, where: str, name: str, seconds: float, n_clicks: int = N_CLICKS
) -> Iterator[Figure]:
    """Yields what a service keeps, and how soon a click is felt.

    Args:
        folder: For bundle and logs.
        where: The event log.
        name: Of its store.
        seconds: Of each load.
        n_clicks: Clicks whose answers are looked at.
    """
    made = make_bundle(folder / "bundles", N_ITEMS, ef_search=64)
    settings = {"MARQUEE_WORKERS": "2", "MARQUEE_EVENTS": where, "MARQUEE_LOG_REQUESTS": "1"}
    with running(made, folder, MARQUEE_KEYS=_write_keys(folder), **settings) as server:
        batches = together(
            run_posts(
                [
                    Posts(server.port, SECRET, seconds, 1, 500, int(seconds * BATCHES_PER_S), seed)
                    for seed in (11, 12)
                ]
            )
        )
        told = f"{name}, HTTP"
        yield Figure(f"{told}: batches of 500, two writers", batches.rate * 500, "events/s", 10_000, True, "")
        yield Figure(f"{told}: p99 of a batch", batches.quantile(0.99), "ms", 200, False, "")
        singles = together(
            run_posts(
                [
                    Posts(server.port, SECRET, seconds, 16, 1, int(seconds * SINGLES_PER_S), seed)
                    for seed in (13, 14)
                ]
            )
        )
        yield Figure(f"{told}: single events, 32 callers", singles.rate, "events/s", 1_500, True, "")
        yield Figure(f"{told}: p99 of a single event", singles.quantile(0.99), "ms", 50, False, "")
        yield from _click_figures(server, folder, told, n_clicks)


def service_kill_figures(folder: Path, n_kills: int) -> Iterator[Figure]:
    """Yields what is missing from the log of a service whose workers were killed under load.

    Args:
        folder: For bundle and log.
        n_kills: Workers to kill, one after the other; each takes some seconds to be replaced.
    """
    made = make_bundle(folder / "bundles", N_ITEMS, ef_search=64)
    where = str(folder / "log")
    settings = {"MARQUEE_WORKERS": "2", "MARQUEE_EVENTS": where, "MARQUEE_KEYS": _write_keys(folder)}
    with running(made, folder, **settings) as server, httpx.Client() as client:
        url = f"http://127.0.0.1:{server.port}"
        # Of the process it reads the number alone.
        service = RunningService(url, client, cast(Popen[bytes], server.process), folder)
        load = SteadyLoad("killed", service, lambda: Client(url, key=SECRET), lambda: Client(url, key=SECRET))
        with load.going_on():
            load.kill(n_kills)
        missing = missing_from(where, load)
    print(
        f"{n_kills} workers killed, {len(load.acknowledged):,} events acknowledged, {len(load.recorded):,} "
        f"decisions told as recorded, {len(missing.decisions_s)} of these missing",
        flush=True,
    )
    yield Figure("acknowledged events lost by kills of workers", missing.events, "events", 0, False, "")
    yield Figure("events kept twice", missing.doubles, "events", 0, False, "")
    oldest_ms = 1000 * max(missing.decisions_s, default=0.0)
    yield Figure("oldest decision lost, before its kill", oldest_ms, "ms", 100, False, "")


def _click_figures(server: Server, folder: Path, name: str, n_clicks: int) -> Iterator[Figure]:
    """Yields how many clicks are felt by the next answer of the other worker, and how soon."""
    asking, telling = _on_two_workers(server.port, folder / f"{server.port}.log")
    took_ms, n_changed, n_told = [], 0, 0
    for number in range(n_clicks):
        user_id = f"somebody new {number}"
        before = asking.ask("/v1/recommend", user_id=user_id, k=5)
        clicked = before["items"][0]["item_id"]  # type: ignore[index]  # JSON
        event = {
            "event_id": f"click-{number}",
            "kind": "click",
            "item_id": clicked,
            "timestamp": int(time.time()),
            "user_id": user_id,
        }
        started = time.perf_counter()
        telling.ask("/v1/events", events=[event])
        after = asking.ask("/v1/recommend", user_id=user_id, k=5)
        took_ms.append((time.perf_counter() - started) * 1000)
        shown = {item["item_id"] for item in after["items"]}  # type: ignore[attr-defined]  # JSON
        # A machine that lets no thread of a worker run for 5 ms costs the profile, and the answer says so.
        n_told += after.get("profile") == "unavailable"
        n_changed += after["source"] == "history" and clicked not in shown
    asking.close()
    telling.close()
    yield Figure(
        f"{name}: clicks felt by the other worker", n_changed, "clicks", n_clicks, True, "300 of 300"
    )
    passed_over = n_clicks - n_changed - n_told
    yield Figure(f"{name}: clicks passed over without a word", passed_over, "clicks", 0, False, "0")
    p99 = float(np.quantile(took_ms, 0.99))
    yield Figure(f"{name}: p99 from click to that answer", p99, "ms", 100, False, "")


def _on_two_workers(port: int, log: Path) -> tuple[Connection, Connection]:
    """Returns connections to two workers: the log of the service says which one answered."""
    connections = [Connection(port, SECRET) for _ in range(N_CONNECTIONS)]
    ids = [str(one.ask("/v1/recommend", user_id="u", k=1)["request_id"]) for one in connections]
    worker_of: dict[str, int] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        if line.startswith("{"):
            facts = json.loads(line)
            worker_of[facts.get("request_id", "")] = facts["process"]
    by_worker = {worker_of[one]: connection for one, connection in zip(ids, connections, strict=True)}
    assert len(by_worker) == 2, f"{N_CONNECTIONS} connections must reach both workers, got {len(by_worker)}"
    kept = list(by_worker.values())
    for connection in connections:
        if connection not in kept:
            connection.close()
    return kept[0], kept[1]


def _write_keys(folder: Path) -> str:
    """Writes a key for answers and events; returns the path of the file."""
    path = folder / "keys.json"
    key = {
        "name": "benchmark",
        "sha256": hashlib.sha256(SECRET.encode()).hexdigest(),
        "scopes": ["recommend", "events"],
    }
    path.write_text(json.dumps({"keys": [key]}))
    return str(path)
