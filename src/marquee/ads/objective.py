"""The aims of the operator: the worth of a click, a conversion and a unit of revenue, on one scale."""

import math
from dataclasses import dataclass

from marquee.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Worth of all that an impression may bring, in units of the currency of all budgets.

    Attributes:
        click: Of a click.
        conversion: Of a conversion.
        revenue: Of one unit of money that somebody pays for the place, above 0.
        diversity: Of an answer whose items are all unlike each other beside one whose items are alike.

    Raises:
        ConfigError: If a worth is below 0 or not finite, or revenue is worth nothing.
    """

    click: float = 0.0
    conversion: float = 0.0
    revenue: float = 1.0
    diversity: float = 0.0

    def __post_init__(self) -> None:
        for name in ("click", "conversion", "revenue", "diversity"):
            worth = getattr(self, name)
            if not (math.isfinite(worth) and worth >= 0):
                raise ConfigError(f"objective.{name} must be a number of 0 or more, got {worth}")
        if not self.revenue > 0:
            raise ConfigError("objective.revenue must be above 0, got 0; leave ads out where money is no aim")

    def worth(self, p_click: float, p_convert: float) -> float:
        """Returns the worth of an impression without what is paid for it."""
        return self.click * p_click + self.conversion * p_convert

    def least_revenue(self, content: float, ad: float) -> float:
        """Returns the least payment for which an impression of an ad is worth the content that it displaces.

        Args:
            content: `worth` of the content.
            ad: `worth` of the ad.
        """
        return max(0.0, (content - ad) / self.revenue)
