"""Explanations: how long one takes, whether they agree with the answers, and what they cost these."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.people.why_service import N_EVENTS, Asking, K, asking
from benchmarks.rows import Measured, Row
from marquee.core.filters import Filters
from marquee.decision.explaining.asked import asked_of
from marquee.decision.requests import HistoryEvent, Request
from marquee.store.log.event_log import Decision, Place
from marquee.store.log.log_rows import decision_row
from tests.support.event_stores import postgres_server

N_TIMED, MOST_MS = 200, 50.0
N_AGREEING, N_CALLERS = 1_000, 8
# Of each kind of draw: one that never came up was not compared.
N_FEWEST = 9
MOST_TIMES, MOST_RECORD_US = 1.5, 50.0
LOADED_S, PAUSE_S = 15.0, 0.01
N_REPEATED = 2_000
# An answer of the surface that explores, to a user, and no page or batch.
PLAIN = 5


def rows(_root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        f"why of {K} items and {N_EVENTS} events of history",
        "8 ms CPU for the queries",
        f"p99 <= {MOST_MS:g} ms",
        measure_time,
    )
    agrees = f"agrees in {N_AGREEING:,} of {N_AGREEING:,}, of every policy and arm"
    yield Row(f"why of {N_AGREEING:,} decisions made under load", "-", agrees, lambda: measure_agreement(""))
    yield Row(f"why of {N_AGREEING:,} decisions, PostgreSQL", "-", agrees, measure_agreement_in_a_database)
    yield Row(
        "answers while one explanation follows the other",
        "-",
        f"p99 <= {MOST_TIMES} x that of answers alone",
        measure_answers_meanwhile,
    )
    yield Row(
        "what records of decisions hold more", "-", f"<= {MOST_RECORD_US:g} µs CPU an answer", measure_record
    )


def measure_time() -> Measured:
    """Measures explanations one after the other."""
    rng, took, cpu_ms = np.random.default_rng(0), [], 0.0
    with asking(n_workers=1) as asked:
        client = asked.service.client
        names = [asked.answer(client, rng, PLAIN)[0]["decision_id"] for _ in range(N_TIMED)]
        for name in names:
            began = time.perf_counter()
            told = client.get(f"/v1/why/{name}").raise_for_status().json()
            took.append(1000 * (time.perf_counter() - began))
            assert len(told["items"][0]["without_events"]) == N_EVENTS, told["replay"]
        cpu_ms = 1000 * counted(client, "marquee_explanation_seconds_sum") / N_TIMED
    p50, p99 = np.quantile(took, [0.5, 0.99])
    return Measured(
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {cpu_ms:.1f} ms of them in its thread", p99 <= MOST_MS
    )


def measure_agreement_in_a_database() -> Measured:
    """Compares explanations with answers whose records a database keeps."""
    with postgres_server() as server:
        return measure_agreement(server.empty())


def measure_agreement(where: str) -> Measured:
    """Compares explanations with answers that several callers got at once."""
    with asking(where=where, has_arms=True) as asked:

        def call(caller: int) -> list[Any]:
            rng = np.random.default_rng(caller)
            decisions: list[Any] = []
            with httpx.Client(base_url=asked.service.url, headers=asked.service.client.headers) as client:
                while len(decisions) < N_AGREEING // N_CALLERS:
                    decisions += asked.answer(client, rng, int(rng.integers(1_000)))
            return decisions[: N_AGREEING // N_CALLERS]

        with ThreadPoolExecutor(N_CALLERS) as pool:
            decided = [one for part in pool.map(call, range(N_CALLERS)) for one in part]
        n_agreeing, drawn, largest = 0, Counter[str](), 0.0
        for one in decided:
            told = asked.service.client.get(f"/v1/why/{one['decision_id']}").raise_for_status().json()
            n_agreeing += as_answered(one, told) and told["replay"]["outcome"] == "agrees"
            record = told["record"]
            drawn[record["policy"]] += any(item["propensity"] < 1 for item in told["items"])
            drawn.update(f"{arm['experiment']}={arm['arm']}" for arm in record.get("experiments", []))
            drawn["creatives"] += "creatives" in one
            largest = max(largest, told["replay"].get("largest_difference") or 0.0)
    kinds = ("softmax", "thompson", "creatives", "holdout=held_out", "orders=varied", "releases=new")
    return Measured(
        f"{n_agreeing:,} of {len(decided):,} agree, scores {largest:.1e} apart; "
        + ", ".join(f"{drawn[kind]} {kind}" for kind in kinds),
        n_agreeing == len(decided) == N_AGREEING and all(drawn[kind] > N_FEWEST for kind in kinds),
    )


def as_answered(answer: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    """Returns whether an explanation tells items, scores and creatives as the answer did."""
    shown = [(item["item_id"], item["score"]) for item in answer["items"]]
    said = [one.get("name") for one in answer.get("creatives", [{}] * len(shown))]
    return shown == [(item["item_id"], item["score"]) for item in told["items"]] and said == [
        item.get("creative") for item in told["items"]
    ]


def measure_answers_meanwhile() -> Measured:
    """Measures answers of one worker alone, and while somebody asks for explanations without a pause."""
    rng = np.random.default_rng(0)
    with asking(n_workers=1) as asked:
        name = asked.answer(asked.service.client, rng, PLAIN)[0]["decision_id"]
        alone = timed_answers(asked, rng)
        is_over, n_explained = threading.Event(), 0

        def explain() -> None:
            nonlocal n_explained
            with httpx.Client(base_url=asked.service.url, headers=asked.service.client.headers) as client:
                while not is_over.is_set():
                    client.get(f"/v1/why/{name}").raise_for_status()
                    n_explained += 1

        thread = threading.Thread(target=explain)
        thread.start()
        meanwhile = timed_answers(asked, rng)
        is_over.set()
        thread.join()
    before, after = (float(np.quantile(one, 0.99)) for one in (alone, meanwhile))
    return Measured(
        f"p99 {before:.1f} ms alone, {after:.1f} ms beside {n_explained / LOADED_S:.0f} explanations/s "
        f"({after / before:.2f} x)",
        after <= MOST_TIMES * before,
    )


def timed_answers(asked: Asking, rng: np.random.Generator) -> list[float]:
    """Returns how long each of some answers took, ms."""
    took, end = [], time.perf_counter() + LOADED_S
    while time.perf_counter() < end:
        began = time.perf_counter()
        asked.answer(asked.service.client, rng, PLAIN)
        took.append(1000 * (time.perf_counter() - began))
        time.sleep(PAUSE_S)
    return took


def measure_record() -> Measured:
    """Measures what the request in its record costs to make and to write, of one that says a lot."""
    columns = frozenset({"age", "device"})
    request = Request(
        timestamp=1_700_000_000,
        history=tuple([HistoryEvent(f"item-{number}", "click") for number in range(N_EVENTS)]),
        features={"age": 31, "other": "x"},
        context={"device": "mobile"},
        filters=Filters.of({"category": {"any_of": ["a", "b"]}}),
        exclude=[f"item-{number}" for number in range(20)],
    )
    plain = Decision(
        decision_id="d",
        time_ms=1,
        user_id="u",
        places=tuple([Place(f"item-{number}", 0.5, 1.0) for number in range(K)]),
        history=tuple([f"item-{number}" for number in range(N_EVENTS)]),
    )

    def with_request() -> int:
        asked = asked_of(request, columns, is_known_user=True)
        return len(decision_row(replace(plain, asked=asked))[3])

    without_us, n_without = repeated(lambda: len(decision_row(replace(plain))[3]))
    with_us, n_with = repeated(with_request)
    return Measured(
        f"{with_us - without_us:.1f} µs and {n_with - n_without:,} bytes with {N_EVENTS} events told",
        with_us - without_us <= MOST_RECORD_US,
    )


def repeated(work: Callable[[], int]) -> tuple[float, int]:
    """Returns µs of CPU of one call, and the result."""
    began, result = time.process_time(), 0
    for _ in range(N_REPEATED):
        result = work()
    return 1e6 * (time.process_time() - began) / N_REPEATED, result


def counted(client: httpx.Client, name: str) -> float:
    """Returns a counter of the service."""
    lines = client.get("/metrics").raise_for_status().text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name))
