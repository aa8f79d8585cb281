"""Events and decisions as rows of a table, the same in both stores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import repeat
from operator import attrgetter, itemgetter
from typing import Any

import msgspec

from marquee.store.log.event_log import (
    Decision,
    DecisionRow,
    Event,
    Kept,
    LoggedDecision,
    LoggedEvent,
    ProfileEvent,
)

SECONDS_PER_DAY = 86_400
MS_PER_DAY = 86_400_000
DECISION = "decision"
"""The name of decisions among the kinds of rows that are closed by day."""

SOLD = '"sales":[['
"""Stands in the JSON text of a decision that sold ads; quotes within a text are escaped."""

# Bounds how long a deletion of old rows holds up those who write.
ROWS_PER_REMOVAL = 5_000

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
_KEYS = ("decision_id", "time_ms", "user_id")
_PLACE_COLUMNS = ("items", "scores", "propensities")
_PLAIN = ("request_id", "surface", "release", "source", "policy")
# Of a decision, but for `places`: what the stores keep as JSON, and what files keep as JSON.
_BODY = tuple(one.name for one in fields(Decision) if one.name not in (*_KEYS, "places"))
_MORE = tuple(name for name in _BODY if name not in (*_PLAIN, "parameters", "history"))
_HISTORY = "history"
_HISTORY_AS_ASKED = "history_as_asked"
EventRow = tuple[str, str, str, int, int, int, str | None, str | None, float | None, str | None, bytes]


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
    by_time = sorted(reversed(rows), key=_timestamp)  # equal seconds stay in the order of the log
    # By the tuple's own constructor: that of a named tuple is a Python function, and an answer waits here.
    return [_new_tuple(ProfileEvent, (item_id, kind, value)) for item_id, kind, value, _ in by_time]


_timestamp = itemgetter(3)
_new_tuple = tuple.__new__


def _body_type() -> type[msgspec.Struct]:
    """Returns the type of what a row holds as JSON: fields at their default are left out of the text."""
    plain = [
        (one.name, Any, msgspec.field(default_factory=dict) if one.default is MISSING else one.default)
        for one in fields(Decision)
        if one.name in _BODY and one.name != _HISTORY
    ]
    # By column: the names of the fields are not repeated for each place.
    columns: list[tuple[str, Any, Any]] = [
        (name, list[Any], msgspec.field(default_factory=list)) for name in _PLACE_COLUMNS
    ]
    history = [(_HISTORY, Sequence[str], ()), (_HISTORY_AS_ASKED, int, 0)]
    # Not collected: it is gone before the next one is made.
    return msgspec.defstruct("DecisionBody", [*plain, *history, *columns], omit_defaults=True, gc=False)


DecisionBody: Callable[..., msgspec.Struct] = _body_type()
"""The body of a row: the fields of `Decision` by name, places by column, none of which is looked at.

`propensities` may be left out where each place was certain. `history_as_asked` says how many ids of the
history in `asked`, the latest, are the history that was read: `history` is left out then, a third of the text
of most answers to somebody whom the release does not know.
"""

_body_values = attrgetter(*[name for name in _BODY if name != _HISTORY])
_encode_body = msgspec.json.Encoder().encode


def body_text(body: msgspec.Struct) -> str:
    """Returns the text that a row keeps of a body; raises TypeError or ValueError if JSON cannot say it."""
    return _encode_body(body).decode()


def decision_row(decision: Decision) -> DecisionRow:
    """Returns a decision as id, time, user and the JSON text of all else."""
    columns: list[list[object]] = [list(column) for column in zip(*decision.places, strict=True)]
    n_read = len(decision.history)
    is_as_asked = n_read > 0 and decision.history == tuple(decision.asked.get(_HISTORY, ())[-n_read:])
    history, n_as_asked = ((), n_read) if is_as_asked else (decision.history, 0)
    body = DecisionBody(*_body_values(decision), history, n_as_asked, *columns)
    return DecisionRow(decision.decision_id, decision.time_ms, decision.user_id, body_text(body))


def nobodys_row(row: DecisionRow) -> DecisionRow:
    """Returns a decision as that of nobody, whose user withdrew after it was made."""
    body = msgspec.json.decode(row.body)
    # The arm as well: which one it is follows from who asked.
    body.pop("experiments", None)
    return row._replace(user_id=None, body=_encode_body(body).decode())


def logged_decision(row: Sequence[Any]) -> LoggedDecision:
    """Returns sequence and decision from a row of sequence, id, time, user and JSON text."""
    body = msgspec.json.decode(row[4])
    named = {"decision_id": row[1], "time_ms": row[2], "user_id": row[3]}
    # Earlier releases wrote `true` where all of it was read.
    if n_as_asked := body.pop(_HISTORY_AS_ASKED, 0):
        asked = body["asked"][_HISTORY]
        body[_HISTORY] = asked if n_as_asked is True else asked[-n_as_asked:]
    return LoggedDecision(row[0], _decision(named | body))


def _decision(said: dict[str, Any]) -> Decision:
    """Returns a decision from its fields, places by column; fields that are not there have their defaults."""
    items, scores, propensities = [said.pop(name, ()) for name in _PLACE_COLUMNS]
    said["places"] = list(zip(items, scores, propensities or repeat(1.0, len(items)), strict=True))
    return msgspec.convert(said, Decision)


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
    columns: dict[str, list[object]] = {"sequence": [row.sequence for row in logged]}
    columns |= {name: [getattr(decision, name) for decision in decisions] for name in (*_KEYS, *_PLAIN)}
    # As text: each policy has parameters of its own, and the column one type.
    columns["parameters"] = [msgspec.json.encode(decision.parameters).decode() for decision in decisions]
    columns["items"] = [[place.item_id for place in decision.places] for decision in decisions]
    columns["scores"] = [[place.score for place in decision.places] for decision in decisions]
    columns["propensities"] = [[place.propensity for place in decision.places] for decision in decisions]
    columns["history"] = [list(decision.history) for decision in decisions]
    # As text too: a field that training does not read needs no column of its own, and must not get lost.
    columns["more"] = [
        msgspec.json.encode({name: getattr(decision, name) for name in _MORE}).decode()
        for decision in decisions
    ]
    return columns


def decision_of_columns(row: Mapping[str, Any]) -> Decision:
    """Returns a decision from a row in the columns that `decision_columns` gives."""
    said = {name: value for name, value in row.items() if name not in ("sequence", "parameters", "more")}
    said["parameters"] = msgspec.json.decode(row["parameters"])
    return _decision(said | msgspec.json.decode(row["more"]))
