"""The outermost ASGI layer: owns the routes of the service and hands BentoML's own pages on to BentoML.

A request passes only through what it needs: find the route, read the body within its limits, answer,
encode. Whatever goes wrong ends in the one error envelope; nothing that raises leaves a caller waiting.
Paths that nobody knows never reach BentoML, whose bookkeeping grows with every new path.
"""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from serving import openapi
from serving.config import Settings
from serving.endpoints import Endpoints, refusal_and_log
from serving.errors import Refusal
from serving.exchange import (
    HTML,
    JSON,
    AsgiApp,
    ClientLeft,
    Headers,
    Receive,
    Reply,
    Scope,
    Send,
    collect,
    read_body,
    validate_json_request,
)
from serving.wire import HealthAnswer

_BENTOML_PAGES = frozenset({"/schema.json", "/healthz"})
_BENTOML_FOLDER = "/static_content/"

Post = Callable[[bytes, str], Awaitable[msgspec.Struct]]
"""Answers a body under a request id."""
Get = Callable[[], Reply]


class RecommendationApp:
    """Serves the routes of the service around the ASGI application that BentoML makes.

    Args:
        bentoml_app: Where BentoML's own pages and the lifespan go.
        endpoints: What answers.
        settings: The operator's limits.
    """

    def __init__(self, bentoml_app: AsgiApp, endpoints: Endpoints, settings: Settings) -> None:
        self._bentoml_app = bentoml_app
        self._endpoints = endpoints
        self._settings = settings
        self._document = msgspec.json.encode(openapi.document(settings))
        self._posts: Mapping[str, Post] = {
            "/v1/recommend": endpoints.recommend,
            "/v1/recommend/batch": endpoints.recommend_batch,
            "/v1/similar": endpoints.similar,
        }
        self._gets: Mapping[str, Get] = {
            "/v1/bundle": self._bundle,
            "/livez": lambda: _reply_of(HealthAnswer(status="alive")),
            "/readyz": self._readyz,
            "/docs.json": lambda: Reply(200, self._document),
            "/": lambda: Reply(200, openapi.PAGE, HTML),
        }
        self._aliases = {path.removeprefix("/v1"): path for path in self.paths}

    @property
    def paths(self) -> frozenset[str]:
        """The paths that are ours, by their canonical names."""
        return frozenset(self._posts) | frozenset(self._gets)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request, or hands on what is none."""
        if scope["type"] != "http":
            await self._bentoml_app(scope, receive, send)
            if scope["type"] == "lifespan":
                self._endpoints.close()
            return
        headers = Headers.of(scope["headers"])
        try:
            reply = await self._reply(scope, receive, headers)
        except ClientLeft:
            return
        except Exception as error:  # the last door: whatever it is, the caller gets the envelope
            refusal = refusal_and_log(error, headers.request_id)
            body = msgspec.json.encode(refusal.answer(headers.request_id))
            reply = Reply(refusal.status, body, (*JSON, *refusal.headers))
        await reply.send(send, headers.request_id)

    async def _reply(self, scope: Scope, receive: Receive, headers: Headers) -> Reply:
        """Returns the reply to a request; raises what `__call__` tells as an error."""
        asked: str = scope["path"]
        path, method = self._aliases.get(asked, asked), scope["method"]
        if path in self._posts:
            _validate_method(path, method, ("POST",))
            validate_json_request(scope, headers)
            body = await read_body(receive, headers, self._settings)
            return _reply_of(await self._posts[path](body, headers.request_id))
        if path in self._gets:
            _validate_method(path, method, ("GET", "HEAD"))
            return self._gets[path]()
        if path in _BENTOML_PAGES or path.startswith(_BENTOML_FOLDER):
            _validate_method(path, method, ("GET", "HEAD"))
            page = await collect(self._bentoml_app, scope, receive)
            if page.status < 400:
                return page
        raise Refusal(
            404,
            f"there is nothing at {path[:120]!r}; POST to /v1/recommend, or GET /docs.json for every path",
        )

    def _readyz(self) -> Reply:
        """Returns that requests are welcome; raises Refusal if they are not yet."""
        self._endpoints.loaded_recommender()
        return _reply_of(HealthAnswer(status="ready"))

    def _bundle(self) -> Reply:
        """Returns which bundle answers."""
        return _reply_of(self._endpoints.bundle())


def _reply_of(answer: msgspec.Struct) -> Reply:
    """Returns the reply that tells `answer`."""
    return Reply(200, msgspec.json.encode(answer))


def _validate_method(path: str, method: str, allowed: tuple[str, ...]) -> None:
    """Raises Refusal unless `method` is one of `allowed`."""
    if method not in allowed:
        raise Refusal(
            405,
            f"{path} takes {' and '.join(allowed)}, got {method[:32]}; use {allowed[0]}",
            headers=((b"allow", ", ".join(allowed).encode()),),
        )
