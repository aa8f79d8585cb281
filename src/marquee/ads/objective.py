"""The aims of the operator: the worth of a click, a conversion and a unit of revenue, on one scale.

Declared in one file, such as `configs/objective.yaml`, and read by one reader: by the service that weighs ads
against content, by training, by reports and by experiments.
"""

import math
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec

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

    @property
    def verbatim(self) -> str:
        """The worths as they are declared, in one line.

        Example:
            >>> Objective(click=0.02, conversion=1.0).verbatim
            'click 0.02, conversion 1, revenue 1, diversity 0'
        """
        return ", ".join(f"{one.name} {getattr(self, one.name):g}" for one in fields(self))

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


def read_objective(path: str | Path) -> Objective:
    """Returns the objective of a file; money alone without one.

    Args:
        path: YAML, such as `configs/objective.yaml`; empty for none.

    Raises:
        ConfigError: If the file cannot be read, or a worth is none.
    """
    if not str(path):
        return Objective()
    try:
        said = msgspec.yaml.decode(Path(path).read_bytes())
        known = sorted(Objective.__dataclass_fields__)
        unknown = sorted(set(said) - set(known)) if isinstance(said, dict) else []
        if unknown:
            raise ConfigError(f"{unknown[0]} in {path} is unknown, expected one of {known}; correct it")
        return msgspec.convert(said, Objective)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise ConfigError(f"objective must name a file of worths, got {path}: {error}; correct it") from error
