"""Tells which fields of some examples are at their default: reading those back proves nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def fields_at_default(*examples: object) -> set[str]:
    """Returns the fields, as `Class.field`, that are at their default in every dataclass among the examples.

    Looks into fields, tuples, lists and mappings. A field without a default counts as set.

    Args:
        examples: Dataclasses, or what holds them.
    """
    seen: set[str] = set()
    changed: set[str] = set()
    for found in _dataclasses(examples):
        for field in fields(found):
            if field.init:
                name = f"{type(found).__name__}.{field.name}"
                seen.add(name)
                if getattr(found, field.name) != _default(field):
                    changed.add(name)
    return seen - changed


def _dataclasses(value: object) -> Iterator[Any]:  # Any: dataclasses share no base
    """Yields the dataclasses that a value is or holds, itself first."""
    if is_dataclass(value):
        yield value
        for field in fields(value):
            yield from _dataclasses(getattr(value, field.name))
    elif isinstance(value, Mapping):
        yield from _dataclasses(tuple(value.values()))
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _dataclasses(one)


def _default(field: "Field[object]") -> object:
    """Returns the default of a field, a value that equals no other if it has none."""
    if field.default_factory is not MISSING:
        return field.default_factory()
    return object() if field.default is MISSING else field.default
