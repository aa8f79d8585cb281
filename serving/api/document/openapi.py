"""The OpenAPI document, made from the table of routes."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

import msgspec

from serving.api.document.schemas import reference, schemas
from serving.api.examples import ERROR, Json
from serving.api.route import Route, Tag
from serving.config import Settings
from serving.http.errors import RETRY_AFTER_S, ErrorAnswer, Problem
from serving.http.exchange import MEDIA_TYPES_OF_JSON_LINES


def document(settings: Settings, surfaces: Sequence[str], routes: Iterable[Route]) -> Json:
    """Returns the OpenAPI 3.1 document of a service with these settings and surfaces."""
    documented = [route for route in routes if route.tag is not None]
    paths: Json = {}
    for route in documented:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, surfaces)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Marquee",
            "version": version("marquee"),
            "description": "Recommends content and ads. Every path is also served without its /v1.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        # Relative, so that it is the server that the document came from, proxy and prefix included.
        "servers": [{"url": ".", "description": "Where this document came from."}],
        "tags": [{"name": tag.title, "description": tag.description} for tag in Tag],
        "paths": paths,
        "components": {
            "schemas": schemas(_messages(documented), settings, surfaces),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def problems_of(route: Route) -> list[Problem]:
    """Returns every word with which a route may refuse, in the order of `Problem`."""
    found = {*_OF_EVERY_ROUTE, *route.problems, *route.refusals}
    if route.more_for is not None:
        found.add(Problem.key_needed)
    if route.right is not None:
        found |= {Problem.key_needed, Problem.key_not_sufficient, Problem.too_many_requests}
    if route.message is not None:
        found.add(Problem.unsupported_media_type)
        if not route.streams_body:
            found.add(Problem.body_too_large)
    return [problem for problem in Problem if problem in found]


_OF_EVERY_ROUTE = (
    # Before it is known what a request asks for: no HTTP, too slow, too large, too many.
    Problem.malformed_request,
    Problem.request_too_slow,
    Problem.headers_too_large,
    Problem.unavailable,
    # An unknown query parameter is refused everywhere.
    Problem.invalid_request,
    Problem.method_not_allowed,
    Problem.internal_error,
)


def _messages(routes: Iterable[Route]) -> list[type[msgspec.Struct]]:
    """Returns every type of body and answer, each once."""
    types = [
        one
        for route in routes
        for one in (route.message, route.answer, *route.refusals.values())
        if one is not None
    ]
    return list(dict.fromkeys([*types, ErrorAnswer]))


def _operation(route: Route, surfaces: Sequence[str]) -> Json:
    """Returns the operation that a route is."""
    assert route.tag is not None, f"{route.path} is not in the document"
    operation: Json = {
        "operationId": route.operation,
        "tags": [route.tag.title],
        "summary": route.summary,
        "description": _description(route),
        "parameters": _parameters(route, surfaces),
        "security": _security(route),
        "responses": {**_successes(route), **_refusals(route)},
    }
    if route.message is not None:
        operation["requestBody"] = {"required": True, "content": _body(route, route.message)}
    return operation


def _body(route: Route, message: type[msgspec.Struct]) -> Json:
    """Returns the description of a body, by media type."""
    if not route.streams_body:
        examples = {title: {"value": body} for title, body in route.examples.items()}
        return {"application/json": {"schema": reference(message), "examples": examples}}
    # OpenAPI 3.1 has no words for a sequence of documents: the whole is text.
    schema = {"type": "string", "description": f"One {message.__name__} on each line, of any number."}
    text = "".join(f"{msgspec.json.encode(line).decode()}\n" for line in route.examples.values())
    return {media_type: {"schema": schema, "example": text} for media_type in MEDIA_TYPES_OF_JSON_LINES}


def _description(route: Route) -> str:
    """Returns the description of a route, with the right that it needs."""
    needed = f" Needs a key that is good for {route.right}." if route.right and route.right.needs_keys else ""
    return route.description + needed


def _security(route: Route) -> list[Json]:
    """Returns which keys a route takes: none, one, or one where the service has keys or that tells more."""
    if route.right is None:
        return [] if route.more_for is None else [{"key": []}, {}]
    return [{"key": []}] if route.right.needs_keys else [{"key": []}, {}]


def _parameters(route: Route, surfaces: Sequence[str]) -> list[Json]:
    """Returns the parameters of a route in headers, path and query."""
    found: list[Json] = [_REQUEST_ID]
    if route.sheds_load:
        found.append(_DEADLINE)
    if Problem.version_needed in route.problems:
        found.append(_VERSION)
    for name in route.parameters:
        schema = {"type": "string", "minLength": 1}
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    for name, description in route.query.items():
        schema_of_query: Json = {"type": "string"}
        if name == "surface":
            schema_of_query["enum"] = list(surfaces)
        found.append(
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": description,
                "schema": schema_of_query,
            }
        )
    return found


def _successes(route: Route) -> Json:
    """Returns the description of a 200, and of a 202 where there is one."""
    success = _success(route)
    accepted = {"202": {**success, "description": route.accepted}} if route.accepted else {}
    return {"200": success, **accepted}


def _success(route: Route) -> Json:
    """Returns the description of a 200."""
    if route.answer is None:
        content: Json = {"text/plain": {"schema": {"type": "string"}, "example": route.answer_example}}
    else:
        schema = reference(route.answer)
        content = {"application/json": {"schema": schema, "example": route.answer_example}}
    return {"description": "The answer.", "headers": _HEADERS, "content": content}


def _refusals(route: Route) -> Json:
    """Returns the description of every status with which an operation refuses."""
    words: dict[int, list[str]] = {}
    answers: dict[int, type[ErrorAnswer]] = {}
    for problem in problems_of(route):
        words.setdefault(problem.status, []).append(f"`{problem.name}`: {problem.description}")
        answers[problem.status] = route.refusals.get(problem, ErrorAnswer)
    return {
        str(status): {
            "description": "; ".join(said) + ".",
            "headers": _HEADERS | _HEADERS_OF_STATUS.get(status, {}),
            "content": _refusal_content(answers[status]),
        }
        for status, said in sorted(words.items())
    }


def _refusal_content(answer: type[ErrorAnswer]) -> Json:
    """Returns the description of the body of a refusal; only what all share has an example."""
    example: Json = {"example": ERROR} if answer is ErrorAnswer else {}
    return {"application/json": {"schema": reference(answer), **example}}


_REQUEST_ID: Json = {
    "name": "X-Request-Id",
    "in": "header",
    "required": False,
    "description": "Comes back with the answer if it is 1 to 128 of A-Z a-z 0-9 . _ : -, or else a new one.",
    "schema": {"type": "string"},
}

_DEADLINE: Json = {
    "name": "X-Deadline-Ms",
    "in": "header",
    "required": False,
    "description": "Whole milliseconds, from 1, that the caller still waits; the service may wait for less.",
    "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"},
}

_VERSION: Json = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "description": "Version of the set that is replaced, as the last answer tells it; 0 for the first set.",
    "schema": {"type": "string", "pattern": '^(W/)?"?[0-9]{1,18}"?$'},
}

_HEADERS: Json = {"X-Request-Id": {"required": True, "schema": {"type": "string"}}}
_HEADERS_OF_STATUS: Mapping[int, Json] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    405: {"Allow": {"schema": {"type": "string"}}},
    429: {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}},
    503: {"Retry-After": {"schema": {"type": "integer", "const": RETRY_AFTER_S}}},
}
