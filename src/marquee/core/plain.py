"""Dataclasses out of what JSON holds, every type checked and no key dropped.

Decides how strict reading is. Leaves to others how a file is laid out and which error its reader raises.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

Typed = TypeVar("Typed")


def from_plain(body: object, kind: type[Typed]) -> Typed:
    """Returns the `kind` that parsed JSON stands for, built by its own constructors.

    Args:
        body: Mappings, lists, texts, numbers, flags and None.
        kind: A dataclass, or a tuple or mapping of them.

    Raises:
        ValueError: If a field is missing, unknown, of another type, or refused by its constructor; the
            message says where.

    Example:
        >>> from marquee.core.event_kinds import KindConfig
        >>> from_plain({"weight": 2}, KindConfig).weight
        2.0
        >>> from_plain({"w": 2}, KindConfig)
        Traceback (most recent call last):
        ValueError: Object contains unknown field `w` - at `$`
    """
    read: Typed = msgspec.convert(body, kind)
    _validate_keys(body, msgspec.to_builtins(read), "$")
    return read


def _validate_keys(given: object, read: object, place: str) -> None:
    """Raises ValueError that names a key of `given` which was not read."""
    # msgspec skips what a dataclass does not have: a misspelt field would become its default.
    if isinstance(given, Mapping) and isinstance(read, Mapping):
        for key, value in given.items():
            if key not in read:
                raise ValueError(f"Object contains unknown field `{key}` - at `{place}`")
            _validate_keys(value, read[key], f"{place}.{key}")
    elif isinstance(given, list | tuple) and isinstance(read, list | tuple):
        for number, (value, value_read) in enumerate(zip(given, read, strict=False)):
            _validate_keys(value, value_read, f"{place}[{number}]")
