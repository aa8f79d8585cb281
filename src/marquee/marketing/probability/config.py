"""The declaration of a probability."""

import re
from dataclasses import dataclass, field

from marquee.errors import ConfigError

_RULE = re.compile(r"(nothing|conversion|purchase|order) within (\d+) ?d(?:ays)?", re.IGNORECASE)


@dataclass(frozen=True)
class LabelRule:
    """An outcome within a time behind a cutoff.

    Attributes:
        happens: Whether a purchase is the outcome, or that there is none.
        days: Length of the window.
    """

    happens: bool
    days: int


@dataclass(kw_only=True)
class ProbabilityConfig:
    """A probability: of churn, of a lead, of a conversion.

    Attributes:
        outcome: SQL condition over columns, null where it is not known yet; or a rule over transactions,
            `conversion within 90d` or `nothing within 60d`.
        known_before: Columns that alone tell the outcome very well, and were nevertheless known before it.
        model: `auto`, `logistic` or `trees`; `auto` takes trees where they are clearly better.
        margin: Column, or SQL, of what a customer brings per period; gives `<name>_value`, what is to come.
        periods: Of the margin.
        discount: Per period, 0.01 for one in a hundred.
    """

    outcome: str
    known_before: list[str] = field(default_factory=list)
    model: str = "auto"
    margin: str = ""
    periods: int = 12
    discount: float = 0.0

    def __post_init__(self) -> None:
        if self.model not in ("auto", "logistic", "trees"):
            raise ConfigError(f"model must be auto, logistic or trees, got {self.model!r}")
        if not self.outcome.strip():
            raise ConfigError("a probability needs an outcome, got none; write one such as Churn = 'Yes'")
        if self.periods < 1 or not 0 <= self.discount < 1:
            raise ConfigError(
                f"periods must be 1 or more and discount in [0, 1), got {self.periods} and {self.discount}"
            )

    @property
    def rule(self) -> LabelRule | None:
        """The rule over transactions; None if the outcome is a condition."""
        match = _RULE.fullmatch(self.outcome.strip())
        if match is None:
            return None
        return LabelRule(match[1].lower() != "nothing", int(match[2]))
