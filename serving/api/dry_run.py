"""Tries a set of rules on decisions of the log, with the set that holds beside it; in a thread of its own."""

import time
from collections.abc import Callable, Sequence

from marquee.core.event_kinds import EventKind
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.decision.reranking import NO_RERANKING
from marquee.decision.trials.questions import Question, may_be_asked_again, question_of
from marquee.decision.trials.trying import ClickModel, Comparison, Trial
from marquee.errors import MarqueeError
from marquee.store.log.event_log import Decision, EventLog
from marquee.store.people.consent import Tier
from marquee.store.rules.rule import RuleSet
from serving.api.customers.deciding import CustomersAtDecision
from serving.api.customers.recorded import NOBODY_RECORDED, RecordedCustomers, recorded_customers
from serving.recording.users import KnownUsers
from serving.releases.surfaces import DEFAULT, Surface, Surfaces

_STRIDE = 10  # of the latest decisions every tenth is tried, so that a sample is of more than one moment
_EVENTS_READ = 100_000  # the latest, for the clicks among them


class DryRun:
    """Asks decisions again by two sets of rules.

    Args:
        surfaces: Where rules may hold, and who answers there.
        customers: Knows traits and audiences of users.
        users: Say under which names the log keeps them.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        surfaces: Surfaces,
        customers: CustomersAtDecision,
        users: KnownUsers,
        sleep: Callable[[float], object],
    ) -> None:
        self._surfaces = surfaces
        self._customers = customers
        self._users = users
        self._sleep = sleep
        self.is_over = False

    def trial(self, log: EventLog, held: RuleSet, tried: RuleSet, sample: int, timestamp: int) -> Trial:
        """Returns the difference between two sets on a sample of decisions.

        Args:
            log: Whose decisions.
            held: The set that holds.
            tried: The other one.
            sample: How many decisions.
            timestamp: When they are asked, seconds since 1970 UTC.

        Raises:
            EventLogError: If the log, or what users said, cannot be read.
        """
        # From the latest backwards: a log of few decisions gives all that a stride leaves of it.
        latest = [logged.decision for logged in log.read_last_decisions(sample * _STRIDE)]
        stride = max(1, min(_STRIDE, len(latest) // sample))
        chosen = latest[::-1][::stride][:sample]
        comparison = Comparison(ClickModel(latest, _clicked(log)))
        known = NOBODY_RECORDED
        if held.are_for_users or tried.are_for_users:
            known = recorded_customers(self._customers, self._users, chosen)
        for decision in chosen:
            if self.is_over:
                break
            started = time.perf_counter()
            self._ask(comparison, decision, (held, tried), known, timestamp)
            # As long as it worked: the requests of people go first.
            self._sleep(time.perf_counter() - started)
        return comparison.trial()

    def _ask(
        self,
        comparison: Comparison,
        decision: Decision,
        sets: Sequence[RuleSet],
        known: RecordedCustomers,
        timestamp: int,
    ) -> None:
        """Asks one decision by two sets, or counts that it could not be."""
        surface = self._surface_of(decision)
        if surface is None or not may_be_asked_again(decision):
            comparison.n_left_out += 1
            return
        recommender: Recommender = self._surfaces.answering(surface).current
        try:
            question = _question_of(decision, surface, timestamp)
            question.validate(recommender)
        except MarqueeError:
            # Of another version, or filtered by what this release does not have.
            comparison.n_left_out += 1
            return
        comparison.n_unrecorded += not decision.asked
        comparison.n_untold += decision.user_id is not None and not known.can_tell
        customer, facts = known.find(decision), self._customers.facts
        arms = [(experiment, arm) for experiment, _phase, arm in decision.experiments]
        before, after = (one.at(surface.name, timestamp, customer, facts, arms) for one in sets)
        comparison.ask(recommender, question, before, after)

    def _surface_of(self, decision: Decision) -> Surface | None:
        """Returns the surface of a decision, None if it is gone."""
        name = decision.surface or DEFAULT
        return self._surfaces.named(name) if name in self._surfaces.names else None


def _clicked(log: EventLog) -> set[tuple[str, str]]:
    """Returns decision and item of each of the latest clicks."""
    latest = log.read(max(0, log.last_sequence() - _EVENTS_READ), _EVENTS_READ)
    events = [logged.event for logged in latest]
    return {
        (one.decision_id, one.item_id)
        for one in events
        if one.kind == EventKind.click.value and one.decision_id is not None
    }


def _question_of(decision: Decision, surface: Surface, timestamp: int) -> Question:
    """Returns the question of a decision, with the history that was read in place of its user.

    Raises:
        DataError: If the record holds it in a form that this version does not read.
    """
    k = len(decision.places) or surface.k
    if decision.asked:
        return question_of(decision, timestamp, k)
    # Recorded before requests were: nobody knows which filters it had of its own (`n_unrecorded`).
    return Question(
        Request(
            timestamp=timestamp,
            k=k,
            history=decision.history,
            surface=decision.surface,
            kind=surface.default_kind,
            filters=surface.own_filters,
            reranking=surface.reranking or NO_RERANKING,
            exclude_seen=surface.exclude_seen,
            tier=Tier(decision.tier) if decision.tier else Tier.personal,
        )
    )
