"""Messages: what several groups of routes share; written by `make lock`."""

from collections.abc import Sequence

import msgspec

FeatureValue = bool | int | float | str | Sequence[bool | int | float | str | None] | None
"""The types that an attribute may have."""


class Filter(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A condition on one attribute of the items; everything given must hold, null means not asked.

    Attributes:
        any_of: The item has at least one of these values.
        all_of: The item has each of these values.
        none_of: The item has none of these values; one without a value passes.
        min: The item's number is this or more; a date or time means its seconds since 1970.
        max: The item's number is this or less; a date means the whole day.
    """

    any_of: Sequence[bool | int | float | str] | None = None
    all_of: Sequence[bool | int | float | str] | None = None
    none_of: Sequence[bool | int | float | str] | None = None
    min: int | float | str | None = None
    max: int | float | str | None = None


class ErrorBody(msgspec.Struct, kw_only=True, frozen=True):
    """Why a request was refused.

    Attributes:
        code: A word for programs.
        message: What came, what was expected, what to do.
        request_id: The id under which the service's log speaks of this request.
        field: The field of the request that is at fault, where it is one.
    """

    code: str
    message: str
    request_id: str
    field: str | None = None


class ErrorAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The only shape in which the service refuses.

    Attributes:
        error: Why.
    """

    error: ErrorBody
