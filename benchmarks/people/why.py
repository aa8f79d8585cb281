"""Explanations: how long one takes, whether they agree with the answers, and what they cost these."""

import hashlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
from rich.console import Console

from benchmarks.rows import Measured, Row
from marquee.bundle.bundle import Bundle
from marquee.core.filters import Filters
from marquee.decision.explaining.asked import asked_of
from marquee.decision.requests import HistoryEvent, Request
from marquee.nn.architectures import SASRecConfig
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from marquee.store.log.event_log import Decision, Place
from marquee.store.log.log_rows import decision_row
from marquee.world import World, WorldConfig, simulate
from tests.support.service_process import RunningService, running_service
from tests.support.small_data import write_tiny_world
from training.config import ExamplesConfig, TrainConfig, TrainerConfig
from training.export import ExportConfig, export
from training.fitting.fit import fit
from training.runs.folders import RunFolder
from training.runs.prepare import prepare

N_EVENTS, K = 50, 10
N_TIMED, MOST_MS = 200, 50.0
N_AGREEING, N_CALLERS, N_TOGETHER = 1_000, 8, 8
MOST_TIMES, MOST_RECORD_US = 1.5, 50.0
LOADED_S, PAUSE_S = 15.0, 0.01
N_REPEATED = 2_000
SECRET = "of the benchmark"
HOME, FEED = "home", "feed"
# An answer of the surface that explores, to a user, and no page or batch.
PLAIN = 5
_FOLDER = tempfile.TemporaryDirectory(prefix="marquee-why-")


def rows(_root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        f"why of {K} items and {N_EVENTS} events of history",
        "8 ms CPU for the queries",
        f"p99 <= {MOST_MS:g} ms",
        measure_time,
    )
    yield Row(
        f"why of {N_AGREEING:,} decisions made under load",
        "-",
        f"agrees in {N_AGREEING:,} of {N_AGREEING:,}, explored ones among them",
        measure_agreement,
    )
    yield Row(
        "answers while one explanation follows the other",
        "-",
        f"p99 <= {MOST_TIMES} x that of answers alone",
        measure_answers_meanwhile,
    )
    yield Row(
        "what records of decisions hold more", "-", f"<= {MOST_RECORD_US:g} µs CPU an answer", measure_record
    )


