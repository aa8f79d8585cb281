"""Every way in which a request can be refused, and the one shape that tells so.

A refusal names what came, what was expected and what to do. Nothing that the service did not expect is
ever explained to the caller: such a failure becomes a bare 500 and a log line under the same request id.
"""

from collections.abc import Mapping
from enum import Enum

import msgspec

from marquee.errors import (
    BidRequestError,
    BundleBusyError,
    BundleError,
    BundleNotFoundError,
    BundleVersionError,
    CampaignChangedError,
    CampaignError,
    ChecksumError,
    ConfigError,
    DataError,
    DownloadError,
    EventLogError,
    EventLogFullError,
    EventLogGoneError,
    FilterError,
    FormError,
    ItemsFullError,
    LeakageError,
    LedgerBehindError,
    MarqueeError,
    MissingColumnError,
    MoneyError,
    NotFittedError,
    NoticeError,
    OtherShapeError,
    ParityError,
    QueryError,
    RejectedRowsError,
    RuleError,
    RulesChangedError,
    ShapeError,
    SignatureError,
    TaskError,
    UnknownIdError,
)

# The header counts whole seconds (RFC 9110, section 10.2.3): 1 is the shortest pause.
RETRY_AFTER_S = 1


class Problem(Enum):
    """Every word for a refusal: its status, and what it means to a caller.

    The word is what a program reads; several words may share a status.
    """

    malformed_request = (400, "the body is no JSON")
    key_needed = (401, "no key was sent, or an unknown one")
    key_not_sufficient = (403, "the key is good for other things")
    consent_needed = (403, "the user does not let be used what the trait needs")
    not_found = (404, "there is no such path, decision, trait or audience, or, for similar items, no item")
    method_not_allowed = (405, "the path takes another method")
    request_too_slow = (408, "headers or body did not arrive in time")
    release_busy = (409, "another change of releases is at work; nothing was changed; send it again")
    release_refused = (409, "the release cannot be used; the old one goes on answering")
    audience_refused = (
        409,
        "the audience is so small that it could show single people, or rests on a refused trait",
    )
    decision_expired = (410, "decisions of that age are deleted")
    cursor_expired = (410, "the release or run that cursor or token belong to is gone; ask without them")
    campaign_changed = (409, "the campaign is of another version, and comes along; nothing was changed")
    rules_changed = (412, "the rules are of another version, and come along; nothing was changed")
    body_too_large = (413, "the body is larger than allowed")
    unsupported_media_type = (
        415,
        "the body is not sent plainly in the content type that the path takes",
    )
    invalid_request = (422, "a field is wrong; `field` says which, `message` why")
    version_needed = (
        428,
        "the header `If-Match` must say which version of the rules or of the campaign is replaced",
    )
    too_many_requests = (
        429,
        "the key is used more often than it may be; `Retry-After` says when to come back",
    )
    headers_too_large = (431, "request line and headers are larger than allowed")
    internal_error = (500, "our fault: the log tells under the `request_id`")
    not_configured = (
        501,
        "the service keeps no live items, no events, rules and campaigns, no users, or no customers",
    )
    unavailable = (503, "too much at once, too late, or not ready; `Retry-After` says when to come back")
    no_room = (507, "no room for more live items, or the disk is full; nothing was changed or kept")

    def __init__(self, status: int, description: str) -> None:
        self.status = status
        self.description = description


PROBLEM_OF_ERROR: Mapping[type[MarqueeError], Problem] = {
    MarqueeError: Problem.internal_error,
    DataError: Problem.invalid_request,
    MissingColumnError: Problem.invalid_request,
    UnknownIdError: Problem.not_found,
    ShapeError: Problem.invalid_request,
    FilterError: Problem.invalid_request,
    QueryError: Problem.invalid_request,
    RejectedRowsError: Problem.invalid_request,
    LeakageError: Problem.internal_error,
    ConfigError: Problem.internal_error,
    OtherShapeError: Problem.internal_error,
    BundleError: Problem.unavailable,
    BundleNotFoundError: Problem.unavailable,
    BundleBusyError: Problem.unavailable,
    BundleVersionError: Problem.unavailable,
    ChecksumError: Problem.unavailable,
    SignatureError: Problem.unavailable,
    ItemsFullError: Problem.no_room,
    RuleError: Problem.invalid_request,
    FormError: Problem.invalid_request,
    BidRequestError: Problem.invalid_request,
    NoticeError: Problem.invalid_request,
    RulesChangedError: Problem.rules_changed,
    MoneyError: Problem.invalid_request,
    CampaignError: Problem.invalid_request,
    CampaignChangedError: Problem.campaign_changed,
    LedgerBehindError: Problem.unavailable,
    EventLogError: Problem.unavailable,
    EventLogFullError: Problem.no_room,
    EventLogGoneError: Problem.unavailable,
    ParityError: Problem.internal_error,
    DownloadError: Problem.internal_error,
    NotFittedError: Problem.internal_error,
    TaskError: Problem.internal_error,
}
"""The problem that a caller is told for each class of our errors; all are listed: a new one is a decision."""


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
    """The only shape in which the service refuses.

    Attributes:
        error: Why.
    """

    error: ErrorBody


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault
    """A request that is answered with an error.

    Attributes:
        problem: The word for it.
        status: HTTP status, the problem's own.
        field: The field at fault, if it is one.
        headers: Headers that this status calls for.
    """

    def __init__(
        self,
        problem: Problem,
        message: str,
        *,
        field: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.problem = problem
        self.status = problem.status
        self.field = field
        self.headers = headers

    def answer(self, request_id: str) -> ErrorAnswer:
        """Returns the answer that tells this refusal."""
        return ErrorAnswer(
            error=ErrorBody(
                code=self.problem.name, message=str(self), request_id=request_id, field=self.field
            )
        )


def refusal_of(error: BaseException) -> Refusal:
    """Returns the refusal that the caller gets for `error`; the details of our faults go to the log alone."""
    # Whoever raised it has chosen the words for the caller.
    if isinstance(error, Refusal):
        return error
    problem = Problem.internal_error
    if isinstance(error, MarqueeError):
        # By the very class: a new error must not inherit the status of its base unseen.
        problem = PROBLEM_OF_ERROR.get(type(error), problem)
    # Its details name files and releases of the machine, which are not the caller's business.
    if problem is Problem.unavailable:
        return unavailable("the bundle cannot be used at the moment, its details are in the service's log")
    if problem is Problem.internal_error:
        return Refusal(problem, "the service failed on this request; its log says why under the request_id")
    # Errors about the request name what came: these details are the caller's own.
    return Refusal(problem, str(error), field=getattr(error, "field", None))


def unavailable(message: str) -> Refusal:
    """Returns the refusal of a request that would be welcome a little later."""
    return Refusal(Problem.unavailable, message, headers=((b"retry-after", str(RETRY_AFTER_S).encode()),))
