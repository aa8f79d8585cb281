"""Random rules and requests over a tiny bundle, and their answer by brute force, item after item in Python.

Nothing of the library is asked here but the scores of items: what a rule means is written a second time.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from marquee.core.catalog import ItemKind
from marquee.core.filters import Filters
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.decision.reranking import Reranking
from marquee.errors import RuleError
from marquee.store.rules.rule import ActiveRules, Boost, Pin, Rule, RuleSet, Target
from marquee.store.rules.rule_checks import validate_rules
from tests.support.bundles import CLOSES, NOW, OPENS

SURFACES = ("home", "cart")
_FILTERS: tuple[Mapping[str, Mapping[str, object]], ...] = (
    {"genre": {"any_of": ["drama"]}},
    {"genre": {"none_of": ["drama"]}},
    {"tags": {"any_of": ["by 3", "by 5"]}},
    {"tags": {"all_of": ["by 2", "by 3"]}},
    {"year": {"min": 2000, "max": 2010}},
    {"genre": {"any_of": ["comedy"]}, "year": {"min": 1995}},
)
# At each a different set of items is available, and at the last two a rule may have ended.
_TIMES = (NOW, OPENS, CLOSES)


@dataclass(frozen=True)
class Case:
    """One request and the rules that were put.

    Attributes:
        rules: All of them, those that do not hold included.
        request: Asked on `surface`, without rules.
        surface: Where.
    """

    rules: tuple[Rule, ...]
    request: Request
    surface: str

    @property
    def asked(self) -> Request:
        """The request with the rules that hold."""
        return replace(self.request, rules=self.active)

    @property
    def active(self) -> ActiveRules:
        """The rules that hold."""
        return RuleSet(1, self.rules).at(self.surface, self.request.timestamp)


def random_case(draw: random.Random, item_ids: Sequence[str]) -> Case:
    """Returns rules that can stand together and a request."""
    while True:
        rules = tuple(_rule(draw, f"r{number}", item_ids) for number in range(draw.randrange(6)))
        try:
            validate_rules(rules)
        except RuleError:  # two pins met at a place
            continue
        filters: Mapping[str, Mapping[str, object]] = draw.choice(_FILTERS) if draw.random() < 0.3 else {}
        request = Request(
            timestamp=draw.choice(_TIMES),
            k=draw.choice([1, 3, 5, 8, len(item_ids)]),
            user_id=draw.choice(["u1", "u2", None]),
            kind=draw.choice([None, None, ItemKind.content, ItemKind.ad]),
            filters=Filters.of(filters),
            exclude=tuple(draw.sample(item_ids, draw.randrange(4))),
            exclude_seen=draw.random() < 0.5,
            reranking=Reranking(
                caps={"genre": draw.randrange(1, 4)} if draw.random() < 0.2 else {},
                spacing={"genre": 2} if draw.random() < 0.2 else {},
            ),
        )
        return Case(rules, request, draw.choice(SURFACES))


def _rule(draw: random.Random, rule_id: str, item_ids: Sequence[str]) -> Rule:
    """Returns a rule, sometimes over or still to come, sometimes of another surface."""
    begins = draw.choice([None, None, None, OPENS, CLOSES])
    ends = draw.choice([None, None, None, OPENS, CLOSES + 1])
    rule = Rule(
        rule_id=rule_id,
        from_time=begins,
        until=ends if begins is None or ends is None or ends > begins else None,
        surfaces=draw.choice([(), (), SURFACES[:1], SURFACES]),
    )
    what = draw.choice(["pin", "pin", "block", "boost"])
    if what == "pin":
        places = draw.sample(range(1, 9), draw.randrange(1, 4))
        return replace(rule, pins=tuple(Pin(draw.choice(item_ids), place) for place in places))
    if draw.random() < 0.5:
        target = Target(items=tuple(draw.sample(item_ids, draw.randrange(1, 6))))
    else:
        target = Target(filters=Filters.of(draw.choice(_FILTERS)))
    if what == "block":
        return replace(rule, block=target)
    return replace(rule, boost=Boost(weight=draw.choice([-1.0, -0.25, 0.25, 1.0]), target=target))


@dataclass(frozen=True)
class Expected:
    """The answer by brute force.

    Attributes:
        items: Ids, in order.
        standing: The pins that stand: place from 1 → item. At the end of a short answer some stand higher.
        blocked: Ids that rules block.
        applied: Ids of the rules that have an effect.
    """

    items: tuple[str, ...]
    standing: Mapping[int, str]
    blocked: frozenset[str]
    applied: tuple[str, ...]


def brute_force(case: Case, recommender: Recommender) -> Expected:
    """Returns the answer to a case."""
    asked, catalog = case.request, recommender.bundle.catalog
    facts = dict(zip(catalog.item_ids.ids, catalog.attributes.to_dicts(), strict=True))
    active = [rule for rule in case.rules if _holds(rule, case.surface, asked.timestamp)]
    # Without rules, filters and kind all that is available comes back, with its score; the first time also
    # what is excluded.
    more = replace(asked, k=len(facts), filters=Filters(), kind=None, reranking=Reranking())
    available, answer = recommender.recommend([replace(more, exclude=(), exclude_seen=False), more])
    targets = {
        rule.rule_id: {item for item in facts if rule.target and _is_target(rule.target, item, facts)}
        for rule in active
    }
    blocked = {item for rule in active if rule.block is not None for item in targets[rule.rule_id]}
    wanted = [
        {
            one.item_id: one.score
            for one in items
            if asked.kind in (None, one.kind) and _passes(asked.filters, facts[one.item_id])
        }
        for items in (available.items, answer.items)
    ]
    score_of = wanted[1]
    left = [item for item in score_of if item not in blocked]  # best first
    standing: dict[int, str] = {}
    pins = sorted((pin.place, pin.item_id, rule.rule_id) for rule in active for pin in rule.pins)
    for place, item, _ in pins:
        if item in left and place <= asked.k and item not in standing.values():
            standing[place] = item
    items, n_filled = _placed(asked, left, _relevance(left, score_of, active, facts), standing, facts)
    standing = {place: item for place, item in standing.items() if place <= n_filled}
    touched = {rule_id for place, item, rule_id in pins if standing.get(place) == item}
    for rule in active:
        if targets[rule.rule_id] & set(wanted[0] if rule.block is not None else left):
            touched.add(rule.rule_id)
    applied = tuple(rule.rule_id for rule in active if rule.rule_id in touched)
    return Expected(tuple(items), standing, frozenset(blocked), applied)


def _holds(rule: Rule, surface: str, timestamp: int) -> bool:
    if rule.from_time is not None and timestamp < rule.from_time:
        return False
    if rule.until is not None and timestamp >= rule.until:
        return False
    return not rule.surfaces or surface in rule.surfaces


def _is_target(target: Target, item: str, facts: Mapping[str, Mapping[str, Any]]) -> bool:
    return item in target.items if target.items else _passes(target.filters, facts[item])


def _passes(filters: Filters, fact: Mapping[str, Any]) -> bool:
    for clause in filters.clauses:
        value = fact[clause.attribute]
        values = set(value) if isinstance(value, list) else {value} - {None}
        if clause.any_of and not values & set(clause.any_of):
            return False
        if not set(clause.all_of) <= values or values & set(clause.none_of):
            return False
        if clause.min is not None and (value is None or value < clause.min):
            return False
        if clause.max is not None and (value is None or value > clause.max):
            return False
    return True


def _relevance(
    left: Sequence[str],
    score_of: Mapping[str, float],
    active: Sequence[Rule],
    facts: Mapping[str, Mapping[str, Any]],
) -> dict[str, float]:
    """Returns scores stretched to 0 … 1, and boosts added."""
    lowest = min((score_of[item] for item in left), default=0.0)
    spread = max((score_of[item] for item in left), default=0.0) - lowest
    relevance = {item: (score_of[item] - lowest) / spread if spread else 0.0 for item in left}
    for item in left:
        # The sum first, which is exact: in another order two gains may differ in the last bit.
        relevance[item] += sum(
            rule.boost.weight
            for rule in active
            if rule.boost is not None and _is_target(rule.boost.target, item, facts)
        )
    return relevance


def _placed(
    asked: Request,
    left: Sequence[str],
    relevance: Mapping[str, float],
    standing: Mapping[int, str],
    facts: Mapping[str, Mapping[str, Any]],
) -> tuple[list[str], int]:
    """Returns the answer place by place, and how many places were filled: the pin, or the best permitted."""
    cap, gap = asked.reranking.caps.get("genre"), asked.reranking.spacing.get("genre")
    items: list[str] = []
    for place in range(1, asked.k + 1):
        if place in standing:
            items.append(standing[place])
            continue
        shown = {**{number + 1: item for number, item in enumerate(items)}, **standing}
        permitted = [
            item
            for item in left
            if item not in shown.values()
            and (cap is None or sum(_same(facts, item, other) for other in shown.values()) < cap)
            and (
                gap is None
                or not any(_same(facts, item, other) and abs(at - place) < gap for at, other in shown.items())
            )
        ]
        if not permitted:
            return [*items, *[item for at, item in sorted(standing.items()) if at > place]], place - 1
        # The first of equal ones: `left` is best first.
        items.append(max(permitted, key=lambda item: relevance[item]))
    return items, asked.k


def _same(facts: Mapping[str, Mapping[str, Any]], one: str, other: str) -> bool:
    return bool(facts[one]["genre"] == facts[other]["genre"])
