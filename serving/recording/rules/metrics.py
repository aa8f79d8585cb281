"""Counters of rules."""

import math

from prometheus_client import CollectorRegistry, Counter, Gauge

from marquee.store.rules.rule import RuleKind, RuleSet


class RuleMetrics:
    """Shows which rules hold, and counts what they did.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._version = Gauge(
            "marquee_rules_version",
            "Version of the rules, of the worker that knows the oldest.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._rules = Gauge(
            "marquee_rules",
            "Rules of the set, by kind, those included that do not hold now.",
            ["kind"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._next_end = Gauge(
            "marquee_rules_next_end_seconds",
            "When the next rule ends, seconds since 1970 UTC; +Inf if none will.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._applied = Counter(
            "marquee_rules_applied", "Rules that had an effect on an answer.", registry=registry
        ).inc
        self._not_applied = Counter(
            "marquee_rules_not_applied",
            "Rules that held for an answer and could not have their effect, or not the whole of it.",
            registry=registry,
        ).inc
        self._stale = Counter(
            "marquee_rules_stale",
            "Times that the store could not be asked and the rules that were known went on.",
            registry=registry,
        ).inc
        self._changes = Counter(
            "marquee_rule_changes",
            "Sets of rules that were put, by outcome: taken, lost_race or refused.",
            ["outcome"],
            registry=registry,
        )
        # A series that first appears with its first failure has no increase: it must stand at 0 before.
        for outcome in ("taken", "lost_race", "refused"):
            self._changes.labels(outcome)

    def show_rules(self, rules: RuleSet, timestamp: float) -> None:
        """Shows the set that this worker knows."""
        self._version.set(rules.version)
        for kind in RuleKind:
            self._rules.labels(kind.value).set(sum(rule.kind is kind for rule in rules.rules))
        ends = rules.next_end(int(timestamp))
        self._next_end.set(math.inf if ends is None else ends)

    def count_answer(self, n_applied: int, n_not_applied: int) -> None:
        """Counts the rules of one answer."""
        self._applied(n_applied)
        self._not_applied(n_not_applied)

    def count_stale(self) -> None:
        """Counts a time that the store could not be asked."""
        self._stale()

    def count_change(self, outcome: str) -> None:
        """Counts a set that was put: taken, lost_race or refused."""
        self._changes.labels(outcome).inc()
