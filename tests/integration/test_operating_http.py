"""A real service as an operator sees it: traces, log lines, keys, and how it ends."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from serving.http.guard import Right
from tests.support.bundles import publish_tiny
from tests.support.keys import key
from tests.support.service_process import RunningService, running_service

pytestmark = pytest.mark.server

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
DRAIN_S = 2.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def service(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    bundle = publish_tiny(tmp_path_factory.mktemp("bundles"))
    keys = [key(right.value, right.value) for right in Right]
    (folder / "keys.json").write_bytes(msgspec.json.encode({"keys": keys}))
    with running_service(
        bundle,
        folder,
        MARQUEE_WORKERS="1",
        MARQUEE_KEYS=str(folder / "keys.json"),
        MARQUEE_TRACES=f"file:{folder}/traces.jsonl",
        MARQUEE_LOG_REQUESTS="1",
        MARQUEE_DRAIN_MS=str(int(DRAIN_S * 1000)),
    ) as running:
        yield running


def ask(service: RunningService, right: str | None, **headers: str) -> httpx.Response:
    if right:
        headers["authorization"] = f"Bearer {right}-secret"
    return service.client.post("/v1/recommend", json={"user_id": "u1", "timings": True}, headers=headers)


def log_lines(service: RunningService) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]


def test_only_a_key_of_the_scope_opens(service: RunningService) -> None:
    assert ask(service, None).status_code == 401
    expected = dict.fromkeys(Right, 403) | {Right.recommend: 200}
    assert {right: ask(service, right).status_code for right in Right} == expected


def test_log_line_and_trace_tell_of_a_request_and_not_of_its_key(
    service: RunningService, folder: Path
) -> None:
    response = ask(
        service, "recommend", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01", **{"x-request-id": "r-1"}
    )
    (line,) = [line for line in log_lines(service) if line.get("request_id") == "r-1"]
    facts = (line["route"], line["status"], line["key"], line["trace_id"], line["source"], line["surface"])
    assert facts == ("/v1/recommend", 200, "recommend", TRACE, "personal", "default")
    assert "-secret" not in service.log.read_text()
    deadline = time.monotonic() + 20  # spans are written every five seconds
    while TRACE not in (written := (folder / "traces.jsonl").read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    spans = [json.loads(text) for text in written.splitlines()]
    mine = {span["name"]: span for span in spans if span["context"]["trace_id"] == f"0x{TRACE}"}
    assert set(mine) == {"/v1/recommend", *response.json()["took_ms"]} - {"total"}
    assert "u1" not in written
    assert "-secret" not in written


def test_service_that_is_told_to_end_drains_first(service: RunningService) -> None:
    service.process.send_signal(signal.SIGTERM)
    ended_at = time.monotonic() + DRAIN_S
    while (ready := service.client.get("/readyz")).status_code == 200 and time.monotonic() < ended_at:
        time.sleep(0.02)
    assert (ready.status_code, ready.headers["connection"]) == (503, "close")
    n_answered = 0
    while time.monotonic() < ended_at - 0.5:
        response = ask(service, "recommend")
        assert (response.status_code, response.headers["connection"]) == (200, "close")
        n_answered += 1
    assert n_answered > 10
    assert service.process.wait(20) in {0, -signal.SIGTERM}
