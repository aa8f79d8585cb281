"""Rules: pin items to places, block items, boost items; on which surfaces, and from when until when.

```
rule        one decision of a person: who, why, when, where, and one of pin, block, boost
rule set    all rules, with a version; replaced as a whole
active      those of a set that hold on one surface at one time
```

Decides what a rule says and which rules of a set hold. Leaves to others what they do to an answer (see
`marquee.decision.rules`), which rules are good ones (see `rule_checks`) and where they are kept.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

from marquee.core.filters import NO_FILTERS, Filters


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
    def target(self) -> Target | None:
        """The items that it is about; None for one that pins."""
        return self.boost.target if self.boost is not None else self.block

    def holds(self, surface: str, timestamp: int) -> bool:
        """Tells whether it holds on a surface at a time, seconds since 1970 UTC."""
        has_begun = self.from_time is None or self.from_time <= timestamp
        has_ended = self.until is not None and self.until <= timestamp
        return has_begun and not has_ended and (not self.surfaces or surface in self.surfaces)

    def can_meet(self, other: "Rule") -> bool:
        """Tells whether there is a surface and a second in which both hold."""
        if self.surfaces and other.surfaces and not set(self.surfaces) & set(other.surfaces):
            return False
        begins = max(
            (start for start in (self.from_time, other.from_time) if start is not None), default=None
        )
        ends = min((end for end in (self.until, other.until) if end is not None), default=None)
        return begins is None or ends is None or begins < ends


@dataclass(frozen=True, eq=False)
class ActiveRules:
    """The rules that hold on one surface for a while; the same rules are the same object.

    Attributes:
        version: Of the set that they are of.
        rules: In the order of the set.
    """

    version: int = 0
    rules: tuple[Rule, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rules)

    @cached_property
    def pins(self) -> tuple[tuple[Rule, Pin], ...]:
        """Each pin with its rule, by place."""
        found = [(rule, pin) for rule in self.rules for pin in rule.pins]
        return tuple(sorted(found, key=lambda one: one[1].place))

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
    _active: dict[str, tuple[int, ActiveRules]] = field(default_factory=dict, repr=False)

    def at(self, surface: str, timestamp: int) -> ActiveRules:
        """Returns the rules that hold on a surface at a time.

        Between two changes it is the same object, by which masks made of it can be kept.
        """
        if not self.rules:
            return NO_RULES
        period = bisect_right(self._changes, timestamp)
        kept = self._active.get(surface)
        if kept is None or kept[0] != period:
            rules = tuple([rule for rule in self.rules if rule.holds(surface, timestamp)])
            kept = period, ActiveRules(self.version, rules) if rules else NO_RULES
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
        "pin": [pin._asdict() for pin in rule.pins],
        "block": _plain_target(rule.block) if rule.block is not None else None,
        "boost": {"weight": rule.boost.weight, **_plain_target(rule.boost.target)} if rule.boost else None,
    }
    return {name: value for name, value in stated.items() if value not in ("", None, [])}


def rule_of(plain: Mapping[str, Any]) -> Rule:
    """Returns the rule that `plain_rule` wrote."""
    boost = plain.get("boost")
    return Rule(
        rule_id=plain["id"],
        author=plain.get("author", ""),
        note=plain.get("note", ""),
        from_time=plain.get("from"),
        until=plain.get("until"),
        surfaces=tuple(plain.get("surfaces", ())),
        pins=tuple(Pin(pin["item_id"], pin["place"]) for pin in plain.get("pin", ())),
        block=_target_of(plain["block"]) if "block" in plain else None,
        boost=None if boost is None else Boost(weight=boost["weight"], target=_target_of(boost)),
    )


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
