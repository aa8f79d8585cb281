"""Keys, origins and idle connections follow what the operator says, as the page on proxies tells."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.raw_http import Replies, connect
from tests.support.service_process import RunningService, eventually, running_service, starting

pytestmark = pytest.mark.server

ORIGIN = "https://shop.example"


def write_keys(path: Path, *names: str) -> None:
    """Replaces a file of keys by rename, as the page says."""
    entries = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": ["recommend"]}
        for name in names
    ]
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps({"keys": entries}))
    aside.replace(path)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(path, "old", "other")
    return path


@pytest.fixture(scope="module")
def guarded(bundle: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    settings = {
        "MARQUEE_WORKERS": "1",
        "MARQUEE_KEYS": str(keys),
        "MARQUEE_CORS_ORIGINS": ORIGIN,
        "MARQUEE_KEEP_ALIVE_MS": "7000",
    }
    with running_service(bundle, tmp_path_factory.mktemp("guarded"), **settings) as running:
        yield running


def status(running: RunningService, key: str) -> int:
    response = running.client.post(
        "/v1/recommend", json={}, headers={"Authorization": f"Bearer {key}", "Origin": ORIGIN}
    )
    assert response.headers["access-control-allow-origin"] == ORIGIN  # of refusals too
    return response.status_code


def test_key_is_revoked_without_a_restart(guarded: RunningService, keys: Path) -> None:
    assert (status(guarded, "old"), status(guarded, "new")) == (200, 401)
    write_keys(keys, "new", "other")
    assert eventually(lambda: (status(guarded, "old"), status(guarded, "new")) == (401, 200))
    assert status(guarded, "other") == 200


def test_browser_asks_whether_it_may(guarded: RunningService) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    allowed = guarded.client.options("/v1/recommend", headers=asked)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (204, ORIGIN)
    elsewhere = guarded.client.options("/v1/recommend", headers={**asked, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in elsewhere.headers


def test_page_may_read_why_its_request_was_refused_while_it_came(guarded: RunningService) -> None:
    refused = guarded.client.get("/livez", headers={"Origin": ORIGIN, "x": "y" * 100_000})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (431, ORIGIN)
    elsewhere = guarded.client.get("/livez", headers={"Origin": "https://evil.example", "x": "y" * 100_000})
    assert "access-control-allow-origin" not in elsewhere.headers


def test_idle_connection_is_kept_for_as_long_as_the_operator_says(guarded: RunningService) -> None:
    with connect(guarded.url) as connection:
        replies = Replies(connection)
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert replies.next().status == 200
        time.sleep(5.5)  # BentoML's own limit is 5 s
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert replies.next().status == 200


def test_option_without_effect_stops_the_start(bundle: Path, tmp_path: Path) -> None:
    with starting(bundle, tmp_path, BENTOML_API_WORKERS="4") as (_, process):
        assert process.wait(60) == 1
    log = (tmp_path / "service.log").read_text()
    assert "--api-workers 4 has no effect here; set MARQUEE_WORKERS in its place" in log
