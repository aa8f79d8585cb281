"""Intervals of means over users: how far the truth may be from what these users happened to show.

The bootstrap draws users, with replacement and with a seed. What it resamples is the studentised mean: the
values of users are mostly 0 with a tail, and there plain percentiles of resampled means are too short on
the side of the tail (`benchmarks.reports` shows both beside the truth of simulated worlds).
Does not test anything (see `comparison`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any  # of JSON

import msgspec
import numpy as np
import numpy.typing as npt

from marquee.core.arrays import BoolArray, Float64Array

CONFIDENCE = 0.95
N_RESAMPLES = 1000
RESAMPLES_MEMORY_MB = 16

_TAILS = (0.025, 0.975)  # what CONFIDENCE leaves on either side
_NORMAL_QUANTILE = 1.959963984540054  # of the upper one
_ROUNDING = 1e-12  # a variance below this share of the mean square is that of equal values


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over users with its 95 % bootstrap interval.

    Attributes:
        mean: Over all users that have the value; NaN if none has.
        low: Lower end.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


def json_fields(value: object) -> dict[str, Any]:
    """Returns a dataclass or mapping as JSON would read it: lists for tuples, None for NaN and infinity.

    Example:
        >>> json_fields(Estimate(0.5, float("nan"), 1.0))
        {'mean': 0.5, 'low': None, 'high': 1.0}
    """
    fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return fields


def estimate_means(
    values: Float64Array,
    generator: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    is_difference: BoolArray | None = None,
) -> list[Estimate]:
    """Returns the mean of each column with its 95 % interval, in the order of the columns.

    The mean of each resample is taken in units of its own standard error, and the quantiles of that give
    the interval. Where a handful of users has anything but 0 (or anything but 1), resamples cannot know
    what the others might have shown; there the interval ends at what Wilson's interval allows for the share
    of such users. So an interval of a column of zeros is not empty, and its upper end is near 4 / n. A
    column of nothing but 0 and 1 is a share itself, and has Wilson's interval.

    Args:
        values: (n_rows, n_columns), NaN where a row has no such value. In [0, 1], differences in [-1, 1].
        generator: Draws the rows; the same rows for all columns.
        n_resamples: Number of resamples.
        is_difference: Which columns are paired differences, (n_columns,); None for none. Their intervals
            are symmetric, which is more exact where both signs occur; that of a column of zeros is empty.

    Source:
        Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 12.5 (bootstrap-t); Hall
        1988, Annals of Statistics 16(3), for the symmetric one; Wilson 1927, JASA 22, recommended for
        shares by Brown, Cai and DasGupta 2001, Statistical Science 16(2). Differs from them: they are
        combined, as said above.

    Example:
        >>> (found,) = estimate_means(np.zeros((96, 1)), np.random.default_rng(0))
        >>> found.mean, found.low, round(found.high, 3)
        (0.0, 0.0, 0.038)
    """
    is_there = ~np.isnan(values)
    filled = np.where(is_there, values, 0.0)
    n_present = is_there.sum(axis=0)
    # Studentised: plain percentiles are too short on the side of the tail (docs/decisions/0006).
    means, errors = _moments(filled.sum(axis=0), np.square(filled).sum(axis=0), n_present)
    pivots = _pivots(filled, is_there, means, generator, n_resamples)
    of_difference = np.zeros(len(means), dtype=np.bool_) if is_difference is None else is_difference
    low, high = _studentised(means, errors, pivots, of_difference)
    lowest, highest = _bounds(filled, is_there, n_present, of_difference)
    low, high = np.maximum(low, lowest), np.minimum(high, highest)
    is_share = ~of_difference & ((filled == 0) | (filled == 1)).all(axis=0) & (n_present > 0)
    # Of 0 and 1 alone the mean is a share: its interval is known without resampling.
    shares = wilson(filled.sum(axis=0), n_present.astype(np.float64))
    low, high = np.where(is_share, shares[0], low), np.where(is_share, shares[1], high)
    return [Estimate(*map(float, row)) for row in zip(means, low, high, strict=True)]


def resample_counts(
    n_rows: int, generator: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> Iterator[Float64Array]:
    """Yields how often each row is drawn in each resample, (n, n_rows), in blocks of bounded memory.

    Each resample draws as many rows as there are, with replacement.

    Source:
        Efron 1979, Annals of Statistics 7(1), method 2.
    """
    n_at_once = max(1, RESAMPLES_MEMORY_MB * 2**20 // (8 * max(n_rows, 1)))
    for start in range(0, n_resamples, n_at_once):
        n = min(n_at_once, n_resamples - start)
        # Each resample has a range of its own, so that one bincount counts all of them.
        drawn = generator.integers(0, n_rows, size=(n, n_rows))
        drawn += n_rows * np.arange(n)[:, None]
        yield np.bincount(drawn.ravel(), minlength=n * n_rows).reshape(n, n_rows).astype(np.float64)


def widening(n_together: int) -> float:
    """Returns by how much an interval must be longer if any of `n_together` is picked for what it shows.

    Bonferroni's correction, for a normal distribution.

    Example:
        >>> round(widening(1), 6), round(widening(20), 2)
        (1.0, 1.54)
    """
    return NormalDist().inv_cdf(1 - (1 - _TAILS[1]) / max(n_together, 1)) / _NORMAL_QUANTILE


def wilson(
    n_found: Float64Array, n_all: Float64Array, quantile: float = _NORMAL_QUANTILE
) -> tuple[Float64Array, Float64Array]:
    """Returns the ends of the interval of a share, of the shape of both; NaN for a share of nothing.

    Args:
        n_found: Of those who have it.
        n_all: Of all.
        quantile: Of the normal distribution; the usual one gives 95 %.

    Source:
        Wilson 1927, JASA 22, p. 209.

    Example:
        >>> low, high = wilson(np.array([5.0]), np.array([10.0]))
        >>> low.round(3).tolist(), high.round(3).tolist()
        ([0.237], [0.763])
    """
    z2 = quantile**2
    with np.errstate(invalid="ignore", divide="ignore"):
        share = n_found / n_all
        middle = share + z2 / (2 * n_all)
        reach = quantile * np.sqrt(share * (1 - share) / n_all + z2 / (4 * n_all**2))
        low, high = ((middle + side * reach) / (1 + z2 / n_all) for side in (-1, 1))
    # Rounding must not leave what the share itself is.
    return np.where((n_found == 0) & (n_all > 0), 0.0, low), np.where(
        (n_found == n_all) & (n_all > 0), 1.0, high
    )


def _moments(
    sums: Float64Array, squares: Float64Array, n: Float64Array | npt.NDArray[np.int64]
) -> tuple[Float64Array, Float64Array]:
    """Returns means and their standard errors, of the shape of `sums`; NaN where n is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means, mean_squares = sums / n, squares / n
        variances = mean_squares - np.square(means)
        # Equal values have a variance of rounding alone, which would make their pivots huge.
        variances[variances < _ROUNDING * mean_squares] = 0.0
        return means, np.sqrt(variances / n)


