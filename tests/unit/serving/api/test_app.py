"""The ASGI layer with a recommender that does as it is told: routes, envelope, limits, batches."""

import asyncio
import gzip
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from marquee.core.catalog import ItemKind
from marquee.decision.requests import Answer, OnStage, Recommendation, Request, Source, Stage
from marquee.errors import UnknownIdError
from serving.api.app import RecommendationApp
from serving.api.recommend import Endpoints
from serving.api.releases import ReleaseRoutes
from serving.config import Settings
from serving.http.errors import unavailable
from serving.http.exchange import Receive, Scope, Send
from serving.http.guard import Guard
from tests.support.asgi import JSON_HEADERS, Response, body_events, request
from tests.support.surfaces import one_surface

NOW = 1_700_000_000.9


class Echo:
    """Stands in for a recommender: every answer names who asked; what is poisoned raises."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.batch_sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def recommend(self, requests: Sequence[Request], on_stage: OnStage) -> list[Answer]:
        on_stage(Stage.encode)
        assert self.gate.wait(5), "the gate must open within the test"
        self.batch_sizes.append(len(requests))
        self.requests += requests
        if any(request.user_id == "poison" for request in requests):
            raise ZeroDivisionError("a secret of ours")
        on_stage(Stage.retrieve)
        return [answer(told(request), request.k) for request in requests]

    def validate(self, request: Request) -> None:
        assert not request.filters, f"no catalog is at hand to apply {request.filters}"
        if request.like_item == "unknown":
            raise UnknownIdError(f"item_id {request.like_item!r} is unknown; ask for one of the catalog")


def told(request: Request) -> str:
    """Returns the text by which an answer names its request."""
    if request.like_item is None:
        return request.user_id or "anonymous"
    return f"{request.like_item}, {request.kind}, {list(request.exclude)}, {request.timestamp}"


def answer(item_id: str, k: int) -> Answer:
    items = (Recommendation(item_id, 1.0, ItemKind.content),)
    return Answer(items=items, source=Source.personal, version="7", requested=k)


async def bentoml_app(scope: Scope, _receive: Receive, send: Send) -> None:
    """Stands in for BentoML: a page at /schema.json, a fault at /healthz, nothing else."""
    if scope["type"] == "lifespan":
        return
    if scope["path"] == "/healthz":
        raise RuntimeError("a secret of BentoML's")
    status = 200 if scope["path"] == "/schema.json" else 404
    await send(
        {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/html")]}
    )
    await send({"type": "http.response.body", "body": b"a page"})


@contextmanager
def serving(recommender: Echo | None, **limits: int) -> Iterator[RecommendationApp]:
    settings = Settings(**limits)  # type: ignore[arg-type]  # every limit is an int
    surfaces = one_surface(settings, recommender)
    endpoints, releases = Endpoints(settings, surfaces, clock=lambda: NOW), ReleaseRoutes(surfaces)
    yield RecommendationApp(bentoml_app, endpoints, settings, Guard(()), [releases])
    endpoints.close()
    releases.close()


def ask(path: str, body: bytes | str | object, recommender: Echo | None = None, **limits: int) -> Response:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    with serving(recommender or Echo(), **limits) as app:
        return asyncio.run(request(app, "POST", path, text))


def send(method: str, path: str, headers: dict[str, str] | None = None, **kwargs: Any) -> Response:
    with serving(Echo()) as app:
        return asyncio.run(request(app, method, path, headers=headers or JSON_HEADERS, **kwargs))


@pytest.mark.parametrize("path", ["/v1/recommend", "/recommend"])
def test_recommendation_is_answered(path: str) -> None:
    response = ask(path, {"user_id": "u", "k": 3})
    assert response.status == 200
    body = response.json()
    assert body.pop("request_id") == response.headers["x-request-id"]
    assert body == {
        "tier": "personal",
        "version": "7",
        "source": "personal",
        "items": [{"item_id": "u", "score": 1.0, "kind": "content"}],
        "requested": 3,
        "returned": 1,
    }


def test_service_reads_the_clock_once_for_a_whole_batch() -> None:
    echo = Echo()
    ask("/v1/recommend/batch", {"requests": [{}, {}]}, echo)
    assert {request.timestamp for request in echo.requests} == {1_700_000_000}


def test_reply_has_the_headers_of_a_json_reply() -> None:
    response = ask("/v1/recommend", {})
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-length"] == str(len(response.body))
    assert response.headers["cache-control"] == "no-store"


def test_request_id_of_the_caller_comes_back_in_reply_and_refusal() -> None:
    headers = {**JSON_HEADERS, "x-request-id": "trace-1"}
    for body, status in [(b"{}", 200), (b"{", 400)]:
        response = send("POST", "/v1/recommend", headers, body=body)
        assert (response.status, response.headers["x-request-id"]) == (status, "trace-1")
        assert b'"request_id":"trace-1"' in response.body


@pytest.mark.parametrize("path", ["/v1/similar", "/similar"])
def test_similar_items_are_answered(path: str) -> None:
    response = ask(path, {"item_id": "a", "k": 2, "kind": "ad", "exclude": ["b"]})
    assert response.json()["items"][0]["item_id"] == "a, ad, ['b'], 1700000000"


def test_unknown_item_is_not_found() -> None:
    response = ask("/v1/similar", {"item_id": "unknown"})
    assert response.status == 404
    assert response.error["message"] == "item_id 'unknown' is unknown; ask for one of the catalog"


@pytest.mark.parametrize("path", ["/v1/recommend/batch", "/recommend/batch"])
def test_wrong_request_of_a_batch_fails_alone(path: str) -> None:
    wrong = [{"k": 0}, {"kk": 1}, 7, {"user_id": "poison"}]
    response = ask(path, {"requests": [{"user_id": "u"}, *wrong, {"user_id": "w"}]})
    assert response.status == 200
    answers = response.json()["answers"]
    assert [part.get("error", {}).get("code", "fine") for part in answers] == [
        "fine",
        *["invalid_request"] * 3,
        "internal_error",
        "fine",
    ]
    assert [answers[i]["items"][0]["item_id"] for i in (0, 5)] == ["u", "w"]


def test_every_part_of_a_batch_has_an_id_of_its_own() -> None:
    body = ask("/v1/recommend/batch", {"requests": [{}, {"k": 0}]}).json()
    assert body["answers"][0]["request_id"] == body["request_id"] + ".0"
    assert body["answers"][1]["error"]["request_id"] == body["request_id"] + ".1"


def test_batch_without_a_right_request_asks_nothing_of_the_model() -> None:
    echo = Echo()
    assert ask("/v1/recommend/batch", {"requests": [7]}, echo).status == 200
    assert echo.batch_sizes == []


def test_concurrent_requests_share_batches_and_keep_their_answers() -> None:
    echo = Echo()

    async def ask_all(app: RecommendationApp) -> list[Response]:
        bodies = [json.dumps({"user_id": f"u{i}"}).encode() for i in range(40)]
        return await asyncio.gather(*(request(app, "POST", "/v1/recommend", body) for body in bodies))

    with serving(echo, micro_batch=16) as app:
        responses = asyncio.run(ask_all(app))
    assert [r.json()["items"][0]["item_id"] for r in responses] == [f"u{i}" for i in range(40)]
    assert echo.batch_sizes == [16, 16, 8]


def test_poisoned_request_takes_no_neighbour_with_it(caplog: pytest.LogCaptureFixture) -> None:
    async def ask_all(app: RecommendationApp) -> list[Response]:
        bodies = [b'{"user_id": "poison"}' if i == 3 else b"{}" for i in range(8)]
        return await asyncio.gather(*(request(app, "POST", "/v1/recommend", body) for body in bodies))

    with serving(Echo()) as app:
        responses = asyncio.run(ask_all(app))
    assert [r.status for r in responses] == [200, 200, 200, 500, 200, 200, 200, 200]
    assert "secret" not in responses[3].body.decode()
    assert responses[3].error["code"] == "internal_error"
    assert responses[3].error["request_id"] in caplog.text
    assert "a secret of ours" in caplog.text


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed_request"),
        (b"{", 400, "malformed_request"),
        (b"\xff", 400, "malformed_request"),
        (b"NaN", 400, "malformed_request"),
        (b"[]", 422, "invalid_request"),
        (b'{"k": 0}', 422, "invalid_request"),
        (b'{"k": 501}', 422, "invalid_request"),
        (b'{"k": "1"}', 422, "invalid_request"),
        (b'{"k": 123456789012345678901234567890}', 422, "invalid_request"),
        (b'{"other": 1}', 422, "invalid_request"),
        (b" " * 2000, 413, "body_too_large"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/recommend", "/v1/similar", "/v1/recommend/batch"])
def test_wrong_body_is_refused_in_the_one_envelope(path: str, body: bytes, status: int, code: str) -> None:
    response = ask(path, body, max_body_bytes=1000)
    assert (response.status, response.error["code"]) == (status, code)
    assert response.error["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("body", [b'{"k": NaN}', b'{"features": {"a": Infinity}}', b'{"user_id": "\xff"}'])
def test_what_no_json_can_say_is_malformed(body: bytes) -> None:
    assert ask("/v1/recommend", body).error["code"] == "malformed_request"


def test_field_at_fault_is_named() -> None:
    assert ask("/v1/recommend", {"history": ["a", 7]}).error["field"] == "history[1]"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/recommend", "POST"),
        ("PUT", "/recommend", "POST"),
        ("OPTIONS", "/v1/similar", "POST"),
        ("DELETE", "/v1/recommend/batch", "POST"),
        ("POST", "/livez", "GET, HEAD"),
        ("POST", "/docs.json", "GET, HEAD"),
        ("PATCH", "/", "GET, HEAD"),
    ],
)
def test_wrong_method_is_refused_with_the_right_one(method: str, path: str, allowed: str) -> None:
    response = send(method, path, body=b"{}")
    assert (response.status, response.error["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path", ["/v2/recommend", "/v1", "/v1/recommend/", "/metrics/", "/V1/recommend", "//", "/é"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_unknown_path_is_not_found_and_never_reaches_bentoml(method: str, path: str) -> None:
    response = send(method, path)
    assert (response.status, response.error["code"]) == (404, "not_found")
    assert repr(path) in response.error["message"]


def test_wrong_media_type_is_refused() -> None:
    response = send("POST", "/v1/recommend", {"content-type": "text/plain"}, body=b"{}")
    assert (response.status, response.error["code"]) == (415, "unsupported_media_type")


def test_compressed_body_is_refused_not_inflated() -> None:
    headers = {**JSON_HEADERS, "content-encoding": "gzip"}
    assert send("POST", "/v1/recommend", headers, body=gzip.compress(b"{}")).status == 415


def test_chunked_body_is_read_and_limited_like_any_other() -> None:
    chunks = body_events(b'{"k"', b": ", b"3}")
    with serving(Echo(), max_body_bytes=8) as app:
        assert asyncio.run(request(app, "POST", "/v1/recommend", chunks)).json()["requested"] == 3
        response = asyncio.run(request(app, "POST", "/v1/recommend", body_events(b" " * 5, b" " * 5)))
    assert response.error["code"] == "body_too_large"


def test_slow_body_is_refused() -> None:
    with serving(Echo(), body_timeout_ms=30) as app:
        response = asyncio.run(request(app, "POST", "/v1/recommend", body_events(b"{", b"")[:1]))
    assert (response.status, response.error["code"]) == (408, "request_too_slow")
    assert response.headers["connection"] == "close"


def test_caller_that_leaves_gets_nothing() -> None:
    sent: list[object] = []

    async def leave() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def keep(event: object) -> None:
        sent.append(event)

    scope = {
        "type": "http",
        "path": "/v1/recommend",
        "method": "POST",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    with serving(Echo()) as app:
        asyncio.run(app(scope, leave, keep))
    assert sent == []


def test_deadline_is_kept_when_the_model_is_stuck() -> None:
    echo = Echo()
    echo.gate.clear()

    async def steps(app: RecommendationApp) -> None:
        late = await request(app, "POST", "/v1/recommend", b"{}")
        assert (late.status, late.error["code"]) == (503, "unavailable")
        assert late.headers["retry-after"] == "1"
        echo.gate.set()
        assert (await request(app, "POST", "/v1/recommend", b"{}")).status == 200

    with serving(echo, deadline_ms=500) as app:
        asyncio.run(steps(app))


def test_caller_that_waits_less_is_answered_or_refused_within_its_own_time() -> None:
    echo = Echo()
    echo.gate.clear()

    async def steps(app: RecommendationApp) -> None:
        hasty = await request(app, "POST", "/v1/recommend", b"{}", {**JSON_HEADERS, "x-deadline-ms": "40"})
        assert (hasty.status, hasty.error["code"]) == (503, "unavailable")
        assert "deadline of 40 ms" in hasty.error["message"]
        echo.gate.set()
        patient = await request(
            app, "POST", "/v1/recommend", b"{}", {**JSON_HEADERS, "x-deadline-ms": "999999999"}
        )
        assert patient.status == 200

    with serving(echo, deadline_ms=4000) as app:
        asyncio.run(steps(app))


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "soon", "1" * 20, "+3"])
def test_deadline_that_is_no_number_of_milliseconds_is_refused(text: str) -> None:
    response = send("POST", "/v1/recommend", {**JSON_HEADERS, "x-deadline-ms": text}, body=b"{}")
    assert (response.status, response.error["code"]) == (422, "invalid_request")
    assert "X-Deadline-Ms" in response.error["message"]


def test_deadline_of_the_service_is_the_longest() -> None:
    echo = Echo()
    echo.gate.clear()

    async def steps(app: RecommendationApp) -> None:
        late = await request(app, "POST", "/v1/recommend", b"{}", {**JSON_HEADERS, "x-deadline-ms": "90000"})
        assert "deadline of 60 ms" in late.error["message"]
        echo.gate.set()

    with serving(echo, deadline_ms=60) as app:
        asyncio.run(steps(app))


def test_requests_beyond_those_that_may_wait_are_shed_at_once() -> None:
    echo = Echo()

    async def ask_all(app: RecommendationApp) -> list[int]:
        asked = (request(app, "POST", "/v1/recommend", b"{}") for _ in range(8))
        return [response.status for response in await asyncio.gather(*asked)]

    with serving(echo, max_pending=5, max_batch=5) as app:  # one caller leaves room for others
        assert sorted(asyncio.run(ask_all(app))) == [200] * 3 + [503] * 5


def test_full_service_refuses_before_it_reads_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_endpoints: Endpoints, _deadline_s: float, _caller: str) -> None:
        raise unavailable("1000 requests are waiting")

    monkeypatch.setattr(Endpoints, "refuse_if_full", refuse)
    with serving(Echo()) as app:
        response = asyncio.run(request(app, "POST", "/v1/recommend", []))  # of the body nothing ever comes
    assert (response.status, response.headers["retry-after"]) == (503, "1")


def test_service_is_alive_before_it_is_ready() -> None:
    with serving(None) as app:
        assert asyncio.run(request(app, "GET", "/livez")).json() == {"status": "alive"}
        for response in (
            asyncio.run(request(app, "GET", "/readyz")),
            asyncio.run(request(app, "POST", "/v1/recommend", b"{}")),
        ):
            assert (response.status, response.error["code"]) == (503, "unavailable")


def test_loaded_service_is_ready() -> None:
    assert send("GET", "/readyz").json() == {"status": "ready"}
    assert send("HEAD", "/readyz").status == 200


def test_document_and_its_page_are_served() -> None:
    assert send("GET", "/docs.json").json()["openapi"] == "3.1.0"
    page = send("GET", "/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_bentoml_page_is_handed_on() -> None:
    response = send("GET", "/schema.json")
    assert (response.status, response.body) == (200, b"a page")
    assert response.headers["content-type"] == "text/html"


def test_bentoml_refusal_comes_in_our_envelope() -> None:
    response = send("GET", "/static_content/nothing")
    assert (response.status, response.error["code"]) == (404, "not_found")


def test_bentoml_fault_comes_in_our_envelope() -> None:
    response = send("GET", "/healthz")
    assert (response.status, response.error["code"]) == (500, "internal_error")
    assert b"secret" not in response.body


def test_end_of_the_lifespan_ends_the_model_thread() -> None:
    async def nothing() -> dict[str, str]:
        return {"type": "lifespan.shutdown"}

    async def keep(_event: object) -> None:
        return None

    with serving(Echo()) as app:
        assert asyncio.run(request(app, "POST", "/v1/recommend", b"{}")).status == 200
        asyncio.run(app({"type": "lifespan"}, nothing, keep))
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("model")]


@pytest.mark.parametrize("path", ["/v1/recommend", "/v1/similar"])
def test_answer_tells_what_each_stage_took_when_asked(path: str) -> None:
    body = {"item_id": "a"} if path == "/v1/similar" else {}
    assert "took_ms" not in ask(path, body).json()
    took_ms = ask(path, {**body, "timings": True}).json()["took_ms"]
    assert list(took_ms)[:2] == ["read", "queue"]
    assert list(took_ms)[-2:] == ["retrieve", "total"]
    assert sum(took_ms.values()) <= 2 * took_ms["total"] + 0.01
    assert all(0.0 <= value < 10_000 for value in took_ms.values())


def test_only_those_parts_of_a_batch_tell_what_they_took_that_asked() -> None:
    answers = ask("/v1/recommend/batch", {"requests": [{}, {"timings": True}]}).json()["answers"]
    assert ["took_ms" in part for part in answers] == [False, True]


def test_every_reply_has_the_headers_that_protect_a_browser() -> None:
    for response in (
        send("GET", "/livez"),
        send("GET", "/"),
        send("GET", "/schema.json"),
        send("GET", "/no"),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert response.headers["cache-control"] == "no-store"
