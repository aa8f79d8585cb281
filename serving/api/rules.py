"""The routes by which people pin, block and boost items, see who did, and try what it would change."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from marquee.decision.trials.validation import validate_on
from marquee.errors import (
    ConfigError,
    EventLogError,
    EventLogFullError,
    RuleError,
    RulesChangedError,
)
from marquee.store.rules.rule import Rule, RuleSet
from marquee.store.rules.rule_checks import validate_rules
from serving.api import examples
from serving.api.customers.deciding import NOBODY, CustomersAtDecision
from serving.api.dry_run import DryRun
from serving.api.messages.rules import (
    DryRunAnswer,
    DryRunRequest,
    RuleHistoryAnswer,
    RulesAnswer,
    RulesChangedAnswer,
    RulesRequest,
    changes_of,
    to_rules,
)
from serving.api.route import Route, Tag
from serving.http.errors import ErrorAnswer, Problem, Refusal, unavailable
from serving.http.exchange import Call, read_number, read_version
from serving.http.guard import Right
from serving.recording.opening import OpenedLog
from serving.recording.rules.following import Rules
from serving.recording.rules.metrics import RuleMetrics
from serving.recording.users import KnownUsers, PlainUsers
from serving.releases.surfaces import Surfaces
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

MAX_HISTORY = 50
"""Changes of one answer: each holds a whole set."""


Result = TypeVar("Result")


class RulesChanged(Refusal):
    """The refusal of a set that was to replace another version.

    Args:
        message: For people.
        current: The set that holds.
    """

    def __init__(self, message: str, current: RuleSet) -> None:
        super().__init__(Problem.rules_changed, message)
        self._current = current

    def answer(self, request_id: str) -> ErrorAnswer:
        """Returns the answer that tells this refusal, with the set that holds."""
        error = super().answer(request_id).error
        return RulesChangedAnswer(error=error, current=RulesAnswer.of(self._current))


class RuleRoutes:
    """Answers for the rules, in threads of their own: a flush takes milliseconds, a dry run seconds.

    Args:
        surfaces: Where rules may hold, and who answers there.
        rules: The rules; None for a service that keeps none.
        log: Whose decisions are tried again.
        metrics: What counts.
        customers: Knows traits and audiences of users.
        users: Say under which names the log keeps them; None: under those that requests name.
        clock: Returns the time, seconds since 1970 UTC.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        surfaces: Surfaces,
        rules: Rules | None,
        log: OpenedLog | None,
        metrics: Metrics,
        customers: CustomersAtDecision = NOBODY,
        users: KnownUsers | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._surfaces = surfaces
        self._rules = rules
        self._log = log
        self._metrics = metrics.family(RuleMetrics)
        self._clock = clock
        self._customers = customers
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rule-routes")
        # A change must not wait for a dry run: a block may be urgent.
        self._tryer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dry-run")
        self._is_trying = False
        self._dry_run = DryRun(surfaces, customers, users or PlainUsers(), sleep)

    async def get(self, _call: Call) -> RulesAnswer:
        """Returns the set that holds.

        Raises:
            Refusal: If the service keeps no rules, or cannot reach them.
        """
        return await self._in_thread(lambda rules: RulesAnswer.of(rules.store.current()))

    async def put(self, call: Call, message: RulesRequest) -> RulesAnswer:
        """Replaces the whole set; every worker answers by it from its next answer on.

        Raises:
            RuleError: If a rule cannot hold; nothing was changed.
            RulesChanged: If another version holds than the one that is to be replaced.
            Refusal: If no version is named, or the store refuses.
        """
        expected = read_version(call.if_match, "the rules")
        try:
            checked = self._checked(message, call.key)
            held = await self._in_thread(lambda rules: self._put(rules, checked, expected, call.key))
        except (RuleError, Refusal) as error:
            self._metrics.count_change("lost_race" if isinstance(error, RulesChanged) else "refused")
            raise
        self._metrics.count_change("taken")
        facts = {"request_id": call.request_id, "key": call.key, "version": held.version}
        logger.info("the rules were changed", extra={"facts": facts})
        return RulesAnswer.of(held)

    async def history(self, call: Call) -> RuleHistoryAnswer:
        """Returns the last changes, the latest first.

        Raises:
            Refusal: If a parameter is no number, or the store cannot be reached.
        """
        limit = read_number(call.query, "limit", 10, MAX_HISTORY)
        before = read_number(call.query, "before", 2**62, 2**62)
        return await self._in_thread(lambda rules: changes_of(rules.store.history(before - 1, limit)))

    async def dry_run(self, call: Call, message: DryRunRequest) -> DryRunAnswer:
        """Asks decisions of the log again, with the rules that hold and with those that are tried.

        Raises:
            RuleError: If a rule cannot hold.
            Refusal: If the service keeps no rules, another dry run is at work, or the log cannot be read.
        """
        rules, log = self._rules, self._log
        if rules is None or log is None:
            raise _not_configured()
        checked = self._checked(message, call.key)
        if self._is_trying:
            raise unavailable("another dry run is at work here; send it again in a moment")
        self._is_trying = True
        timestamp = int(self._clock()) if message.timestamp is None else message.timestamp
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._tryer, self._try, rules, log, checked, message.sample, timestamp)
        return await work

    def close(self) -> None:
        """Ends the threads and gives up the store."""
        self._dry_run.is_over = True
        for executor in (self._executor, self._tryer):
            executor.shutdown(wait=False, cancel_futures=True)
        if self._rules is not None:
            self._rules.close()

    def _checked(self, message: RulesRequest, author: str) -> Sequence[Rule]:
        """Returns the rules of a message; raises RuleError if they cannot hold on what answers."""
        if self._rules is None:
            raise _not_configured()
        rules = to_rules(message, author)
        validate_rules(rules)
        surfaces = [self._surfaces.named(name) for name in self._surfaces.names]
        answering = {one.name: tuple(self._surfaces.answering(one).recommenders) for one in surfaces}
        validate_on(rules, answering, self._customers.facts, self._rules.arms)
        return rules

    def _put(self, rules: Rules, wanted: Sequence[Rule], expected: int, key: str) -> RuleSet:
        """Returns the set that was put."""
        try:
            held = rules.store.replace(wanted, expected, key, int(self._clock() * 1000))
        except RulesChangedError as error:
            held = rules.store.current()
            # A caller that got no reply sends it again: what is there already is no lost race.
            if (held.version, held.rules, held.changed_by) != (expected + 1, tuple(wanted), key):
                raise RulesChanged(str(error), held) from error
        rules.current()  # the counters of this worker tell it at once
        return held

    def _try(
        self, rules: Rules, log: OpenedLog, wanted: Sequence[Rule], sample: int, timestamp: int
    ) -> DryRunAnswer:
        """Tries rules on a sample of decisions."""
        try:
            held = rules.store.current()
            tried = RuleSet(held.version + 1, tuple(wanted))
            trial = self._dry_run.trial(log.get(), held, tried, sample, timestamp)
            return DryRunAnswer.of(trial, held.version)
        except (EventLogError, ConfigError) as error:
            raise unavailable(str(error)) from error
        finally:
            self._is_trying = False

    async def _in_thread(self, work: Callable[[Rules], Result]) -> Result:
        """Returns the result of work on the rules; raises Refusal if the store refuses."""
        if self._rules is None:
            raise _not_configured()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work, self._rules)
        except EventLogFullError as error:
            raise Refusal(Problem.no_room, str(error)) from error
        except EventLogError as error:
            raise unavailable(str(error)) from error


