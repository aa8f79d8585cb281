"""The event loop of a real service with two workers: in the next answer, and kept once through kills."""

import hashlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from marquee.client import Client, EventMessage, RecommendRequest, ServiceError
from marquee.store.log.opening import open_event_log
from tests.support.bundles import publish_tiny
from tests.support.event_stores import DAY, NOW, event, postgres_server
from tests.support.service_process import RunningService, eventually, running_service, workers_of

pytestmark = pytest.mark.server

N_CONNECTIONS = 40
N_KILLS = 4
N_SENDERS = 4


@dataclass(frozen=True)
class Service:
    """A running service, and where its event log is."""

    running: RunningService
    where: str

    def client(self, key: str) -> Client:
        return Client(self.running.url, key=f"{key}-secret", deadline_s=30)

    def answers(self, user_id: str) -> list[Any]:
        """Returns the answers over new connections, of which both workers take some."""
        found = []
        for _ in range(N_CONNECTIONS):
            with httpx.Client(base_url=self.running.url, timeout=10, trust_env=False) as client:
                body = {"user_id": user_id, "k": 5}
                headers = {"authorization": "Bearer shop-secret"}
                found.append(client.post("/v1/recommend", json=body, headers=headers).json())
        return found

    def answered_by(self, request_ids: set[str]) -> set[int]:
        """Returns the processes that answered some requests."""
        lines = self.running.log.read_text(encoding="utf-8").splitlines()
        facts = [json.loads(line) for line in lines if line.startswith('{"time"')]
        return {one["process"] for one in facts if one.get("request_id") in request_ids}


def settings(folder: Path, where: str) -> dict[str, str]:
    keys = [
        {"name": name, "sha256": hashlib.sha256(f"{name}-secret".encode()).hexdigest(), "scopes": [scope]}
        for name, scope in (("shop", "recommend"), ("app", "events"), ("watch", "metrics"))
    ]
    (folder / "keys.json").write_text(json.dumps({"keys": keys}))
    return {
        "MARQUEE_WORKERS": "2",
        "MARQUEE_KEYS": str(folder / "keys.json"),
        "MARQUEE_EVENTS": where,
        "MARQUEE_CLOSED_DAYS": str(folder / "closed"),
        "MARQUEE_CLOSE_DAYS_EVERY_S": "2",
        "MARQUEE_POLICY": "{name: softmax, share: 0.5, floor: 0.1}",
        "MARQUEE_LOG_REQUESTS": "1",
    }


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("events-http")
    bundle = publish_tiny(folder / "bundles")
    if request.param == "sqlite":
        where = str(folder / "events")
        with running_service(bundle, folder, **settings(folder, where)) as running:
            yield Service(running, where)
    else:
        with (
            postgres_server() as server,
            running_service(bundle, folder, **settings(folder, server.url())) as running,
        ):
            yield Service(running, server.url())


def test_click_is_in_the_next_answer_of_every_worker(service: Service) -> None:
    before = service.answers("somebody new")
    assert {answer["source"] for answer in before} == {"popular"}
    clicked = before[0]["items"][0]["item_id"]
    event = EventMessage(
        kind="click",
        item_id=clicked,
        timestamp=int(time.time()),
        user_id="somebody new",
        decision_id=before[0]["decision_id"],
    )
    with service.client("app") as app:
        assert app.send_events([event]).accepted == 1
    # A worker that the system does not let run for 5 ms says that it goes without; here many programs run.
    after = [one for one in service.answers("somebody new") if one.get("profile") != "unavailable"]
    assert {answer["source"] for answer in after} == {"history"}
    assert clicked not in {item["item_id"] for answer in after for item in answer["items"]}
    assert len(service.answered_by({answer["request_id"] for answer in after})) == 2


def test_answers_are_on_record_and_drawn_from_many(service: Service) -> None:
    answers = service.answers("u1")
    assert all(answer["recorded"] and answer["policy"] == "softmax" for answer in answers)
    assert len({answer["items"][0]["item_id"] for answer in answers}) > 1
    wanted = {answer["decision_id"] for answer in answers}
    assert len(wanted) == N_CONNECTIONS
    log = open_event_log(service.where)
    assert eventually(lambda: all(log.find_decision(one) is not None for one in wanted))
    log.close()


def test_acknowledged_events_are_kept_exactly_once_though_workers_are_killed(service: Service) -> None:
    acknowledged: list[str] = []
    is_over = threading.Event()

    def send(number: int) -> None:
        with service.client("app") as app:
            for count in range(100_000):
                if is_over.is_set():
                    return
                event_id = f"killed-{number}-{count}"
                row = EventMessage(
                    event_id=event_id,
                    kind="view",
                    item_id="i001",
                    timestamp=int(time.time()),
                    user_id=event_id,
                )
                try:
                    told = app.send_events([row])
                except ServiceError:
                    continue  # not acknowledged: it may be there or not
                assert told.accepted + told.repeated == 1
                acknowledged.append(event_id)

    senders = [threading.Thread(target=send, args=(number,)) for number in range(N_SENDERS)]
    for sender in senders:
        sender.start()
    for kill in range(N_KILLS):
        n_before = len(acknowledged)
        assert eventually(lambda n_before=n_before: len(acknowledged) >= n_before + 20)  # type: ignore[misc]
        assert eventually(lambda: len(workers_of(service.running)) == 2)
        os.kill(workers_of(service.running)[kill % 2].pid, signal.SIGKILL)
    n_before = len(acknowledged)
    assert eventually(lambda: len(acknowledged) >= n_before + 20)
    is_over.set()
    for sender in senders:
        sender.join(60)
    log = open_event_log(service.where)
    kept = Counter(logged.event.event_id for logged in log.read(0, 1_000_000))
    log.close()
    assert set(acknowledged) <= set(kept)
    assert set(kept.values()) == {1}


def test_acknowledged_click_is_asked_for_by_the_client_as_well(service: Service) -> None:
    with service.client("app") as app, service.client("shop") as shop:
        answer = shop.recommend(RecommendRequest(user_id="another one", k=3))
        assert answer.decision_id is not None
        rows = [
            EventMessage(
                kind="exposure",
                item_id=item.item_id,
                timestamp=int(time.time()),
                decision_id=answer.decision_id,
            )
            for item in answer.items
        ]
        assert app.send_events(rows).accepted == 3
        assert app.send_events([EventMessage(kind="view", item_id="x", timestamp=1, user_id="u")]).rejected


def test_day_that_is_over_leaves_the_log_and_others_stay(service: Service) -> None:
    log = open_event_log(service.where)
    # Nobody can send an event of that day any more: it was kept then.
    log.append([event("of long ago", timestamp=NOW - 400 * DAY), event("of the future", timestamp=2 * NOW)])
    assert eventually(lambda: [(part.kind, part.n_rows) for part in log.closed_parts()] == [("click", 1)])
    kept = {logged.event.event_id for logged in log.read(0, 1_000_000)}
    log.close()
    assert "of the future" in kept
    assert "of long ago" not in kept

    def page() -> str:
        return service.running.client.get("/metrics", headers={"authorization": "Bearer watch-secret"}).text

    assert 'marquee_heartbeat_seconds{thread="closing"}' in page()
    assert eventually(lambda: 'marquee_closed_rows_total{kind="click"} 1.0' in page())
