"""The messages by which an app says how much of a user may be used."""

from typing import Annotated

import msgspec
from msgspec import Meta

from marquee.store.people.consent import Tier


class ConsentRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How much a user lets be used."""

    tier: Annotated[
        Tier,
        Meta(
            description="`personal`: all that is known; `segment`: the attributes that requests declare; "
            "`none`: the moment alone."
        ),
    ]


class ConsentAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The tier that holds from now on, for the next answer of every worker."""

    request_id: Annotated[str, Meta(description="The id under which the log speaks of the request.")]
    tier: Annotated[Tier, Meta(description="What was said.")]
    changed: Annotated[int, Meta(description="Since when it holds, seconds since 1970 UTC.")]
