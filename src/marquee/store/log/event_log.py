"""The event log: what happened and what was decided, in the order in which it was acknowledged.

```
events      one row per event that the app reported, unique by event_id, numbered by sequence
decisions   one row per answer, unique by decision_id, numbered by a sequence of its own
closed      days that left for Parquet files (see `closed_days`)
```

`append` returns once everything it reports as accepted is forced to disk. Sequences rise with the order of
commits: a reader that has seen sequence n never finds a smaller one later, so `read(after, limit)` is all
that a follower needs. Two stores keep the same contract, and one test asks both: `sqlite`, a folder that the
workers of one machine share, and `postgres`, for several machines; `opening` chooses.

Decides nothing about which rows are good (see `event_rows`), and reads no clock.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from marquee.store.log.latest_events import Freshness
from marquee.store.log.sales import Sale

# Long enough that two events never share a digest by chance; every row of the log holds one.
_DIGEST_BYTES = 16


class Kept(StrEnum):
    """The outcome of keeping one event."""

    accepted = "accepted"  # it is new, and on disk
    repeated = "repeated"  # it was there already, the very same
    event_id_reused = "event_id_reused"  # another event has its id; that one stays


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a person.

    Attributes:
        event_id: Its name for ever: whoever sends it again sends nothing new.
        kind: One of `EventKind`.
        item_id: What it was done to.
        timestamp: When, seconds since 1970 UTC, by a clock that was right or has been set right.
        sent_timestamp: The same as it was sent; `timestamp` where the clock was right.
        received: When the service received it, seconds since 1970 UTC.
        user_id: Who, None if only the decision is known.
        decision_id: In which answer it was shown, None if that is not known.
        value: A rating or what a conversion is worth.
        text: What was said.
        named_by_decision: Whether `user_id` is that of the decision: the event itself named nobody.
    """

    event_id: str
    kind: str
    item_id: str
    timestamp: int
    sent_timestamp: int
    received: int
    user_id: str | None = None
    decision_id: str | None = None
    value: float | None = None
    text: str | None = None
    named_by_decision: bool = False

    def digest(self) -> bytes:
        """Returns a digest of the content, 16 bytes: equal for two events only if they say the same.

        The time of receipt and what was set right about the clock are left out: a retry differs in them.
        """
        # Without the id: digests are compared only between events of one id.
        said = (
            self.kind,
            self.item_id,
            # As sent: `timestamp` is set right anew at each receipt, and a retry would look like another
            # event.
            self.sent_timestamp,
            # As sent: a retry may come before or after the decision is there to say who it was.
            None if self.named_by_decision else self.user_id,
            self.decision_id,
            self.value,
            self.text,
        )
        # repr keeps None apart from "None", and one field from the next; joined texts would not.
        return hashlib.blake2b(repr(said).encode(), digest_size=_DIGEST_BYTES).digest()


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event and its place in the log."""

    sequence: int
    event: Event


class ProfileEvent(NamedTuple):
    """An event, as far as a history needs it."""

    item_id: str
    kind: str
    value: float | None


class Place(NamedTuple):
    """One place of an answer.

    A named tuple because a log holds many: a third of the cost of a frozen dataclass to make.

    Attributes:
        item_id: What stood there.
        score: As in the answer.
        propensity: How probable it was, given the places above, in (0, 1].
    """

    item_id: str
    score: float
    propensity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One answer as it was given.

    The stores keep all fields but the first three in one JSON text: a field with a default can be added
    without a change of any table.

    Attributes:
        decision_id: Its name, a UUID of version 7 that the service made.
        time_ms: When, milliseconds since 1970 UTC.
        user_id: For whom, None if nobody was named.
        request_id: The caller's name for it.
        surface: Where it was shown.
        release: Version of the bundle that answered.
        failed_release: Of the arm or canary in whose place it did, empty if none failed.
        source: What the answer went by, as it says itself.
        policy: How the places were drawn.
        parameters: The numbers of that policy.
        places: From the first to the last.
        history: Items that were read, oldest first.
        tier: How much of a person it might rest on, one of `Tier`; empty if that was not kept.
        creatives: How the item of each place was said, by name, empty for one without; none where the surface
            has none.
        creative_propensities: How probable each was among those that could be shown; empty likewise.
        experiments: The arms that it was in: experiment, phase (its seed) and arm of each.
        rules: Ids of the rules that had an effect.
        rules_not_applied: Ids of those that could not have theirs, each with the reason.
        rules_version: Version of their set; 0 where no rule held.
        asked: The rest of the request, by name (see `decision.explaining.asked`); empty if it was not kept.
        live_items: Digest of the live items that could be in the answer, '' for none.
        sales: The ads among the places, each with its price.
        auction: The auction of these places (see `marquee.ads.trace`); empty where none was held.
    """

    decision_id: str
    time_ms: int
    user_id: str | None = None
    request_id: str = ""
    surface: str | None = None
    release: str = ""
    failed_release: str = ""
    source: str = ""
    policy: str = "greedy"
    parameters: Mapping[str, float] = field(default_factory=dict)
    places: tuple[Place, ...] = ()
    history: tuple[str, ...] = ()
    tier: str = ""
    creatives: tuple[str, ...] = ()
    creative_propensities: tuple[float, ...] = ()
    experiments: tuple[tuple[str, str, str], ...] = ()
    rules: tuple[str, ...] = ()
    rules_not_applied: tuple[tuple[str, str], ...] = ()
    rules_version: int = 0
    asked: Mapping[str, Any] = field(default_factory=dict)  # JSON: each name has a type of its own
    live_items: str = ""
    sales: tuple[Sale, ...] = ()
    auction: Mapping[str, Any] = field(default_factory=dict)


