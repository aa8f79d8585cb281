"""The client's messages, written from the OpenAPI document: `python -m serving.api.client_messages`.

The client imports nothing of the service, so its messages are a copy; `make lock` writes it anew, and a test
compares the bytes. They are wider than the service's: words are plain text, so that a service may be newer.
"""

import sys
import textwrap
from collections.abc import Iterator

from serving.api.document.openapi import document
from serving.api.examples import Json
from serving.api.routes import ROUTES
from serving.config import Settings

WIDTH = 110

HEADER = '''"""What is asked of the service and what it answers, as typed messages; written by `make lock`.

A field of a request that is left out is not sent: then the service's own default counts, which may differ
from surface to surface. Fields of an answer that this client does not know are passed over, so that a
service may be newer than its clients; words such as `source` are plain text for the same reason.
"""

from collections.abc import Mapping, Sequence

import msgspec

FeatureValue = bool | int | float | str | Sequence[bool | int | float | str | None] | None
"""What an attribute may be."""
'''
_FEATURE_VALUE = HEADER.partition("FeatureValue = ")[2].partition("\n")[0]

# Read part by part, for each may be an answer or an error.
_READ_ELSEWHERE = frozenset({"BatchAnswer"})
_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def client_messages() -> str:
    """Returns the text of `src/marquee/client/messages.py`."""
    schemas = document(Settings(), ["default"], ROUTES)["components"]["schemas"]
    classes = [_class(name, schemas) for name in _in_order(schemas) if name not in _READ_ELSEWHERE]
    return HEADER + "".join(classes)


def _in_order(schemas: Json) -> list[str]:
    """Returns the names of the objects among schemas, each behind those that it holds."""
    found: list[str] = []

    def add(name: str) -> None:
        if name not in found and _is_object(schemas[name]):
            for other in _references(schemas[name]):
                add(other)
            found.append(name)

    for name in schemas:
        add(name)
    return found


def _references(node: object) -> Iterator[str]:
    """Gives the names of the schemas that a piece of a document refers to."""
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _is_object(schema: Json) -> bool:
    """Returns whether a schema is that of a message, not of a word."""
    return "properties" in schema


def _class(name: str, schemas: Json) -> str:
    """Returns the class of one schema."""
    schema = schemas[name]
    is_request = schema.get("additionalProperties") is False
    required = set(schema.get("required", ()))
    options = "kw_only=True, frozen=True" + ", omit_defaults=True" * is_request
    lines = [f"\n\nclass {name}(msgspec.Struct, {options}):", f'    """{schema["description"]}', ""]
    lines.append("    Attributes:")
    for field, one in schema["properties"].items():
        text = f"{field}: {one['description']}{_words(one, schemas)}"
        lines += textwrap.wrap(
            text, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 12, break_on_hyphens=False
        )
    lines += ['    """', ""]
    for field, one in schema["properties"].items():
        wanted = _type(one, schemas, is_request=is_request)
        if is_request and field not in required:
            lines.append(f"    {field}: {_left_out(wanted)}")
        elif field in required and not wanted.endswith("| None"):
            lines.append(f"    {field}: {wanted}")
        else:
            lines.append(f"    {field}: {wanted} = {_default(one.get('default'))}")
    return "\n".join(lines) + "\n"


def _words(schema: Json, schemas: Json) -> str:
    """Returns the words that a field may hold, as a sentence; nothing for a field of other things."""
    words = [word for name in _references(schema) for word in schemas[name].get("enum", ())]
    return f" One of {', '.join(f'`{word}`' for word in words)}." if words else ""


def _type(schema: Json, schemas: Json, *, is_request: bool) -> str:
    """Returns a schema as a Python type: what is sent may be any sequence, what is read is immutable."""
    if "$ref" in schema:
        name = next(_references({"$ref": schema["$ref"]}))
        return name if _is_object(schemas[name]) else "str"
    if "anyOf" in schema:
        choices = [_type(choice, schemas, is_request=is_request) for choice in schema["anyOf"]]
        return " | ".join(sorted(dict.fromkeys(choices), key="None".__eq__))  # None last, as it is read
    kind = schema.get("type", "string")  # what is without a type has words to choose from
    if kind == "array":
        inner = _type(schema["items"], schemas, is_request=is_request)
        return f"Sequence[{inner}]" if is_request else f"tuple[{inner}, ...]"
    if kind == "object":
        inner = _type(schema["additionalProperties"], schemas, is_request=is_request)
        inner = "FeatureValue" if inner == _FEATURE_VALUE else inner
        return f"Mapping[str, {inner}]" if is_request else f"dict[str, {inner}]"
    return _PLAIN[kind]


def _left_out(wanted: str) -> str:
    """Returns type and default of a field that is not sent where nothing is said."""
    if wanted.startswith("Mapping") and "None" not in wanted.rpartition("]")[2]:
        return f"{wanted} = {{}}"
    if wanted.startswith("Sequence") and "None" not in wanted.rpartition("]")[2]:
        return f"{wanted} = ()"
    return f"{wanted} = None" if wanted.endswith("None") else f"{wanted} | None = None"


def _default(default: object) -> str:
    """Returns the default of a field of an answer, which may lack it."""
    return "()" if default in ([], ()) else repr(default)


if __name__ == "__main__":
    sys.stdout.write(client_messages())
