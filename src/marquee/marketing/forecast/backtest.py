"""Judges a forecast where the answer is known: made anew at the end of each past week.

Whatever is chosen (how many weeks make the level, how wide the interval is) is chosen at each origin from the
origins whose weeks had passed by then, so that the errors are those of somebody who could not know better.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import Float64Array
from marquee.errors import DataError
from marquee.marketing.forecast.profile import (
    DEFAULT_LEVEL_WEEKS,
    LEVEL_WEEKS,
    forecast_last_week,
    forecast_level,
    forecast_profile,
)

# Weeks before the first origin: a quarter of a year where there is as much.
FEWEST_WEEKS, MOST_WEEKS = 4, 12

TAILS = (0.1, 0.9)
"""Quantiles of past errors that bound the interval: 80 % lie between."""

# Fewer past forecasts settle no tenth.
MIN_FOR_INTERVAL = 8

Maker = Callable[[Float64Array, int, int, int], Float64Array]


@dataclass(frozen=True)
class ForecastErrors:
    """Errors of one way to forecast, on average over the origins.

    Attributes:
        name: Of the way.
        by_step: Absolute error of the steps over their sum: 0.3 is 30 % of what came.
        of_sum: Absolute error of the sum over it.
    """

    name: str
    by_step: float
    of_sum: float


@dataclass(frozen=True)
class Backtest:
    """Forecasts at the end of past weeks beside what came.

    Attributes:
        n_origins: How many forecasts.
        profile: Level times profile.
        level: The level alone.
        last_week: Last week's values.
        better_origins: Share of origins at which the profile was nearer than the level.
        coverage: Share of steps inside of their interval, over origins that had one; None without any.
        level_weeks: Chosen for the next forecast.
        residuals: Of the chosen forecast at each origin, in its own scale, (n_origins, n) float64; see
            `scaled`.
        sum_ratios: What came over what was forecast, of the sum at each origin, (n_origins,) float64.
    """

    n_origins: int
    profile: ForecastErrors
    level: ForecastErrors
    last_week: ForecastErrors
    better_origins: float
    coverage: float | None
    level_weeks: int
    residuals: Float64Array
    sum_ratios: Float64Array


@dataclass(frozen=True)
class _Origins:
    """Every forecast at every origin.

    Attributes:
        places: Steps before each origin, (n_origins,).
        came: (n_origins, n).
        profile: By number of weeks of the level, (n_levels, n_origins, n).
        level: The same without a profile.
        last_week: (n_origins, n).
    """

    places: tuple[int, ...]
    came: Float64Array
    profile: Float64Array
    level: Float64Array
    last_week: Float64Array


def run_backtest(values: Float64Array, n: int, period: int) -> Backtest:
    """Judges forecasts of n steps at the end of each past week.

    Args:
        values: The series, (n_steps,).
        n: Steps to forecast.
        period: Steps in a week.

    Raises:
        DataError: If no week can be judged.
    """
    origins = _make_origins(values, n, period)
    chosen = _chosen_levels(origins, n)
    rows = np.arange(len(origins.places))
    profile, level = origins.profile[chosen, rows], origins.level[chosen, rows]
    errors = {
        name: _step_errors(forecast, origins.came)
        for name, forecast in (("profile", profile), ("level", level), ("last week", origins.last_week))
    }
    judged = {
        name: ForecastErrors(
            name, float(errors[name].mean()), float(_sum_errors(forecast, origins.came).mean())
        )
        for name, forecast in (("profile", profile), ("level", level), ("last week", origins.last_week))
    }
    residuals = scaled(origins.came - profile, profile)
    return Backtest(
        len(rows),
        judged["profile"],
        judged["level"],
        judged["last week"],
        float((errors["profile"] < errors["level"]).mean()),
        _coverage(origins, profile, residuals, n),
        LEVEL_WEEKS[_best_level(_level_errors(origins))],
        residuals,
        origins.came.sum(axis=1) / np.maximum(profile.sum(axis=1), 1e-12),
    )


def scaled(errors: Float64Array, forecast: Float64Array) -> Float64Array:
    """Returns errors in units in which those of quiet and busy steps are alike; NaN where 0 is forecast.

    Counts spread as the root of their mean: the unit is the root of forecast times mean forecast. For days,
    which differ little, it is nearly the forecast itself; an empty hour of the night takes no width from a
    busy one.

    Args:
        errors: (…, n).
        forecast: The same shape.
    """
    unit = spread_unit(forecast)
    return np.where(unit > 0, errors / np.where(unit > 0, unit, 1.0), np.nan)


def spread_unit(forecast: Float64Array) -> Float64Array:
    """Returns the unit of `scaled`, in the shape of the forecast."""
    return np.asarray(np.sqrt(forecast * forecast.mean(axis=-1, keepdims=True)))


def interval_of(forecast: Float64Array, residuals: Float64Array) -> tuple[Float64Array, Float64Array] | None:
    """Returns the ends of the 80 % interval of each step, (n,) each; None if too few residuals are known."""
    if len(residuals) < MIN_FOR_INTERVAL or np.isnan(residuals).all():
        return None
    low, high = np.nanquantile(residuals, TAILS)
    unit = spread_unit(forecast)
    return np.maximum(forecast + low * unit, 0.0), forecast + high * unit


def _make_origins(values: Float64Array, n: int, period: int) -> _Origins:
    """Forecasts at the end of each week, from the first that has a past on."""
    n_weeks = len(values) // period
    first = period * int(np.clip(n_weeks // 3, FEWEST_WEEKS, MOST_WEEKS))
    # Counted back from the end: the last origin is the one whose answer has just come in.
    places = tuple(range(len(values) - n, first - 1, -period))[::-1]
    if not places:
        raise DataError(
            f"{len(values) / period:.1f} weeks are known, a forecast of {n / period:.1f} weeks needs "
            f"at least {FEWEST_WEEKS + n / period:.1f} to be judged: forecast less, or wait"
        )

    def at_origins(make: Maker, level_weeks: int) -> Float64Array:
        return np.stack([make(values[:place], n, period, level_weeks) for place in places])

    return _Origins(
        places,
        np.stack([values[place : place + n] for place in places]),
        np.stack([at_origins(forecast_profile, weeks) for weeks in LEVEL_WEEKS]),
        np.stack([at_origins(forecast_level, weeks) for weeks in LEVEL_WEEKS]),
        np.stack([forecast_last_week(values[:place], n, period) for place in places]),
    )


def _step_errors(forecast: Float64Array, came: Float64Array) -> Float64Array:
    """Absolute error of the steps over their sum, (…, n_origins)."""
    return _over(np.abs(forecast - came).sum(axis=-1), came.sum(axis=-1))


def _sum_errors(forecast: Float64Array, came: Float64Array) -> Float64Array:
    """Absolute error of the sum over it, (…, n_origins)."""
    return _over(np.abs(forecast.sum(axis=-1) - came.sum(axis=-1)), came.sum(axis=-1))


def _over(error: Float64Array, total: Float64Array) -> Float64Array:
    """Error over total; where nothing came, 1 for any error and 0 for none."""
    return np.where(total > 0, error / np.where(total > 0, total, 1.0), (error > 0).astype(np.float64))


def _level_errors(origins: _Origins) -> Float64Array:
    """Errors by step of every level, (n_levels, n_origins)."""
    return _step_errors(origins.profile, origins.came)


def _best_level(errors: Float64Array) -> int:
    """Place of the level with the smallest mean error, (n_levels, n); the default without any error."""
    if not errors.shape[1]:
        return LEVEL_WEEKS.index(DEFAULT_LEVEL_WEEKS)
    return int(np.argmin(errors.mean(axis=1)))


def _passed(origins: _Origins, at: int, n: int) -> int:
    """How many origins had their answer when the origin `at` was made."""
    return sum(place + n <= origins.places[at] for place in origins.places)


def _chosen_levels(origins: _Origins, n: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Place of the level that each origin would have chosen, (n_origins,)."""
    errors = _level_errors(origins)
    return np.array([_best_level(errors[:, : _passed(origins, at, n)]) for at in range(len(origins.places))])


def _coverage(origins: _Origins, forecast: Float64Array, residuals: Float64Array, n: int) -> float | None:
    """Share of steps within the interval that each origin would have drawn, without steps forecast as 0."""
    inside, steps = 0, 0
    for at in range(len(origins.places)):
        interval = interval_of(forecast[at], residuals[: _passed(origins, at, n)])
        if interval is None:
            continue
        # A shop that is closed on Sundays sells nothing on a Sunday: that is no merit of an interval.
        is_open = forecast[at] > 0
        low, high, came = interval[0][is_open], interval[1][is_open], origins.came[at][is_open]
        inside += int(((came >= low) & (came <= high)).sum())
        steps += len(came)
    return inside / steps if steps else None
