"""Messages: of the group `customers`; written by `make lock`."""

from collections.abc import Mapping

import msgspec

from marquee.client.messages.shared import FeatureValue


class ScoreRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A form just sent.

    Attributes:
        columns: Every column that the trait reads, as the table had it; null where it is not known.
        user_id: Whose form it is: what they have said of their consent then holds.
        consent: How much may be used; the stricter of this and what holds counts. One of `none`, `personal`,
            `segment`.
    """

    columns: Mapping[str, FeatureValue]
    user_id: str | None = None
    consent: str | None = None


class ScoreReason(msgspec.Struct, kw_only=True, frozen=True):
    """A column that moves the score.

    Attributes:
        column: The column.
        contribution: What it adds to ln(p / (1 - p)), beside the average customer.
    """

    column: str
    contribution: float


class ScoreAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The score of a form.

    Attributes:
        request_id: The id under which the log speaks of the request.
        trait: Name of the trait.
        value: The probability, value, uplift or praise of a text, a number; the name of a segment.
        version: Of the trait: equal data and settings have equal ones.
        as_of: Moment up to which it has learned, seconds since 1970 UTC; null where its table has no time.
        reasons: The columns that move a probability most, the strongest first; of others none.
        parts: Numbers beside it: `purchases` of a value, `response` of an uplift, `r` and `f`, or `distance`,
            of a segment.
    """

    request_id: str
    trait: str
    value: float | str
    version: str
    as_of: float | None = None
    reasons: tuple[ScoreReason, ...]
    parts: dict[str, float] = {}


class MemberMessage(msgspec.Struct, kw_only=True, frozen=True):
    """A member of an audience.

    Attributes:
        user_id: As the table of customers has it, or their pseudonym.
        group: `contact`: to be spoken to; `holdout`: left alone, to measure by.
        position: In the order of the audience, from 1.
    """

    user_id: str
    group: str
    position: int


class MemberChangeMessage(msgspec.Struct, kw_only=True, frozen=True):
    """A member who came or went.

    Attributes:
        delivery_id: Equal for the same change: taken twice it changes nothing.
        change: `added` or `removed`.
        user_id: Of whom.
        group: Null of one who went.
    """

    delivery_id: str
    change: str
    user_id: str
    group: str | None = None


class AudienceAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """A page of the members of an audience, or of what changed in it.

    Attributes:
        request_id: The id under which the log speaks of the request.
        audience: Its name.
        run: The run that it is of.
        version: Of the run: equal tables and settings have equal ones.
        token: Names these members: `since` asks what changed after them.
        members: Of this page; null where changes were asked for.
        changes: Of this page, in the order in which to apply them; null without `since`.
        cursor: For the next page; null where this is the last.
    """

    request_id: str
    audience: str
    run: str
    version: str
    token: str
    members: tuple[MemberMessage, ...] | None = None
    changes: tuple[MemberChangeMessage, ...] | None = None
    cursor: str | None = None
