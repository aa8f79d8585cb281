"""Writes the client's messages from the OpenAPI document.

`python -m serving.api.client_messages <folder>` is the command. The client imports nothing of the
service, so its messages are a copy; `make lock` writes it anew, and a test compares the bytes. A module holds
the messages of one group of routes, `shared` those of several groups. They are wider than the service's:
words are plain text, so that a service may be newer.
"""

import json
import keyword
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from serving.api.document.openapi import document
from serving.api.examples import Json
from serving.api.routes import ROUTES
from serving.config import Settings
from serving.http.errors import ErrorAnswer

WIDTH = 110

SHARED = "shared"
FEATURE_VALUE = "FeatureValue"

PACKAGE_HEADER = '''\
"""Requests to the service and its answers, as typed messages; written by `make lock`.

A field of a request that is left out is not sent: then the service's own default counts, which may differ
from surface to surface. Fields of an answer that this client does not know are passed over, so that a
service may be newer than its clients; words such as `source` are plain text for the same reason.
"""

'''

_FEATURE_VALUE_TYPE = "bool | int | float | str | Sequence[bool | int | float | str | None] | None"
_FEATURE_VALUE_LINES = f'''\n{FEATURE_VALUE} = {_FEATURE_VALUE_TYPE}
"""The types that an attribute may have."""
'''

# Read part by part, for each may be an answer or an error.
_READ_ELSEWHERE = frozenset({"BatchAnswer"})
# What the client fills in where its caller leaves it out, and who does.
_MADE_BY_CLIENT = {("EventMessage", "event_id"): "Left out: a new one, made by `send_events`."}
_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def client_messages() -> Mapping[str, str]:
    """Returns the text of each module of `src/marquee/client/messages`, by its name."""
    schemas = document(Settings(), ["default"], ROUTES)["components"]["schemas"]
    names = [name for name in _in_order(schemas) if name not in _READ_ELSEWHERE]
    module_of = {FEATURE_VALUE: SHARED} | {name: _module(name, schemas) for name in names}
    modules = {
        module: [name for name in names if module_of[name] == module] for module in _modules(module_of)
    }
    return {
        "__init__": PACKAGE_HEADER + _imports_of_package(module_of),
        **{
            module: _text(module, [_class(name, schemas) for name in members], module_of)
            for module, members in modules.items()
        },
    }


def _modules(module_of: Mapping[str, str]) -> list[str]:
    """Returns the names of the modules, each once."""
    return sorted(set(module_of.values()))


def _module(name: str, schemas: Json) -> str:
    """Returns the module of a message: its group of routes, or `shared` if several groups hold it."""
    groups = {
        route.tag.title
        for route in ROUTES
        if route.tag is not None
        for one in (route.message, route.answer, *route.refusals.values())
        if one is not None and name in _closure(one.__name__, schemas)
    }
    is_of_all = name in _closure(ErrorAnswer.__name__, schemas)
    return groups.pop() if len(groups) == 1 and not is_of_all else SHARED


def _closure(name: str, schemas: Json) -> set[str]:
    """Returns a schema's name with those of all that it holds, however deep."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(_references(schemas[one]))
    return found


def _text(module: str, classes: Iterable[str], module_of: Mapping[str, str]) -> str:
    """Returns a module of some classes, with what they import."""
    body = (_FEATURE_VALUE_LINES if module == SHARED else "") + "".join(classes)
    words = set(re.findall(r"\w+", _without_docstrings(body)))
    what = "what several groups of routes share" if module == SHARED else f"of the group `{module}`"
    abstract = ", ".join(sorted({"Mapping", "Sequence"} & words))
    lines = [f'"""Messages: {what}; written by `make lock`."""\n']
    if abstract:
        lines.append(f"from collections.abc import {abstract}\n")
    lines.append("import msgspec")
    others = {name for name, other in module_of.items() if other != module and name in words}
    imports = _imports({name: module_of[name] for name in others})
    return "\n".join(lines) + "\n" + (f"\n{imports}" if imports else "") + body


def _without_docstrings(text: str) -> str:
    """Returns a text without its docstrings."""
    return re.sub(r'"""(?:.|\n)*?"""', "", text)


def _imports_of_package(module_of: Mapping[str, str]) -> str:
    """Returns the lines that make all messages names of the package."""
    names = "".join(f'    "{name}",\n' for name in sorted(module_of))
    return _imports(module_of) + f"\n__all__ = [\n{names}]\n"


def _imports(module_of: Mapping[str, str]) -> str:
    """Returns import lines for names by their modules, as ruff formats them."""
    text = ""
    for module in _modules(module_of):
        names = sorted((name for name, other in module_of.items() if other == module), key=str.lower)
        line = f"from marquee.client.messages.{module} import {', '.join(names)}"
        if len(line) > WIDTH:
            line = line.partition(" import ")[0] + " import (\n" + "".join(f"    {n},\n" for n in names) + ")"
        text += f"{line}\n"
    return text


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
        made = _MADE_BY_CLIENT.get((name, field), "")
        # Python's own words cannot be names: `from` is `from_` there, and stays what it is on the wire.
        name_there = f"{field}_" if keyword.iskeyword(field) else field
        text = f"{name_there}: {one['description']}{_words(one, schemas)} {made}"
        lines += textwrap.wrap(
            text, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 12, break_on_hyphens=False
        )
    lines += ['    """', ""]
    for field, one in schema["properties"].items():
        wanted = _type(one, schemas, is_request=is_request)
        if (name, field) in _MADE_BY_CLIENT:
            lines.append(f'    {field}: {wanted} = ""')
        elif keyword.iskeyword(field):
            lines.append(f'    {field}_: {wanted} = msgspec.field(default=None, name="{field}")')
        elif is_request and field not in required:
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
    if kind == "object" and "additionalProperties" not in schema:
        return "dict[str, object]"  # rows in the log's own columns, which may become more
    if kind == "object":
        inner = _type(schema["additionalProperties"], schemas, is_request=is_request)
        inner = FEATURE_VALUE if inner == _FEATURE_VALUE_TYPE else inner
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
    if isinstance(default, str):
        # As the formatter writes it: the file must be what it makes of it.
        return json.dumps(default, ensure_ascii=False)
    return "()" if default in ([], ()) else repr(default)


def write(folder: Path) -> None:
    """Writes the modules into a folder, and removes others there."""
    folder.mkdir(exist_ok=True)
    texts = client_messages()
    for path in folder.glob("*.py"):
        if path.stem not in texts:
            path.unlink()
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
