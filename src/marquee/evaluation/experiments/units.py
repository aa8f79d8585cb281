"""A metric of an experiment, unit by unit: the unit of analysis is the unit that was drawn into an arm.

Events of one person have to do with each other. A metric is therefore first summed up within each unit, and
only sums of units are compared: a test per event would take a person of a hundred events for a hundred
persons, and find effects where there are none.
"""

from dataclasses import dataclass, replace

import numpy as np

from marquee.core.arrays import Float64Array
from marquee.errors import DataError, ShapeError


@dataclass(frozen=True, slots=True)
class ArmUnits:
    """The metrics of each unit of one arm.

    Attributes:
        numerator: Sum of the metric over the events of each unit, (n_units,) float64.
        denominator: What it is counted per, for a ratio: views, sessions, …, (n_units,); None for a mean
            per unit.
        before: The same metric of each unit before its first exposure, (n_units,), NaN where a unit has no
            history; None if none was looked up.

    Raises:
        ShapeError: If the arrays differ in length.
        DataError: If a value is not finite, or all denominators are 0.
    """

    numerator: Float64Array
    denominator: Float64Array | None = None
    before: Float64Array | None = None

    def __post_init__(self) -> None:
        for name, values in (("denominator", self.denominator), ("before", self.before)):
            if values is not None and len(values) != len(self.numerator):
                raise ShapeError(
                    f"{name} must have one row per unit, {len(self.numerator)}, got {len(values)}"
                )
        # `before` is not looked at: NaN there is a unit without history.
        for name, values in (("numerator", self.numerator), ("denominator", self.denominator)):
            n_wrong = 0 if values is None else int((~np.isfinite(values)).sum())
            if n_wrong:
                raise DataError(
                    f"{n_wrong} of {len(self.numerator)} units have a {name} that is no finite number; "
                    "correct or exclude their events"
                )
        if self.denominator is not None and not self.denominator.any():
            raise DataError(
                f"the denominators of all {len(self.numerator)} units are 0; choose another ratio"
            )

    def __len__(self) -> int:
        return len(self.numerator)

    @property
    def mean(self) -> float:
        """The metric of the arm: a mean per unit, or the ratio of two sums."""
        below = float(len(self)) if self.denominator is None else float(self.denominator.sum())
        return float(self.numerator.sum()) / below

    @property
    def influence(self) -> Float64Array:
        """How much each unit moves the metric, (n_units,), with mean 0: its variance over n is the metric's.

        For a ratio R of means y and d, (y_i - R d_i) / mean(d).

        Source:
            Deng, Knoblich and Lu 2018, KDD, "Applying the Delta Method in Metric Analytics", section 3.
        """
        if self.denominator is None:
            return self.numerator - self.mean
        deviations: Float64Array = (self.numerator - self.mean * self.denominator) / self.denominator.mean()
        return deviations

    @property
    def variance(self) -> float:
        """Variance of the metric of the arm; NaN with fewer than two units."""
        return float(self.influence.var(ddof=1)) / len(self) if len(self) > 1 else float("nan")

    def capped(self, most: float) -> "ArmUnits":
        """Returns the units with numerators of at most `most`."""
        # The denominator stays: capped as well, the ratio would be of something else.
        return replace(self, numerator=np.minimum(self.numerator, most))


def cap_at(arms: list[ArmUnits], quantile: float) -> float:
    """Returns the value at a quantile of the numerators of all arms together, to winsorise at.

    Of all arms together, for a cap of its own in each arm would itself be an effect.

    Args:
        arms: All arms.
        quantile: In (0, 1).

    Raises:
        DataError: If the quantile is out of range.
    """
    if not 0 < quantile < 1:
        raise DataError(f"winsorise must be a quantile in (0, 1), got {quantile}; 0.99 is usual")
    # One cap for all arms: a cap of its own in each would itself be an effect.
    return float(np.quantile(np.concatenate([arm.numerator for arm in arms]), quantile))
