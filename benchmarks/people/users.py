"""Users under pseudonyms: the cost of a look at what they let be used, and whether answers keep to it."""

import asyncio
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from benchmarks.rows import Measured, Row
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.store.people.consent import Tier
from serving.recording.opening import OpenedLog
from serving.recording.profiles import Profiles
from serving.recording.users import KeyedUsers, KnownUsers, PlainUsers
from serving.telemetry.metrics import Metrics
from tests.support.bundles import NOW, publish_tiny
from tests.support.event_stores import Postgres, Store, event, postgres_server
from tests.support.people import AUTHORIZATION, KEY, service_settings
from tests.support.people_model import run as run_model
from tests.support.people_service import Worker
from tests.support.service_process import running_service

N_ASKED, N_KNOWN, MOST_US = 4000, 2000, 100.0
N_PUT = 500
N_RECORDS = 10_000
N_INTERLEAVINGS = 30
N_CHANGES, N_CALLERS, N_WORKERS = 200, 4, 2
# Long enough for some answers between two changes.
PAUSE_S = 0.1
# Longer than any read: whether one was in time is another row's matter.
PATIENT_S = 5.0


def rows(_root: Path) -> Iterator[Row]:
    """Yields the rows."""
    must = f"<= {MOST_US:g} us more CPU per answer"
    for name, store, is_new in (
        ("users who came before", "sqlite", False),
        ("users who come for the first time", "sqlite", True),
        ("users, PostgreSQL", "postgres", False),
    ):
        yield Row(
            f"tier and pseudonym of {name}",
            "one indexed read 0.02 ms",
            must,
            lambda store=store, is_new=is_new: measure_cost(store, is_new=is_new),  # type: ignore[misc]  # bound now
        )
    yield Row(
        "consent put on one worker, read on another",
        "PRAGMA data_version, microseconds",
        f"the next answer, {N_PUT} of {N_PUT}",
        measure_next_answer,
    )
    yield Row("consent changed under load", "-", "0 answers above the tier after the reply", measure_load)
    yield Row(
        "random interleavings beside a model in memory",
        "-",
        f"none differs, {N_INTERLEAVINGS} on each store",
        measure_interleavings,
    )
    yield Row(
        f"{N_RECORDS:,} answers of tier none",
        "-",
        f"no user in {N_RECORDS:,} of {N_RECORDS:,}",
        measure_records,
    )


def measure_cost(store: str, *, is_new: bool) -> Measured:
    """Measures the CPU that an answer takes for its user and profile, with pseudonyms and without."""
    if store == "postgres":
        with postgres_server() as server:
            return _cost(lambda name: _emptied(server, name), is_new=is_new)
    with tempfile.TemporaryDirectory() as folder:
        return _cost(lambda name: f"{folder}/{name}", is_new=is_new)


def _emptied(server: Postgres, _name: str) -> str:
    """Returns the address of an empty database."""
    return server.empty()


def _cost(where: Callable[[str], str], *, is_new: bool) -> Measured:
    """Measures both, one after the other, in a store of its own each."""
    plain = _cpu_us(where("plain"), None, is_new=is_new)
    keyed_at = where("keyed")
    keyed = _cpu_us(keyed_at, KeyedUsers(keyed_at, KEY), is_new=is_new)
    return Measured(
        f"{keyed - plain:.0f} us more ({plain:.0f} and {keyed:.0f} us of CPU, profile included)",
        keyed - plain <= MOST_US,
    )


def _cpu_us(where: str, keyed: KeyedUsers | None, *, is_new: bool) -> float:
    """Returns the CPU of this process per answer, in microseconds, for what is known of its user."""
    users: KnownUsers = keyed or PlainUsers()
    with tempfile.TemporaryDirectory() as folder:
        manifest = Recommender.load(publish_tiny(Path(folder))).bundle.manifest
    log = OpenedLog(where)
    names = users.names_of([f"user-{number}" for number in range(N_KNOWN)])
    log.get().append([event(f"e{number}", user_id=str(name)) for number, name in enumerate(names.values())])
    profiles = Profiles(log, Metrics(), PATIENT_S, users=users)
    first = 10**6 if is_new else 0
    asked = [
        Request(timestamp=NOW, user_id=f"user-{first + number % (N_ASKED if is_new else N_KNOWN)}")
        for number in range(N_ASKED)
    ]
    if not is_new:
        for one in asked[:N_KNOWN]:
            profiles.before([one], manifest)
    began = time.process_time()
    for one in asked:
        profiles.before([one], manifest)
    taken = time.process_time() - began
    profiles.close()
    log.close()
    users.close()
    return taken / len(asked) * 1e6


