"""Importance weights: how much more often a candidate would have done what the log shows.

A log can speak about a candidate only where it did what the candidate would do. The effective sample size
says how many decisions of the log really speak; without that number an estimate is a guess.
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import Float64Array
from marquee.errors import DataError, ShapeError

MIN_EFFECTIVE = 100.0
"""Effective decisions below which a value cannot be identified."""

MAX_UNSUPPORTED = 0.01
"""Share of the candidate's choices that the log may never have made."""

# Probabilities that were added up or divided may end a bit above 1.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Support:
    """How far the log of one policy speaks about another.

    Attributes:
        n_decisions: Decisions of the log.
        effective: Effective sample size, (Σw)² / Σw².
        largest: Largest weight.
        unsupported: Mean share of the candidate's probability on actions that the log could not show.
        clipped: Share of the sum of weights that clipping took away.
    """

    n_decisions: int
    effective: float
    largest: float
    unsupported: float
    clipped: float

    @property
    def is_identifiable(self) -> bool:
        """Whether any value may be shown without the words "not identifiable"."""
        return self.effective >= MIN_EFFECTIVE and self.unsupported <= MAX_UNSUPPORTED

    @property
    def reason(self) -> str:
        """Why the value cannot be identified, in words; empty where it can."""
        if self.effective < MIN_EFFECTIVE:
            return (
                f"{self.effective:.0f} of {self.n_decisions:,} logged decisions speak about the candidate, "
                f"{MIN_EFFECTIVE:.0f} are needed: log with more exploration, or compare a nearer candidate"
            )
        if self.unsupported > MAX_UNSUPPORTED:
            return (
                f"{self.unsupported:.1%} of what the candidate would do was never possible in the log, "
                f"{MAX_UNSUPPORTED:.0%} may be: log with a floor, or leave new items out"
            )
        return ""


def validate_propensities(propensity: Float64Array, what: str = "propensity") -> None:
    """Raises DataError, with the count and the reason, unless probabilities of logged actions can be used.

    Args:
        propensity: Of each logged action, any shape.
        what: What it is called in the message.
    """
    n_missing = int(np.isnan(propensity).sum())
    n_wrong = int(((propensity <= 0) | (propensity > 1 + _ROUNDING)).sum())
    if n_missing or n_wrong:
        raise DataError(
            f"{n_missing} of {propensity.size:,} logged actions have no {what} and {n_wrong} have one "
            "outside (0, 1]: what was not logged cannot be made up; leave these decisions out"
        )
    # All 1 is a policy that never explores: other actions have no chance to be seen.
    if propensity.size and np.all(propensity == 1):
        raise DataError(
            f"every {what} of {propensity.size:,} logged actions is 1: a policy that never explores says "
            "nothing about others; serve with a policy that explores"
        )


def importance_weights(
    target: Float64Array, propensity: Float64Array, clip: float | None = None
) -> tuple[Float64Array, float]:
    """Returns the weight of each decision, and the share of their sum that clipping took away.

    Args:
        target: Probability with which the candidate would have done what was done, (n,).
        propensity: Probability with which it was done, (n,).
        clip: Largest weight allowed; None for no bound.

    Raises:
        ShapeError: If the two differ in shape.
        DataError: If a target lies outside [0, 1] or is missing, or `clip` is not positive.
    """
    if target.shape != propensity.shape:
        raise ShapeError(f"target must have the shape of propensity, {propensity.shape}, got {target.shape}")
    # Negated, so that NaN counts as wrong.
    n_wrong = int((~((target >= 0) & (target <= 1 + _ROUNDING))).sum())
    if n_wrong:
        raise DataError(
            f"{n_wrong} of {target.size:,} probabilities of the candidate are missing or outside [0, 1]; "
            "correct the candidate"
        )
    return clip_weights(target / propensity, clip)


def clip_weights(weights: Float64Array, clip: float | None) -> tuple[Float64Array, float]:
    """Returns weights of `clip` at most, and the share of their sum that this took away.

    Args:
        weights: 0 or more, any shape.
        clip: Largest weight allowed; None for no bound.

    Raises:
        DataError: If `clip` is not positive.
    """
    if clip is None:
        return weights, 0.0
    if not clip > 0:
        raise DataError(f"clip must be above 0, got {clip}")
    # Clipping biases the value: the caller shows how much it took away.
    kept = np.minimum(weights, clip)
    total = float(weights.sum())
    return kept, 1 - float(kept.sum()) / total if total else 0.0


def measure_support(weights: Float64Array, unsupported: Float64Array | None, clipped: float) -> Support:
    """Measures how far a log speaks about a candidate.

    Args:
        weights: Of each decision, (n,).
        unsupported: Probability of the candidate on actions that the log could not show, (n,); None for 0.
        clipped: Share that clipping took away.

    Source:
        Kong 1992, for the effective sample size.

    Example:
        >>> measure_support(np.array([1.0, 1.0, 0.0, 0.0]), None, 0.0).effective
        2.0
    """
    # Kong's effective size: equal weights give n, one weight alone gives 1.
    squares = float(np.square(weights).sum())
    return Support(
        n_decisions=len(weights),
        effective=float(weights.sum()) ** 2 / squares if squares else 0.0,
        largest=float(weights.max(initial=0.0)),
        unsupported=0.0 if unsupported is None else float(unsupported.mean()),
        clipped=clipped,
    )
