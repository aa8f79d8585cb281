"""Events over HTTP: judged row by row, kept once, refused as a whole where nothing can be kept."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from marquee.errors import EventLogFullError, EventLogGoneError
from marquee.store.log.decision_ids import decision_id
from marquee.store.log.event_log import Event, Kept
from marquee.store.log.event_rows import EventLimits
from marquee.store.log.opening import open_event_log
from serving.api.app import RecommendationApp
from serving.api.events import MAX_WAITING, EventRoutes
from serving.api.recommend import Endpoints
from serving.config import Settings
from serving.http.guard import Guard, Key, Right
from serving.recording.named_decisions import YOUNG_S, NamedDecisions
from serving.recording.opening import RETRY_S, OpenedLog
from serving.telemetry.metrics import Metrics
from tests.support.asgi import JSON_HEADERS, Response, no_bentoml, request
from tests.support.event_stores import decision
from tests.support.surfaces import one_surface

NOW = 1_700_000_000
SECRET = "of the app"

Post = Callable[..., Response]


def click(event_id: str, **changes: Any) -> dict[str, Any]:
    """Returns the row of a click of u1 on item a, now, changed in some fields."""
    return {
        "event_id": event_id,
        "kind": "click",
        "item_id": "a",
        "timestamp": NOW,
        "user_id": "u1",
        **changes,
    }


class Service:
    """The routes of a worker over an event log."""

    def __init__(self, log: OpenedLog | None, **settings: Any) -> None:
        self.settings, self.metrics = Settings(**settings), Metrics()
        self.endpoints = Endpoints(self.settings, one_surface(self.settings), metrics=self.metrics)
        self.routes = EventRoutes(log, self.settings, self.metrics, clock=lambda: NOW)
        keys = [
            Key(name=name, sha256=hashlib.sha256(secret.encode()).hexdigest(), scopes=[right])
            for name, secret, right in (("app", SECRET, Right.events), ("shop", "shop", Right.recommend))
        ]
        self.guard = Guard(keys)

    async def send(self, body: object, secret: str = SECRET) -> Response:
        app = RecommendationApp(no_bentoml, self.endpoints, self.settings, self.guard, [self.routes])
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {**JSON_HEADERS, "authorization": f"Bearer {secret}"}
        return await request(app, "POST", "/v1/events", text, headers)

    def post(self, *rows: object, secret: str = SECRET) -> Response:
        return asyncio.run(self.send({"events": list(rows)}, secret))

    def counted(self, name: str) -> float:
        lines = self.metrics.exposition().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(name))

    def close(self) -> None:
        self.endpoints.close()
        self.routes.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(OpenedLog(str(tmp_path / "events")))
    yield service
    service.close()


def kept_ids(folder: Path) -> list[str]:
    log = open_event_log(str(folder / "events"))
    try:
        return [logged.event.event_id for logged in log.read(0, 100)]
    finally:
        log.close()


def test_good_rows_are_on_disk_when_the_answer_comes(service: Service, tmp_path: Path) -> None:
    response = service.post(click("e1"), click("e2", value=3))
    assert response.status == 200
    assert response.json() == {
        "request_id": response.headers["x-request-id"],
        "accepted": 2,
        "repeated": 0,
        "rejected": {},
        "rejected_rows": [],
    }
    assert kept_ids(tmp_path) == ["e1", "e2"]


def test_bad_rows_are_rejected_alone_by_number_reason_and_field(service: Service, tmp_path: Path) -> None:
    bad = [
        "no row",
        click("e2", kind="like"),
        click("e3", timestamp=NOW * 1000),
        click("e4", kind="exposure"),
        click("", item_id="a"),
    ]
    answer = service.post(click("e0"), *bad, click("e9", kind="exposure", decision_id="d")).json()
    assert answer["accepted"] == 2
    assert answer["rejected_rows"] == [
        {"row": 1, "reason": "unreadable_row"},
        {"row": 2, "reason": "unknown_kind", "field": "kind"},
        {"row": 3, "reason": "timestamp_out_of_range", "field": "timestamp"},
        {"row": 4, "reason": "exposure_without_decision", "field": "decision_id"},
        {"row": 5, "reason": "null_id", "field": "event_id"},
    ]
    assert answer["rejected"] == {row["reason"]: 1 for row in answer["rejected_rows"]}
    assert kept_ids(tmp_path) == ["e0", "e9"]
    assert service.counted('marquee_rejected_events_total{reason="unknown_kind"}') == 1
    assert service.counted('marquee_events_total{outcome="rejected"}') == 5


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("value", "NaN", "non_finite_value"),
        ("value", "-Infinity", "non_finite_value"),
        ("value", "1e999", "non_finite_value"),
        ("value", "1" * 5_000, "non_finite_value"),
        ("timestamp", "NaN", "wrong_type"),
        ("user_id", "17", "wrong_type"),
        ("text", r'"half \ud800 of a pair"', "wrong_type"),
        ("item_id", "Infinity", "wrong_type"),
        ("session", "1", "unknown_field"),
    ],
)
def test_value_that_is_no_json_costs_its_row_alone(
    service: Service, tmp_path: Path, field: str, value: str, reason: str
) -> None:
    rows = [click("e0"), click("bad", **{field: "here"}), click("e2", text="fine ☂")]
    body = json.dumps({"events": rows}).replace('"here"', value).encode()
    response = asyncio.run(service.send(body))
    assert response.status == 200
    answer = response.json()
    assert answer["accepted"] == 2
    assert answer["rejected_rows"] == [{"row": 1, "reason": reason, "field": field}]
    assert kept_ids(tmp_path) == ["e0", "e2"]


def test_same_id_is_repeated_and_another_event_of_that_id_rejected(service: Service) -> None:
    service.post(click("e1"))
    answer = service.post(click("e1"), click("e2"), click("e2"), click("e1", item_id="b")).json()
    assert (answer["accepted"], answer["repeated"]) == (1, 2)
    assert answer["rejected_rows"] == [{"row": 3, "reason": "event_id_reused", "field": "event_id"}]


def test_horizon_is_the_operators(tmp_path: Path) -> None:
    service = Service(OpenedLog(str(tmp_path / "events")), event_horizon_days=2)
    rows = [click("young", timestamp=NOW - 2 * 86_400), click("old", timestamp=NOW - 2 * 86_400 - 1)]
    answer = service.post(*rows).json()
    service.close()
    assert answer["accepted"] == 1
    assert [row["row"] for row in answer["rejected_rows"]] == [1]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"no json", 400, None),
        (b'{"events": [NaN}', 400, None),
        (b'{"events": ["\xff"]}', 400, None),
        (b'{"events": NaN}', 422, "events"),
        ({"events": []}, 422, "events"),
        ({"events": [1] * 10_001}, 422, "events"),
        ({"event": []}, 422, "event"),
    ],
    ids=["no-json", "nan-in-no-json", "no-utf-8", "no-array", "no-rows", "too-many", "unknown-field"],
)
def test_body_that_is_wrong_as_a_whole_keeps_nothing(
    service: Service, body: object, status: int, field: str | None
) -> None:
    response = asyncio.run(service.send(body))
    assert response.status == status
    assert response.error.get("field") == field


def test_body_of_events_has_a_limit_of_its_own(tmp_path: Path) -> None:
    service = Service(OpenedLog(str(tmp_path / "events")), max_body_bytes=2_000, max_events_bytes=40_000)
    rows = [click(f"e{number}") for number in range(100)]
    assert service.post(*rows).json()["accepted"] == 100
    assert service.post(*rows * 5).status == 413
    service.close()


def test_key_must_be_good_for_events_and_there_must_be_keys(service: Service) -> None:
    assert service.post(click("e1"), secret="shop").status == 403
    service.guard = Guard([])
    refused = service.post(click("e1"))
    assert refused.status == 401
    assert "MARQUEE_KEYS" in refused.error["message"]


def test_service_without_a_log_says_how_to_have_one() -> None:
    service = Service(None)
    refused = service.post(click("e1"))
    service.close()
    assert refused.status == 501
    assert "MARQUEE_EVENTS" in refused.error["message"]


def test_event_that_names_a_decision_alone_is_its_users(service: Service, tmp_path: Path) -> None:
    log = open_event_log(str(tmp_path / "events"))
    log.append_decisions([decision("d1"), decision("d2", user_id=None)])
    rows = [click(f"e{number}", user_id=None, decision_id=f"d{number}") for number in (1, 2, 3)]
    assert service.post(*rows, click("e4", user_id="u2", decision_id="d1")).json()["accepted"] == 4
    assert [logged.event.user_id for logged in log.read(0, 10)] == ["u1", None, None, "u2"]
    log.close()
    assert service.counted("marquee_orphaned_events_total") == 1


def test_decision_that_waits_for_its_group_is_waited_for(service: Service, tmp_path: Path) -> None:
    log = open_event_log(str(tmp_path / "events"))
    young, old = decision_id(NOW * 1000 - 20, bytes(10)), decision_id(NOW * 1000 - 500, bytes(10))
    slept: list[float] = []

    async def written_meanwhile(seconds: float) -> None:
        slept.append(seconds)
        log.append_decisions([decision(young)])

    service.routes._sleep = written_meanwhile
    rows = [
        click(f"e{number}", user_id=None, decision_id=name)
        for number, name in enumerate((young, old, "no id of ours"))
    ]
    assert service.post(*rows).json()["accepted"] == 3
    assert [logged.event.user_id for logged in log.read(0, 10)] == ["u1", None, None]
    assert slept == [YOUNG_S]
    # One that nobody made is waited for once, and then kept as it came.
    made_up = decision_id(NOW * 1000 - 30, bytes(10))
    assert service.post(click("e3", user_id=None, decision_id=made_up)).json()["accepted"] == 1
    assert len(slept) == 2
    assert service.counted("marquee_orphaned_events_total") == 3
    log.close()


def test_decision_of_a_closed_day_is_no_orphan(tmp_path: Path) -> None:
    log = open_event_log(str(tmp_path / "events"))
    named = NamedDecisions(log, EventLimits(), lambda: NOW, may_wait=True)
    closed = decision_id((NOW - 10 * 86_400) * 1000, bytes(10))
    assert named.users_of([decision_id(NOW * 1000 - 600, bytes(10)), closed]) == {closed: None}
    log.close()


def test_names_that_somebody_makes_up_hold_no_thread(service: Service) -> None:
    """More bodies wait for decisions than there are threads, and another one is kept meanwhile."""
    n_waiting = 40
    assert service.post(click("first")).status == 200  # while one thread opens the log, others are refused

    async def send() -> int:
        others = asyncio.Event()

        async def wait(_seconds: float) -> None:
            await others.wait()

        service.routes._sleep = wait
        made_up = [decision_id(NOW * 1000 - 1, number.to_bytes(10)) for number in range(n_waiting)]
        bodies = [{"events": [click(f"e{number}", decision_id=one)]} for number, one in enumerate(made_up)]
        waiting = [asyncio.create_task(service.send(body)) for body in bodies]
        status = (await asyncio.wait_for(service.send({"events": [click("good")]}), 20)).status
        others.set()
        assert [one.status for one in await asyncio.gather(*waiting)] == [200] * n_waiting
        return status

    assert asyncio.run(send()) == 200


class Broken:
    """A log that refuses."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def append(self, _events: Sequence[Event]) -> list[Kept]:
        raise self.error

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [(EventLogFullError("the disk is full"), 507, None), (EventLogGoneError("no database"), 503, "1")],
    ids=["full", "gone"],
)
def test_log_that_refuses_is_told_and_nothing_is_acknowledged(
    error: Exception, status: int, retry_after: str | None
) -> None:
    broken: Any = Broken(error)
    service = Service(OpenedLog("", lambda _where: broken))
    response = service.post(click("e1"))
    service.close()
    assert response.status == status
    assert response.headers.get("retry-after") == retry_after
    assert str(error) in response.error["message"]
    assert service.counted('marquee_events_total{outcome="accepted"}') == 0


def test_more_bodies_than_may_wait_are_refused(service: Service) -> None:
    service.routes._n_waiting = MAX_WAITING
    assert service.post(click("e1")).status == 503
    service.routes._n_waiting = 0
    assert service.post(click("e1")).status == 200


def test_log_that_could_not_be_opened_is_tried_again_after_a_pause(tmp_path: Path) -> None:
    now, tries = [0.0], []

    def open_at_second_try(where: str) -> Any:
        tries.append(where)
        if len(tries) == 1:
            raise EventLogGoneError("no database yet")
        return open_event_log(where)

    log = OpenedLog(str(tmp_path), open_at_second_try, clock=lambda: now[0])
    for _ in range(3):
        with pytest.raises(EventLogGoneError):
            log.get()
    assert len(tries) == 1
    now[0] += RETRY_S
    assert log.get() is log.get()
    log.close()
