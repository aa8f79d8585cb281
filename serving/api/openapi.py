"""The OpenAPI document: the messages' own schemas, the operator's limits, an example of everything."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec

from serving.api import reranking
from serving.api.items import ITEM, ITEMS, ItemsAnswer, ItemsRequest
from serving.api.messages import (
    LARGEST_NUMBER,
    BatchAnswer,
    BatchRequest,
    BundleAnswer,
    HealthAnswer,
    RecommendAnswer,
    RecommendRequest,
    ReleasesAnswer,
    RolloutAnswer,
    ShareRequest,
    SimilarRequest,
)
from serving.api.releases import CHANGES, has_body
from serving.config import Settings
from serving.http.errors import RETRY_AFTER_S, ErrorAnswer
from serving.releases.surfaces import DEFAULT_K

Json = dict[str, Any]
"""A piece of a JSON document: the wire, where there is nothing to say about values."""

PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Marquee</title>
<link rel="stylesheet" href="static_content/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="static_content/swagger-ui-bundle.js"></script>
<script src="static_content/swagger-ui-standalone-preset.js"></script>
<script src="static_content/swagger-initializer.js"></script>
</body>
</html>
"""
"""A page to read and try the document, with scripts that BentoML serves; its own page reports to Google."""

PAGE_POLICY = (
    b"default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""What the page may do: only what comes from here, and the styles that Swagger UI writes into itself."""

REFERENCE = "#/components/schemas/{name}"

_ITEMS = [
    {"item_id": "item-17", "score": 4.25, "kind": "content"},
    {"item_id": "item-4", "score": 3.5, "kind": "content"},
]
_ANSWER = {
    "request_id": "5f0c7d0e4b1f4b0c9a1d2f3e4a5b6c7d",
    "version": "2026-01-31T12-00-00",
    "source": "personal",
    "items": _ITEMS,
    "requested": 2,
    "returned": 2,
}
_ERROR = {
    "error": {
        "code": "invalid_request",
        "message": "k must be an integer from 1 to 500, got 0; change it",
        "request_id": "5f0c7d0e4b1f4b0c9a1d2f3e4a5b6c7d",
        "field": "k",
    }
}

REQUEST_EXAMPLES: Mapping[str, Mapping[str, Json]] = {
    "/v1/recommend": {
        "known user": {"user_id": "user-7", "k": 2},
        "what each stage took": {"user_id": "user-7", "k": 2, "timings": True},
        "ads for an anonymous visitor": {
            "history": ["item-3", {"item_id": "item-9", "kind": "click"}],
            "kind": "ad",
            "k": 2,
        },
        "new user with features": {
            "user_id": "never-seen",
            "features": {"age": 31, "interests": ["music", "film"]},
            "context": {"device": "phone"},
            "exclude": ["item-4"],
        },
        "comedies and dramas of the nineties": {
            "user_id": "user-7",
            "filters": {
                "genres": {"any_of": ["Comedy", "Drama"], "none_of": ["Horror"]},
                "year": {"min": 1990, "max": 1999},
            },
        },
        "varied, two of a category at most, the new first": {
            "user_id": "user-7",
            "reranking": {
                "diversity": "mmr",
                "diversity_weight": 0.3,
                "caps": {"category": 2},
                "spacing": {"advertiser_id": 3},
                "freshness_weight": 0.2,
                "freshness_half_life_days": 7,
            },
        },
        "listed since the spring": {"user_id": "user-7", "filters": {"listed": {"min": "2026-03-01"}}},
    },
    "/v1/recommend/batch": {
        "two users": {"requests": [{"user_id": "user-7", "k": 2}, {"user_id": "user-8", "k": 2}]}
    },
    "/v1/items": {
        "a new film and an ad that ends": {
            "items": [
                {"item_id": "item-900", "attributes": {"title": "The new one", "genres": ["Comedy"]}},
                {"item_id": "ad-7", "kind": "ad", "available_until": 1767225600},
            ]
        }
    },
    "/v1/similar": {
        "two like it": {"item_id": "item-17", "k": 2, "exclude": ["item-4"]},
        "in stock, of the same brand": {
            "item_id": "item-17",
            "filters": {"brand": {"any_of": ["Acme"]}, "in_stock": {"any_of": [True]}},
        },
    },
}


def document(settings: Settings, surfaces: Sequence[str]) -> Json:
    """Returns the OpenAPI 3.1 document of a service with these settings and surfaces."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Marquee",
            "version": version("marquee"),
            "description": "Recommends content and ads. Every path is also served without its /v1.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/recommend": _post(
                "recommend", "Recommends items to a user.", "/v1/recommend", RecommendRequest, RecommendAnswer
            ),
            "/v1/recommend/batch": _post(
                "recommend_batch",
                "Answers several requests; each gets an answer or an error of its own.",
                "/v1/recommend/batch",
                BatchRequest,
                BatchAnswer,
            ),
            "/v1/similar": _post(
                "similar", "Finds items that resemble one.", "/v1/similar", SimilarRequest, RecommendAnswer
            ),
            "/v1/bundle": _get(
                "bundle", "Tells which bundle answers.", BundleAnswer, with_key=True, surfaces=surfaces
            ),
            "/v1/releases": _get(
                "releases", "Lists the releases, newest first.", ReleasesAnswer, with_key=True
            ),
            **{route: _change(route, surfaces) for route in sorted(CHANGES)},
            ITEMS: _post_items(),
            ITEM: _delete_item(surfaces),
            "/metrics": _METRICS,
            "/livez": _get("livez", "Tells that the process lives.", HealthAnswer),
            "/readyz": _get("readyz", "Tells that the bundle is loaded and warm.", HealthAnswer),
        },
        "components": {
            "schemas": _schemas(settings, surfaces),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _post(
    operation: str, summary: str, path: str, request: type[msgspec.Struct], answer: type[msgspec.Struct]
) -> Json:
    """Returns a path whose POST takes `request` and gives `answer`."""
    statuses = [400, *_OF_KEYS, 408, 413, 415, 422, 500, 503] + ([404] if request is SimilarRequest else [])
    return {
        "post": {
            "operationId": operation,
            "summary": summary,
            "parameters": [_REQUEST_ID, _DEADLINE],
            "security": _WITH_OR_WITHOUT_KEY,
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": _reference(request),
                        "examples": {
                            name: {"value": value} for name, value in REQUEST_EXAMPLES[path].items()
                        },
                    }
                },
            },
            "responses": {"200": _success(answer), **_errors(statuses)},
        }
    }


def _post_items() -> Json:
    """Returns the path by which items are added."""
    path = _post("post_items", "Adds items, or says anew what they are.", ITEMS, ItemsRequest, ItemsAnswer)
    operation: Json = path["post"]
    operation["parameters"], operation["security"] = [_REQUEST_ID], [{"key": []}]
    operation["responses"] |= _errors([501, 507])
    return path


def _delete_item(surfaces: Sequence[str]) -> Json:
    """Returns the path by which an item is withdrawn."""
    item_id: Json = {
        "name": "item_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
    }
    return {
        "delete": {
            "operationId": "withdraw_item",
            "summary": "Withdraws an item, of the release or live, until it is posted again.",
            "parameters": [_REQUEST_ID, item_id, _surface_parameter(surfaces, "The items of which surface")],
            "security": [{"key": []}],
            "responses": {
                "200": _success(ItemsAnswer),
                **_errors([*_OF_KEYS, 404, 422, 500, 501, 503, 507]),
            },
        }
    }


def _surface_parameter(surfaces: Sequence[str], what: str) -> Json:
    """Returns the parameter that names a surface."""
    return {
        "name": "surface",
        "in": "query",
        "required": False,
        "description": f"{what} are meant.",
        "schema": {"type": "string", "enum": list(surfaces)},
    }


def _get(
    operation: str,
    summary: str,
    answer: type[msgspec.Struct],
    *,
    with_key: bool = False,
    surfaces: Sequence[str] = (),
) -> Json:
    """Returns a path whose GET gives `answer`, of one of the surfaces if there are any to choose from."""
    statuses = [*(_OF_KEYS if with_key else ()), *((422,) if surfaces else ()), 500, 503]
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "parameters": [
                _REQUEST_ID,
                *([_surface_parameter(surfaces, "The releases of which surface")] if surfaces else []),
            ],
            "security": _WITH_OR_WITHOUT_KEY if with_key else [],
            "responses": {"200": _success(answer), **_errors(statuses)},
        }
    }


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
    "schema": {"type": "string"},
}


def _success(answer: type[msgspec.Struct]) -> Json:
    """Returns the description of a 200."""
    content: Json = {"schema": _reference(answer)}
    if answer in ANSWER_EXAMPLES:
        content["example"] = ANSWER_EXAMPLES[answer]
    return {"description": "The answer.", "headers": _HEADERS, "content": {"application/json": content}}


def _errors(statuses: list[int]) -> Json:
    """Returns the description of every status with which an operation refuses."""
    content = {"application/json": {"schema": _reference(ErrorAnswer), "example": _ERROR}}
    return {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "headers": _HEADERS | _HEADERS_OF_STATUS.get(status, {}),
            "content": content,
        }
        for status in sorted({*statuses, *_OF_CONNECTIONS})
    }


_HEADERS: Json = {"X-Request-Id": {"required": True, "schema": {"type": "string"}}}
_HEADERS_OF_STATUS: Mapping[int, Json] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    429: {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}},
    503: {"Retry-After": {"schema": {"type": "integer", "const": RETRY_AFTER_S}}},
}
_OF_CONNECTIONS = (400, 408, 431, 503)
"""What any request may get before it is known what it asks for: no HTTP, too slow, too large, too many."""
_OF_KEYS = (401, 403, 429)
"""What a key may lead to, where one is needed."""
_WITH_OR_WITHOUT_KEY: list[Json] = [{"key": []}, {}]
ANSWER_EXAMPLES: Mapping[type[msgspec.Struct], Json] = {
    RecommendAnswer: _ANSWER,
    ItemsAnswer: {
        "request_id": _ANSWER["request_id"],
        "version": _ANSWER["version"],
        "items": [
            {"item_id": "item-900", "state": "live", "unknown_attributes": ["colour"]},
            {"item_id": "item-17", "state": "in_release"},
        ],
        "n_kept": 12,
        "max_kept": 10000,
    },
    BatchAnswer: {"request_id": _ANSWER["request_id"], "answers": [_ANSWER, _ERROR]},
}


def _reference(message: type[msgspec.Struct]) -> Json:
    """Returns a reference to a message's schema."""
    return {"$ref": REFERENCE.format(name=message.__name__)}


_CHANGE_SUMMARIES: Mapping[str, str] = {
    "activate": "Makes a release the one that answers; it is then no candidate any more. Takes no body.",
    "canary": "Lets a release answer a share of the users, the same ones on every worker.",
    "shadow": "Asks a release a share of the requests once more, for comparison; nobody sees its answers.",
    "abort": "Takes a candidate out of its role. Takes no body.",
    "back": "Makes the release current that was so before the current one. Takes no body.",
}


def _change(route: str, surfaces: Sequence[str]) -> Json:
    """Returns the path of a route that changes which releases answer."""
    action = route.rpartition("/")[2]
    version: Json = {
        "name": "version",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
    }
    body: Json = {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _reference(ShareRequest), "example": {"share": 0.05}}},
        }
    }
    statuses = [*_OF_KEYS, 404, 409, 422, 500, 503]
    return {
        "post": {
            "operationId": action,
            "summary": f"{_CHANGE_SUMMARIES[action]} Needs a key that is good for admin.",
            "parameters": [
                _REQUEST_ID,
                *([version] if "{version}" in route else []),
                _surface_parameter(surfaces, "The releases of which surface"),
            ],
            "security": [{"key": []}],
            **(body if has_body(route) else {}),
            "responses": {
                "200": _success(RolloutAnswer),
                **_errors(statuses + [400, 408, 413, 415] * has_body(route)),
            },
        }
    }


