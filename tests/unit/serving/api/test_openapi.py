"""The OpenAPI document: true to the messages, with the operator's limits and an example of everything."""

from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.api import examples
from serving.api.document import openapi, page
from serving.api.items import _live_item
from serving.api.messages import requests as wire
from serving.api.messages.answers import RECOMMEND_ANSWER
from serving.api.messages.items import ItemMessage, ItemsRequest
from serving.api.messages.limits import to_request
from serving.api.messages.reading import reader
from serving.api.messages.reranking import RerankingRequest
from serving.api.route import Route
from serving.api.routes import ROUTES
from serving.config import Settings
from serving.http.errors import ErrorAnswer, Problem, Refusal
from serving.releases.channel import Channel
from serving.releases.surfaces import Surface, Surfaces

LIMITS = Settings(max_k=50, max_history=3, max_exclude=2, max_batch=2, max_filters=2, max_filter_values=2)
LINE = Channel("nowhere")
SURFACES = Surfaces(
    [Surface(name=name, bundle="nowhere", settings=LIMITS) for name in ("home", "feed")],
    "home",
    {"home": LINE, "feed": LINE},
)
DOCUMENT = openapi.document(LIMITS, SURFACES.names, ROUTES)
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = [
    (path, operation) for path, methods in DOCUMENT["paths"].items() for operation in methods.values()
]
WITH_MESSAGE = [route for route in ROUTES if route.message]


def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    return jsonschema_rs.Draft202012Validator(schema)


def test_every_schema_is_one() -> None:
    for schema in SCHEMAS.values():
        assert jsonschema_rs.meta.is_valid(schema)


@pytest.mark.parametrize("route", WITH_MESSAGE, ids=[route.path for route in WITH_MESSAGE])
def test_request_examples_are_accepted(route: Route) -> None:
    assert route.message is not None
    for example in route.examples.values():
        reader(route.message)(msgspec.json.encode(example))
        validator(route.message.__name__).validate(example)


@pytest.mark.parametrize(("path", "operation"), OPERATIONS, ids=[path for path, _ in OPERATIONS])
def test_answer_examples_are_answers(path: str, operation: dict[str, Any]) -> None:
    assert path
    for response in operation["responses"].values():
        content = response["content"].get("application/json", {})
        if "example" in content:
            validator(content["schema"]["$ref"].rsplit("/")[-1]).validate(content["example"])


def test_answer_examples_read_as_messages() -> None:
    msgspec.convert(examples.ANSWER, RECOMMEND_ANSWER)
    msgspec.convert(examples.BATCH_ANSWER["answers"][1], ErrorAnswer)


def test_every_status_that_a_route_documents_has_a_code() -> None:
    documented = {int(status) for _, operation in OPERATIONS for status in operation["responses"]}
    assert documented - {200, 202} <= {problem.status for problem in Problem}


def test_page_loads_nothing_from_elsewhere() -> None:
    assert b"//" not in page.PAGE
    assert b'src="static_content/swagger-ui-bundle.js"' in page.PAGE


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


def test_document_holds_every_route_but_itself_and_its_page() -> None:
    documented = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    undocumented = {("GET", "/"), ("GET", "/docs.json")}
    assert documented == {(route.method, route.path) for route in ROUTES} - undocumented


def test_every_property_of_every_schema_is_described() -> None:
    bare = [
        f"{name}.{key}"
        for name, schema in SCHEMAS.items()
        for key, one in schema.get("properties", {}).items()
        if not one.get("description")
    ]
    assert bare == []


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
        message = reader(wire.RecommendRequest)(text)
        to_request(message, SURFACES.named(message.surface), timestamp=0)
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
        message = reader(ItemsRequest)(text)
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
        to_request(reader(wire.RecommendRequest)(text), SURFACES.named("home"), timestamp=0)
        is_accepted = True
    except Refusal:
        is_accepted = False
    assert is_accepted == validator("RecommendRequest").is_valid(msgspec.json.decode(text))
