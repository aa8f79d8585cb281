"""The errors in which a call to the service may end.

```
ServiceError
├── RefusedError            the service said no, in its one envelope: `status`, `code`, `field`
├── UnexpectedReplyError    a reply that is not the service's: a proxy's page, another version's answer
├── UnreachableError        no connection, or one that broke
└── TimedOutError           no reply in time
```

They stand beside `marquee.errors`, not below it: a caller's program knows nothing else of this library.
"""

import math

# Refused before anything was done: too many requests, or not ready.
_OF_A_BUSY_SERVICE = frozenset({429, 503})
# Without 500: whatever failed inside would fail again.
_OF_A_PROXY = frozenset({502, 503, 504})


class ServiceError(Exception):
    """A call that got no answer; catch it to catch all of them.

    Attributes:
        request_id: The id under which the service's log speaks of the call, if it came that far.
        may_repeat: Whether another attempt may succeed where this one did not.
        retry_after_s: Seconds that the service wants to be left alone for.
        reason: What a counter calls it.
    """

    may_repeat = False
    retry_after_s = 0.0
    reason = "error"

    def __init__(self, message: str, request_id: str = "") -> None:
        super().__init__(message)
        self.request_id = request_id


class RefusedError(ServiceError):
    """The service refused: `status` and `code` are for programs, the message for people.

    Attributes:
        status: HTTP status.
        code: The service's word for it, such as `invalid_request`.
        field: The field of the request that is at fault, if it is one.
    """

    def __init__(
        self,
        message: str,
        request_id: str,
        *,
        status: int,
        code: str,
        field: str | None,
        retry_after_s: float,
    ) -> None:
        super().__init__(message, request_id)
        self.status = status
        self.code = code
        self.field = field
        self.retry_after_s = retry_after_s
        self.may_repeat = status in _OF_A_BUSY_SERVICE
        self.reason = str(status)


class UnexpectedReplyError(ServiceError):
    """Something replied, but not as the service does.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, message: str, request_id: str, *, status: int) -> None:
        super().__init__(message, request_id)
        self.status = status
        self.may_repeat = status in _OF_A_PROXY
        self.reason = str(status)


class UnreachableError(ServiceError):
    """There was no connection, or it broke before the reply was complete."""

    may_repeat = True
    reason = "unreachable"


class TimedOutError(ServiceError):
    """No reply came in time."""

    may_repeat = True
    reason = "timed_out"


def seconds_of_retry_after(header: str | None) -> float:
    """Returns the seconds that a Retry-After header asks for; 0 for none, a date or nonsense.

    Example:
        >>> seconds_of_retry_after("2"), seconds_of_retry_after("Wed, 21 Oct 2026 07:28:00 GMT")
        (2.0, 0.0)
    """
    try:
        # A date is not read: it would need a clock that agrees with the service's.
        seconds = float(header or 0)
    except ValueError:
        return 0.0
    # float reads "inf" and "nan" too.
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
