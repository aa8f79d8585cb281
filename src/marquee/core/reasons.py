"""Why a row is rejected, wherever rows come in: from a table or over the event log's door."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a row is rejected, in the order in which rules are looked at.

    unreadable_row: The row has more values than columns, or is no JSON object.
    unknown_field: The row has a field that no event has; the log alone rejects it.
    wrong_type: A value is there but is not of the column's type.
    null_id: The id of the user, the item or the event is missing.
    null_timestamp: The time is missing.
    unknown_kind: The kind is missing or not one of those that exist.
    timestamp_out_of_range: The time is before `timestamp_min` or after `timestamp_max`.
    non_finite_value: A number is infinite or not a number.
    impossible_value: A rating without value, a conversion of less than nothing, a negative position or bid.
    propensity_out_of_range: A propensity is not in (0, 1].
    impossible_availability: An item's availability ends before, or when, it begins.
    unknown_item: The items table has no such item (or its row was rejected).
    duplicate_id: An earlier row that was kept has the same id.
    text_too_long: A text is longer than the event log keeps.
    exposure_without_decision: The row reports an exposure but names no decision; the log alone rejects it.
    no_consent: The user has not consented to being known; the log alone rejects it.
    erased: The user was erased and has not consented to anything since; the log alone rejects it.
    event_id_reused: The event log holds another event under the same id.
    """

    # The order counts: rules are sorted by it, and a row is counted under the first that it breaks.
    unreadable_row = "unreadable_row"
    unknown_field = "unknown_field"
    wrong_type = "wrong_type"
    null_id = "null_id"
    null_timestamp = "null_timestamp"
    unknown_kind = "unknown_kind"
    timestamp_out_of_range = "timestamp_out_of_range"
    non_finite_value = "non_finite_value"
    impossible_value = "impossible_value"
    propensity_out_of_range = "propensity_out_of_range"
    impossible_availability = "impossible_availability"
    unknown_item = "unknown_item"
    duplicate_id = "duplicate_id"
    text_too_long = "text_too_long"
    # Of the event log alone: a table neither reports to it nor knows what it holds.
    exposure_without_decision = "exposure_without_decision"
    no_consent = "no_consent"
    erased = "erased"
    event_id_reused = "event_id_reused"
