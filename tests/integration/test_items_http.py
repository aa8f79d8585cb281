"""Live items of a real service with two workers: everywhere within two seconds, kept, and no request lost."""

import hashlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from marquee.bundle.releases import activate
from tests.support.bundles import N_ITEMS, make_tiny, publish_tiny
from tests.support.service_process import RunningService, running_service

pytestmark = pytest.mark.server

WITHIN_S = 2.0
N_ROUNDS = 3
"""How often each connection is asked before an answer counts as the one that stays."""

SHOP = {"authorization": "Bearer shop-secret"}
EDITORS = {"authorization": "Bearer editors-secret"}
ADMIN = {"authorization": "Bearer admin-secret"}
BODY = {"user_id": "u1", "k": 100, "exclude_seen": False}


def settings(folder: Path) -> dict[str, str]:
    entries = [
        {"name": name, "sha256": hashlib.sha256(f"{name}-secret".encode()).hexdigest(), "scopes": [scope]}
        for name, scope in (("shop", "recommend"), ("editors", "items"), ("admin", "admin"))
    ]
    (folder / "keys.json").write_text(json.dumps({"keys": entries}))
    return {
        "MARQUEE_WORKERS": "2",
        "MARQUEE_KEYS": str(folder / "keys.json"),
        "MARQUEE_ITEMS": str(folder / "items"),
        "MARQUEE_LOG_REQUESTS": "1",
        "MARQUEE_RELEASE_POLL_MS": "50",
        "MARQUEE_DEADLINE_MS": "10000",
    }


def ids_of(answer: Any) -> set[str]:
    return {item["item_id"] for item in answer["items"]}


@dataclass
class Everybody:
    """Connections to every worker of a service, known by the lines that requests leave in its log."""

    running: RunningService
    n_workers: int = 2
    connections: list[http.client.HTTPConnection] = field(default_factory=list)

    def open(self) -> "Everybody":
        """Opens connections until every worker has answered one; idle ones are closed by the service."""
        self.close()
        host, port = self.running.url.removeprefix("http://").split(":")
        n_before, deadline = len(self._log()), time.monotonic() + 20
        while len(self._processes(n_before)) < self.n_workers or len(self.connections) < 6:
            assert time.monotonic() < deadline, "every worker must answer some connection"
            self.connections.append(http.client.HTTPConnection(host, int(port), timeout=15))
            self._ask(self.connections[-1])
        return self

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        self.connections.clear()

    def answers(self) -> list[set[str]]:
        return [self._ask(connection) for connection in self.connections]

    def wait_until(self, condition: Callable[[set[str]], bool]) -> float:
        """Returns after how many seconds no worker answered otherwise any more."""
        started = last_wrong = time.monotonic()
        n_right = 0
        while n_right < N_ROUNDS:
            asked = time.monotonic()
            if all(map(condition, self.answers())):
                n_right += 1
            else:
                n_right, last_wrong = 0, asked
            assert asked - started < 20, "no end of wrong answers"
        return last_wrong - started

    def wait_for(self, *present: str, without: tuple[str, ...] = ()) -> float:
        """Returns after how many seconds every answer held some items and did not hold others."""
        return self.wait_until(lambda ids: ids >= set(present) and not ids & set(without))

    def _ask(self, connection: http.client.HTTPConnection) -> set[str]:
        headers = {"content-type": "application/json", **SHOP}
        connection.request("POST", "/v1/recommend", json.dumps(BODY), headers)
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        return ids_of(json.loads(body))

    def _processes(self, n_before: int) -> set[int]:
        """Returns who has answered since the log had so many lines."""
        lines = [json.loads(line) for line in self._log()[n_before:] if line.startswith("{")]
        return {line["process"] for line in lines if line.get("route") == "/v1/recommend"}

    def _log(self) -> list[str]:
        return self.running.log.read_text().splitlines()


@dataclass
class Load:
    """A caller that asks until it is told to stop, and keeps what was no answer."""

    url: str
    n_asked: int = 0
    failures: list[str] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        with httpx.Client(base_url=self.url, timeout=15, trust_env=False, headers=SHOP) as client:
            while not self.ending.is_set():
                try:
                    response = client.post("/v1/recommend", json=BODY)
                    assert response.status_code == 200, response.text
                except Exception as error:
                    self.failures.append(repr(error))
                self.n_asked += 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("items")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[RunningService]:
    bundle = publish_tiny(folder / "bundles")
    with running_service(bundle.parent, folder, **settings(folder)) as running:
        yield running
        assert "secret" not in running.log.read_text(), "no key may reach the log"


