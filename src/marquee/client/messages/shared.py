"""Messages: what several groups of routes share; written by `make lock`."""

from collections.abc import Sequence

import msgspec

FeatureValue = bool | int | float | str | Sequence[bool | int | float | str | None] | None
"""The types that an attribute may have."""


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