@dataclass(frozen=True)
class Asking:
    """A service, and what it can be asked.

    Attributes:
        service: It records, and one of its two surfaces explores.
        items: Ids of the items of the release.
        users: Ids of its users.
    """

    service: RunningService
    items: Sequence[str]
    users: Sequence[str]

    def answer(self, client: httpx.Client, rng: np.random.Generator, number: int) -> list[Any]:
        """Asks for an answer or a page of any kind; returns its decisions."""
        history = [{"item_id": item, "kind": "click"} for item in rng.choice(self.items, N_EVENTS)]
        body: dict[str, object] = {"surface": FEED if number % 2 else HOME, "history": history}
        if number % 3:
            body["user_id"] = str(rng.choice(self.users))
        if number % 4 == 0:
            body["context"] = {"device": "mobile"}
        path = "/v1/recommend"
        if number % 3 == 1:
            # One batch through the tower, whatever else is on its way: sums round otherwise than alone.
            body = {"requests": [{**body, "k": K, "history": history[place:]} for place in range(N_TOGETHER)]}
            path = "/v1/recommend/batch"
        elif number % 10 == 0:
            kinds = ("for_you", "popular", "similar", "new")
            body["rows"] = [{"row": kind, "k": K // 2} for kind in kinds]
            path = "/v1/page"
        else:
            body["k"] = K
            body["exclude_seen"] = number % 5 != 0
        reply = client.post(path, json=body).raise_for_status().json()
        return list(reply.get("answers") or reply.get("rows") or [reply])


@cache
def published() -> Path:
    """Returns the bundle of a transformer over the last 50 events, trained for one epoch."""
    # Deleted with the process: several rows ask of it.
    folder, console = Path(_FOLDER.name), Console(quiet=True)
    world: World = simulate(WorldConfig(n_users=300, n_content=400, n_ads=80, n_days=30))
    data = replace(write_tiny_world(world, folder / "world"), history_length=N_EVENTS)
    config = TrainConfig(
        runs=str(folder / "runs"),
        data=data,
        model=SASRecConfig(item_features=True),
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(n_uniform=64),
        optimizer=LazyAdamConfig(learning_rate=0.01),
        examples=ExamplesConfig(batch_size=64),
        trainer=TrainerConfig(epochs=1, accelerator="cpu"),
    )
    run = RunFolder.open(config)
    prepared = prepare(config, run.path, console)
    fit(prepared.dataset, prepared.validation, config, run.path)
    return export(ExportConfig(run=str(run.path), bundles=str(folder / "bundles")), console)


@contextmanager
def asking(n_workers: int = 2) -> Iterator[Asking]:
    """Runs a service that records and explains."""
    bundle = published()
    loaded = Bundle.load(bundle)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = folder / "keys.json"
        scopes = ["recommend", "users", "metrics"]
        key = {"name": "all", "sha256": hashlib.sha256(SECRET.encode()).hexdigest(), "scopes": scopes}
        keys.write_text(json.dumps({"keys": [key]}))
        surfaces = {
            "default": HOME,
            "surfaces": {
                HOME: {"bundle": str(bundle)},
                FEED: {
                    "bundle": str(bundle),
                    "reranking": {"freshness_weight": 0.2, "caps": {"category": 3}},
                    "policy": {"name": "softmax", "share": 0.8, "floor": 0.1, "temperature": 0.2},
                },
            },
        }
        (folder / "surfaces.yaml").write_bytes(msgspec.yaml.encode(surfaces))
        settings = {
            "MARQUEE_BUNDLE": "",
            "MARQUEE_SURFACES": str(folder / "surfaces.yaml"),
            "MARQUEE_EVENTS": str(folder / "log"),
            "MARQUEE_KEYS": str(keys),
            "MARQUEE_WORKERS": str(n_workers),
        }
        with running_service(bundle, folder, **settings) as service:
            service.client.headers["authorization"] = f"Bearer {SECRET}"
            yield Asking(service, loaded.catalog.item_ids.ids, loaded.user_ids.ids)


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


def measure_agreement() -> Measured:
    """Compares explanations with answers that several callers got at once."""
    with asking() as asked:

        def call(caller: int) -> list[Any]:
            rng = np.random.default_rng(caller)
            decisions: list[Any] = []
            with httpx.Client(base_url=asked.service.url, headers=asked.service.client.headers) as client:
                while len(decisions) < N_AGREEING // N_CALLERS:
                    decisions += asked.answer(client, rng, int(rng.integers(1_000)))
            return decisions[: N_AGREEING // N_CALLERS]

        with ThreadPoolExecutor(N_CALLERS) as pool:
            decided = [one for part in pool.map(call, range(N_CALLERS)) for one in part]
        n_agreeing = n_drawn = 0
        largest = 0.0
        for one in decided:
            told = asked.service.client.get(f"/v1/why/{one['decision_id']}").raise_for_status().json()
            shown = [(item["item_id"], item["score"]) for item in one["items"]]
            same = shown == [(item["item_id"], item["score"]) for item in told["items"]]
            n_agreeing += same and told["replay"]["outcome"] == "agrees"
            n_drawn += any(item["propensity"] < 1 for item in told["items"])
            largest = max(largest, told["replay"].get("largest_difference") or 0.0)
    return Measured(
        f"{n_agreeing:,} of {len(decided):,} agree, {n_drawn} of them drawn, scores {largest:.1e} apart",
        n_agreeing == len(decided) == N_AGREEING and n_drawn > N_AGREEING // 10,
    )


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