class DecisionRow(NamedTuple):
    """A decision as the stores keep it; `log_rows.decision_row` makes it.

    Attributes:
        decision_id: As in `Decision`.
        time_ms: As in `Decision`.
        user_id: As in `Decision`.
        body: All else, as JSON text.
    """

    decision_id: str
    time_ms: int
    user_id: str | None
    body: str


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """A decision and its place in the log."""

    sequence: int
    decision: Decision


@dataclass(frozen=True, slots=True)
class ClosedPart:
    """Rows of one kind and day that left the store for a file.

    Attributes:
        day: Days since 1970 UTC.
        kind: One of `EventKind`, or `decision`.
        file: Path below the folder of closed days.
        n_rows: How many.
        last_sequence: The highest among them.
    """

    day: int
    kind: str
    file: str
    n_rows: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class DayRows:
    """Rows of one kind and day that are still in the store."""

    day: int
    kind: str
    n_rows: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class RemovedRows:
    """The counts of the rows of a user that were deleted, by where they were.

    Attributes:
        events: In the store.
        decisions: In the store.
        events_in_files: In files of closed days.
        decisions_in_files: In files of closed days.
    """

    events: int = 0
    decisions: int = 0
    events_in_files: int = 0
    decisions_in_files: int = 0


class LogRemoval(Protocol):
    """Deletes rows of one log for good.

    All methods raise EventLogError where the store refuses; a later call goes on.

    The rows of a person are those that name them, and events that name nobody but one of their decisions:
    whoever holds both knows whose they are. An event of somebody else that names such a decision stays.
    """

    def erase_user(self, user_id: str, erasure_id: str, decision_ids: Collection[str] = ()) -> None:
        """Deletes the rows of a user that are in the store, and counts them in the same transactions.

        Args:
            user_id: Who, as the log names them.
            erasure_id: The name under which the rows are counted.
            decision_ids: Decisions of theirs that have left the store for files.
        """

    def replace_part(self, old: ClosedPart, new: ClosedPart | None, removed: Mapping[str, int]) -> None:
        """Notes that one file of a closed day stands for another, or that nothing does.

        Args:
            old: The file that is listed; whoever calls deletes it after that.
            new: The same kind and day, with other rows.
            removed: How many of its rows were deleted for each erasure.
        """

    def count_removed(self, erasure_id: str) -> RemovedRows:
        """Returns how many rows were deleted for an erasure."""

    def counted(self) -> set[str]:
        """Returns the erasures whose rows are counted."""

    def drop_counts(self, erasure_ids: Collection[str]) -> None:
        """Deletes the counts of erasures, once a receipt holds them."""

    def expire_events(self, before: int) -> int:
        """Deletes up to `log_rows.ROWS_PER_REMOVAL` events of seconds before `before`; returns how many."""

    def expire_decisions(self, before_ms: int) -> int:
        """Deletes up to `log_rows.ROWS_PER_REMOVAL` decisions made before `before_ms`; returns how many."""

    def wipe(self) -> bool:
        """Overwrites what deleted rows have left in the store; False where readers were in the way.

        A deleted row stands in the bytes of a database until these are overwritten.
        """


