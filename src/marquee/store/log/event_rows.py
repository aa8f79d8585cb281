"""Judges rows of events as they are sent, one by one, and keeps the good ones.

A row that breaks several rules is counted under the first of `Reason`'s order that it breaks. A wrong clock
of a device is set right by what the device believes the time of sending to be:

```
timestamp  = received - (sent_at - timestamp as sent)
```

Why times are bounded: an id can be forgotten only when no event under it can come any more. `horizon` bounds
how old an event may be, and `MAX_CLOCK_ERROR` by how much a clock may be set right; without that bound a row
that is sent again, word for word, would grow younger by every day that it lay in a queue.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from marquee.core.event_kinds import EventKind
from marquee.core.reasons import Reason
from marquee.store.log.event_log import Event, EventLog, Kept
from marquee.store.log.log_rows import SECONDS_PER_DAY

MAX_CLOCK_ERROR = SECONDS_PER_DAY
# A key of PostgreSQL's B-tree holds about 2,700 bytes: four bytes a character stay well below.
MAX_ID_LENGTH = 256
SETTLED_PREFIX = "openrtb."
"""Ids of impressions that an exchange has settled begin so: their value is what one costs, and nobody else
may say that."""
MAX_TEXT_LENGTH = 10_000

_KINDS = frozenset(kind.value for kind in EventKind)
# As much of the name of an unknown field as an answer repeats.
_MAX_NAME = 64
_FIELDS = frozenset(
    ("event_id", "kind", "item_id", "timestamp", "user_id", "decision_id", "value", "text", "sent_at")
)
_IDS = ("event_id", "item_id", "user_id", "decision_id")

Judged = Event | tuple[Reason, str]
"""A row as an event, or why it is none, with the field at fault."""
UsersOf = Callable[[Collection[str]], Mapping[str, str | None]]
"""Returns the user of each of some decisions, None for nobody's; leaves out those that nobody knows."""


@dataclass(frozen=True, slots=True)
class EventLimits:
    """When an event may have happened.

    Attributes:
        horizon: How old it may be, seconds.
        lead: How far ahead of the service's clock it may be, seconds.
    """

    horizon: int = 7 * SECONDS_PER_DAY
    lead: int = 300


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was not kept.

    Attributes:
        row: Its number in the body, from 0.
        reason: Why.
        field: The field at fault, empty if it is the row as a whole.
    """

    row: int
    reason: Reason
    field: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The counts of the rows of a body by outcome.

    Attributes:
        accepted: New, and on disk.
        repeated: There already, the very same.
        rejected: Not kept, in the order of the rows.
        orphans: Kept, but the log holds no decision of the name that they give.
    """

    accepted: int
    repeated: int
    rejected: tuple[RejectedRow, ...]
    orphans: int = 0

    @property
    def rejected_by_reason(self) -> Mapping[Reason, int]:
        """How many rows were rejected for each reason that occurs."""
        counts: dict[Reason, int] = {}
        for row in self.rejected:
            counts[row.reason] = counts.get(row.reason, 0) + 1
        return counts


class Namer(Protocol):
    """Says under which name each user is kept, or why they must not be."""

    def names_of(self, user_ids: Collection[str]) -> Mapping[str, str | Reason]:
        """Returns the name, or the reason, of each user as events name them; raises EventLogError."""

    def may_stay(self, names: Collection[str]) -> Mapping[str, str | Reason]:
        """Returns the same for the names under which users are kept; raises EventLogError."""


class OwnIds:
    """Keeps everybody under the operator's own ids."""

    def names_of(self, user_ids: Collection[str]) -> Mapping[str, str | Reason]:
        """Returns each id as it is; see `Namer`."""
        return {user_id: user_id for user_id in user_ids}

    def may_stay(self, names: Collection[str]) -> Mapping[str, str | Reason]:
        """Returns each id as it is; see `Namer`."""
        return self.names_of(names)


