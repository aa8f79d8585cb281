"""The OpenAPI document: true to the messages, with the operator's limits and an example of everything."""

from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.api import messages as wire
from serving.api import openapi
from serving.api.app import RecommendationApp
from serving.api.items import ItemMessage, ItemsRequest, _live_item
from serving.api.recommend import Endpoints
from serving.api.releases import ReleaseRoutes
from serving.api.reranking import RerankingRequest
from serving.config import Settings
from serving.http.errors import ErrorAnswer, Problem, Refusal
from serving.http.exchange import Receive, Scope, Send
from serving.http.guard import Guard
from serving.releases.channel import Channel
from serving.releases.surfaces import Surface, Surfaces

LIMITS = Settings(max_k=50, max_history=3, max_exclude=2, max_batch=2, max_filters=2, max_filter_values=2)
LINE = Channel("nowhere")
SURFACES = Surfaces(
    [Surface(name=name, bundle="nowhere", settings=LIMITS) for name in ("home", "feed")],
    "home",
    {"home": LINE, "feed": LINE},
)
DOCUMENT = openapi.document(LIMITS, SURFACES.names)
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = [
    (path, operation) for path, methods in DOCUMENT["paths"].items() for operation in methods.values()
]
MESSAGES: dict[str, type[msgspec.Struct]] = {
    "/v1/recommend": wire.RecommendRequest,
    "/v1/recommend/batch": wire.BatchRequest,
    "/v1/similar": wire.SimilarRequest,
    "/v1/items": ItemsRequest,
}


def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    return jsonschema_rs.Draft202012Validator(schema)


async def nothing_else(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError(f"nothing of BentoML's is asked for here, got {scope['path']}")


def test_every_schema_is_one() -> None:
    for schema in SCHEMAS.values():
        assert jsonschema_rs.meta.is_valid(schema)


@pytest.mark.parametrize("path", MESSAGES)
def test_request_examples_are_accepted(path: str) -> None:
    examples = openapi.REQUEST_EXAMPLES[path]
    assert examples
    for example in examples.values():
        wire.reader(MESSAGES[path])(msgspec.json.encode(example))
        validator(MESSAGES[path].__name__).validate(example)


@pytest.mark.parametrize(("path", "operation"), OPERATIONS, ids=[path for path, _ in OPERATIONS])
def test_answer_examples_are_answers(path: str, operation: dict[str, Any]) -> None:
    assert path
    for response in operation["responses"].values():
        content = response["content"].get("application/json", {})
        if "example" in content:
            validator(content["schema"]["$ref"].rsplit("/")[-1]).validate(content["example"])


def test_answer_examples_read_as_messages() -> None:
    answer = openapi.ANSWER_EXAMPLES[wire.BatchAnswer]
    msgspec.convert(openapi.ANSWER_EXAMPLES[wire.RecommendAnswer], wire.RecommendAnswer)
    msgspec.convert(answer["answers"][1], ErrorAnswer)


def test_every_status_that_a_route_documents_has_a_code() -> None:
    documented = {int(status) for _, operation in OPERATIONS for status in operation["responses"]}
    assert documented - {200} <= {problem.status for problem in Problem}


def test_page_loads_nothing_from_elsewhere() -> None:
    assert b"//" not in openapi.PAGE
    assert b'src="static_content/swagger-ui-bundle.js"' in openapi.PAGE


def test_operators_limits_stand_in_the_document() -> None:
    fields = SCHEMAS["RecommendRequest"]["properties"]
    assert (fields["k"]["minimum"], fields["k"]["maximum"]) == (1, 50)
    assert fields["exclude"]["maxItems"] == 2
    assert [choice.get("maxItems") for choice in fields["history"]["anyOf"]] == [3, None]
    assert fields["filters"]["maxProperties"] == 2
    assert [choice.get("maxItems") for choice in SCHEMAS["Filter"]["properties"]["any_of"]["anyOf"]] == [
        2,
        None,
    ]
    assert SCHEMAS["BatchRequest"]["properties"]["requests"]["maxItems"] == 2


def test_every_route_of_ours_is_documented() -> None:
    endpoints, routes = Endpoints(LIMITS, SURFACES), ReleaseRoutes(SURFACES)
    app = RecommendationApp(nothing_else, endpoints, LIMITS, routes, Guard(()))
    assert app.paths - {"/", "/docs.json"} == DOCUMENT["paths"].keys()
    endpoints.close()


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
)
values = (
    scalars
    | st.lists(scalars, max_size=4)
    | st.dictionaries(st.sampled_from(["item_id", "kind", "a"]), scalars)
)
conditions = st.dictionaries(
    st.sampled_from([*wire.Filter.__struct_fields__, "other"]),
    scalars | st.lists(scalars, max_size=3) | st.sampled_from(["2026-01-31", "2026-01-31T10:00Z", "2026"]),
)
bodies = st.dictionaries(
    st.sampled_from([*wire.RecommendRequest.__struct_fields__, "other"]), values, max_size=4
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bodies | st.builds(dict, filters=st.dictionaries(st.text(max_size=2), conditions, max_size=3)))
def test_schema_and_reader_agree_on_every_body(body: dict[str, Any]) -> None:
    text = msgspec.json.encode(body)  # an infinite number becomes null, as JSON has none
    try:
        message = wire.reader(wire.RecommendRequest)(text)
        wire.to_request(message, SURFACES.named(message.surface), timestamp=0)
        is_accepted = True
    except Refusal:
        is_accepted = False
    assert is_accepted == validator("RecommendRequest").is_valid(msgspec.json.decode(text))


items = st.dictionaries(st.sampled_from([*ItemMessage.__struct_fields__, "other"]), values, max_size=5)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(items, max_size=3))
def test_schema_and_reader_agree_on_every_item(body: list[dict[str, Any]]) -> None:
    text = msgspec.json.encode({"items": body})
    try:
        message = wire.reader(ItemsRequest)(text)
        for item in message.items:
            # That an end comes before its beginning is more than a schema can say.
            _live_item(msgspec.structs.replace(item, available_until=None), "items[0]")
            _live_item(msgspec.structs.replace(item, available_from=None), "items[0]")
        is_accepted = len(message.items) <= LIMITS.max_batch
    except Refusal:
        is_accepted = False
    assert is_accepted == validator("ItemsRequest").is_valid(msgspec.json.decode(text))


rerankings = st.dictionaries(
    st.sampled_from([*RerankingRequest.__struct_fields__, "other"]), values, max_size=4
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rerankings)
def test_schema_and_reader_agree_on_every_reranking(body: dict[str, Any]) -> None:
    text = msgspec.json.encode({"reranking": body})
    try:
        wire.to_request(wire.reader(wire.RecommendRequest)(text), SURFACES.named("home"), timestamp=0)
        is_accepted = True
    except Refusal:
        is_accepted = False
    assert is_accepted == validator("RecommendRequest").is_valid(msgspec.json.decode(text))