def measure_next_answer() -> Measured:
    """Counts answers of a worker that keep to what was put on another a moment before."""
    with tempfile.TemporaryDirectory() as name:
        recommender = Recommender.load(publish_tiny(Path(name) / "bundles"))
        first, second = (Worker(recommender, Path(name) / "events") for _ in range(2))
        kept = 0
        for number in range(N_PUT):
            tier = list(Tier)[number % 3]
            workers = (first, second) if number % 2 else (second, first)
            workers[0].consent("u1", tier)
            kept += workers[1].ask(user_id="u1")["tier"] == tier
        first.close()
        second.close()
    return Measured(f"{kept} of {N_PUT}", kept == N_PUT)


def measure_records() -> Measured:
    """Counts records without a user of answers that a statement, the request or the default made `none`."""
    with tempfile.TemporaryDirectory() as name:
        recommender = Recommender.load(publish_tiny(Path(name) / "bundles"))
        without = total = 0
        for default in (Tier.personal, Tier.none):
            worker = Worker(recommender, Path(name) / default, default)
            for number in range(1, 7):
                worker.consent(f"u{number}", Tier.none)
            bodies = [
                {"user_id": f"u{number % 6 + 1}", "history": ["i003"]}
                if number % 2
                else {"user_id": f"new-{number}", "consent": "none"}
                for number in range(N_RECORDS // 2)
            ]
            asyncio.run(_ask_all(worker, bodies))
            decisions = worker.written()
            total += len(decisions)
            without += sum(
                one.user_id is None and one.tier == "none" and not one.history for one in decisions
            )
            worker.close()
    return Measured(f"{without:,} of {total:,}", without == total == N_RECORDS)


def measure_interleavings() -> Measured:
    """Runs events, decisions, consents, erasures, rules, retries and restarts in random order."""
    # It raises where a store says what the model does not.
    with tempfile.TemporaryDirectory() as name, postgres_server() as server:
        folder = Path(name)
        run_model(lambda: Store(tempfile.mkdtemp(dir=folder)), folder, N_INTERLEAVINGS)
        run_model(lambda: Store(server.empty()), folder, N_INTERLEAVINGS)
    return Measured(f"0 of {2 * N_INTERLEAVINGS} differ, 20 steps each", True)


async def _ask_all(worker: Worker, bodies: Sequence[object]) -> None:
    """Asks one after the other."""
    for body in bodies:
        response = await worker.send("POST", "/v1/recommend", body)
        assert response.status == 200, response.body


class Asked(NamedTuple):
    """An answer: when it was asked for, when it came, and its tier."""

    began: float
    ended: float
    tier: Tier


class Put(NamedTuple):
    """A change of consent, likewise."""

    began: float
    ended: float
    tier: Tier


def measure_load() -> Measured:
    """Counts answers of a service that were above the tier although they were asked for after the reply."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = service_settings(folder) | {"MARQUEE_WORKERS": str(N_WORKERS)}
        with running_service(publish_tiny(folder / "bundles"), folder, **settings) as service:
            service.client.headers.update(AUTHORIZATION)
            answers: list[Asked] = []
            is_over = threading.Event()
            callers = [
                threading.Thread(target=_call, args=(service.url, answers, is_over)) for _ in range(N_CALLERS)
            ]
            for caller in callers:
                caller.start()
            puts = []
            for number in range(N_CHANGES):
                tier, began = list(Tier)[number % 3], time.monotonic()
                body = {"tier": tier.value}
                service.client.put("/v1/users/u1/consent", json=body).raise_for_status()
                puts.append(Put(began, time.monotonic(), tier))
                time.sleep(PAUSE_S)
            is_over.set()
            for caller in callers:
                caller.join()
    above, judged = count_above(puts, answers)
    return Measured(
        f"{above} of {judged:,} answers between {N_CHANGES} changes, {N_WORKERS} workers",
        above == 0 and judged > N_CHANGES,
    )


def count_above(puts: Sequence[Put], answers: Sequence[Asked]) -> tuple[int, int]:
    """Returns how many answers were above the tier that held, and how many were asked for while one did."""
    order, above, judged = list(Tier), 0, 0
    for put, following in zip(puts, [*puts[1:], Put(float("inf"), 0, Tier.none)], strict=True):
        for one in answers:
            # Asked for after the reply, and answered before the next change began.
            if put.ended <= one.began and one.ended <= following.began:
                judged += 1
                above += order.index(one.tier) < order.index(put.tier)
    return above, judged


def _call(url: str, answers: list[Asked], is_over: threading.Event) -> None:
    """Asks for one user until it is over, by connections of its own."""
    while not is_over.is_set():
        # A connection for some calls: each may reach another worker.
        with httpx.Client(base_url=url, headers=AUTHORIZATION, trust_env=False) as client:
            for _ in range(5):
                began = time.monotonic()
                reply = client.post("/v1/recommend", json={"user_id": "u1"}).raise_for_status()
                answers.append(Asked(began, time.monotonic(), Tier(reply.json()["tier"])))
