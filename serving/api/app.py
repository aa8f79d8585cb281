"""The outermost ASGI layer: takes a request to its row in the table of routes, and its answer back.

Every request goes the same way: find the route, admit the key, read query and body, call the handler, encode.
Whatever goes wrong ends in the one error envelope; nothing that raises leaves a caller waiting. BentoML gets
its own pages and the lifespan. Paths that nobody knows never reach it: its bookkeeping grows with every one.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import msgspec

from serving.api.document.openapi import document
from serving.api.messages.reading import Reader
from serving.api.operating import Operating
from serving.api.recommend import Endpoints, refusal_and_log
from serving.api.route import Found, Handler, Route
from serving.api.routes import ROUTES, TABLE
from serving.config import Settings
from serving.http.draining import Draining
from serving.http.errors import Problem, Refusal
from serving.http.exchange import (
    JSON,
    MEDIA_TYPES_OF_JSON_LINES,
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
    read_chunks,
    read_query,
    validate_json_request,
)
from serving.http.guard import Guard
from serving.http.metrics import OTHER, TrafficMetrics
from serving.telemetry.tracer import Tracer

logger = logging.getLogger(__name__)

_BENTOML_PAGES = frozenset({"/schema.json", "/healthz"})
_BENTOML_FOLDER = "/static_content/"


class Handlers(Protocol):
    """An object whose methods stand in the table of routes."""

    def close(self) -> None:
        """Ends what the handlers have begun."""


@dataclass(frozen=True, slots=True)
class _Served:
    """A row of the table with what this process answers it by.

    Attributes:
        route: The row.
        handler: Its handler, bound to an object.
        read: Reads its message; None if it has none.
        max_body_bytes: Largest body.
    """

    route: Route
    handler: Handler
    read: "Reader[msgspec.Struct] | None"
    max_body_bytes: int


class RecommendationApp:
    """Serves the table of routes around the ASGI application that BentoML makes.

    Args:
        bentoml_app: Where BentoML's own pages and the lifespan go.
        endpoints: Handlers of the routes that ask the model.
        settings: The operator's limits.
        guard: Lets requests in.
        others: Handlers of further routes. A route without a handler is refused with `not_configured`.
        draining: Whether the service is about to end.
        tracer: Records how requests were answered; None for no traces.
    """

    def __init__(
        self,
        bentoml_app: AsgiApp,
        endpoints: Endpoints,
        settings: Settings,
        guard: Guard,
        others: Sequence[Handlers] = (),
        draining: Draining | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._bentoml_app = bentoml_app
        self._endpoints = endpoints
        self._settings = settings
        self._guard = guard
        self._draining = draining or Draining.by(settings)
        self._tracer = tracer
        self._traffic = endpoints.metrics.family(TrafficMetrics)
        text = msgspec.json.encode(document(settings, endpoints.surfaces.names, ROUTES))
        operating = Operating(endpoints.surfaces, endpoints.metrics, self._draining, text)
        self._handlers: Sequence[Handlers] = (endpoints, operating, *others)
        self._served = {(route.method, route.path): self._serve(route) for route in ROUTES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request, or hands the lifespan on."""
        if scope["type"] != "http":
            await self._hand_on(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers.of(scope["headers"])
        call = Call(headers.request_id, started)
        found = TABLE.find(scope["path"], scope.get("raw_path"), scope["method"])
        label = found.path if found else OTHER
        try:
            if found is None:
                reply = await self._page_of_bentoml(scope, receive)
            else:
                reply = await self._reply(found, scope, receive, headers, call)
        except ClientLeft:
            return
        except Exception as error:  # the last door: whatever it is, the caller gets the envelope
            refusal = refusal_and_log(error, headers.request_id)
            body = msgspec.json.encode(refusal.answer(headers.request_id))
            reply = Reply(refusal.status, body, (*JSON, *refusal.headers))
        seconds = time.perf_counter() - started
        self._traffic.count_reply(label, reply.status, seconds)
        if self._tracer is not None:
            self._tracer.record(call, label, reply.status, seconds, headers.traceparent)
        if self._settings.log_requests:
            _log(label, scope["method"], reply, call, seconds)
        await reply.send(send, headers.request_id, close=self._draining.is_ending)

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets BentoML live through the life of the process, then closes what this process opened."""
        if scope["type"] != "lifespan":
            raise RuntimeError(f"HTTP is all that is spoken here, got {scope['type']!r}")
        # The server then waits for running calls: one that loads a release must not be waited for.
        self._draining.listen(self._endpoints.surfaces.close)
        await self._bentoml_app(scope, receive, send)
        for handlers in self._handlers:
            handlers.close()
        if self._tracer is not None:
            self._tracer.close()

    async def _reply(
        self, found: Found, scope: Scope, receive: Receive, headers: Headers, call: Call
    ) -> Reply:
        """Returns the reply to a request; raises what `__call__` tells as an error."""
        served = self._served_by(found, scope)
        route = served.route
        if route.right is not None:
            call.key = self._guard.admit(headers.authorization, route.right)
            call.charge = partial(self._guard.charge, call.key)
            call.charge_work = partial(self._guard.charge_work, call.key)
        if route.more_for is not None:
            call.sees_more = self._guard.permits(headers.authorization, route.more_for)
        call.parameters = found.parameters
        call.if_match = headers.if_match
        call.query = read_query(scope["query_string"], route.query)
        if route.sheds_load:
            call.deadline_s = deadline_within(headers, self._settings)
            # Before the body is read: what is refused under load must cost little.
            call.caller = call.key or _address(scope)
            self._endpoints.refuse_if_full(call.deadline_s, call.caller)
        if served.read is None:
            answer = await served.handler(call)
        elif route.streams_body:
            validate_json_request(headers, MEDIA_TYPES_OF_JSON_LINES)
            answer = await served.handler(call, read_chunks(receive, self._settings))
        else:
            validate_json_request(headers)
            body = await read_body(receive, headers, self._settings, served.max_body_bytes)
            answer = await served.handler(call, served.read(body))
        return answer if isinstance(answer, Reply) else Reply(call.status, msgspec.json.encode(answer))

    def _served_by(self, found: Found, scope: Scope) -> _Served:
        """Returns the route that serves a request; raises Refusal if the path does not take its method."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in found.routes:
            allowed = [name for name in found.routes for name in _methods(name)]
            raise Refusal(
                Problem.method_not_allowed,
                # Not as it was sent: the path of a user holds an id.
                f"{found.path} takes {' and '.join(allowed)}, got {method[:32]}; use {allowed[0]}",
                headers=((b"allow", ", ".join(allowed).encode()),),
            )
        return self._served[method, found.path]

    async def _page_of_bentoml(self, scope: Scope, receive: Receive) -> Reply:
        """Returns one of BentoML's own pages; raises Refusal for every other path."""
        path = scope["path"]
        if (path in _BENTOML_PAGES or path.startswith(_BENTOML_FOLDER)) and scope["method"] in _methods(
            "GET"
        ):
            page = await collect(self._bentoml_app, scope, receive)
            if page.status < 400:
                return page
        raise Refusal(
            Problem.not_found,
            f"there is nothing at {_shown(path)!r}; POST to /v1/recommend, or GET /docs.json for every path",
        )

    def _serve(self, route: Route) -> _Served:
        """Returns a row of the table with its handler and reader."""
        read = route.make_reader(route.message) if route.message else None
        return _Served(route, self._bound(route), read, route.max_body_bytes(self._settings))

    def _bound(self, route: Route) -> Handler:
        """Returns the handler of a route, bound to the object that has it as a method."""
        for handlers in self._handlers:
            if getattr(type(handlers), route.handler.__name__, None) is route.handler:
                return partial(route.handler, handlers)
        return partial(_not_configured, route)


async def _not_configured(route: Route, *_given: object) -> msgspec.Struct:
    """Refuses a request to a route that this process has no handlers for."""
    raise Refusal(
        # Whoever needs no key is not told what could be here.
        Problem.not_configured if route.right is not None else Problem.not_found,
        f"{route.method} {route.path} is not set up in this service; see docs/operating/running.md",
    )


def _address(scope: Scope) -> str:
    """Returns where a request comes from: without keys each connection counts as a caller of its own."""
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else ""


def _shown(path: str) -> str:
    """Returns as much of an unknown path as an error may repeat: no id of a user."""
    before, users, _ = path.partition("/users/")
    return f"{before[:120]}{users}…" if users else path[:120]


def _methods(method: str) -> tuple[str, ...]:
    """Returns the methods that a route of one method answers."""
    return ("GET", "HEAD") if method == "GET" else (method,)


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