_METRICS: Json = {
    "get": {
        "operationId": "metrics",
        "summary": "Gives the counters of all workers, in Prometheus's text format.",
        "parameters": [_REQUEST_ID],
        "security": _WITH_OR_WITHOUT_KEY,
        "responses": {
            "200": {
                "description": "The counters.",
                "headers": _HEADERS,
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **_errors([*_OF_KEYS, 500]),
        },
    }
}


def _array_choice(schema: Json) -> Json:
    """Returns the one choice of a schema that is a list."""
    choice: Json = next(choice for choice in schema["anyOf"] if choice["type"] == "array")
    return choice


def _describe_items(schemas: Json, settings: Settings, surfaces: Sequence[str]) -> None:
    """Writes into the schemas of live items what their types cannot say."""
    properties = schemas["ItemsRequest"]["properties"]
    properties["items"]["maxItems"] = settings.max_batch
    properties["surface"] = {
        "type": "string",
        "enum": list(surfaces),
        "description": properties["surface"]["description"],
    }
    item = schemas["ItemMessage"]["properties"]
    for name in ("available_from", "available_until"):
        moment = {"type": "integer", "minimum": -LARGEST_NUMBER, "maximum": LARGEST_NUMBER}
        item[name] = {
            "anyOf": [moment, {"type": "null"}],
            "default": None,
            "description": item[name]["description"],
        }


def _schemas(settings: Settings, surfaces: Sequence[str]) -> Json:
    """Returns the schema of every message, with the limits that the operator set."""
    messages = [
        RecommendRequest,
        SimilarRequest,
        BatchRequest,
        RecommendAnswer,
        BundleAnswer,
        ReleasesAnswer,
        ShareRequest,
        RolloutAnswer,
        HealthAnswer,
        ItemsRequest,
        ItemsAnswer,
        ErrorAnswer,
    ]
    _, schemas = msgspec.json.schema_components(messages, ref_template=REFERENCE)
    for name in ("RecommendRequest", "SimilarRequest"):
        properties = schemas[name]["properties"]
        description = properties["k"]["description"]
        properties["k"] = {
            "type": "integer",
            "minimum": 1,
            "maximum": settings.max_k,
            "default": min(DEFAULT_K, settings.max_k),
            "description": description,
        }
        properties["exclude"]["maxItems"] = settings.max_exclude
        properties["filters"]["maxProperties"] = settings.max_filters
        properties["surface"] = {
            "type": "string",
            "enum": list(surfaces),
            "description": properties["surface"]["description"],
        }
    reranking.describe(schemas["RerankingRequest"])
    _describe_items(schemas, settings, surfaces)
    for condition in ("any_of", "all_of", "none_of"):
        _array_choice(schemas["Filter"]["properties"][condition])["maxItems"] = settings.max_filter_values
    _array_choice(schemas["RecommendRequest"]["properties"]["history"])["maxItems"] = settings.max_history
    schemas["BatchRequest"]["properties"]["requests"] = {
        "type": "array",
        "minItems": 1,
        "maxItems": settings.max_batch,
        "items": _reference(RecommendRequest),
        "description": "One that is no such request gets an error in its place in the answers.",
    }
    schemas["BatchAnswer"] = {  # by hand: msgspec describes no union of untagged messages
        "title": "BatchAnswer",
        "description": BatchAnswer.__doc__,
        "type": "object",
        "properties": {
            "request_id": {"type": "string"},
            "answers": {
                "type": "array",
                "items": {"anyOf": [_reference(RecommendAnswer), _reference(ErrorAnswer)]},
            },
        },
        "required": list(BatchAnswer.__struct_fields__),
    }
    return schemas