@pytest.fixture
def everybody(service: RunningService) -> Iterator[Everybody]:
    everybody = Everybody(service).open()
    yield everybody
    everybody.close()


def post(service: RunningService, *items: dict[str, object]) -> Any:
    response = service.client.post("/v1/items", json={"items": items}, headers=EDITORS)
    assert response.status_code == 200, response.text
    return response.json()


def withdraw(service: RunningService, item_id: str) -> httpx.Response:
    return service.client.delete(f"/v1/items/{item_id}", headers=EDITORS)


def test_items_come_and_go_on_every_worker_while_requests_are_answered(
    service: RunningService, everybody: Everybody
) -> None:
    load = Load(service.url)
    caller = threading.Thread(target=load.ask)
    caller.start()
    try:
        for number in range(3):
            name = f"new{number}"
            answer = post(service, {"item_id": name, "attributes": {"genre": "drama"}})
            assert answer["items"] == [{"item_id": name, "state": "live"}]
            assert everybody.wait_for(name) < WITHIN_S
        for name in ("new0", "i007"):
            assert withdraw(service, name).json()["items"] == [{"item_id": name, "state": "withdrawn"}]
            assert everybody.wait_for(without=(name,)) < WITHIN_S
    finally:
        load.ending.set()
        caller.join()
    assert load.failures == []
    assert load.n_asked > 20


def test_live_item_stands_in_histories_exclusions_and_likeness(
    service: RunningService, everybody: Everybody
) -> None:
    post(service, {"item_id": "seen", "attributes": {"genre": "comedy"}})
    everybody.wait_for("seen")
    answer = service.client.post("/v1/recommend", json={"history": ["seen"], "k": 100}, headers=SHOP).json()
    assert (answer["source"], answer.get("unknown_history", 0)) == ("history", 0)
    assert "seen" not in ids_of(answer)
    answer = service.client.post("/v1/recommend", json={**BODY, "exclude": ["seen"]}, headers=SHOP).json()
    assert "seen" not in ids_of(answer)
    similar = service.client.post("/v1/similar", json={"item_id": "seen"}, headers=SHOP).json()
    assert similar["source"] == "similar"


def wait_until_release(service: RunningService, folder: Path) -> None:
    """Waits until the service answers from the current release."""
    current = (folder / "bundles" / "tiny" / "CURRENT").read_text().strip()
    deadline = time.monotonic() + 15
    while service.client.get("/v1/bundle", headers=SHOP).json()["version"] != current:
        assert time.monotonic() < deadline, f"{current} must answer"
        time.sleep(0.05)


def test_items_outlive_the_service_and_yield_to_a_release(
    service: RunningService, everybody: Everybody, folder: Path
) -> None:
    post(service, {"item_id": "i025", "attributes": {"genre": "drama"}}, {"item_id": "kept"})
    withdraw(service, "i008")
    ended = service.client.patch("/v1/items/i009", json={"available_until": 1}, headers=EDITORS)
    assert ended.json()["items"] == [{"item_id": "i009", "state": "changed"}]
    everybody.wait_for("i025", "kept", without=("i008", "i009"))
    again = folder / "again"
    again.mkdir()
    with running_service(folder / "bundles" / "tiny", again, **settings(folder)) as other:
        others = Everybody(other).open()
        assert others.wait_for("i025", "kept", without=("i008", "i009")) == 0.0
        others.close()
        everybody.open()
        assert withdraw(other, "kept").status_code == 200
        assert everybody.wait_for(without=("kept",)) < WITHIN_S
    everybody.open()
    contents = make_tiny(1, n_items=N_ITEMS + 1).contents
    fields = {name: getattr(contents, name) for name in contents.__dataclass_fields__}
    first = folder / "bundles" / "tiny" / (folder / "bundles" / "tiny" / "CURRENT").read_text().strip()
    publish_tiny(folder / "bundles", seed=1, **fields)
    everybody.wait_for("i025", without=("i008", "i009"))  # throughout the change of releases
    wait_until_release(service, folder)
    answer = post(service, {"item_id": "i025", "attributes": {"genre": "opera"}})
    assert [(item["item_id"], item["state"]) for item in answer["items"]] == [("i025", "in_release")]
    activate(first)
    everybody.wait_for("i025", without=("i008", "i009"))
