"""An operator reads why a change of releases was refused; one odd folder hides no other in the list."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from marquee.bundle.manifest import MANIFEST
from marquee.bundle.releases import activate
from marquee.store.files import only_publisher
from serving.api.app import RecommendationApp
from serving.api.recommend import Endpoints
from serving.api.releases import ReleaseRoutes
from serving.config import Settings
from serving.http.exchange import Receive, Scope, Send
from serving.http.guard import Guard, Key, Right
from serving.releases.surface_file import SurfaceFile
from serving.telemetry.metrics import Metrics
from tests.support.asgi import JSON_HEADERS, Response, request
from tests.support.bundles import publish_tiny

SECRET = "a secret of an operator"
KEY = Key(name="operator", sha256=hashlib.sha256(SECRET.encode()).hexdigest(), scopes=[Right.admin])
HEADERS = {**JSON_HEADERS, "authorization": f"Bearer {SECRET}"}


async def no_bentoml(scope: Scope, _receive: Receive, _send: Send) -> None:
    """Stands in for the application of BentoML, which nobody asks here."""
    raise AssertionError(f"nothing is handed on, got {scope['path']}")


def dump(body: dict[str, object]) -> bytes:
    """Returns the text of a manifest."""
    return (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode()


class Operated:
    """A service of one worker, asked without a server, with two versions; the first is current."""

    def __init__(self, folder: Path, *, is_loaded: bool = True) -> None:
        self.first, self.second = publish_tiny(folder), publish_tiny(folder, seed=1)
        (self.first.parent / "ACTIVATED").unlink()
        (self.first.parent / "CURRENT").unlink()
        activate(self.first)
        settings = Settings(bundle=str(self.first.parent))
        surfaces = SurfaceFile.read(settings).open(Metrics(), None)
        if is_loaded:
            surfaces.load()
        self.endpoints, self.releases = Endpoints(settings, surfaces), ReleaseRoutes(surfaces)
        self.app = RecommendationApp(no_bentoml, self.endpoints, settings, Guard([KEY]), (self.releases,))

    def post(self, path: str, body: object = None) -> Response:
        text = b"" if body is None else json.dumps(body).encode()
        return asyncio.run(request(self.app, "POST", f"/v1/releases/{path}", text, HEADERS))

    def listed(self) -> dict[str, object]:
        response = asyncio.run(request(self.app, "GET", "/v1/releases", b"", HEADERS))
        assert response.status == 200
        return {one["version"]: one["created"] for one in response.json()["releases"]}


@pytest.fixture
def operated(tmp_path: Path) -> Iterator[Operated]:
    made = Operated(tmp_path)
    yield made
    made.releases.close()
    made.endpoints.close()


MISTAKES = {
    "canary of the current release": ("canary", "must differ from the current release"),
    "abort of what is no candidate": ("abort", "must be a canary or a shadow of tiny"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_of_an_operator_is_told(
    operated: Operated, mistake: str, caplog: pytest.LogCaptureFixture
) -> None:
    action, reason = MISTAKES[mistake]
    with caplog.at_level(logging.WARNING):
        response = operated.post(
            f"{operated.first.name}/{action}", {"share": 0.5} if action == "canary" else None
        )
    assert (response.status, response.error["code"]) == (409, "release_refused")
    assert reason in response.error["message"]
    assert reason in caplog.text


def test_nothing_to_go_back_to_is_told(operated: Operated) -> None:
    response = operated.post("back")
    assert (response.status, response.error["code"]) == (409, "release_refused")
    assert "names nothing that was current before" in response.error["message"]


def test_publisher_at_work_is_a_reason_to_come_again(operated: Operated) -> None:
    with only_publisher(operated.first.parent):
        response = operated.post(f"{operated.second.name}/activate")
    assert (response.status, response.error["code"]) == (409, "release_busy")
    assert response.headers["retry-after"] == "1"
    assert operated.post(f"{operated.second.name}/activate").status == 200


def test_damage_is_told_without_the_path(operated: Operated) -> None:
    file = operated.second / "item_vectors.npy"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b"x")
    response = operated.post(f"{operated.second.name}/activate")
    assert "item_vectors.npy in tiny/" in response.error["message"]
    assert "expected" in response.error["message"]
    assert str(operated.first.parent) not in response.error["message"]


ODD_FACTS: dict[str, object] = {
    "created": 10**30,
    "dim": "four",
    "metrics": [1],
    "n_items": None,
    "name": "../outside",
    "version": 7,
    "n_users": [10**400],
}
ODD_TEXTS = {
    "nested": b"[" * 100_000,
    "no_number": b'{"format_version": 2, "created": NaN}',
    "endless": b'{"format_version": 2, "created": 1e999}',
    "half_a_pair": b'{"format_version": 2, "name": "\\ud800"}',
    "list": b"[]",
    "text": b'"format_version"',
}


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_manifest_that_is_none_hides_no_release_and_is_refused(operated: Operated, text: str) -> None:
    file = operated.second / MANIFEST
    file.chmod(0o644)
    file.write_bytes(ODD_TEXTS[text])
    assert operated.listed()[operated.second.name] is None
    response = operated.post(f"{operated.second.name}/activate")
    assert (response.status, response.error["code"]) == (409, "release_refused")


@pytest.mark.parametrize("path", ["second/activate", "second/abort", "back"])
def test_change_waits_for_no_release_that_is_being_loaded(tmp_path: Path, path: str) -> None:
    response = Operated(tmp_path, is_loaded=False).post(path)
    assert (response.status, response.error["code"]) == (503, "unavailable")


def test_folder_that_is_away_is_told_as_passing(operated: Operated) -> None:
    home = operated.first.parent
    home.rename(home.with_name("away"))
    response = asyncio.run(request(operated.app, "GET", "/v1/releases", b"", HEADERS))
    assert (response.status, response.error["code"]) == (503, "unavailable")
    assert str(home) not in response.error["message"]


@pytest.mark.parametrize("fact", ODD_FACTS)
def test_odd_fact_of_one_manifest_hides_no_release(operated: Operated, fact: str) -> None:
    """Its checksum is right: whoever wrote it renewed that as well."""
    file = operated.second / MANIFEST
    body = json.loads(file.read_bytes())
    del body["manifest_sha256"]
    body[fact] = ODD_FACTS[fact]
    checksum = hashlib.sha256(dump(body)).hexdigest()
    file.chmod(0o644)
    file.write_bytes(dump({**body, "manifest_sha256": checksum}))
    listed = operated.listed()
    assert listed[operated.second.name] is None
    assert listed[operated.first.name] is not None


def test_folder_that_nobody_may_look_into_hides_no_release(
    operated: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_file = Path.is_file

    def refused(path: Path) -> bool:
        if path.parent == operated.second:
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)
    assert set(operated.listed()) == {operated.first.name, operated.second.name}
