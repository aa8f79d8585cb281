"""Queries are as strict as bodies, one odd element fails no list, and a refusal says itself what is wrong."""

import asyncio
import fcntl
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.api.app import RecommendationApp
from serving.api.recommend import Endpoints
from serving.api.releases import ReleaseRoutes
from serving.api.route import Route
from serving.api.routes import ROUTES
from serving.config import Settings
from serving.http.exchange import Receive, Scope, Send
from serving.http.guard import Guard, Key, Right
from serving.releases.surface_file import SurfaceFile
from serving.telemetry.metrics import Metrics
from tests.support.asgi import JSON_HEADERS, Response, request
from tests.support.bundles import publish_tiny

SECRET = "of the operator"


async def no_bentoml(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("nothing of BentoML's is asked for here")


class Served:
    """Two releases of one channel, asked with a key that is good for everything."""

    def __init__(self, folder: Path) -> None:
        self.first, self.second = (publish_tiny(folder, seed=seed) for seed in (0, 1))
        self.settings = Settings(bundle=str(self.first.parent))
        surfaces = SurfaceFile.read(self.settings).open(Metrics(), None)
        surfaces.load()
        self.endpoints, self.routes = Endpoints(self.settings, surfaces), ReleaseRoutes(surfaces)
        key = Key(name="all", sha256=hashlib.sha256(SECRET.encode()).hexdigest(), scopes=list(Right))
        self.app = RecommendationApp(no_bentoml, self.endpoints, self.settings, Guard([key]), [self.routes])

    def ask(self, method: str, path: str, query: str = "", body: bytes = b"{}") -> Response:
        headers = {**JSON_HEADERS, "authorization": f"Bearer {SECRET}"}
        return asyncio.run(request(self.app, method, path, body, headers, query))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    service = Served(tmp_path)
    yield service
    service.endpoints.close()
    service.routes.close()


@pytest.mark.parametrize("route", ROUTES, ids=[f"{one.method} {one.path}" for one in ROUTES])
def test_misspelt_query_parameter_is_named_on_every_route(served: Served, route: Route) -> None:
    parts = {"version": served.second.name, "item_id": "i001"}
    path = re.sub(r"\{(\w+)\}", lambda found: parts.get(found[1], "any"), route.path)
    response = served.ask(route.method, path, "surfaces=default")
    assert (response.status, response.error["code"]) == (422, "invalid_request")
    assert response.error["field"] == "surfaces"


def test_misspelt_surface_changes_nothing(served: Served) -> None:
    assert served.ask("POST", "/v1/releases/back", "surfaces=second").status == 422
    assert served.ask("GET", "/v1/bundle").json()["version"] == served.second.name


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("surface=default&surface=default", "surface"),
        ("surface=default&x", "x"),
        ("=1", ""),
        ("surface=", "surface"),
        ("surface=nowhere", "surface"),
        ("%73urface%20=default", "surface "),
    ],
)
def test_query_that_says_no_one_thing_is_refused(served: Served, query: str, field: str) -> None:
    response = served.ask("GET", "/v1/bundle", query)
    assert (response.status, response.error.get("field")) == (422, field)


@pytest.mark.parametrize("query", ["", "surface=default", "%73urface=default"])
def test_query_that_names_a_surface_is_read(served: Served, query: str) -> None:
    assert served.ask("GET", "/v1/bundle", query).status == 200


@pytest.mark.parametrize(
    ("fact", "value"),
    [("created", "yesterday"), ("created", None), ("metrics", ["recall"]), ("metrics", {"recall": "high"})],
)
def test_release_with_an_odd_manifest_is_listed_beside_the_others(
    served: Served, fact: str, value: object
) -> None:
    path = served.first / "manifest.json"
    body = json.loads(path.read_bytes())
    del body["manifest_sha256"]
    body[fact] = value
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    body["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(body))
    response = served.ask("GET", "/v1/releases")
    assert response.status == 200
    listed = {one["version"]: one["created"] for one in response.json()["releases"]}
    assert listed.keys() == {served.first.name, served.second.name}
    assert listed[served.first.name] is None


def test_refusal_says_what_the_operator_did_wrong(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    share = b'{"share": 0.1}'
    current, other = served.second.name, served.first.name
    with caplog.at_level(logging.WARNING):
        canary = served.ask("POST", f"/v1/releases/{current}/canary", body=share)
        abort = served.ask("POST", f"/v1/releases/{other}/abort")
    assert "must differ from the current release" in canary.error["message"]
    assert "must be a canary or a shadow" in abort.error["message"]
    assert caplog.text.count(" was refused: ") == 2
    for response in (canary, abort):
        assert (response.status, response.error["code"]) == (409, "release_refused")
        assert str(served.first.parent) not in response.error["message"]


def test_going_back_behind_the_first_release_says_so(tmp_path: Path) -> None:
    service = Served(tmp_path)
    (service.first.parent / "ACTIVATED").unlink(missing_ok=True)
    response = service.ask("POST", "/v1/releases/back")
    assert "nothing that was current before" in response.error["message"]
    assert str(tmp_path) not in response.error["message"]
    service.endpoints.close()
    service.routes.close()


def test_publisher_at_work_has_a_word_of_its_own(served: Served) -> None:
    home = served.first.parent
    (lock,) = [path for path in home.iterdir() if "lock" in path.name]
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        busy = served.ask("POST", "/v1/releases/back")
    assert (busy.status, busy.error["code"]) == (409, "release_busy")
    assert served.ask("POST", "/v1/releases/back").status == 200
