"""Intervals that hold however often one looks: asymptotic confidence sequences.

A fixed interval covers in 95 of 100 experiments if it is read once, at the declared end. Read every day
until one leaves out 0, it finds an effect in a quarter of the experiments that have none. These intervals are
longer, and cover at all looks together.
"""

import math

from marquee.errors import DataError

ALPHA = 0.05
TUNED_FOR = 10_000
"""Units of both arms together at which the interval is shortest, relative to the fixed one."""


def sequence_half_width(
    standard_error: float, n_units: int, tuned_for: int = TUNED_FOR, n_arms: int = 1
) -> float:
    """Returns half the length of the 95 % confidence sequence of a difference.

    Args:
        standard_error: Of the difference, now.
        n_units: Of both arms together.
        tuned_for: Units at which it should be shortest; must be chosen before the experiment begins.
        n_arms: Arms beside the control: the sequences of all of them hold together.

    Raises:
        DataError: If there are no units, or `tuned_for` is below 1.

    Source:
        Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, Annals of Statistics 52(6), "Time-uniform
        central limit theory and asymptotic confidence sequences", theorem 2.2 and appendix B.2 for rho.

    Example:
        >>> round(sequence_half_width(0.01, 10_000) / 0.01, 2)  # beside 1.96 of a fixed interval
        3.04
    """
    if n_units < 1 or tuned_for < 1:
        raise DataError(f"a confidence sequence needs 1 unit or more, got {n_units}, tuned for {tuned_for}")
    alpha = ALPHA / n_arms  # Bonferroni: who looks at several arms each day may be fooled by any of them
    twice_log = -2 * math.log(alpha)
    # Trap: tuned to the units at hand, it would follow the data and the sequence would no longer cover.
    rho_squared = (twice_log + math.log(twice_log + 1)) / tuned_for
    scale = n_units * rho_squared
    # standard_error² · n is the variance per unit, so that n cancels against the paper's n².
    return standard_error * math.sqrt(2 * (scale + 1) / scale * math.log(math.sqrt(scale + 1) / alpha))
