"""Which rules can stand in one set: each possible by itself, and no two at odds over a place.

Leaves to others whether items, attributes and surfaces exist (see `marquee.decision.trials`).
"""

from collections.abc import Sequence

from marquee.errors import RuleError
from marquee.store.rules.rule import Rule


def validate_rules(rules: Sequence[Rule]) -> None:
    """Raises RuleError that names the first field which cannot be.

    Args:
        rules: A whole set.

    Raises:
        RuleError: If two rules have one id, one ends before it begins or does not say one thing, or two pins
            that can hold together for the same users claim one place.
    """
    seen: set[str] = set()
    for number, rule in enumerate(rules):
        place = f"rules[{number}]"
        if rule.rule_id in seen:
            raise RuleError(
                f"{place}.id must be its own, got {rule.rule_id!r} twice; rename one", f"{place}.id"
            )
        seen.add(rule.rule_id)
        _validate_one(rule, place)
    _validate_places(rules)


def _validate_one(rule: Rule, place: str) -> None:
    """Raises RuleError if a rule is impossible by itself."""
    stated = {"pin": bool(rule.pins), "block": rule.block is not None, "boost": rule.boost is not None}
    said = [name for name, is_stated in stated.items() if is_stated]
    if len(said) != 1:
        raise RuleError(
            f"{place} must hold one of pin, block and boost, got {said or 'none'}; make it one rule for each",
            f"{place}.{said[1]}" if said else place,
        )
    if rule.from_time is not None and rule.until is not None and rule.until <= rule.from_time:
        raise RuleError(
            f"{place}.until must be after from ({rule.from_time}), got {rule.until}; swap or correct the two",
            f"{place}.until",
        )
    target = rule.target
    if target is not None and bool(target.items) == bool(target.filters):
        where = f"{place}.{said[0]}"
        given = "both" if target.items else "neither"
        raise RuleError(f"{where} must name items or filters, got {given}; keep one of them", where)


def _validate_places(rules: Sequence[Rule]) -> None:
    """Raises RuleError if two pins that can hold together claim one place."""
    claims: dict[int, list[Rule]] = {}
    for number, rule in enumerate(rules):
        for position, pin in enumerate(rule.pins):
            field = f"rules[{number}].pin[{position}].place"
            others = claims.setdefault(pin.place, [])
            # Two for other users may both claim it: which of them stands says `standing_pins`.
            holder = next(
                (
                    other
                    for other in others
                    if other is rule or (other.users == rule.users and other.can_meet(rule))
                ),
                None,
            )
            if holder is not None:
                raise RuleError(
                    f"{field} must be free, got {pin.place}, where {holder.rule_id!r} pins an item at the "
                    "same time on the same surface; choose another place, time, surface or arm",
                    field,
                )
            others.append(rule)
