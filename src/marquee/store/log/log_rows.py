"""Events and decisions as rows of a table, the same in both stores."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec

from marquee.store.log.event_log import (
    Decision,
    Event,
    Kept,
    LoggedDecision,
    LoggedEvent,
    Place,
    ProfileEvent,
)

SECONDS_PER_DAY = 86_400
MS_PER_DAY = 86_400_000
DECISION = "decision"
"""The name of decisions among the kinds of rows that are closed by day."""

# The digest comes last: queries that read events leave it out, and the others keep their places.
EVENT_COLUMNS = (
    "event_id",
    "kind",
    "item_id",
    "timestamp",
    "sent_timestamp",
    "received",
    "user_id",
    "decision_id",
    "value",
    "text",
    "digest",
)
EventRow = tuple[str, str, str, int, int, int, str | None, str | None, float | None, str | None, bytes]
DecisionRow = tuple[str, int, str | None, str]


def row_of(event: Event) -> EventRow:
    """Returns an event in the order of `EVENT_COLUMNS`."""
    return (
        event.event_id,
        event.kind,
        event.item_id,
        event.timestamp,
        event.sent_timestamp,
        event.received,
        event.user_id,
        event.decision_id,
        event.value,
        event.text,
        event.digest(),
    )


# A row comes from a database driver, which has no types for what it returns.
def logged_event(row: Sequence[Any]) -> LoggedEvent:
    """Returns sequence and event from a row that holds them in the order of `EVENT_COLUMNS`."""
    return LoggedEvent(
        row[0],
        Event(
            event_id=row[1],
            kind=row[2],
            item_id=row[3],
            timestamp=row[4],
            sent_timestamp=row[5],
            received=row[6],
            user_id=row[7],
            decision_id=row[8],
            value=row[9],
            text=row[10],
        ),
    )


def profile_of(rows: Sequence[Sequence[Any]]) -> list[ProfileEvent]:
    """Returns a profile from rows of item, kind, value and timestamp, the last by sequence first."""
    by_time = sorted(reversed(rows), key=itemgetter(3))  # equal seconds stay in the order of the log
    return [ProfileEvent(*row[:3]) for row in by_time]


def decision_row(decision: Decision) -> DecisionRow:
    """Returns a decision as id, time, user and the JSON text of all else."""
    body = {
        "request_id": decision.request_id,
        "surface": decision.surface,
        "release": decision.release,
        "source": decision.source,
        "policy": decision.policy,
        "parameters": dict(decision.parameters),
        # By column: the names of the fields are not repeated for each place.
        "items": [place.item_id for place in decision.places],
        "scores": [place.score for place in decision.places],
        "propensities": [place.propensity for place in decision.places],
        "history": decision.history,
    }
    return decision.decision_id, decision.time_ms, decision.user_id, msgspec.json.encode(body).decode()


def logged_decision(row: Sequence[Any]) -> LoggedDecision:
    """Returns sequence and decision from a row of sequence, id, time, user and JSON text."""
    body = msgspec.json.decode(row[4])
    places = zip(body.pop("items"), body.pop("scores"), body.pop("propensities"), strict=True)
    decision = Decision(
        decision_id=row[1],
        time_ms=row[2],
        user_id=row[3],
        places=tuple(Place(*place) for place in places),
        history=tuple(body.pop("history")),
        # A row of an earlier release may lack fields: their defaults hold.
        **body,
    )
    return LoggedDecision(row[0], decision)


def outcomes_of(events: Sequence[Event], kept: dict[str, bytes], before: dict[str, bytes]) -> list[Kept]:
    """Returns the outcome of each event of a batch.

    Args:
        events: In the order in which they came.
        kept: Digests by id of what the store now holds.
        before: The same of what it held before the batch.
    """
    seen: set[str] = set()
    outcomes = []
    for event in events:
        is_first = event.event_id not in before and event.event_id not in seen
        # The same event twice in one batch: the first is new, the second repeated.
        seen.add(event.event_id)
        if is_first:
            outcomes.append(Kept.accepted)
        elif kept[event.event_id] == event.digest():
            outcomes.append(Kept.repeated)
        else:
            outcomes.append(Kept.event_id_reused)
    return outcomes


def event_columns(logged: Sequence[LoggedEvent]) -> dict[str, list[object]]:
    """Returns events as columns, by the names that files of closed days have."""
    # Without digest and time as sent: they tell repetitions, and a closed day gets none.
    names = (
        "event_id",
        "kind",
        "item_id",
        "timestamp",
        "received",
        "user_id",
        "decision_id",
        "value",
        "text",
    )
    columns: dict[str, list[object]] = {"sequence": [row.sequence for row in logged]}
    return columns | {name: [getattr(row.event, name) for row in logged] for name in names}


def decision_columns(logged: Sequence[LoggedDecision]) -> dict[str, list[object]]:
    """Returns decisions as columns, by the names that files of closed days have."""
    decisions = [row.decision for row in logged]
    plain = ("decision_id", "time_ms", "user_id", "request_id", "surface", "release", "source", "policy")
    columns: dict[str, list[object]] = {"sequence": [row.sequence for row in logged]}
    columns |= {name: [getattr(decision, name) for decision in decisions] for name in plain}
    # As text: each policy has parameters of its own, and the column one type.
    columns["parameters"] = [msgspec.json.encode(decision.parameters).decode() for decision in decisions]
    columns["items"] = [[place.item_id for place in decision.places] for decision in decisions]
    columns["scores"] = [[place.score for place in decision.places] for decision in decisions]
    columns["propensities"] = [[place.propensity for place in decision.places] for decision in decisions]
    columns["history"] = [list(decision.history) for decision in decisions]
    return columns