def _pivots(
    filled: Float64Array,
    is_there: BoolArray,
    means: Float64Array,
    generator: np.random.Generator,
    n_resamples: int,
) -> Float64Array:
    """Returns how many of its own standard errors each resampled mean is off, (n_resamples, n_columns).

    Infinite where a resample is of equal values; NaN where it holds no value.
    """
    squared = np.square(filled)
    present = None if is_there.all() else is_there.astype(np.float64)
    pivots = np.empty((n_resamples, len(means)))
    start = 0
    for times in resample_counts(len(filled), generator, n_resamples):
        n = np.full(1, len(filled)) if present is None else times @ present
        # Counts times values: no array of (n_resamples, n_rows, n_columns) is needed.
        resampled, errors = _moments(times @ filled, times @ squared, n)
        off = resampled - means
        # A resample of the mean itself is off by rounding, and 0 / 0 is no deviation.
        off[np.abs(off) < _ROUNDING] = 0.0
        with np.errstate(invalid="ignore", divide="ignore"):
            pivots[start : start + len(times)] = np.where(off == 0, 0.0, off / errors)
        start += len(times)
    return pivots


def _studentised(
    means: Float64Array, errors: Float64Array, pivots: Float64Array, is_difference: BoolArray
) -> tuple[Float64Array, Float64Array]:
    """Returns the ends by the quantiles of the pivots, (n_columns,) each; NaN where there is no value."""
    is_there = ~np.isnan(means)
    low, high = np.full(len(means), np.nan), np.full(len(means), np.nan)
    if not is_there.any():
        return low, high
    pivots, error = pivots[:, is_there], errors[is_there]
    # Infinite pivots cannot be interpolated between.
    below, above = np.nanquantile(pivots, _TAILS, axis=0, method="inverted_cdf")
    # Symmetric for differences: few values of both signs need it (docs/decisions/0006).
    either = np.nanquantile(np.abs(pivots), CONFIDENCE, axis=0, method="inverted_cdf")
    below = np.where(is_difference[is_there], -either, below)
    above = np.where(is_difference[is_there], either, above)
    # An infinite pivot times an error of 0 would be NaN.
    reach = np.zeros((2, len(error)))
    np.multiply(np.stack([above, below]), error, out=reach, where=error > 0)
    # The upper quantile gives the lower end: a pivot is resampled minus observed.
    low[is_there], high[is_there] = means[is_there] - reach
    return low, high


def _bounds(
    filled: Float64Array, is_there: BoolArray, n_present: npt.NDArray[np.int64], is_difference: BoolArray
) -> tuple[Float64Array, Float64Array]:
    """Returns the bounds that the shares of users above 0, below 0 and below 1 allow, (n_columns,) each."""
    n = n_present.astype(np.float64)
    above = wilson((filled > 0).sum(axis=0).astype(np.float64), n)[1]
    below = wilson((filled < 0).sum(axis=0).astype(np.float64), n)[1]
    short = wilson(((filled < 1) & is_there).sum(axis=0).astype(np.float64), n)[1]
    # Each user at 1 adds 1: a mean is not below the smallest share of such users.
    return np.where(is_difference, -below, np.maximum(1 - short, 0.0)), above
