"""Gives each answer an id and puts it on record, without ever making it wait for a disk."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from marquee.core.reasons import Reason
from marquee.decision.creatives.answers import ItemCreative
from marquee.decision.experiments.assignment import Assigned
from marquee.decision.explaining.asked import AskedRow, asked_of
from marquee.decision.policies.config import PolicyName
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Decided
from marquee.errors import EventLogError, EventLogGoneError
from marquee.store.log.decision_ids import decision_id
from marquee.store.log.decision_writer import DecisionWriter
from marquee.store.log.event_log import Decision, DecisionRow
from marquee.store.log.log_rows import DecisionBody, body_text, decision_row, nobodys_row
from marquee.store.log.sales import Sale
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


Kind = TypeVar("Kind")


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


class GivenAnswer(NamedTuple):
    """An answer, and all that its record holds beside.

    Attributes:
        identified: What was asked, as it was answered.
        begun: Its name and time.
        request_id: The caller's name for it.
        recommender: Who answered.
        decided: What was answered.
        failed_release: Version of the release in whose place `recommender` did; empty if none failed.
        creatives: How its items were said.
        experiments: The arms that it was in.
        row: Of a page; None for a request of its own.
        sales: The ads among its places.
        auction: The auction of these; None where none was held.
    """

    identified: Identified
    begun: Begun
    request_id: str
    recommender: Recommender
    decided: Decided
    failed_release: str = ""
    creatives: Sequence[ItemCreative] = ()
    experiments: tuple[Assigned, ...] = ()
    row: AskedRow | None = None
    sales: tuple[Sale, ...] = ()
    auction: Mapping[str, Any] | None = None


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

    def record_answer(self, given: GivenAnswer) -> bool:
        """Puts an answer on record within milliseconds, and returns whether it will be."""
        drawn, policy = given.decided.propensities, given.identified.request.exploration.policy
        # A greedy place is certain, of which there is nothing to see.
        if drawn is not None and policy is not PolicyName.greedy:
            self._metrics.show_least(policy, float(drawn.min(initial=1.0)))
        return self._record(given.begun.decision_id, answer_row, given)

    def record(self, decision: Decision) -> bool:
        """Puts a decision on record that is no answer to a request for items; see `record_answer`."""
        return self._record(decision.decision_id, decision_row, decision)

    def _record(self, decision_id: str, row_of: Callable[[Kind], DecisionRow], made: Kind) -> bool:
        """Queues the row of a decision, and returns whether it will be on record."""
        try:
            # Here, not in the thread that writes: it would hold the interpreter for a whole group of them.
            is_recorded = self._writer.record(row_of(made))
        except (TypeError, ValueError) as error:
            logger.error("decision %s cannot be written: %r", decision_id, error)
            is_recorded = False
        # Those on record are counted where they are written, a group at a time.
        if not is_recorded:
            self._metrics.count_unrecorded()
        return is_recorded

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


def answer_row(given: GivenAnswer) -> DecisionRow:
    """Returns the row of an answer; raises TypeError or ValueError if JSON cannot say it.

    Written from what the answer already holds: a `Decision` with its places would be made of the same and
    taken apart again, which is half of what a record costs.
    """
    identified, recommender, decided = given.identified, given.recommender, given.decided
    asked, user, answer = identified.request, identified.recorded_as, decided.answer
    exploration, drawn, items = asked.exploration, decided.propensities, answer.items
    is_known_user = asked.user_id is not None and not answer.unknown_user
    history, n_as_asked = _history_read(given, is_known_user)
    # Enums go as they are: JSON says their values, and to ask each for its own is a call of Python.
    body = DecisionBody(
        request_id=given.request_id,
        surface=asked.surface,
        release=answer.version,
        failed_release=given.failed_release,
        source=answer.source,
        policy=exploration.policy,
        parameters=exploration.parameters,
        history=history,
        history_as_asked=n_as_asked,
        items=[item.item_id for item in items],
        scores=[item.score for item in items],
        # Where nothing was drawn, each place was certain.
        propensities=[] if drawn is None else drawn.tolist(),
        tier=asked.tier,
        creatives=tuple([one.name for one in given.creatives]),
        creative_propensities=tuple([one.propensity for one in given.creatives]),
        experiments=given.experiments,
        rules=answer.rules,
        rules_not_applied=tuple([(one.rule_id, one.why) for one in answer.rules_not_applied]),
        rules_version=decided.rules_version,
        asked=asked_of(
            asked,
            recommender.bundle.columns,
            is_known_user=is_known_user,
            row=given.row,
            rules_for_users=decided.rules_for_users,
        ),
        live_items=recommender.item_pool.live_digest,
        sales=given.sales,
        auction=given.auction or {},
    )
    # A text in PostgreSQL holds no NUL; what nobody can write must not keep all others from the record.
    user_id = user and user.replace("\0", "\ufffd")
    return DecisionRow(given.begun.decision_id, given.begun.time_ms, user_id, body_text(body))


def _history_read(given: GivenAnswer, is_known_user: bool) -> tuple[Sequence[str], int]:
    """Returns the history that the query tower was fed, oldest first, as ids or as so many of those asked.

    Args:
        given: The answer.
        is_known_user: Whether the release has a history of its own of the user.
    """
    asked, read = given.identified.request.history, given.decided.read
    # Of ids alone, all of them known, nothing is left out but what is too long ago. To look each up again
    # would cost as much as all else that a record takes.
    is_plain = bool(asked) and type(asked[0]) is str
    if len(read) and is_plain and not is_known_user and not given.decided.answer.unknown_history:
        return (), len(read)
    return given.recommender.item_pool.table.decode(read), 0
