"""Messages: of the group `users`; written by `make lock`."""

import msgspec


class ConsentRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """How much a user lets be used.

    Attributes:
        tier: `personal`: all that is known; `segment`: the attributes that requests declare; `none`: the
            moment alone. One of `none`, `personal`, `segment`.
    """

    tier: str


class ConsentAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The tier that holds from now on, for the next answer of every worker.

    Attributes:
        request_id: The id under which the log speaks of the request.
        tier: What was said. One of `none`, `personal`, `segment`.
        changed: Since when it holds, seconds since 1970 UTC.
    """

    request_id: str
    tier: str
    changed: int
