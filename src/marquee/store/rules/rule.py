"""Rules: pin items to places, block items, boost items; on which surfaces, for whom, from when until when.

```
rule        one decision of a person: who, why, when, where, for whom, and one of pin, block, boost
rule set    all rules, with a version; replaced as a whole
active      those of a set that hold on one surface at one time for one user
```

Decides what a rule says and which rules of a set hold. Leaves to others what they do to an answer (see
`marquee.decision.rules`), which rules are good ones (see `rule_checks`) and where they are kept.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

from marquee.core.filters import NO_FILTERS, Filters
from marquee.core.targeting.customer import Customer
from marquee.core.targeting.targeting import NO_CUSTOMERS, CustomerFacts, Targeting
from marquee.store.rules.rule_arms import EVERY_ARM, ArmCondition, RuleArm

_MAX_SELECTIONS = 32
"""Selections of rules for users that are kept for a surface: each has arrays over the whole catalog."""


class RuleKind(StrEnum):
    """The things that a rule can do, the strongest first."""

    block = "block"  # the item is in no answer
    pin = "pin"  # the item stands at a place
    boost = "boost"  # the item's relevance is raised or lowered


class Pin(NamedTuple):
    """An item and its place.

    Attributes:
        item_id: The item.
        place: From 1.
    """

    item_id: str
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The items that a rule is about: those that are named, or those that pass filters.

    Attributes:
        items: Ids of items.
        filters: What the items' attributes must be; empty where items are named.
    """

    items: tuple[str, ...] = ()
    filters: Filters = NO_FILTERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Boost:
    """A gain of relevance, and the items that have it.

    Attributes:
        weight: From -1 to 1; relevance runs from 0 to 1.
        target: The items.
    """

    weight: float
    target: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One decision of a person about answers; one of `pins`, `block` and `boost` is given.

    Attributes:
        rule_id: Its name within the set.
        author: Who decided.
        note: Why.
        from_time: First second in which it holds, seconds since 1970 UTC; None for ever before.
        until: First second in which it no longer holds; None for ever.
        surfaces: Where it holds; empty for everywhere.
        users: For whom it holds; None for everybody.
        arms: In which arms of experiments it holds.
        pins: Items and their places.
        block: Items that are in no answer.
        boost: Items that stand higher or lower.
    """

    rule_id: str
    author: str = ""
    note: str = ""
    from_time: int | None = None
    until: int | None = None
    surfaces: tuple[str, ...] = ()
    users: Targeting | None = None
    arms: ArmCondition = EVERY_ARM
    pins: tuple[Pin, ...] = ()
    block: Target | None = None
    boost: Boost | None = None

    @property
    def kind(self) -> RuleKind:
        """Whether it pins, blocks or boosts."""
        if self.pins:
            return RuleKind.pin
        return RuleKind.block if self.block is not None else RuleKind.boost

    @property
    def is_for_some(self) -> bool:
        """Whether it holds for some users or in some arms alone."""
        return self.users is not None or bool(self.arms)

    @property
    def target(self) -> Target | None:
        """The items that it is about; None for one that pins."""
        return self.boost.target if self.boost is not None else self.block

    def holds(self, surface: str, timestamp: int) -> bool:
        """Tells whether it holds on a surface at a time, seconds since 1970 UTC."""
        has_begun = self.from_time is None or self.from_time <= timestamp
        has_ended = self.until is not None and self.until <= timestamp
        return has_begun and not has_ended and (not self.surfaces or surface in self.surfaces)

    def can_meet(self, other: "Rule") -> bool:
        """Tells whether there is a surface, a second and an arm in which both hold."""
        if not self.arms.can_meet(other.arms):
            return False
        if self.surfaces and other.surfaces and not set(self.surfaces) & set(other.surfaces):
            return False
        begins = max(
            (start for start in (self.from_time, other.from_time) if start is not None), default=None
        )
        ends = min((end for end in (self.until, other.until) if end is not None), default=None)
        return begins is None or ends is None or begins < ends


@dataclass(frozen=True, eq=False)
class ActiveRules:
    """The rules that hold on one surface for a while, for one answer; the same rules are the same object.

    Attributes:
        version: Of the set that they are of.
        rules: In the order of the set.
        untold: Ids of rules that hold for users of whom the run of customers cannot tell, with the reason.
    """

    version: int = 0
    rules: tuple[Rule, ...] = ()
    untold: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rules or self.untold)

    @cached_property
    def for_users(self) -> tuple[str, ...]:
        """Ids of the rules that hold for some users or in some arms alone, this answer among them."""
        return tuple([rule.rule_id for rule in self.rules if rule.is_for_some])

    @cached_property
    def pins(self) -> tuple[tuple[Rule, Pin], ...]:
        """Each pin with its rule, by place; what is pinned for some comes before what is for all."""
        found = [(rule, pin) for rule in self.rules for pin in rule.pins]
        return tuple(sorted(found, key=lambda one: (one[1].place, not one[0].is_for_some)))

    @cached_property
    def blocks(self) -> tuple[Rule, ...]:
        """The rules that block."""
        return tuple([rule for rule in self.rules if rule.block is not None])

    @cached_property
    def boosts(self) -> tuple[Rule, ...]:
        """The rules that boost."""
        return tuple([rule for rule in self.rules if rule.boost is not None])


NO_RULES = ActiveRules()
"""Nothing is pinned, blocked or boosted."""


class _Holding:
    """The rules that hold on one surface for a while, for whomever they are meant.

    Args:
        version: Of the set that they are of.
        rules: In the order of the set.
    """

    def __init__(self, version: int, rules: tuple[Rule, ...]) -> None:
        self._version = version
        self._rules = rules
        self._for_some = tuple([rule for rule in rules if rule.is_for_some])
        self._kept: dict[tuple[frozenset[str], str], ActiveRules] = {}

    def of(
        self, customer: Customer | None, facts: CustomerFacts, arms: Collection[tuple[str, str]]
    ) -> ActiveRules:
        """Returns the rules for an answer; see `RuleSet.at`."""
        meant = [
            rule.rule_id
            for rule in self._for_some
            if (rule.users is None or rule.users.matches(customer)) and rule.arms.matches(arms)
        ]
        return self.selected(frozenset(meant), facts)

    def selected(self, meant: frozenset[str], facts: CustomerFacts | None) -> ActiveRules:
        """Returns the rules for every answer and some of the others.

        Args:
            meant: Ids of these.
            facts: Of the run of customers; None to look for nothing that it lacks.
        """
        # Without rules for some users there is one selection, whatever the run.
        key = (meant, facts.run if facts is not None and self._for_some else "")
        kept = self._kept.get(key)
        if kept is None:
            rules = tuple([rule for rule in self._rules if not rule.is_for_some or rule.rule_id in meant])
            untold = () if facts is None else self._untold(facts)
            kept = ActiveRules(self._version, rules, untold) if rules or untold else NO_RULES
            if len(self._kept) >= _MAX_SELECTIONS:
                self._kept.clear()
            # Without a lock: two threads may both make it, and the two say the same.
            self._kept[key] = kept
        return kept

    def _untold(self, facts: CustomerFacts) -> tuple[tuple[str, str], ...]:
        """Returns the rules for users of whom a run cannot tell, with the reason."""
        told = ((rule.rule_id, rule.users.missing(facts)) for rule in self._for_some if rule.users)
        return tuple([(rule_id, why) for rule_id, why in told if why])


@dataclass(frozen=True, eq=False)
class RuleSet:
    """All rules, as one value that is replaced as a whole. Several threads may ask.

    Attributes:
        version: 1 for the first set that was ever put, one more for each; 0 for none yet.
        rules: In the order in which they were put.
        time_ms: When it was put, milliseconds since 1970 UTC; 0 for none yet.
        changed_by: Name of the key that put it.
    """

    version: int = 0
    rules: tuple[Rule, ...] = ()
    time_ms: int = 0
    changed_by: str = ""
    # By surface the latest period: time goes forward, and what is over need not be kept.
    _active: dict[str, tuple[int, _Holding]] = field(default_factory=dict, repr=False)

    def at(
        self,
        surface: str,
        timestamp: int,
        customer: Customer | None = None,
        facts: CustomerFacts = NO_CUSTOMERS,
        arms: Collection[tuple[str, str]] = (),
    ) -> ActiveRules:
        """Returns the rules that hold on a surface at a time for an answer.

        Between two changes it is the same object for the same rules, by which masks made of it can be kept.

        Args:
            surface: Its name.
            timestamp: Seconds since 1970 UTC.
            customer: What is known of the user and may be used; None for nothing.
            facts: Of the run of customers that it is known from.
            arms: Experiment and arm of each that the answer is in.
        """
        if not self.rules:
            return NO_RULES
        return self._holding(surface, timestamp).of(customer, facts, arms)

    def again(self, surface: str, timestamp: int, meant: Iterable[str]) -> ActiveRules:
        """Returns the rules that held for a decision.

        Args:
            surface: Its name.
            timestamp: Seconds since 1970 UTC.
            meant: Ids of the rules for some users or arms that held for this one.
        """
        return self._holding(surface, timestamp).selected(frozenset(meant), None) if self.rules else NO_RULES

    @cached_property
    def are_for_users(self) -> bool:
        """Whether any of them holds for some users alone."""
        return any(rule.users is not None for rule in self.rules)

    def _holding(self, surface: str, timestamp: int) -> _Holding:
        """Returns the rules that hold on a surface at a time, for whomever they are meant."""
        period = bisect_right(self._changes, timestamp)
        kept = self._active.get(surface)
        if kept is None or kept[0] != period:
            rules = tuple([rule for rule in self.rules if rule.holds(surface, timestamp)])
            kept = period, _Holding(self.version, rules)
            # Without a lock: two threads may both make it, and the two say the same.
            self._active[surface] = kept
        return kept[1]

    def next_end(self, timestamp: int) -> int | None:
        """Returns when the next rule ends, seconds since 1970 UTC; None if none will."""
        ends = [rule.until for rule in self.rules if rule.until is not None]
        return min([end for end in ends if end > timestamp], default=None)

    @cached_property
    def _changes(self) -> tuple[int, ...]:
        """Every second in which a rule begins or ends to hold, ascending."""
        moments = {moment for rule in self.rules for moment in (rule.from_time, rule.until)}
        return tuple(sorted(moment for moment in moments if moment is not None))


NO_RULE_SET = RuleSet()


def plain_rule(rule: Rule) -> dict[str, Any]:  # Any: JSON
    """Returns a rule as JSON has it: on the wire and in the store alike; what says nothing is left out."""
    stated: dict[str, Any] = {
        "id": rule.rule_id,
        "author": rule.author,
        "note": rule.note,
        "from": rule.from_time,
        "until": rule.until,
        "surfaces": list(rule.surfaces),
        "users": _plain_users(rule.users) if rule.users is not None else None,
        "arms": [one._asdict() for one in rule.arms.among],
        "except_arms": [one._asdict() for one in rule.arms.without],
        "pin": [pin._asdict() for pin in rule.pins],
        "block": _plain_target(rule.block) if rule.block is not None else None,
        "boost": {"weight": rule.boost.weight, **_plain_target(rule.boost.target)} if rule.boost else None,
    }
    return {name: value for name, value in stated.items() if value not in ("", None, [])}


def rule_of(plain: Mapping[str, Any]) -> Rule:
    """Returns the rule that `plain_rule` wrote."""
    boost, users = plain.get("boost"), plain.get("users")
    return Rule(
        rule_id=plain["id"],
        author=plain.get("author", ""),
        note=plain.get("note", ""),
        from_time=plain.get("from"),
        until=plain.get("until"),
        surfaces=tuple(plain.get("surfaces", ())),
        users=Targeting(users.get("where", ""), tuple(users.get("audiences", ()))) if users else None,
        arms=ArmCondition(_arms_of(plain, "arms"), _arms_of(plain, "except_arms")),
        pins=tuple(Pin(pin["item_id"], pin["place"]) for pin in plain.get("pin", ())),
        block=_target_of(plain["block"]) if "block" in plain else None,
        boost=None if boost is None else Boost(weight=boost["weight"], target=_target_of(boost)),
    )


def _arms_of(plain: Mapping[str, Any], name: str) -> tuple[RuleArm, ...]:
    """Returns arms as `plain_rule` wrote them."""
    return tuple([RuleArm(one["experiment"], one["arm"]) for one in plain.get(name, ())])


def changes_between(before: Sequence[Rule], after: Sequence[Rule]) -> dict[str, list[str]]:
    """Returns the ids of the rules that were added, edited and removed; words without ids are left out."""
    old, new = _by_id(before), _by_id(after)
    told = {
        "added": [rule_id for rule_id in new if rule_id not in old],
        "edited": [rule_id for rule_id, rule in new.items() if rule_id in old and old[rule_id] != rule],
        "removed": [rule_id for rule_id in old if rule_id not in new],
    }
    return {word: ids for word, ids in told.items() if ids}


def _by_id(rules: Iterable[Rule]) -> dict[str, Rule]:
    """Returns rules by their id."""
    return {rule.rule_id: rule for rule in rules}


def _plain_users(users: Targeting) -> dict[str, Any]:
    """Returns for whom a rule holds as JSON."""
    stated: dict[str, Any] = {"where": users.where, "audiences": list(users.audiences)}
    return {name: value for name, value in stated.items() if value}


def _plain_target(target: Target) -> dict[str, Any]:
    """Returns a target as JSON."""
    if target.items:
        return {"items": list(target.items)}
    conditions = ("any_of", "all_of", "none_of", "min", "max")
    return {
        "filters": {
            clause.attribute: {
                name: list(value) if isinstance(value, tuple) else value
                for name in conditions
                if (value := getattr(clause, name)) not in ((), None)
            }
            for clause in target.filters.clauses
        }
    }


def _target_of(plain: Mapping[str, Any]) -> Target:
    """Returns the target that `_plain_target` wrote."""
    return Target(items=tuple(plain.get("items", ())), filters=Filters.of(plain.get("filters", {})))
