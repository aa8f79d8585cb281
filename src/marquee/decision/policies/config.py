"""The settings of exploration: which policy draws, in how many decisions, and how far it strays."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from marquee.errors import ConfigError

MIN_PRIOR = 1.0
"""Below one, the normal approximation of a gamma variable that Thompson sampling draws by is off."""


class PolicyName(StrEnum):
    """How gains become probabilities."""

    greedy = "greedy"  # the highest gain, always
    epsilon = "epsilon"  # the highest gain, or any permitted candidate with probability epsilon
    softmax = "softmax"  # in proportion to exp(gain / temperature): Plackett-Luce over the places
    thompson = "thompson"  # the share of posterior draws of its click rate that a candidate wins


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """How the places of an answer are drawn; the defaults draw nothing.

    Attributes:
        policy: How gains become probabilities.
        share: Fraction of the decisions that explore; the others are greedy.
        floor: Probability that an exploring place spreads evenly over all permitted candidates.
        epsilon: Of `epsilon` alone: probability that a place is drawn evenly.
        temperature: Of `softmax` alone: gains run from 0 to 1; a low one is nearly greedy.
        prior_clicks: Of `thompson` alone: clicks that an item is credited with before it was ever shown.
        prior_passes: Of `thompson` alone: the same for exposures without a click.

    Raises:
        ConfigError: If a number is out of range.
    """

    policy: PolicyName = PolicyName.greedy
    share: float = 1.0
    floor: float = 0.0
    epsilon: float = 0.1
    temperature: float = 0.1
    prior_clicks: float = 1.0
    prior_passes: float = 1.0

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError that names the key whose value is impossible."""
        ranges = {
            "share": (0.0, 1.0),
            "floor": (0.0, 1.0),
            "epsilon": (0.0, 1.0),
            # Gains run from 0 to 1: below it is greedy, above it is even, up to rounding.
            "temperature": (1e-3, 1e3),
            "prior_clicks": (MIN_PRIOR, 1e9),
            "prior_passes": (MIN_PRIOR, 1e9),
        }
        for key, (lowest, highest) in ranges.items():
            if not lowest <= getattr(self, key) <= highest:  # False for NaN too
                raise ConfigError(
                    f"{key} must be between {lowest} and {highest}, got {getattr(self, key)} "
                    f"(exploration.{key})"
                )

    @property
    def explores(self) -> bool:
        """Whether any place can be drawn otherwise than greedily."""
        return self.share > 0.0 and (self.policy is not PolicyName.greedy or self.floor > 0.0)

    @property
    def parameters(self) -> Mapping[str, float]:
        """The numbers that the probabilities follow from, for the record of a decision."""
        if not self.explores:
            return {}
        own = {
            PolicyName.greedy: (),
            PolicyName.epsilon: ("epsilon",),
            PolicyName.softmax: ("temperature",),
            PolicyName.thompson: ("prior_clicks", "prior_passes"),
        }[self.policy]
        return {key: getattr(self, key) for key in ("share", "floor", *own)}


NO_EXPLORATION = Exploration()
"""Leaves every place to the highest gain."""
