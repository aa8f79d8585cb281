"""The outermost ASGI layer: owns the routes of the service and hands BentoML's own pages on to BentoML.

A request passes only through what it needs: find the route, read the body within its limits, answer,
encode. Whatever goes wrong ends in the one error envelope; nothing that raises leaves a caller waiting.
Paths that nobody knows never reach BentoML, whose bookkeeping grows with every new path.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import msgspec

from serving.api import openapi
from serving.api.items import ITEM, ITEMS, ItemRoutes, item_route
from serving.api.messages import HealthAnswer
from serving.api.recommend import Endpoints, refusal_and_log
from serving.api.releases import CHANGES, ReleaseRoutes, change_route, has_body
from serving.config import Settings
from serving.http.draining import Draining
from serving.http.errors import Problem, Refusal, unavailable
from serving.http.exchange import (
    HTML,
    JSON,
    AsgiApp,
    Call,
    ClientLeft,
    Headers,
    Receive,
    Reply,
    Scope,
    Send,
    collect,
    deadline_within,
    read_body,
    validate_json_request,
)
from serving.http.guard import Guard, Right
from serving.http.metrics import OTHER, TrafficMetrics
from serving.telemetry.metrics import CONTENT_TYPE
from serving.telemetry.tracer import Tracer

logger = logging.getLogger(__name__)

RELEASES = "/v1/releases"

_BENTOML_PAGES = frozenset({"/schema.json", "/healthz"})
_BENTOML_FOLDER = "/static_content/"

Post = Callable[[Call], Awaitable[msgspec.Struct]]
"""Answers a request whose body is there."""
Get = Callable[[bytes], Reply | Awaitable[Reply]]
"""Answers the query of a path."""


class RecommendationApp:
    """Serves the routes of the service around the ASGI application that BentoML makes.

    Args:
        bentoml_app: Where BentoML's own pages and the lifespan go.
        endpoints: What answers.
        settings: The operator's limits.
        releases: What lists and changes releases.
        guard: What lets requests in.
        draining: Whether the service is about to end.
        tracer: What records how requests were answered; None: nobody does.
        items: What adds and withdraws items; None: nobody does.
    """

    def __init__(
        self,
        bentoml_app: AsgiApp,
        endpoints: Endpoints,
        settings: Settings,
        releases: ReleaseRoutes,
        guard: Guard,
        draining: Draining | None = None,
        tracer: Tracer | None = None,
        items: ItemRoutes | None = None,
    ) -> None:
        self._bentoml_app = bentoml_app
        self._endpoints = endpoints
        self._settings = settings
        self._releases = releases
        self._guard = guard
        self._items = items or ItemRoutes.of_none(endpoints.surfaces, settings)
        self._draining = draining or Draining.by(settings)
        self._tracer = tracer
        self._traffic = endpoints.metrics.family(TrafficMetrics)
        self._document = msgspec.json.encode(openapi.document(settings, endpoints.surfaces.names))
        self._posts: Mapping[str, Post] = {
            "/v1/recommend": endpoints.recommend,
            "/v1/recommend/batch": endpoints.recommend_batch,
            "/v1/similar": endpoints.similar,
        }
        self._gets: Mapping[str, Get] = {
            "/v1/bundle": self._bundle,
            "/livez": lambda _query: _reply_of(HealthAnswer(status="alive")),
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            RELEASES: self._list_releases,
            "/docs.json": lambda _query: Reply(200, self._document),
            "/": lambda _query: Reply(200, openapi.PAGE, HTML, openapi.PAGE_POLICY),
        }
        self._rights: Mapping[str, Right] = {
            **dict.fromkeys(self._posts, Right.recommend),
            "/v1/bundle": Right.recommend,
            "/metrics": Right.metrics,
            RELEASES: Right.admin,
            **dict.fromkeys(CHANGES, Right.admin),
            **dict.fromkeys((ITEMS, ITEM), Right.items),
        }
        self._aliases = {path.removeprefix("/v1"): path for path in self.paths}

    @property
    def paths(self) -> frozenset[str]:
        """The paths that are ours, by their canonical names."""
        return frozenset(self._posts) | frozenset(self._gets) | CHANGES | {ITEMS, ITEM}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request, or hands on what is none."""
        if scope["type"] != "http":
            await self._hand_on(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers.of(scope["headers"])
        call = Call(headers.request_id, started)
        route = self._route(scope["path"])
        try:
            reply = await self._reply(route, scope, receive, headers, call)
        except ClientLeft:
            return
        except Exception as error:  # the last door: whatever it is, the caller gets the envelope
            refusal = refusal_and_log(error, headers.request_id)
            body = msgspec.json.encode(refusal.answer(headers.request_id))
            reply = Reply(refusal.status, body, (*JSON, *refusal.headers))
        seconds = time.perf_counter() - started
        self._traffic.count_reply(route, reply.status, seconds)
        if self._tracer is not None:
            self._tracer.record(call, route, reply.status, seconds, headers.traceparent)
        if self._settings.log_requests:
            _log(route, scope["method"], reply, call, seconds)
        await reply.send(send, headers.request_id, close=self._draining.is_ending)

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets BentoML live through the life of the process; nothing else is any of its business."""
        if scope["type"] != "lifespan":
            raise RuntimeError(f"HTTP is all that is spoken here, got {scope['type']!r}")
        self._draining.listen()
        await self._bentoml_app(scope, receive, send)
        self._endpoints.close()
        self._releases.close()
        self._items.close()
        if self._tracer is not None:
            self._tracer.close()

    def _route(self, path: str) -> str:
        """Returns the route that a path belongs to, one of a fixed set."""
        path = self._aliases.get(path, path)
        if path in self._posts or path in self._gets or path == ITEMS:
            return path
        return change_route(path) or item_route(path) or OTHER

    async def _reply(self, route: str, scope: Scope, receive: Receive, headers: Headers, call: Call) -> Reply:
        """Returns the reply to a request; raises what `__call__` tells as an error."""
        path, method = scope["path"], scope["method"]
        if route in self._posts:
            _validate_method(path, method, ("POST",))
            call.key = self._guard.admit(headers.authorization, self._rights[route])
            call.charge = partial(self._guard.charge, call.key)
            call.deadline_s = deadline_within(headers, self._settings)
            self._endpoints.refuse_if_full(call.deadline_s)  # before the body: refusing must cost little
            validate_json_request(scope, headers)
            call.body = await read_body(receive, headers, self._settings)
            return _reply_of(await self._posts[route](call))
        if route in (ITEMS, ITEM):
            return _reply_of(await self._change_items(route, scope, receive, headers, call))
        if route in CHANGES:
            _validate_method(path, method, ("POST",))
            call.key = self._guard.admit(headers.authorization, self._rights[route])
            if has_body(route):
                validate_json_request(scope, headers)
                call.body = await read_body(receive, headers, self._settings)
            query = scope["query_string"]
            return _reply_of(
                await self._releases.change(path, query, call.body, call.key, headers.request_id)
            )
        if route in self._gets:
            _validate_method(path, method, ("GET", "HEAD"))
            if route in self._rights:
                call.key = self._guard.admit(headers.authorization, self._rights[route])
            reply = self._gets[route](scope["query_string"])
            return reply if isinstance(reply, Reply) else await reply
        if path in _BENTOML_PAGES or path.startswith(_BENTOML_FOLDER):
            _validate_method(path, method, ("GET", "HEAD"))
            page = await collect(self._bentoml_app, scope, receive)
            if page.status < 400:
                return page
        raise Refusal(
            Problem.not_found,
            f"there is nothing at {path[:120]!r}; POST to /v1/recommend, or GET /docs.json for every path",
        )

    async def _change_items(
        self, route: str, scope: Scope, receive: Receive, headers: Headers, call: Call
    ) -> msgspec.Struct:
        """Returns the answer to a request that changes items."""
        path = scope["path"]
        _validate_method(path, scope["method"], ("POST",) if route == ITEMS else ("DELETE",))
        call.key = self._guard.admit(headers.authorization, self._rights[route])
        if route == ITEM:
            return await self._items.withdraw(path, scope["query_string"], call.key, headers.request_id)
        validate_json_request(scope, headers)
        call.body = await read_body(receive, headers, self._settings)
        return await self._items.post(call.body, call.key, headers.request_id)

    def _readyz(self, _query: bytes) -> Reply:
        """Returns that requests are welcome; raises Refusal if they are not yet, or not for long."""
        self._endpoints.surfaces.validate_ready()
        reason = self._draining.reason()
        if reason:
            raise unavailable(f"the service is being drained: {reason}; ask another")
        return _reply_of(HealthAnswer(status="ready"))

    async def _metrics(self, _query: bytes) -> Reply:
        """Returns the counters, read in a thread: they lie in files of every worker."""
        text = await asyncio.to_thread(self._endpoints.metrics.exposition)
        return Reply(200, text, ((b"content-type", CONTENT_TYPE),))

    async def _list_releases(self, _query: bytes) -> Reply:
        """Returns the releases that there are."""
        return _reply_of(await self._releases.listed())

    def _bundle(self, query: bytes) -> Reply:
        """Returns which bundle answers."""
        return _reply_of(self._endpoints.bundle(query))


def _reply_of(answer: msgspec.Struct) -> Reply:
    """Returns the reply that tells `answer`."""
    return Reply(200, msgspec.json.encode(answer))


def _validate_method(path: str, method: str, allowed: tuple[str, ...]) -> None:
    """Raises Refusal unless `method` is one of `allowed`."""
    if method not in allowed:
        raise Refusal(
            Problem.method_not_allowed,
            f"{path} takes {' and '.join(allowed)}, got {method[:32]}; use {allowed[0]}",
            headers=((b"allow", ", ".join(allowed).encode()),),
        )


def _log(route: str, method: str, reply: Reply, call: Call, seconds: float) -> None:
    """Writes the line of one request: never its body, its query or its key."""
    facts = {
        "request_id": call.request_id,
        "route": route,
        "method": method[:32],
        "status": reply.status,
        "bytes": len(reply.body),
        "ms": round(seconds * 1000, 3),
        **({"key": call.key} if call.key else {}),
        **call.facts,
    }
    logger.info("%s %s", route, reply.status, extra={"facts": facts})
