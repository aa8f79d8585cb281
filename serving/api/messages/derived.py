"""Messages made of the library's own dataclasses, so that a field of an answer is declared once.

The dataclass says which fields there are, their types, defaults and, in its docstring, what they mean. A
message adds what only the wire has. The OpenAPI document and the client's messages follow from the message.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from operator import attrgetter
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec
from msgspec import Meta

Message = TypeVar("Message", bound=msgspec.Struct)

_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n {6,}.*)*)", re.MULTILINE)


def documented_attributes(docstring: str) -> tuple[str, Mapping[str, str]]:
    """Returns the text of a Google docstring before its section `Attributes`, and the attributes' own texts.

    Example:
        >>> documented_attributes('''One.
        ...
        ...     Attributes:
        ...         a: First,
        ...             really.
        ...     ''')
        ('One.', {'a': 'First, really.'})
    """
    text, _, section = inspect.cleandoc(docstring).partition("\n\nAttributes:\n")
    section = section.partition("\n\n")[0]
    return text, {name: " ".join(said.split()) for name, said in _ATTRIBUTE.findall(section)}


def derived(message: type[Message], source: type) -> type[Message]:
    """Returns `message` with the fields of a dataclass beside its own, in one flat object.

    Args:
        message: Declares the fields that only the wire has, by keyword.
        source: A dataclass.
    """
    types = get_type_hints(source)
    _, said = documented_attributes(source.__doc__ or "")
    declared = [
        (one.name, Annotated[types[one.name], Meta(description=said.get(one.name, ""))], *_default(one))
        for one in fields(source)
    ]
    made = msgspec.defstruct(
        message.__name__,
        declared,
        bases=(message,),
        namespace={"__doc__": message.__doc__},
        module=message.__module__,
        frozen=True,
        omit_defaults=True,
    )
    assert issubclass(made, message), f"{made} has {message} as its base"
    return made


def values_of(source: type) -> Callable[[object], tuple[Any, ...]]:  # Any: fields of any type, in order
    """Returns a function that gives the values of all fields of a dataclass, in the order of `derived`."""
    return attrgetter(*[one.name for one in fields(source)])


def _default(one: "Field[Any]") -> tuple[Any, ...]:  # Any: a default is of its field's type
    """Returns the default of a field as `defstruct` takes it, nothing for a field that must be given."""
    if one.default_factory is not MISSING:
        return (msgspec.field(default_factory=one.default_factory),)
    return () if one.default is MISSING else (one.default,)
