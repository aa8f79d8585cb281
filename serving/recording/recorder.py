"""Gives each answer an id and puts it on record, without ever making it wait for a disk."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import NamedTuple, cast

from marquee.core.arrays import IndexArray
from marquee.core.reasons import Reason
from marquee.decision.creatives.answers import ItemCreative
from marquee.decision.experiments.assignment import Assigned
from marquee.decision.explaining.asked import AskedRow, asked_of
from marquee.decision.item_table import ItemTable
from marquee.decision.policies.config import PolicyName
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, Decided, Request
from marquee.errors import EventLogError, EventLogGoneError
from marquee.store.log.decision_ids import decision_id
from marquee.store.log.decision_writer import DecisionWriter
from marquee.store.log.event_log import Decision, DecisionRow, Place
from marquee.store.log.log_rows import decision_row, nobodys_row
from marquee.store.people.erasing.eraser import SETTLE_S
from serving.recording.identity import Identified
from serving.recording.metrics import DecisionMetrics
from serving.recording.opening import OpenedLog
from serving.recording.users import KnownUsers, PlainUsers
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

CLOSE_S = 5.0
"""How long the store may take for what is left when a worker ends."""

LATE_S = SETTLE_S / 2
"""A decision that has waited so long may miss the pass that erases its user, who is then looked up again."""

# With the milliseconds they fill a UUID of version 7 (RFC 9562, section 5.7).
_RANDOM_BYTES = 10
_IDS_PER_DRAW = 256


class Begun(NamedTuple):
    """A decision that is to be made.

    Attributes:
        decision_id: Its name.
        time_ms: When, milliseconds since 1970 UTC.
        may_explore: Whether it would be recorded now; what is not must not explore.
    """

    decision_id: str
    time_ms: int
    may_explore: bool


class Recorder:
    """Records the decisions of one process.

    Args:
        log: Where they are kept.
        metrics: What counts.
        clock: Returns the time, seconds since 1970 UTC.
        random: Returns so many random bytes.
        users: Name those who are new.
    """

    def __init__(
        self,
        log: OpenedLog,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
        users: KnownUsers | None = None,
    ) -> None:
        self._log = log
        self._users = users or PlainUsers()
        self._metrics = metrics.family(DecisionMetrics)
        self._clock = clock
        self._random = random
        self._drawn, self._n_used = b"", 0
        self._writer = DecisionWriter(self._append)

    def begin(self) -> Begun:
        """Returns the id of a new decision, and whether it may explore."""
        time_ms = int(self._clock() * 1000)
        # Drawn for many: each call asks the system, and gives the interpreter away meanwhile.
        if self._n_used == len(self._drawn):
            self._drawn, self._n_used = self._random(_IDS_PER_DRAW * _RANDOM_BYTES), 0
        randomness = self._drawn[self._n_used : self._n_used + _RANDOM_BYTES]
        self._n_used += _RANDOM_BYTES
        return Begun(decision_id(time_ms, randomness), time_ms, self._writer.is_recording)

    def record(self, decision: Decision) -> bool:
        """Puts a decision on record within milliseconds, and returns whether it will be."""
        is_recorded = self._queue(decision)
        # Those on record are counted where they are written, a group at a time.
        if not is_recorded:
            self._metrics.count_unrecorded()
        # A greedy place is certain, of which there is nothing to see.
        if decision.policy != PolicyName.greedy:
            least = min([place.propensity for place in decision.places], default=1.0)
            self._metrics.show_least(decision.policy, least)
        return is_recorded

    def _queue(self, decision: Decision) -> bool:
        """Puts a decision into the queue of those to be written, and returns whether it is."""
        try:
            # Here, not in the thread that writes: it would hold the interpreter for a whole group of them.
            row = decision_row(decision)
        except (TypeError, ValueError) as error:
            logger.error("decision %s cannot be written: %r", decision.decision_id, error)
            return False
        return self._writer.record(row)

    def close(self) -> None:
        """Writes what is left."""
        n_lost = self._writer.close(CLOSE_S)
        if n_lost:
            self._metrics.count_unrecorded(n_lost)
            logger.error("%s decisions that were told as recorded are lost: the store refused them", n_lost)

    def _append(self, decisions: Sequence[DecisionRow]) -> None:
        """Keeps decisions; raises EventLogError, and nothing else, if that fails."""
        try:
            # Here, not in the answer: a new user costs a flush.
            named = self._users.named(decisions)
            self._log.get().append_decision_rows(self._without_erased(named))
            self._metrics.count_recorded(len(decisions))
        except EventLogError as error:
            logger.warning("%s decisions wait for the store: %s", len(decisions), error)
            raise
        except Exception as error:  # whatever it is: the thread lives on, and answers say `recorded: false`
            logger.error("%s decisions cannot be written: %r", len(decisions), error, exc_info=error)
            raise EventLogGoneError(f"{len(decisions)} decisions cannot be written: {error!r}") from error

    def _without_erased(self, decisions: Sequence[DecisionRow]) -> Sequence[DecisionRow]:
        """Returns decisions without users who may no longer be known; raises EventLogError."""
        latest_ms = int((self._clock() - LATE_S) * 1000)
        late = {one.user_id for one in decisions if one.user_id is not None and one.time_ms < latest_ms}
        # The usual case: the store has not refused for long.
        if not late:
            return decisions
        names = self._users.may_stay(late)
        gone = {name for name, kept in names.items() if isinstance(kept, Reason)}
        return [nobodys_row(one) if one.user_id in gone else one for one in decisions]


def decision_of(
    identified: Identified,
    begun: Begun,
    request_id: str,
    recommender: Recommender,
    decided: Decided,
    creatives: Sequence[ItemCreative] = (),
    assigned: tuple[Assigned, ...] = (),
    row: AskedRow | None = None,
) -> Decision:
    """Returns the record of an answer.

    Args:
        identified: What was asked, as it was answered.
        begun: Its name and time.
        request_id: The caller's name for it.
        recommender: Who answered.
        decided: What was answered.
        creatives: How its items were said.
        assigned: The arms that it was in.
        row: Of a page; None for a request of its own.
    """
    asked, user = identified.request, identified.recorded_as
    answer, exploration = decided.answer, asked.exploration
    drawn = decided.propensities
    # Where nothing was drawn, each place was certain.
    propensities = repeat(1.0, len(answer.items)) if drawn is None else drawn.tolist()
    return Decision(
        decision_id=begun.decision_id,
        time_ms=begun.time_ms,
        # A text in PostgreSQL holds no NUL; what nobody can write must not keep all others from the record.
        user_id=user and user.replace("\0", "\ufffd"),
        request_id=request_id,
        surface=asked.surface,
        release=answer.version,
        source=answer.source.value,
        policy=exploration.policy.value,
        parameters=exploration.parameters,
        places=tuple(
            [
                Place(item.item_id, item.score, chance)
                for item, chance in zip(answer.items, propensities, strict=True)
            ]
        ),
        history=_read_ids(asked, answer, decided.read, recommender.item_pool.table),
        tier=asked.tier.value,
        creatives=tuple([one.name for one in creatives]),
        creative_propensities=tuple([one.propensity for one in creatives]),
        experiments=assigned,
        rules=answer.rules,
        rules_not_applied=tuple([(one.rule_id, one.why) for one in answer.rules_not_applied]),
        rules_version=decided.rules_version,
        asked=asked_of(
            asked,
            recommender.bundle.columns,
            is_known_user=asked.user_id is not None and not answer.unknown_user,
            row=row,
            rules_for_users=decided.rules_for_users,
        ),
        live_items=recommender.item_pool.live_digest,
    )


def _read_ids(asked: Request, answer: Answer, read: IndexArray, table: ItemTable) -> tuple[str, ...]:
    """Returns the ids of the history that the query tower was fed, oldest first.

    Args:
        asked: As it was answered.
        answer: The answer.
        read: The same by item_index, (length,) int64.
        table: Knows the ids.
    """
    is_stored = asked.user_id is not None and not answer.unknown_user
    # Of ids alone, all of them known, nothing is left out but what is too long ago. To look each up again
    # would cost as much as all else that a record takes.
    is_plain = bool(asked.history) and type(asked.history[0]) is str
    if len(read) and is_plain and not is_stored and not answer.unknown_history:
        return cast("tuple[str, ...]", asked.history[-len(read) :])
    return tuple(table.decode(read))