def keep_rows(
    log: EventLog,
    rows: Sequence[object],
    received: int,
    limits: EventLimits,
    users_of: UsersOf | None = None,
    namer: Namer | None = None,
) -> Receipt:
    """Judges rows, keeps the good ones and returns once these are forced to disk.

    Args:
        log: Where they are kept.
        rows: As JSON gives them.
        received: Now, seconds since 1970 UTC.
        limits: When an event may have happened.
        users_of: Returns the users of decisions; None for those that the log has in its store.
        namer: Says under which name a user is kept; None: under the operator's own ids.

    Raises:
        EventLogError: If the log refuses; no row is then kept or remembered as seen.
    """
    # Row by row: one bad event of a batch must not cost the others.
    namer = namer or OwnIds()
    judged = _with_names([judge_row(row, received, limits) for row in rows], namer)
    judged, unknown = _with_users(judged, users_of or log.users_of, namer)
    good = [(number, event) for number, event in enumerate(judged) if isinstance(event, Event)]
    # All good rows in one transaction: one flush, and an error means that none was kept.
    kept = log.append([event for _, event in good])
    rejected = [
        RejectedRow(number, *fault) for number, fault in enumerate(judged) if not isinstance(fault, Event)
    ]
    # Only the store knows whether an id was used before for something else.
    rejected += [
        RejectedRow(number, Reason.event_id_reused, "event_id")
        for (number, _), became in zip(good, kept, strict=True)
        if became is Kept.event_id_reused
    ]
    return Receipt(
        accepted=kept.count(Kept.accepted),
        repeated=kept.count(Kept.repeated),
        rejected=tuple(sorted(rejected, key=lambda row: row.row)),
        # Of what is kept alone: a row that is rejected for its id is none of the log's.
        orphans=sum(
            event.decision_id in unknown
            for (_, event), became in zip(good, kept, strict=True)
            if became is not Kept.event_id_reused
        ),
    )


def _with_names(judged: Sequence[Judged], namer: Namer) -> list[Judged]:
    """Returns rows with their users by the names under which these are kept; without consent no event is.

    Consent is asked for what arrives, not for when it happened: queues deliver late.
    """
    # Once for all rows: the same user stands in many of them.
    asked = {one.user_id for one in judged if isinstance(one, Event) and one.user_id is not None}
    names = namer.names_of(asked) if asked else {}
    return [
        _named(one, names[one.user_id], "user_id")
        if isinstance(one, Event) and one.user_id is not None
        else one
        for one in judged
    ]


def _with_users(
    judged: Sequence[Judged], users_of: UsersOf, namer: Namer
) -> tuple[list[Judged], Collection[str | None]]:
    """Returns events that name a decision alone with its user, and the decisions that nobody knows."""
    named = {one.decision_id for one in judged if isinstance(one, Event) and one.decision_id is not None}
    # Most bodies: there is nothing to look for.
    if not named:
        return list(judged), ()
    users = users_of(named)
    # Who has withdrawn since the answer is not known by it any more.
    names = namer.may_stay({user_id for user_id in users.values() if user_id is not None})
    joined: list[Judged] = []
    for one in judged:
        if not isinstance(one, Event) or one.decision_id is None:
            joined.append(one)
            continue
        user_id = users.get(one.decision_id)
        is_joined = one.user_id is None and user_id is not None
        joined.append(
            _named(one, names[user_id], "decision_id") if is_joined and user_id is not None else one
        )
    return joined, named - users.keys()


def _named(event: Event, name: str | Reason, field: str) -> Judged:
    """Returns an event under the name of its user, or why it must not be kept."""
    # First: a reason is a text as well.
    if isinstance(name, Reason):
        return name, field
    if event.user_id is None:
        return replace(event, user_id=name, named_by_decision=True)
    return event if name == event.user_id else replace(event, user_id=name)


def judge_row(row: object, received: int, limits: EventLimits) -> Judged:
    """Returns a row as an event, or why it is none, with the field at fault."""
    if not isinstance(row, dict):
        return Reason.unreadable_row, ""
    # In the order of `Reason`, the first counts; and later checks rely on the types.
    fault = (
        _unknown(row)
        or _wrong_type(row)
        or _missing(row)
        or _wrong_time(row, received, limits)
        or _reserved(row)
        or _impossible(row)
    )
    if fault is not None:
        return fault
    value = row.get("value")
    return Event(
        event_id=row["event_id"],
        kind=row["kind"],
        item_id=row["item_id"],
        timestamp=_mended(row, received),
        sent_timestamp=row["timestamp"],
        received=received,
        user_id=row.get("user_id"),
        decision_id=row.get("decision_id"),
        value=None if value is None else float(value),
        text=row.get("text"),
    )


