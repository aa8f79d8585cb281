"""The rules of one worker: asked anew for every batch, so that what was put holds at the next answer.

A store in a file is asked in a microsecond, without a read; a database in a thread, and waited for: an
outdated rule is worse than a late answer. One that hangs is waited for once; until it comes back, what was
known goes on.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLateError
from dataclasses import replace
from typing import NamedTuple

from marquee.core.targeting.customer import Customer
from marquee.core.targeting.targeting import NO_CUSTOMERS, CustomerFacts
from marquee.decision.pages.rows import Row
from marquee.decision.requests import Request
from marquee.errors import EventLogError, EventLogGoneError
from marquee.store.rules.opening import open_rule_store
from marquee.store.rules.rule import NO_RULE_SET, RuleSet
from marquee.store.rules.rule_store import RuleStore
from serving.recording.rules.metrics import RuleMetrics
from serving.telemetry.background import Background, ThreadMetrics
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

BUDGET_S = 0.1
"""How long a batch waits for a database."""

LOOK_EVERY_S = 5.0
"""Also without answers the rules are asked so often: the counters of all workers then tell the same."""


class Shown(NamedTuple):
    """Where an answer is shown, and how.

    Attributes:
        surface: Name of the surface.
        arms: Experiment and arm of each that the answer is in.
    """

    surface: str
    arms: frozenset[tuple[str, str]] = frozenset()


class Rules:
    """The rules, as a worker knows them.

    Args:
        where: That of the event log.
        metrics: What counts.
        budget_s: How long a batch waits for a database.
        open_store: Opens the store.
        clock: Returns the time, seconds since 1970 UTC.
        arms: Arms of each experiment that is declared; None for none.

    Attributes:
        arms: Those that a rule may name.
    """

    def __init__(
        self,
        where: str,
        metrics: Metrics,
        budget_s: float = BUDGET_S,
        open_store: Callable[[str], RuleStore] = open_rule_store,
        clock: Callable[[], float] = time.time,
        arms: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.arms = arms or {}
        self._where = where
        self._metrics = metrics.family(RuleMetrics)
        self._threads = metrics.family(ThreadMetrics)
        self._budget_s = budget_s
        self._open = open_store
        self._clock = clock
        self._store: RuleStore | None = None
        self._known = NO_RULE_SET
        self._shown: RuleSet | None = None
        self._has_failed = False
        self._asking: Future[RuleSet] | None = None
        self._is_late = False
        self._thread: Background | None = None
        self._asker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rules")

    def open(self) -> None:
        """Reads the rules for the first time: a worker that does not know them must not answer.

        Raises:
            EventLogError: If the store cannot be made or reached.
            ConfigError: If it never can.
        """
        self._store = self._open(self._where)
        self._take(self._store.current())

    def watch(self, interval_s: float = LOOK_EVERY_S) -> None:
        """Begins to ask for the rules in a thread of its own as well."""
        self._thread = Background("rules", self._look, interval_s, self._threads, self._clock)
        self._thread.start()

    @property
    def store(self) -> RuleStore:
        """The store; raises EventLogGoneError before it is open."""
        if self._store is None:
            raise EventLogGoneError(
                f"the rules are not read yet, got version {self._known.version}; send it again in a moment"
            )
        return self._store

    def current(self, *, is_read: bool = False) -> RuleSet:
        """Returns the rules that hold now; those that held when the store was last reached, if it is not.

        Args:
            is_read: Whether the store is read also where it is known that nothing was put.
        """
        store = self._store
        if store is None:
            return self._known
        try:
            ask = store.read if is_read else store.current
            found = self._ask(ask) if store.is_remote else ask()
        except (EventLogError, TooLateError) as error:
            self._metrics.count_stale()
            # Told once until it succeeds again: every batch would write a line.
            if not self._has_failed:
                logger.error("the rules cannot be read, version %s goes on: %s", self._known.version, error)
            self._has_failed = True
            return self._known
        self._has_failed = False
        self._take(found)
        return found

    def of_requests(
        self,
        asked: Sequence[Request],
        shown: Iterable[Shown],
        customers: Iterable[Customer | None],
        facts: CustomerFacts = NO_CUSTOMERS,
    ) -> list[Request]:
        """Returns requests with the rules that hold for each.

        Args:
            asked: Requests.
            shown: Where each is answered.
            customers: Who asks each, as far as it is known and may be used.
            facts: Of the run of customers that they are known from.
        """
        rules = self.current()
        if not rules.rules:
            return list(asked)
        return [
            _ruled(one, rules, where, customer, facts)
            for one, where, customer in zip(asked, shown, customers, strict=True)
        ]

    def of_rows(
        self,
        rows: Sequence[Row],
        shown: Sequence[Shown],
        customer: Customer | None,
        facts: CustomerFacts = NO_CUSTOMERS,
    ) -> list[Row]:
        """Returns the rows of a page with the rules that hold for each.

        Args:
            rows: In the order of the page.
            shown: Where each is answered.
            customer: Who asks, as far as it is known and may be used.
            facts: Of the run of customers that they are known from.
        """
        rules = self.current()
        if not rules.rules:
            return list(rows)
        return [
            replace(row, request=_ruled(row.request, rules, where, customer, facts))
            for row, where in zip(rows, shown, strict=True)
        ]

    def close(self) -> None:
        """Ends the threads and gives up the store."""
        if self._thread is not None:
            self._thread.close()
        # Not waited for: a database that hangs must not hold up the end of the worker.
        self._asker.shutdown(wait=False, cancel_futures=True)
        if self._store is not None and (self._asking is None or self._asking.done()):
            self._store.close()

    def _ask(self, ask: Callable[[], RuleSet]) -> RuleSet:
        """Returns the rules of a database; raises TooLateError where it takes longer than the budget."""
        # One that hangs is asked no second time until it comes back: nobody waits behind it.
        if self._is_late and self._asking is not None and not self._asking.done():
            raise TooLateError(f"the store has not answered for more than {self._budget_s:g} s")
        # Anew also while the thread asks: what that reads may be older than a change that holds by now.
        asking = self._asking = self._asker.submit(ask)
        try:
            found = asking.result(timeout=self._budget_s)
        finally:
            self._is_late = not asking.done()
        return found

    def _take(self, rules: RuleSet) -> None:
        """Keeps what was read, and shows it if it is new."""
        self._known = rules
        if rules is not self._shown:
            self._shown = rules
            self._metrics.show_rules(rules, self._clock())

    def _look(self) -> None:
        """Reads the rules, so that a store that is gone is told, and shows which of them ends next."""
        self._metrics.show_rules(self.current(is_read=True), self._clock())


def _ruled(
    asked: Request, rules: RuleSet, shown: Shown, customer: Customer | None, facts: CustomerFacts
) -> Request:
    """Returns a request with the rules that hold on a surface at its time for whoever asks, in its arms."""
    active = rules.at(shown.surface, asked.timestamp, customer, facts, shown.arms)
    return replace(asked, rules=active) if active else asked


def validate_rule_store(where: str) -> None:
    """Raises ConfigError or EventLogError if rules cannot be kept; makes their store if need be."""
    if where:
        open_rule_store(where).close()
