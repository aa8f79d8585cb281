"""The population stability index of a column, held against what chance makes of samples of this size.

"An index above 0.2 is drift" is a rule for large samples: of 50 rows in ten bins, half of all stable samples
exceed it. Here an index must pass both the size that matters and what chance alone makes.
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import Float64Array
from marquee.errors import DataError
from marquee.evaluation.drift.bins import Bins, Counts

MATTERS = 0.2
"""Index below which a shift is too small to care about, whatever its p-value."""

LEVEL = 0.001
"""How often chance may raise an alarm in a whole report."""

# 20 of them lie beyond the quantile of one column at `LEVEL`.
N_SIMULATIONS = 20_000


@dataclass(frozen=True, slots=True)
class Stability:
    """One column, compared with its reference.

    Attributes:
        name: Of the column.
        index: Population stability index.
        by_chance: Index that chance alone passes less often than the level allows.
        largest: Bin that adds most to the index.
        reference_share: Share of the reference in that bin.
        current_share: Share of the current rows in it.
        matters: Index that matters.
    """

    name: str
    index: float
    by_chance: float
    largest: str
    reference_share: float
    current_share: float
    matters: float = MATTERS

    @property
    def has_drifted(self) -> bool:
        """Whether the shift matters and is no accident."""
        return self.index > max(self.matters, self.by_chance)


def stability_index(reference: Counts, current: Counts) -> tuple[Float64Array, Float64Array]:
    """Returns the part of each bin in the index, and the index, along the last axis.

    Shares below half a row of the smaller sample are raised to that: an empty bin is no infinite shift, and
    in a bin that both lack nothing has shifted.

    Args:
        reference: Rows of each bin, (..., n_bins).
        current: The same, now.

    Source:
        Siddiqi 2006, "Credit Risk Scorecards", for the index; differs from it: the floor.

    Example:
        >>> _, index = stability_index(np.array([50, 50]), np.array([80, 20]))
        >>> float(index.round(4))  # 0.3 ln 1.6 - 0.3 ln 0.4
        0.4159
    """
    n_reference, n_current = reference.sum(axis=-1), current.sum(axis=-1)
    # Half a row in place of 0, or one empty bin would make an infinite index.
    floor = 0.5 / np.minimum(n_reference, n_current)[..., None]
    before = np.maximum(reference / n_reference[..., None], floor)
    now = np.maximum(current / n_current[..., None], floor)
    added: Float64Array = (now - before) * np.log(now / before)
    return added, added.sum(axis=-1)


def index_by_chance(
    reference: Counts,
    n_current: int,
    generator: np.random.Generator,
    n_together: int = 1,
    level: float = LEVEL,
) -> float:
    """Returns the index that stable samples of this size pass less often than the level allows.

    Simulated: both samples are drawn from the shares of the reference.

    Args:
        reference: Rows of each bin of the reference, (n_bins,).
        n_current: Rows now.
        generator: Draws the samples.
        n_together: Columns that are looked at together: any of them may raise the alarm.
        level: Of all together.

    Raises:
        DataError: If there are no rows.
    """
    n_reference = int(reference.sum())
    if n_reference < 1 or n_current < 1:
        raise DataError(f"drift needs rows on both sides, got {n_reference} and {n_current}")
    shares = reference / n_reference
    # Both sides are drawn: the reference is a sample too, and its noise adds to the index.
    before = generator.multinomial(n_reference, shares, size=N_SIMULATIONS)
    now = generator.multinomial(n_current, shares, size=N_SIMULATIONS)
    _, indices = stability_index(before, now)
    # Bonferroni: any of the columns may raise the report's alarm.
    each = level / max(1, n_together)
    # Below that the quantile lies beyond all draws.
    if each * N_SIMULATIONS >= 1:
        return float(np.quantile(indices, 1 - each))
    return _beyond(indices, each)


def _beyond(indices: Float64Array, level: float) -> float:
    """Returns a quantile beyond those that were drawn, by a gamma distribution of the same two moments.

    For large samples the index is a scaled χ², which is one.
    """
    from scipy.stats import gamma

    mean, variance = float(indices.mean()), float(indices.var())
    if not variance:
        return mean
    fitted = float(gamma.isf(level, mean**2 / variance, scale=variance / mean))
    # Never below what chance made in the draws: for small samples the gamma is an approximation.
    return max(fitted, float(indices.max()))


def compare_column(
    bins: Bins, current: Counts, generator: np.random.Generator, n_together: int = 1, matters: float = MATTERS
) -> Stability:
    """Compares a column with its reference.

    Args:
        bins: Of the reference.
        current: Rows of each bin now, see `Bins.count`.
        generator: Draws what chance makes.
        n_together: Columns that are looked at together.
        matters: Index that matters.

    Raises:
        DataError: If there are no rows.
    """
    by_chance = index_by_chance(bins.counts, int(current.sum()), generator, n_together)
    added, index = stability_index(bins.counts, current)
    most = int(np.argmax(added))
    return Stability(
        name=bins.name,
        index=float(index),
        by_chance=by_chance,
        largest=bins.labels[most],
        reference_share=float(bins.counts[most] / bins.counts.sum()),
        current_share=float(current[most] / current.sum()),
        matters=matters,
    )
