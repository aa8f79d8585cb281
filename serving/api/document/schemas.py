"""The schemas of the messages, with what their types cannot say: descriptions, and the operator's limits."""

from collections.abc import Iterable, Sequence

import msgspec

from serving.api.examples import Json
from serving.api.messages import reranking
from serving.api.messages.answers import RECOMMEND_ANSWER, BatchAnswer
from serving.api.messages.derived import documented_attributes
from serving.api.messages.events import MAX_EVENTS, EventMessage
from serving.api.messages.items import LATEST_MOMENT
from serving.api.messages.requests import RecommendRequest
from serving.config import Settings
from serving.http.errors import ErrorAnswer
from serving.releases.surfaces import DEFAULT_K

REFERENCE = "#/components/schemas/{name}"


def reference(message: type[msgspec.Struct]) -> Json:
    """Returns a reference to a message's schema."""
    return {"$ref": REFERENCE.format(name=message.__name__)}


def schemas(messages: Iterable[type[msgspec.Struct]], settings: Settings, surfaces: Sequence[str]) -> Json:
    """Returns the schemas of messages and of all that they hold, by name.

    Args:
        messages: Types of bodies and answers.
        settings: The operator's limits.
        surfaces: Names of the surfaces.
    """
    # By hand: msgspec describes no union of untagged messages.
    described = [message for message in messages if message is not BatchAnswer] + [EventMessage]
    _, found = msgspec.json.schema_components(described, ref_template=REFERENCE)
    for schema in found.values():
        _move_descriptions(schema)
        _drop_defaults(schema)
    _describe_asking(found, settings)
    _describe_items(found, settings)
    _describe_events(found)
    # Each exchange adds fields of its own, which the bidder reads past; msgspec says nothing of them.
    found["AuctionRequest"]["additionalProperties"] = True
    for schema in found.values():
        _describe_surface(schema, surfaces)
    found["BatchAnswer"] = {
        "title": "BatchAnswer",
        "description": BatchAnswer.__doc__,
        "type": "object",
        "properties": {
            "request_id": found["RecommendAnswer"]["properties"]["request_id"],
            "answers": {
                "type": "array",
                "description": "In the order of the requests.",
                "items": {"anyOf": [reference(RECOMMEND_ANSWER), reference(ErrorAnswer)]},
            },
        },
        "required": list(BatchAnswer.__struct_fields__),
    }
    return found


def _move_descriptions(schema: Json) -> None:
    """Gives each property the words that the docstring's section `Attributes` has for it."""
    text, said = documented_attributes(schema.get("description", ""))
    if "description" in schema:
        schema["description"] = text
    for name, words in said.items():
        schema["properties"][name].setdefault("description", words)


def _drop_defaults(schema: Json) -> None:
    """Takes the default from what may be left out of a request.

    Generators of clients make a property with a default a required one, because a reader would fill it in;
    here it means that the service does.
    """
    if schema.get("additionalProperties") is False:
        for name, one in schema["properties"].items():
            default = one.pop("default", None)
            if default not in (None, {}, [], ()):
                one["description"] = f"{one.get('description', name)} {_default_in_words(default)}"


def _default_in_words(default: object) -> str:
    """Returns a sentence on the default of a field."""
    return f"Left out: {msgspec.json.encode(default).decode()}."


def _describe_asking(found: Json, settings: Settings) -> None:
    """Writes the operator's limits into the schemas of requests."""
    for name in ("RecommendRequest", "SimilarRequest", "RowRequest"):
        properties = found[name]["properties"]
        properties["k"] = {
            "type": "integer",
            "minimum": 1,
            "maximum": settings.max_k,
            "description": f"{properties['k']['description']} Left out: what the surface says, "
            f"{min(DEFAULT_K, settings.max_k)} where it says nothing. A surface may allow fewer.",
        }
        if "exclude" in properties:
            properties["exclude"]["maxItems"] = settings.max_exclude
        properties["filters"]["maxProperties"] = settings.max_filters
    reranking.describe(found["RerankingRequest"])
    for condition in ("any_of", "all_of", "none_of"):
        _array_choice(found["Filter"]["properties"][condition])["maxItems"] = settings.max_filter_values
    for name in ("RecommendRequest", "PageRequest"):
        _array_choice(found[name]["properties"]["history"])["maxItems"] = settings.max_history
    found["RowRequest"]["properties"]["items"]["maxItems"] = settings.max_history
    found["PageRequest"]["properties"]["exclude"]["maxItems"] = settings.max_exclude
    found["PageRequest"]["properties"]["rows"]["maxItems"] = settings.max_rows
    found["BatchRequest"]["properties"]["requests"] = {
        "type": "array",
        "minItems": 1,
        "maxItems": settings.max_batch,
        "items": reference(RecommendRequest),
        "description": "One that is no such request gets an error in its place in the answers.",
    }


def _describe_items(found: Json, settings: Settings) -> None:
    """Writes into the schemas of live items what their types cannot say."""
    found["ItemsRequest"]["properties"]["items"]["maxItems"] = settings.max_batch
    item = found["ItemMessage"]["properties"]
    for name in ("available_from", "available_until"):
        moment = {"type": "integer", "minimum": -LATEST_MOMENT, "maximum": LATEST_MOMENT}
        item[name] = {"anyOf": [moment, {"type": "null"}], "description": item[name]["description"]}


def _describe_events(found: Json) -> None:
    """Says of what the rows are that are judged one by one."""
    found["EventsRequest"]["properties"]["events"] = {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_EVENTS,
        "items": reference(EventMessage),
        "description": "One that is no such event is rejected alone.",
    }


def _describe_surface(schema: Json, surfaces: Sequence[str]) -> None:
    """Lists the surfaces where a message names one."""
    if surface := schema.get("properties", {}).get("surface"):
        surface["enum"] = list(surfaces)


def _array_choice(schema: Json) -> Json:
    """Returns the one choice of a schema that is a list."""
    choice: Json = next(choice for choice in schema["anyOf"] if choice["type"] == "array")
    return choice
