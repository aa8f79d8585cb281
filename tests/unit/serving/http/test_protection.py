"""The ASGI layer with keys, releases, counters and draining."""

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serving.api.app import RecommendationApp
from serving.api.recommend import Endpoints
from serving.api.releases import ReleaseRoutes
from serving.config import Settings
from serving.http.exchange import Receive, Scope, Send
from serving.http.guard import Guard, Key, Right
from serving.http.metrics import OTHER
from serving.releases.channel import Channel
from serving.releases.surface_file import SurfaceFile
from serving.telemetry.metrics import Metrics
from tests.support.asgi import JSON_HEADERS, Response, request
from tests.support.bundles import publish_tiny

SECRETS = {right: f"{right}-secret" for right in Right}


@dataclass
class Served:
    """An application over a real bundle, asked with the key of one scope."""

    app: RecommendationApp
    releases: Channel
    first: Path

    def ask(self, method: str, path: str, right: Right | None = None, body: bytes = b"{}") -> Response:
        headers = JSON_HEADERS | ({"authorization": f"Bearer {SECRETS[right]}"} if right else {})
        return asyncio.run(request(self.app, method, path, body, headers))


async def nothing_else(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def keys(**limits: float) -> list[Key]:
    digests = {right: hashlib.sha256(secret.encode()).hexdigest() for right, secret in SECRETS.items()}
    return [Key(name=right, sha256=digests[right], scopes=[right], **limits) for right in Right]  # type: ignore[arg-type]  # numbers of either type


@pytest.fixture
def served(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    first = publish_tiny(tmp_path / "bundles")
    settings = Settings(bundle=str(first.parent), drain_file=str(tmp_path / "drain"), log_requests=True)
    surfaces = SurfaceFile.read(settings).open(Metrics(), None)
    surfaces.load()
    (releases,) = surfaces.channels
    endpoints, routes = Endpoints(settings, surfaces), ReleaseRoutes(surfaces)
    guard = Guard(keys(**getattr(request, "param", {})))
    yield Served(RecommendationApp(nothing_else, endpoints, settings, guard, [routes]), releases, first)
    endpoints.close()
    routes.close()


PROTECTED = [
    ("POST", "/v1/recommend", Right.recommend),
    ("POST", "/recommend/batch", Right.recommend),
    ("POST", "/v1/similar", Right.recommend),
    ("GET", "/metrics", Right.metrics),
    ("GET", "/v1/releases", Right.admin),
    ("POST", "/v1/releases/gone/activate", Right.admin),
    ("POST", "/releases/gone/activate", Right.admin),
]


@pytest.mark.parametrize(("method", "path", "right"), PROTECTED)
def test_route_lets_in_only_its_own_scope(served: Served, method: str, path: str, right: Right) -> None:
    assert served.ask(method, path).status == 401
    for other in set(Right) - {right}:
        assert served.ask(method, path, other).status == 403
    assert served.ask(method, path, right).status in {200, 404, 422}


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/docs.json", "/"])
def test_health_and_document_need_no_key(served: Served, path: str) -> None:
    assert served.ask("GET", path).status == 200


FIGURES = {"n_items", "n_users", "dim", "index", "index_recall", "metrics"}


def test_bundle_tells_everybody_what_an_app_needs_and_figures_to_admin_alone(served: Served) -> None:
    told = served.ask("GET", "/v1/bundle").json()
    assert (told["version"], told["kinds"]) == (served.first.name, ["click", "rating"])
    assert told["filters"]["genre"] == "text"
    assert {"age", "city", "device"} <= set(told["features"])
    assert not FIGURES & told.keys()
    assert served.ask("GET", "/v1/bundle", Right.recommend).json() == told
    assert served.ask("GET", "/v1/bundle", Right.admin).json().keys() == told.keys() | FIGURES
    stranger = {"authorization": "Bearer of nobody"}
    assert asyncio.run(request(served.app, "GET", "/v1/bundle", headers=stranger)).status == 401


@pytest.mark.parametrize("served", [{"requests_per_s": 0.01, "burst": 2}], indirect=True)
def test_too_many_requests_are_told_when_to_come_back(served: Served) -> None:
    responses = [served.ask("POST", "/v1/recommend", Right.recommend) for _ in range(3)]
    assert [response.status for response in responses] == [200, 200, 429]
    assert responses[2].error["code"] == "too_many_requests"
    assert int(responses[2].headers["retry-after"]) <= 100


@pytest.mark.parametrize("served", [{"requests_per_s": 0.01, "burst": 4}], indirect=True)
def test_batch_is_charged_for_each_of_its_requests(served: Served) -> None:
    batch = b'{"requests": [{}, {}, {}]}'
    assert served.ask("POST", "/v1/recommend/batch", Right.recommend, batch).status == 200
    assert served.ask("POST", "/v1/recommend/batch", Right.recommend, batch).status == 429
    large = b'{"requests": [{}, {}, {}, {}, {}]}'
    assert served.ask("POST", "/v1/recommend/batch", Right.recommend, large).status in {422, 429}


def test_keys_never_reach_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for right in (None, *Right):
            served.ask("POST", "/v1/recommend", right)
            served.ask("POST", f"/v1/releases/{served.first.name}/activate", right)
    assert "secret" not in caplog.text + str([vars(record) for record in caplog.records])


def test_release_is_changed_and_each_answer_names_its_own(served: Served) -> None:
    second = publish_tiny(served.first.parents[1], seed=1)
    assert served.ask("POST", "/v1/recommend", Right.recommend).json()["version"] == served.first.name
    activated = served.ask("POST", f"/v1/releases/{second.name}/activate", Right.admin)
    assert activated.json() == {"version": second.name, "canary": None, "shadow": None}
    assert served.ask("POST", "/v1/recommend", Right.recommend).json()["version"] == second.name
    listed: list[dict[str, Any]] = served.ask("GET", "/v1/releases", Right.admin).json()["releases"]
    assert [(one["version"], one["is_answering"]) for one in listed] == [
        (second.name, True),
        (served.first.name, False),
    ]


def test_bad_release_is_refused_without_telling_its_path(served: Served) -> None:
    second = publish_tiny(served.first.parents[1], seed=1)
    (second / "item_vectors.npy").write_bytes(b"")
    response = served.ask("POST", f"/v1/releases/{second.name}/activate", Right.admin)
    assert (response.status, response.error["code"]) == (409, "release_refused")
    assert str(second.parent) not in response.error["message"]
    assert served.ask("GET", "/v1/bundle", Right.recommend).json()["version"] == served.first.name


def test_pinned_service_changes_no_release(served: Served) -> None:
    served.releases._home = served.first
    response = served.ask("POST", f"/v1/releases/{served.first.name}/activate", Right.admin)
    assert (response.status, response.error["code"]) == (409, "release_refused")
    assert "bound to one release" in response.error["message"]


def test_draining_service_is_not_ready_and_answers_on(served: Served, tmp_path: Path) -> None:
    (tmp_path / "drain").touch()
    response = served.ask("GET", "/readyz")
    assert (response.status, response.error["code"]) == (503, "unavailable")
    assert served.ask("POST", "/v1/recommend", Right.recommend).status == 200
    (tmp_path / "drain").unlink()
    assert served.ask("GET", "/readyz").status == 200


def test_unknown_paths_share_one_counter(served: Served) -> None:
    before = served.ask("GET", "/metrics", Right.metrics)
    assert before.headers["content-type"].startswith("text/plain; version=")
    for i in range(200):
        assert served.ask("GET", f"/unknown/{i}").status == 404
        assert served.ask("POST", f"/v1/releases/{i}/activate", Right.admin).status == 404
    text = served.ask("GET", "/metrics", Right.metrics).body.decode()
    assert f'marquee_requests_total{{route="{OTHER}",status="404"}} 200.0' in text
    assert 'marquee_requests_total{route="/v1/releases/{version}/activate",status="404"} 200.0' in text
    assert len(text.splitlines()) < len(before.body.splitlines()) + 80


def test_request_leaves_one_line_with_its_facts(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        response = served.ask("POST", "/recommend", Right.recommend)
    (record,) = [r for r in caplog.records if r.name == "serving.api.app"]
    facts = vars(record)["facts"]
    assert facts["request_id"] == response.headers["x-request-id"]
    assert (facts["route"], facts["status"], facts["bytes"]) == ("/v1/recommend", 200, len(response.body))
