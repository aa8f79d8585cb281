"""Which arms of experiments a rule is for: so a rule, or many, can be what an arm changes.

The condition stands in the rule and not in the arm: rules keep every set that ever held, so that an answer
can be made again by the set and by the rules that held for it, whatever the file of experiments says by then.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple


class RuleArm(NamedTuple):
    """An arm of an experiment.

    Attributes:
        experiment: Its name; also `holdout` and `canary`.
        arm: Name of the arm.
    """

    experiment: str
    arm: str


@dataclass(frozen=True, slots=True)
class ArmCondition:
    """A condition on the arms that an answer is in.

    Attributes:
        among: The answer is in one of these; empty for any answer, in an experiment or not.
        without: The answer is in none of these.

    Example:
        >>> trial = ArmCondition(among=(RuleArm("pins", "pinned"),))
        >>> trial.matches({RuleArm("pins", "pinned")}), trial.matches({RuleArm("pins", "plain")})
        (True, False)
    """

    among: tuple[RuleArm, ...] = ()
    without: tuple[RuleArm, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.among or self.without)

    def matches(self, arms: Collection[tuple[str, str]]) -> bool:
        """Tells whether an answer in some arms is meant.

        Args:
            arms: Experiment and arm of each; an answer is in one arm of an experiment at most.
        """
        if self.among and not any(one in arms for one in self.among):
            return False
        return not any(one in arms for one in self.without)

    def can_meet(self, other: "ArmCondition") -> bool:
        """Tells whether an answer could be meant by both."""
        mine = [one for one in self.among if one not in other.without]
        others = [one for one in other.among if one not in self.without]
        if not (self.among and other.among):
            return bool((mine or not self.among) and (others or not other.among))
        # No answer is in two arms of one experiment.
        return any(one.experiment != two.experiment or one.arm == two.arm for one in mine for two in others)


EVERY_ARM = ArmCondition()
"""For every answer."""
