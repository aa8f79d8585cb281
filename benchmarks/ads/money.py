"""Budgets and caps over workers that are killed and stopped, and the times of the ledger; on both stores."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.ads.judging import judge, settle_at
from benchmarks.ads.spender import WINDOW_MS, Spend, open_ledger_of
from benchmarks.ads.spenders import book_campaigns, run_workers, settle, start, stop_for
from benchmarks.rows import Measured, Row
from marquee.store.ledger.ledger import DRAIN_MS
from marquee.store.ledger.rows import Cap, CapClaim, LeaseRequest, Limits
from tests.support.event_stores import postgres_server

N_REQUESTS, N_CLIENTS, N_KILLS, N_STOPS = 10_000, 50, 20, 5
N_TIMED = 2_000
CAMPAIGNS, BUDGET = 8, 200_000_000


def rows(root: Path) -> Iterator[Row]:
    """Yields the rows of each store."""
    del root  # nothing is read
    for name, store in (("SQLite", _folder), ("PostgreSQL", _database)):
        yield Row(
            f"money: {N_CLIENTS} clients, {N_KILLS} kill -9, {name}",
            "-",
            "no cap or budget exceeded, nothing twice, log and ledger equal",
            lambda store=store: _on(store, killed),  # type: ignore[misc]
        )
        yield Row(
            f"money: a worker stopped past its lease, {name}",
            "-",
            "the same; what it sold too late is unbilled",
            lambda store=store: _on(store, stopped),  # type: ignore[misc]
        )
        yield Row(
            f"money: times of the ledger, {name}, ms",
            "-",
            "admit at most 1 in the median",
            lambda store=store: _on(store, timed),  # type: ignore[misc]
        )


def killed(where: str, n_requests: int = N_REQUESTS, n_kills: int = N_KILLS) -> Measured:
    """Kills workers while they sell."""
    book_campaigns(where, CAMPAIGNS, BUDGET)
    n_each = n_requests // N_CLIENTS
    spend = Spend(where=where, n_threads=N_CLIENTS // 2, n_requests=n_each, click=0.8, n_users=20)
    run_workers([replace(spend, seed=1), replace(spend, seed=2)], n_kills, between_s=1.5)
    settle(spend)
    return _measured(where, may_be_unbilled=False)


def stopped(where: str) -> Measured:
    """Stops a worker again and again for longer than it may spend what it holds."""
    book_campaigns(where, CAMPAIGNS, BUDGET)
    spend = Spend(where=where, n_requests=400, click=0.8, n_users=20, pause_s=0.02, lease_s=0.5, drain_ms=300)
    workers = [start(replace(spend, seed=seed)) for seed in (1, 2)]
    for _ in range(N_STOPS):
        time.sleep(0.7)
        stop_for(workers[0], spend.lease_s + spend.drain_ms / 1000 + 0.3)
    if any(worker.wait(300) for worker in workers):
        return Measured("a worker failed; see what it told", is_within=False)
    settle(spend)
    return _measured(where, may_be_unbilled=True)


def timed(where: str) -> Measured:
    """Measures each step of the ledger by one caller."""
    ledger = open_ledger_of(where, 60_000)
    claim = CapClaim(("k",), (Cap("k", 10**9, 86_400_000),))
    limits = Limits("c", "2026-01-01", 10**15, None, 1)
    request = LeaseRequest("benchmark", limits, 1, 1_000, 30_000)
    steps: dict[str, Callable[[int], object]] = {
        "lease": lambda _n: ledger.lease(request, time.time_ns() // 1_000_000),
        "admit": lambda n: ledger.admit(f"u{n % 500}", [claim], time.time_ns() // 1_000_000),
        "shown": lambda n: ledger.shown(f"u{n % 500}", 0),
    }
    told, medians = [], {}
    for name, step in steps.items():
        taken = sorted(_timed(step, n) for n in range(N_TIMED))
        medians[name] = statistics.median(taken)
        told.append(f"{name} {medians[name]:.2f}, p99 {taken[int(N_TIMED * 0.99)]:.2f}")
    ledger.close()
    return Measured("; ".join(told), medians["admit"] <= 1)


def _timed(step: Callable[[int], object], number: int) -> float:
    """Returns how long a step takes, ms."""
    started = time.perf_counter()
    step(number)
    return (time.perf_counter() - started) * 1000


def _measured(where: str, *, may_be_unbilled: bool) -> Measured:
    """Judges a log and its ledger, now and when every window is over."""
    judged = judge(where)
    settle_at(where, time.time_ns() // 1_000_000 + WINDOW_MS + 2 * DRAIN_MS)
    later = judge(where)
    is_within = not any(judged.faults + later.faults) and (may_be_unbilled or not judged.n_unbilled)
    text = (
        f"{judged.n_sold} sold, {judged.n_charged} charged, {judged.n_unbilled} unbilled; above budget "
        f"{judged.over_budget}, above caps {judged.over_cap}, log minus ledger {judged.difference}, held for "
        f"nothing {judged.unsettled}, after every window {later.held}"
    )
    is_same = (judged.n_charged, judged.n_unbilled) == (later.n_charged, later.n_unbilled)
    return Measured(text, is_within and is_same and judged.n_charged > 0 and later.held == 0)


def _on(store: Callable[[], AbstractContextManager[str]], measure: Callable[[str], Measured]) -> Measured:
    """Returns a measure on a new store."""
    with store() as where:
        return measure(where)


@contextmanager
def _folder() -> Iterator[str]:
    """Gives a folder for SQLite."""
    with tempfile.TemporaryDirectory(prefix="marquee-money-") as folder:
        yield folder


@contextmanager
def _database() -> Iterator[str]:
    """Gives the address of a PostgreSQL that is started here and forces commits to disk."""
    with postgres_server(flushes=True) as server:
        yield server.url()