class EventLog(Protocol):
    """The log, as a process sees it. Every method may be called from several threads at once.

    All raise EventLogFullError where the disk is full and EventLogGoneError where the store cannot be
    reached; a later call tries anew.
    """

    @property
    def removal(self) -> LogRemoval:
        """Deletes rows for good."""

    def append(self, events: Sequence[Event]) -> list[Kept]:
        """Keeps events, all that are new in one transaction, and returns what became of each."""

    def read(self, after: int, limit: int) -> list[LoggedEvent]:
        """Returns the first `limit` events whose sequence is above `after`, ascending."""

    def read_profile(self, user_id: str, after: int, since: int, limit: int) -> list[ProfileEvent]:
        """Returns the last `limit` events of a user, oldest first by their own time; exposures excepted.

        Args:
            user_id: Who.
            after: Only events with a higher sequence.
            since: Only events of a later second.
            limit: How many, the latest by sequence.
        """

    def read_events_of(self, user_id: str, after: int, limit: int) -> list[LoggedEvent]:
        """Returns the first `limit` events of a user whose sequence is above `after`, ascending."""

    def read_events_of_nobody(
        self, decision_ids: Collection[str], after: int, limit: int
    ) -> list[LoggedEvent]:
        """Returns the first events above `after` that name one of some decisions and no user, ascending."""

    def read_decisions_of(self, user_id: str, after: int, limit: int) -> list[LoggedDecision]:
        """Returns the first `limit` decisions of a user whose sequence is above `after`, ascending."""

    def freshness(self, user_id: str, /) -> Freshness | None:
        """Returns a bound of a user's latest event without a read, None where only a read can tell.

        Tells of an event before `append` returns, whichever process called it.
        """

    def last_sequence(self) -> int:
        """Returns the highest sequence of an event that was ever given, 0 if none."""

    def append_decisions(self, decisions: Sequence[Decision]) -> None:
        """Keeps decisions that are new; they survive the process at once, and the machine a moment later."""

    def append_decision_rows(self, rows: Sequence[DecisionRow]) -> None:
        """Keeps decisions that were made rows before; see `append_decisions`."""

    def read_decisions(self, after: int, limit: int) -> list[LoggedDecision]:
        """Returns the first `limit` decisions whose sequence is above `after`, ascending."""

    def read_sold(self, after: int, limit: int) -> tuple[int, list[LoggedDecision]]:
        """Returns those of the first `limit` decisions after a sequence that sold ads, and the last sequence.

        Without any it is `after`. The store passes over the others: as objects they cost answers a tenth.
        """

    def count_by_surface(self, since_ms: int, until_ms: int) -> dict[str, int]:
        """Returns how many decisions of a span of time are in the store, by surface; '' for none."""

    def users_of(self, decision_ids: Collection[str]) -> dict[str, str | None]:
        """Returns the user of each decision, None for nobody's; those not in the store are left out."""

    def read_last_decisions(self, limit: int) -> list[LoggedDecision]:
        """Returns the last `limit` decisions that are still in the store, ascending."""

    def find_decision(self, decision_id: str) -> Decision | None:
        """Returns a decision that is still in the store, None if it is not."""

    def open_days(self) -> list[DayRows]:
        """Returns which kinds and days the store holds, decisions included, by day and kind."""

    def read_day(self, rows: DayRows, after: int, limit: int) -> list[LoggedEvent]:
        """Returns events of one kind and day as `read`, none above `rows.last_sequence`."""

    def read_decisions_of_day(self, rows: DayRows, after: int, limit: int) -> list[LoggedDecision]:
        """Returns decisions of one day as `read_decisions`, none above `rows.last_sequence`."""

    def closed_parts(self) -> list[ClosedPart]:
        """Lists the parts of the log that were moved into files, by day, kind and file."""

    def note_closed(self, part: ClosedPart) -> None:
        """Notes a file and deletes its rows from the store, in one transaction."""

    def only_closer(self) -> AbstractContextManager[bool]:
        """Holds the lock of who closes days; gives False if another holds it. Dying gives it back."""

    def n_bytes(self) -> int:
        """Returns how many bytes the store holds."""

    def close(self) -> None:
        """Gives up all connections."""
