"""Every way in which a request can be refused, and the one shape that tells so.

A refusal names what came, what was expected and what to do. Nothing that the service did not expect is
ever explained to the caller: such a failure becomes a bare 500 and a log line under the same request id.
"""

from collections.abc import Mapping

import msgspec

from marquee.errors import (
    BundleError,
    BundleNotFoundError,
    BundleVersionError,
    ChecksumError,
    ConfigError,
    DataError,
    DownloadError,
    FilterError,
    ItemsFullError,
    LeakageError,
    MarqueeError,
    MissingColumnError,
    NotFittedError,
    ParityError,
    RejectedRowsError,
    ShapeError,
    SignatureError,
    UnknownIdError,
)

STATUS_OF_ERROR: Mapping[type[MarqueeError], int] = {
    MarqueeError: 500,
    DataError: 422,
    MissingColumnError: 422,
    UnknownIdError: 404,
    ShapeError: 422,
    FilterError: 422,
    RejectedRowsError: 422,
    LeakageError: 500,
    ConfigError: 500,
    BundleError: 503,
    BundleNotFoundError: 503,
    BundleVersionError: 503,
    ChecksumError: 503,
    SignatureError: 503,
    ItemsFullError: 507,
    ParityError: 500,
    DownloadError: 500,
    NotFittedError: 500,
}
"""HTTP status of each class of our errors; every class is listed, so that a new one is a decision."""

CODE_OF_STATUS: Mapping[int, str] = {
    400: "malformed_request",
    401: "key_needed",
    403: "key_not_sufficient",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_too_slow",
    409: "release_refused",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "too_many_requests",
    431: "headers_too_large",
    500: "internal_error",
    501: "not_configured",
    503: "unavailable",
    507: "no_room",
}
"""The word that a program reads for each status that the service gives."""

RETRY_AFTER_S = 1


class ErrorBody(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
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
    """The only shape in which the service refuses."""

    error: ErrorBody


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault
    """A request that is answered with an error.

    Attributes:
        status: HTTP status.
        field: The field at fault, if it is one.
        headers: Headers that this status calls for.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        field: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.field = field
        self.headers = headers

    def answer(self, request_id: str) -> ErrorAnswer:
        """Returns the answer that tells this refusal."""
        return ErrorAnswer(
            error=ErrorBody(
                code=CODE_OF_STATUS[self.status], message=str(self), request_id=request_id, field=self.field
            )
        )


def refusal_of(error: BaseException) -> Refusal:
    """Returns what the caller is told about `error`; faults of ours keep their details to the log."""
    if isinstance(error, Refusal):
        return error
    status = STATUS_OF_ERROR.get(type(error), 500) if isinstance(error, MarqueeError) else 500
    if status == 503:
        return unavailable("the bundle cannot be used at the moment, its details are in the service's log")
    if status == 500:
        return Refusal(500, "the service failed on this request; its log says why under the request_id")
    return Refusal(status, str(error), field=error.field if isinstance(error, FilterError) else None)


def unavailable(message: str) -> Refusal:
    """Returns the refusal of a request that would be welcome a little later."""
    return Refusal(503, message, headers=((b"retry-after", str(RETRY_AFTER_S).encode()),))
