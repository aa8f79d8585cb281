"""Settings of the trait `value`."""

from dataclasses import dataclass

from marquee.errors import ConfigError


@dataclass(frozen=True)
class ValueConfig:
    """How far ahead value looks, and how it is judged.

    Attributes:
        horizon_days: Purchases of so many coming days count.
        discount: Yearly rate by which later money counts less: 0.1 takes a tenth off per year.
        margin: Share of an amount that is earned.
        holdout_days: The last days of the table, which the judged model does not see; None takes the horizon,
            or half of the table where it is shorter.
        max_miss: The holdout may be missed by this share; beyond, value is past spend.
        max_correlation: Number and value of purchases may correlate up to this; beyond, value is past spend.
    """

    horizon_days: int = 365
    discount: float = 0.1
    margin: float = 1.0
    holdout_days: int | None = None
    max_miss: float = 0.25
    max_correlation: float = 0.3

    def __post_init__(self) -> None:
        """Validates the bounds.

        Raises:
            ConfigError: If a setting is outside of its bounds.
        """
        if not 1 <= self.horizon_days <= 3650:
            raise ConfigError(f"horizon_days must be between 1 and 3650, got {self.horizon_days}")
        if not 0 <= self.discount < 1:
            raise ConfigError(f"discount must be in [0, 1), got {self.discount}: 0.1 is ten percent per year")
        if not 0 < self.margin <= 1:
            raise ConfigError(
                f"margin must be in (0, 1], got {self.margin}: 0.3 is thirty percent of an amount"
            )
        if self.holdout_days is not None and self.holdout_days < 1:
            raise ConfigError(f"holdout_days must be at least 1, got {self.holdout_days}; null chooses it")
        if not 0 < self.max_miss < 1 or not 0 < self.max_correlation <= 1:
            raise ConfigError(
                "max_miss and max_correlation must be in (0, 1], "
                f"got {self.max_miss} and {self.max_correlation}: they are shares"
            )
