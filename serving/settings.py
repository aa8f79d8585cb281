"""How a room declares its settings: a dataclass whose fields carry their bounds and their description.

`serving.config` composes the rooms' classes, reads them from the environment and prints the table of
`docs/operating/running.md`. The field `max_k` is the environment variable `MARQUEE_MAX_K`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec
from msgspec import inspect

from marquee.errors import ConfigError

PREFIX = "MARQUEE_"

MAX_INTEGER = 10**12
"""The largest value of any setting: 30 years in ms, 1 TB. Timers and limits of the system overflow beyond."""

_INTEGER = re.compile(r"-?[0-9]{1,30}")


@dataclass(kw_only=True)
class RoomSettings:
    """Settings that refuse a value out of bounds, however they are made.

    A room's class annotates each field with `Annotated[<type>, Meta(ge=…, description=…)]`. Values that
    must fit together are compared in `validate`, after `super().validate()`.
    """

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a value is out of bounds."""
        for name, declared in declarations(type(self)).items():
            declared.validate(getattr(self, name))


@dataclass(frozen=True, slots=True)
class Declaration:
    """One setting as its room declares it.

    Attributes:
        variable: The environment variable.
        annotation: Type and bounds, for msgspec.
        description: One clause, in Markdown.
    """

    variable: str
    annotation: Any  # an Annotated form, which has no type of its own
    description: str

    @property
    def bounds(self) -> str:
        """The values that are taken, in words: '1 or more', 'from 0 to 100'; '' for any text."""
        kind = _plain(self.annotation)
        if isinstance(kind, inspect.BoolType):
            return "0 or 1"
        if not isinstance(kind, inspect.IntType):
            return ""
        if kind.le is None:
            return f"{kind.ge} or more" if kind.ge is not None else "an integer"
        return f"from {kind.ge} to {kind.le}"

    def validate(self, value: object) -> None:
        """Raises ConfigError unless `value` has the type and lies within the bounds."""
        if isinstance(value, int) and value > MAX_INTEGER:
            raise ConfigError(
                f"{self.variable} must be at most {MAX_INTEGER}, got {str(value)[:32]}; "
                f"it is {self.description}"
            )
        try:
            msgspec.convert(value, self.annotation)
        except msgspec.ValidationError:
            raise ConfigError(
                f"{self.variable} must be {self.bounds or 'text'}, got {value!r}; it is {self.description}"
            ) from None

    def read(self, text: str) -> str | int | bool:
        """Returns the value of an environment variable's text; `validate` checks the bounds.

        Raises:
            ConfigError: If it stands for no value of the type.
        """
        kind = _plain(self.annotation)
        if isinstance(kind, inspect.BoolType):
            if text not in {"0", "1"}:
                raise ConfigError(f"{self.variable} must be 0 or 1, got {text!r}; set one of them")
            return text == "1"
        if not isinstance(kind, inspect.IntType):
            return text
        if not _INTEGER.fullmatch(text):  # no 1e3, no spaces, and never so long that Python reads no number
            raise ConfigError(f"{self.variable} must be an integer, got {text[:64]!r}; set a whole number")
        return int(text)


def declarations(settings: type[RoomSettings]) -> Mapping[str, Declaration]:
    """Returns the settings that a class declares or inherits, by the name of their field."""
    hints = get_type_hints(settings, include_extras=True)
    return {
        name: Declaration(PREFIX + name.upper(), hint, _description(settings, name, hint))
        for name, hint in hints.items()
    }


def _description(settings: type[RoomSettings], name: str, hint: object) -> str:
    """Returns the description beside a field, which the page of settings needs."""
    declared = inspect.type_info(hint)
    extra = declared.extra_json_schema if isinstance(declared, inspect.Metadata) else None
    assert extra is not None, f"{settings.__name__}.{name} needs Meta(description=…)"
    return str(extra["description"])


def _plain(hint: object) -> inspect.Type:
    """Returns msgspec's description of a type, without bounds and descriptions."""
    declared = inspect.type_info(hint)
    return declared.type if isinstance(declared, inspect.Metadata) else declared
