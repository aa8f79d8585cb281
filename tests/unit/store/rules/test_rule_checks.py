"""Rules that cannot stand in a set are named by their field."""

import pytest

from marquee.core.filters import Filters
from marquee.errors import RuleError
from marquee.store.rules.rule import Boost, Pin, Rule, Target
from marquee.store.rules.rule_arms import ArmCondition, RuleArm
from marquee.store.rules.rule_checks import validate_rules

A, B, OTHER = RuleArm("x", "a"), RuleArm("x", "b"), RuleArm("y", "a")
IN_A, IN_B, IN_OTHER = (ArmCondition(among=(arm,)) for arm in (A, B, OTHER))
ITEM = Target(items=("a",))


def pin(rule_id: str, place: int, **more: object) -> Rule:
    return Rule(rule_id=rule_id, pins=(Pin("a", place),), **more)  # type: ignore[arg-type]  # fields of a rule


@pytest.mark.parametrize(
    ("rules", "field", "words"),
    [
        ([pin("r", 1), pin("r", 2)], "rules[1].id", "'r' twice"),
        ([Rule(rule_id="r")], "rules[0]", "got none"),
        ([pin("r", 1, block=ITEM)], "rules[0].block", r"got \['pin', 'block'\]"),
        ([Rule(rule_id="r", block=Target())], "rules[0].block", "got neither"),
        (
            [
                Rule(
                    rule_id="r",
                    boost=Boost(
                        weight=1,
                        target=Target(items=("a",), filters=Filters.of({"brand": {"any_of": ["x"]}})),
                    ),
                )
            ],
            "rules[0].boost",
            "got both",
        ),
        ([pin("r", 1, from_time=5, until=5)], "rules[0].until", r"after from \(5\), got 5"),
        ([pin("p", 2), pin("q", 2)], "rules[1].pin[0].place", "got 2, where 'p'"),
        (
            [Rule(rule_id="p", pins=(Pin("a", 1), Pin("b", 1)))],
            "rules[0].pin[1].place",
            "got 1, where 'p'",
        ),
        (
            [pin("p", 1, from_time=5, surfaces=("home", "cart")), pin("q", 1, until=6, surfaces=("cart",))],
            "rules[1].pin[0].place",
            "same surface",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_set_is_refused_by_its_field(rules: list[Rule], field: str, words: str) -> None:
    with pytest.raises(RuleError, match=words) as refused:
        validate_rules(rules)
    assert refused.value.field == field


def test_place_may_be_pinned_again_at_another_time_or_on_another_surface() -> None:
    validate_rules(
        [
            pin("spring", 1, until=10, surfaces=("home",)),
            pin("summer", 1, from_time=10, surfaces=("home",)),
            pin("cart", 1, surfaces=("cart",)),
            pin("second", 2),
        ]
    )


def test_place_may_be_pinned_again_in_another_arm_and_not_in_one_that_can_meet() -> None:
    validate_rules([pin("a", 1, arms=IN_A), pin("b", 1, arms=IN_B)])
    validate_rules([pin("a", 1, arms=IN_A), pin("all", 1, arms=ArmCondition(without=(A,)))])
    for other in (IN_OTHER, ArmCondition(among=(B, A)), ArmCondition(without=(B,)), ArmCondition()):
        with pytest.raises(RuleError, match="got 1, where 'a'"):
            validate_rules([pin("a", 1, arms=IN_A), pin("other", 1, arms=other)])


@pytest.mark.parametrize(
    "first", [IN_A, ArmCondition(among=(A, OTHER), without=(B,)), ArmCondition(without=(B,))]
)
@pytest.mark.parametrize(
    "second", [IN_B, IN_OTHER, ArmCondition(without=(A, OTHER)), ArmCondition(among=(B, OTHER))]
)
def test_conditions_meet_where_some_answer_is_meant_by_both(
    first: ArmCondition, second: ArmCondition
) -> None:
    answers = [
        {one for one in (RuleArm("x", x), RuleArm("y", y)) if one.arm}
        for x in ("", "a", "b")
        for y in ("", "a")
    ]
    both = any(first.matches(arms) and second.matches(arms) for arms in answers)
    assert first.can_meet(second) == second.can_meet(first) == both
