"""Messages: of the group `events`; written by `make lock`."""

from collections.abc import Sequence

import msgspec


class EventMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Something that a person did. It names the user, the decision, or both.

    Attributes:
        event_id: Its name for ever; whoever sends it again sends nothing new. Best a UUIDv7. Left out: a new
            one, made by `send_events`.
        kind: What it was; `exposure` confirms that an item of a decision was on screen. One of `click`,
            `conversion`, `exposure`, `feedback`, `rating`, `view`.
        item_id: What it was done to, in the catalog or not.
        timestamp: When, seconds since 1970 UTC by the clock of the device.
        user_id: Who.
        decision_id: In which answer it was shown.
        value: A rating, or what a conversion is worth.
        text: What was said.
        sent_at: When the row was sent by the same clock: how wrong the clock is follows from it.
    """

    event_id: str = ""
    kind: str
    item_id: str
    timestamp: int
    user_id: str | None = None
    decision_id: str | None = None
    value: float | None = None
    text: str | None = None
    sent_at: int | None = None


class EventsRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A batch of events. Each row is judged by itself: a bad one is rejected, the others are kept.

    Attributes:
        events: One that is no such event is rejected alone.
    """

    events: Sequence[EventMessage]


class RejectedEvent(msgspec.Struct, kw_only=True, frozen=True):
    """A row that was not kept.

    Attributes:
        row: Its number among the events, from 0.
        reason: Why. One of `duplicate_id`, `erased`, `event_id_reused`, `exposure_without_decision`,
            `impossible_availability`, `impossible_value`, `no_consent`, `non_finite_value`, `null_id`,
            `null_timestamp`, `propensity_out_of_range`, `text_too_long`, `timestamp_out_of_range`,
            `unknown_field`, `unknown_item`, `unknown_kind`, `unreadable_row`, `wrong_type`.
        field: The field at fault, null for the row as a whole.
    """

    row: int
    reason: str
    field: str | None = None


class EventsAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The outcome of each row; every accepted one is forced to disk.

    Attributes:
        request_id: The id under which the service's log speaks of the call.
        accepted: New rows, kept.
        repeated: Rows that were there already, word for word.
        rejected: Rows that were not kept, by reason.
        rejected_rows: These rows, by number.
    """

    request_id: str
    accepted: int
    repeated: int
    rejected: dict[str, int]
    rejected_rows: tuple[RejectedEvent, ...] = ()
