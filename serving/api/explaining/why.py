"""The route that explains one decision: finds its record and its release, and asks that again.

One thread explains, one decision at a time: whoever asks for many makes themselves wait, not the answers. It
has the priority of the others: a thread of less that held the interpreter's lock would hold up all of them.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from marquee.decision.explaining.asked import rules_for_users_of
from marquee.decision.explaining.explanation import Explanation, Outcome, explain
from marquee.decision.explaining.sentences import Words
from marquee.errors import ConfigError, EventLogError
from marquee.store.log.event_log import Decision
from marquee.store.rules.rule import NO_RULES, ActiveRules, RuleSet
from serving.api.explaining.decisions import KeptDecisions
from serving.api.explaining.examples import WHY_ANSWER
from serving.api.explaining.messages import WhyAnswer
from serving.api.explaining.metrics import WhyMetrics
from serving.api.explaining.releases import ReleasesToAsk
from serving.api.route import Route, Tag
from serving.http.errors import Problem, unavailable
from serving.http.exchange import Call
from serving.http.guard import Right
from serving.recording.rules.following import Rules
from serving.releases.surfaces import DEFAULT
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

MAX_WAITING = 8
"""Explanations that wait in one worker; more are refused."""

COST = 25.0
"""The cost of one to its key, in plain requests: a batch of as many queries as there are events."""


class WhyRoutes:
    """Explains decisions.

    Args:
        decisions: The records.
        releases: Finds the release that a decision names.
        rules: Keeps the sets that held; None: there were none.
        metrics: What counts.
        words: Of the sentences.
    """

    def __init__(
        self,
        decisions: KeptDecisions,
        releases: ReleasesToAsk,
        rules: Rules | None,
        metrics: Metrics,
        words: Words | None = None,
    ) -> None:
        self._decisions = decisions
        self._releases = releases
        self._rules = rules
        self._metrics = metrics.family(WhyMetrics)
        self._words = words or Words()
        self._n_waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="why")

    async def get(self, call: Call) -> WhyAnswer:
        """Returns the explanation of a decision.

        Raises:
            Refusal: If there is no such decision, it is too old, decisions are not kept, the store cannot be
                read, or too many wait.
        """
        decision_id = call.parameters["decision_id"]
        self._decisions.validate(decision_id)
        if self._n_waiting >= MAX_WAITING:
            raise unavailable(f"{MAX_WAITING} explanations are waiting; retry after a moment")
        call.charge_work(COST)
        self._n_waiting += 1
        try:
            loop = asyncio.get_running_loop()
            explanation, rules = await loop.run_in_executor(self._thread, self._explain, decision_id)
        except (EventLogError, ConfigError, OSError) as error:
            raise unavailable(str(error)) from error
        finally:
            self._n_waiting -= 1
        call.facts = {"release": explanation.decision.release, "outcome": explanation.outcome.value}
        return WhyAnswer.of(explanation, rules, call.request_id)

    def close(self) -> None:
        """Waits for the explanation at work; those that wait are given up."""
        self._thread.shutdown(cancel_futures=True)

    def _explain(self, decision_id: str) -> tuple[Explanation, ActiveRules | None]:
        """Returns the explanation of a decision and the rules that held; raises Refusal if there is none."""
        decision = self._decisions.find(decision_id)
        started = time.perf_counter()
        rules = self._rules_of(decision)
        explanation = explain(decision, self._releases.find(decision), rules, self._words)
        self._metrics.count_explanation(explanation.outcome, time.perf_counter() - started)
        if explanation.outcome is Outcome.differs:
            # Ours to look into: the same release and items must answer the same.
            logger.error(
                "decision %s is not what release %s says now: %s",
                decision_id,
                decision.release,
                explanation.why,
            )
        return explanation, rules

    def _rules_of(self, decision: Decision) -> ActiveRules | None:
        """Returns the rules that held for a decision, None if they are not kept any more."""
        if not decision.rules_version:
            return NO_RULES
        kept = _rule_set(self._rules, decision.rules_version) if self._rules else None
        timestamp = decision.asked.get("timestamp", decision.time_ms // 1000)
        # Not by the traits of now: they may be others than those that it was made by.
        meant = rules_for_users_of(decision)
        return None if kept is None else kept.again(decision.surface or DEFAULT, timestamp, meant)


def _rule_set(rules: Rules, version: int) -> RuleSet | None:
    """Returns the set of rules of a version, None if it is not kept."""
    current = rules.current()
    # The set of now is an object that its masks are kept by; one that is read anew has none yet.
    return current if current.version == version else rules.store.find(version)


WHY_ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/why/{decision_id}",
        operation="why",
        summary="Explains one decision.",
        description="By its record, and by asking the release that it names again, alone, as it was asked.",
        tag=Tag.users,
        right=Right.users,
        answer=WhyAnswer,
        handler=WhyRoutes.get,
        answer_example=WHY_ANSWER,
        problems=(Problem.not_found, Problem.decision_expired, Problem.not_configured),
    ),
)
"""Its row in the table of routes."""
