"""A level times a profile of the week: the smallest forecast that knows that Sundays differ from Mondays."""

import numpy as np

from marquee.core.arrays import Float64Array

# The profile changes slowly, the level fast: a season of weeks for the one, a few for the other.
PROFILE_WEEKS = 12
LEVEL_WEEKS = (2, 4, 8)
DEFAULT_LEVEL_WEEKS = 4


def weekly_profile(past: Float64Array, period: int) -> Float64Array:
    """Returns the share of each step of the week in the last weeks, with mean 1, (period,) float64.

    The first entry belongs to the step after the past.

    Args:
        past: Values up to now, at least one week of them, (n_steps,).
        period: Steps in a week.

    Example:
        >>> weekly_profile(np.array([1.0, 3.0, 1.0, 3.0]), 2)
        array([0.5, 1.5])
    """
    weeks = _last_weeks(past, period, PROFILE_WEEKS)
    total = weeks.sum()
    # Sums and not means of shares: a week of a holiday says little about the others.
    return weeks.sum(axis=0) / total * period if total > 0 else np.ones(period)


def forecast_profile(past: Float64Array, n: int, period: int, level_weeks: int) -> Float64Array:
    """Returns level times profile for the coming steps, (n,) float64."""
    return forecast_level(past, n, period, level_weeks) * np.resize(weekly_profile(past, period), n)


def forecast_level(past: Float64Array, n: int, period: int, level_weeks: int) -> Float64Array:
    """Returns the mean of the last weeks for every coming step, (n,) float64."""
    return np.full(n, _last_weeks(past, period, level_weeks).mean())


def forecast_last_week(past: Float64Array, n: int, period: int) -> Float64Array:
    """Returns the values of last week, again and again, (n,) float64."""
    return np.resize(past[-period:], n)


def _last_weeks(past: Float64Array, period: int, n_weeks: int) -> Float64Array:
    """The last complete weeks, at most so many, (n, period)."""
    n = min(len(past) // period, n_weeks)
    return past[len(past) - n * period :].reshape(n, period)
