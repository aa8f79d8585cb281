"""Which pages of other origins a browser lets read an answer, and which list of origins is none."""

import asyncio
from collections.abc import Mapping

import pytest

from marquee.errors import ConfigError
from serving.api.routes import ROUTES
from serving.http.cors import CrossOrigin, read_origins
from serving.http.exchange import Receive, Reply, Scope, Send
from tests.support.asgi import Response, request

ALLOWED = "https://shop.example"


async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
    await Reply(200, b"{}").send(send, "id")


def ask(method: str, headers: Mapping[str, str]) -> Response:
    guarded = CrossOrigin(app, read_origins(f"{ALLOWED}, http://localhost:8080"))
    return asyncio.run(request(guarded, method, "/v1/recommend", headers=headers))


def preflight(origin: str) -> Response:
    return ask("OPTIONS", {"Origin": origin, "Access-Control-Request-Method": "POST"})


@pytest.mark.parametrize("origin", [ALLOWED, "http://localhost:8080"])
def test_page_of_an_allowed_origin_may_ask_and_read(origin: str) -> None:
    told = preflight(origin)
    assert (told.status, told.headers["access-control-allow-origin"]) == (204, origin)
    assert {route.method for route in ROUTES} <= set(told.headers["access-control-allow-methods"].split(", "))
    assert {"authorization", "if-match"} <= set(told.headers["access-control-allow-headers"].split(", "))
    read = ask("POST", {"Origin": origin})
    assert (read.status, read.headers["access-control-allow-origin"]) == (200, origin)
    assert "retry-after" in read.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ["https://shop.example.evil", "http://shop.example", "null", ""])
def test_page_of_another_origin_is_told_nothing(origin: str) -> None:
    for response in (preflight(origin), ask("POST", {"Origin": origin})):
        assert not [name for name in response.headers if name.startswith("access-control")]
        assert response.headers["vary"] == "origin"


def test_options_without_a_question_of_a_browser_go_to_the_application() -> None:
    assert ask("OPTIONS", {"Origin": ALLOWED}).status == 200


@pytest.mark.parametrize("text", ["*", "shop.example", "https://shop.example/", "https://a b"])
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="MARQUEE_CORS_ORIGINS must list origins such as"):
        read_origins(text)


def test_empty_list_allows_nobody() -> None:
    assert read_origins(" , ") == frozenset()
