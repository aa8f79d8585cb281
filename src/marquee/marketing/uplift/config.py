"""The declaration of an uplift."""

from dataclasses import dataclass

from marquee.errors import ConfigError


@dataclass(kw_only=True)
class UpliftConfig:
    """How much a treatment changes an outcome, customer by customer.

    Attributes:
        outcome: SQL condition over columns.
        treated: SQL condition that holds for those who got the treatment.
        control: SQL condition that holds for those who got none; empty for all others.
        learner: `t`, a regression per arm, or `s`, trees over both with the arm as a column.
        n_resamples: For intervals.
    """

    outcome: str
    treated: str
    control: str = ""
    learner: str = "t"
    n_resamples: int = 200

    def __post_init__(self) -> None:
        if self.learner not in ("t", "s"):
            raise ConfigError(f"learner must be t or s, got {self.learner!r}")
        if self.n_resamples < 50:
            raise ConfigError(f"n_resamples must be 50 or more, got {self.n_resamples}")
