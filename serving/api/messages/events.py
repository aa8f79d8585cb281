"""Requests that tell events, and their answers."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from marquee.core.event_kinds import EventKind
from marquee.core.reasons import Reason
from marquee.store.log.event_rows import MAX_ID_LENGTH, MAX_TEXT_LENGTH, Receipt

MAX_EVENTS = 10_000

_Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]

_Text = Annotated[str, Meta(max_length=MAX_TEXT_LENGTH)]


class EventMessage(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Something that a person did. It names the user, the decision, or both."""

    event_id: Annotated[
        _Id, Meta(description="Its name for ever; whoever sends it again sends nothing new. Best a UUIDv7.")
    ]
    kind: Annotated[
        EventKind,
        Meta(description="What it was; `exposure` confirms that an item of a decision was on screen."),
    ]
    item_id: Annotated[_Id, Meta(description="What it was done to, in the catalog or not.")]
    timestamp: Annotated[int, Meta(description="When, seconds since 1970 UTC by the clock of the device.")]
    user_id: Annotated[_Id | None, Meta(description="Who.")] = None
    decision_id: Annotated[_Id | None, Meta(description="In which answer it was shown.")] = None
    value: Annotated[float | None, Meta(description="A rating, or what a conversion is worth.")] = None
    text: Annotated[_Text | None, Meta(description="What was said.")] = None
    sent_at: Annotated[
        int | None,
        Meta(description="When the row was sent by the same clock: how wrong the clock is follows from it."),
    ] = None


class EventsRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A batch of events. Each row is judged by itself: a bad one is rejected, the others are kept."""

    # Any: a row of any type is judged like the others, and no row spoils the body.
    events: list[Any]


class RejectedEvent(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A row that was not kept."""

    row: Annotated[int, Meta(description="Its number among the events, from 0.")]
    reason: Annotated[Reason, Meta(description="Why.")]
    field: Annotated[str | None, Meta(description="The field at fault, null for the row as a whole.")] = None


class EventsAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The outcome of each row; every accepted one is forced to disk."""

    request_id: Annotated[str, Meta(description="The id under which the service's log speaks of the call.")]
    accepted: Annotated[int, Meta(description="New rows, kept.")]
    repeated: Annotated[int, Meta(description="Rows that were there already, word for word.")]
    rejected: Annotated[dict[str, int], Meta(description="Rows that were not kept, by reason.")]
    rejected_rows: Annotated[tuple[RejectedEvent, ...], Meta(description="These rows, by number.")] = ()

    @classmethod
    def of(cls, receipt: Receipt, request_id: str) -> "EventsAnswer":
        """Returns the message that tells what became of the rows of a body."""
        return cls(
            request_id=request_id,
            accepted=receipt.accepted,
            repeated=receipt.repeated,
            rejected={reason.value: n_rows for reason, n_rows in receipt.rejected_by_reason.items()},
            rejected_rows=tuple(
                [
                    RejectedEvent(row=row.row, reason=row.reason, field=row.field or None)
                    for row in receipt.rejected
                ]
            ),
        )
