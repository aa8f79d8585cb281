"""The messages by which forms are scored and audiences are told."""

from typing import Annotated

import msgspec
from msgspec import Meta

from marquee.store.people.consent import Tier
from serving.api.messages.requests import FeatureValue, Id

_AS_OF = "Moment up to which it has learned, seconds since 1970 UTC; null where its table has no time."


class ScoreRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A form just sent."""

    columns: Annotated[
        dict[str, FeatureValue],
        Meta(
            max_length=1000,
            description="Every column that the trait reads, as the table had it; null where it is not known.",
        ),
    ]
    user_id: Annotated[
        Id | None, Meta(description="Whose form it is: what they have said of their consent then holds.")
    ] = None
    consent: Annotated[
        Tier | None, Meta(description="How much may be used; the stricter of this and what holds counts.")
    ] = None


class ScoreReason(msgspec.Struct, kw_only=True, frozen=True):
    """A column that moves the score."""

    column: Annotated[str, Meta(description="The column.")]
    contribution: Annotated[
        float, Meta(description="What it adds to ln(p / (1 - p)), beside the average customer.")
    ]


class ScoreAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The score of a form."""

    request_id: Annotated[str, Meta(description="The id under which the log speaks of the request.")]
    trait: Annotated[str, Meta(description="Name of the trait.")]
    value: Annotated[
        float | str,
        Meta(
            description="The probability, value, uplift or praise of a text, a number; the name of a segment."
        ),
    ]
    version: Annotated[str, Meta(description="Of the trait: equal data and settings have equal ones.")]
    as_of: Annotated[float | None, Meta(description=_AS_OF)]
    reasons: Annotated[
        tuple[ScoreReason, ...],
        Meta(description="The columns that move a probability most, the strongest first; of others none."),
    ]
    parts: Annotated[
        dict[str, float],
        Meta(
            description="Numbers beside it: `purchases` of a value, `response` of an uplift, `r` and `f`, or "
            "`distance`, of a segment."
        ),
    ] = {}


class MemberMessage(msgspec.Struct, kw_only=True, frozen=True):
    """A member of an audience."""

    user_id: Annotated[str, Meta(description="As the table of customers has it, or their pseudonym.")]
    group: Annotated[
        str,
        Meta(description="`contact`: to be spoken to; `holdout`: left alone, to measure by."),
    ]
    position: Annotated[int, Meta(description="In the order of the audience, from 1.")]


class MemberChangeMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A member who came or went."""

    delivery_id: Annotated[
        str, Meta(description="Equal for the same change: taken twice it changes nothing.")
    ]
    change: Annotated[str, Meta(description="`added` or `removed`.")]
    user_id: Annotated[str, Meta(description="Of whom.")]
    group: Annotated[str | None, Meta(description="Null of one who went.")] = None


class AudienceAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A page of the members of an audience, or of what changed in it."""

    request_id: Annotated[str, Meta(description="The id under which the log speaks of the request.")]
    audience: Annotated[str, Meta(description="Its name.")]
    run: Annotated[str, Meta(description="The run that it is of.")]
    version: Annotated[str, Meta(description="Of the run: equal tables and settings have equal ones.")]
    token: Annotated[str, Meta(description="Names these members: `since` asks what changed after them.")]
    members: Annotated[
        tuple[MemberMessage, ...] | None, Meta(description="Of this page; null where changes were asked for.")
    ] = None
    changes: Annotated[
        tuple[MemberChangeMessage, ...] | None,
        Meta(description="Of this page, in the order in which to apply them; null without `since`."),
    ] = None
    cursor: Annotated[str | None, Meta(description="For the next page; null where this is the last.")] = None