def _unknown(row: Mapping[str, object]) -> tuple[Reason, str] | None:
    """Returns the first field that no event has: a misspelt one would be lost without a word."""
    if row.keys() <= _FIELDS:
        return None
    name = next(name for name in row if name not in _FIELDS)
    # The name is the sender's: any length, and it may hold half of a surrogate pair, which no answer can.
    return Reason.unknown_field, name[:_MAX_NAME].encode(errors="replace").decode()


def _wrong_type(row: Mapping[str, object]) -> tuple[Reason, str] | None:
    """Returns the first field that is there but not of its type."""
    for name in (*_IDS, "kind", "text"):
        value = row.get(name)
        if value is not None and not (isinstance(value, str) and _is_storable(value)):
            return Reason.wrong_type, name
    for name in ("timestamp", "sent_at"):
        value = row.get(name)
        # Trap: True is an int to Python, and would be the first second of 1970.
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            return Reason.wrong_type, name
    value = row.get("value")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        return Reason.wrong_type, "value"
    return None


def _is_storable(text: str) -> bool:
    """Returns whether both stores can hold a text: no half of a surrogate pair, no NUL."""
    # Most ids: no need to encode them to see that they can be stored.
    if text.isascii():
        return "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _missing(row: Mapping[str, object]) -> tuple[Reason, str] | None:
    """Returns the first field that must be there and is not, or is none of the kinds."""
    for name in ("event_id", "item_id"):
        if not row.get(name):
            return Reason.null_id, name
    # One of the two says whose event it is.
    if not row.get("user_id") and not row.get("decision_id"):
        return Reason.null_id, "user_id"
    # Empty is not absent: it would make one user of all senders with this mistake.
    for name in ("user_id", "decision_id"):
        if row.get(name) == "":
            return Reason.null_id, name
    if row.get("timestamp") is None:
        return Reason.null_timestamp, "timestamp"
    return None if row.get("kind") in _KINDS else (Reason.unknown_kind, "kind")


def _wrong_time(row: Mapping[str, object], received: int, limits: EventLimits) -> tuple[Reason, str] | None:
    """Returns the time if it cannot be right, or if the clock is too wrong to be set right."""
    sent_at = row.get("sent_at")
    if isinstance(sent_at, int) and abs(received - sent_at) > MAX_CLOCK_ERROR:
        return Reason.timestamp_out_of_range, "sent_at"
    is_possible = received - limits.horizon <= _mended(row, received) <= received + limits.lead
    return None if is_possible else (Reason.timestamp_out_of_range, "timestamp")


def _mended(row: Mapping[str, object], received: int) -> int:
    """Returns when it happened, by the service's clock."""
    timestamp, sent_at = row["timestamp"], row.get("sent_at")
    assert isinstance(timestamp, int), f"types come first, got {timestamp!r}"
    # Both times are by the device's clock: its error cancels in their difference.
    return timestamp if not isinstance(sent_at, int) else received - (sent_at - timestamp)


def _reserved(row: Mapping[str, object]) -> tuple[Reason, str] | None:
    """Returns the id if it is one that only notices of an exchange have."""
    is_ours = str(row.get("event_id")).startswith(SETTLED_PREFIX)
    return (Reason.impossible_value, "event_id") if is_ours else None


def _impossible(row: Mapping[str, object]) -> tuple[Reason, str] | None:
    """Returns the first field whose value cannot be, or cannot be of this kind."""
    value, kind = row.get("value"), row["kind"]
    if isinstance(value, int | float):
        try:
            is_finite = math.isfinite(value)
        except OverflowError:  # JSON knows no bound of whole numbers
            is_finite = False
        if not is_finite:
            return Reason.non_finite_value, "value"
        if kind == EventKind.conversion and value < 0:
            return Reason.impossible_value, "value"
    # A rating without a value says nothing; for other kinds the value is optional.
    elif kind == EventKind.rating:
        return Reason.impossible_value, "value"
    for name, most in (*((name, MAX_ID_LENGTH) for name in _IDS), ("text", MAX_TEXT_LENGTH)):
        text = row.get(name)
        if isinstance(text, str) and len(text) > most:
            return Reason.text_too_long, name
    # Only the decision says at which place and with which propensity it was shown.
    if kind == EventKind.exposure and row.get("decision_id") is None:
        return Reason.exposure_without_decision, "decision_id"
    return None