def _not_configured() -> Refusal:
    """Returns the refusal of a service that keeps no rules."""
    return Refusal(
        Problem.not_configured,
        "the service keeps no rules; start it with MARQUEE_EVENTS, beside whose log they are kept",
    )


RULE_ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/rules",
        operation="rules",
        summary="Tells what is pinned, blocked and boosted.",
        description="The whole set, with the version that a change of it names.",
        tag=Tag.rules,
        right=Right.rules,
        answer=RulesAnswer,
        handler=RuleRoutes.get,
        answer_example=examples.RULES_ANSWER,
        problems=(Problem.not_configured,),
    ),
    Route(
        method="PUT",
        path="/v1/rules",
        operation="put_rules",
        summary="Replaces the whole set of rules.",
        description="Holds at the next answer of every worker. Every set that was put stays on record.",
        tag=Tag.rules,
        right=Right.rules,
        message=RulesRequest,
        answer=RulesAnswer,
        handler=RuleRoutes.put,
        examples=examples.RULES,
        answer_example=examples.RULES_ANSWER,
        problems=(Problem.version_needed, Problem.not_configured, Problem.no_room),
        refusals={Problem.rules_changed: RulesChangedAnswer},
    ),
    Route(
        method="GET",
        path="/v1/rules/history",
        operation="rule_history",
        summary="Tells who changed the rules when, and what.",
        description="The latest change first, each with the set that held from then on.",
        tag=Tag.rules,
        right=Right.rules,
        answer=RuleHistoryAnswer,
        handler=RuleRoutes.history,
        answer_example=examples.RULE_HISTORY_ANSWER,
        query={
            "limit": "Most changes of the answer; 10 if left out.",
            "before": "Only changes before this version: the last one of the page before.",
        },
        problems=(Problem.not_configured,),
    ),
    Route(
        method="POST",
        path="/v1/rules/dry_run",
        operation="try_rules",
        summary="Tells what a set of rules would change, and changes nothing.",
        description="Asks decisions of the log again, with the rules that hold and with these.",
        tag=Tag.rules,
        right=Right.rules,
        message=DryRunRequest,
        answer=DryRunAnswer,
        handler=RuleRoutes.dry_run,
        examples=examples.DRY_RUN,
        answer_example=examples.DRY_RUN_ANSWER,
        problems=(Problem.not_configured,),
    ),
)
"""Their rows in the table of routes."""
