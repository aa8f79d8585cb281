"""The forecast of a series: level times profile where there is a weekly pattern, else the level alone."""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import Float64Array, IndexArray
from marquee.marketing.forecast.backtest import MIN_FOR_INTERVAL, TAILS, Backtest, interval_of, run_backtest
from marquee.marketing.forecast.profile import forecast_level, forecast_profile
from marquee.marketing.forecast.series import SECONDS_PER_DAY, Series

# A profile must take a tenth off the error, and be nearer at two origins of three: chance alone does neither
# for long.
CLEARLY_NEARER = 0.9
MOSTLY = 2 / 3


@dataclass(frozen=True)
class Forecast:
    """The coming steps.

    Attributes:
        moments: Beginning of each, seconds since 1970 by the clock of the series, (n,) int64.
        expected: (n,) float64.
        low: Lower end of the 80 % interval, (n,) float64; None where too little of the past is known.
        high: Upper end.
        total: Sum of the expected.
        total_low: Lower end of its 80 % interval.
        total_high: Upper end.
        has_pattern: Whether a profile of the week is used.
        verdict: Whether there is a pattern, in a sentence.
        cautions: What else to know, in sentences.
        backtest: The same on the past.
    """

    moments: IndexArray
    expected: Float64Array
    low: Float64Array | None
    high: Float64Array | None
    total: float
    total_low: float | None
    total_high: float | None
    has_pattern: bool
    verdict: str
    cautions: tuple[str, ...]
    backtest: Backtest


def forecast_series(series: Series, n_days: int, period: int | None = None) -> Forecast:
    """Returns the forecast of the coming days, judged on the past.

    Args:
        series: One value per day or hour.
        n_days: How far ahead.
        period: Steps after which the pattern begins anew; None for a week of them. A day of hours stands in
            for a week where few weeks are known.

    Raises:
        DataError: If the series is too short to judge any forecast.
    """
    n = n_days * SECONDS_PER_DAY // series.step
    period = series.period if period is None else period
    found = run_backtest(series.values, n, period)
    has_pattern = _has_pattern(found)
    make = forecast_profile if has_pattern else forecast_level
    expected = make(series.values, n, period, found.level_weeks)
    interval = interval_of(expected, found.residuals)
    total = float(expected.sum())
    low, high = _total_interval(total, found)
    return Forecast(
        series.moments(len(series.values), n),
        expected,
        None if interval is None else interval[0],
        None if interval is None else interval[1],
        total,
        low,
        high,
        has_pattern,
        _verdict(found, has_pattern, _slot(series.step, period)),
        _cautions(found),
        found,
    )


def _has_pattern(found: Backtest) -> bool:
    """Whether the profile is clearly nearer than the level alone."""
    return found.profile.by_step <= CLEARLY_NEARER * found.level.by_step and found.better_origins >= MOSTLY


def _total_interval(total: float, found: Backtest) -> tuple[float | None, float | None]:
    """The 80 % interval of the sum, by what came over what was forecast in the past."""
    if len(found.sum_ratios) < MIN_FOR_INTERVAL:
        return None, None
    low, high = np.quantile(found.sum_ratios, TAILS)
    return float(total * low), float(total * high)


def _slot(step: int, period: int) -> str:
    """Returns the word for what a profile tells apart."""
    if step == SECONDS_PER_DAY:
        return "weekday"
    return "hour of the day" if step * period == SECONDS_PER_DAY else "hour of the week"


def _verdict(found: Backtest, has_pattern: bool, slot: str) -> str:
    """Whether there is a pattern, with the errors that say so."""
    ratio = found.profile.by_step / found.level.by_step if found.level.by_step else 1.0
    if has_pattern:
        return (
            f"There is a pattern by {slot}: with it the error is {ratio:.2f} of that of an even plan, over "
            f"{found.n_origins} past forecasts."
        )
    return (
        f"No pattern by {slot}: with one the error is {ratio:.2f} of that of an even plan over "
        f"{found.n_origins} past forecasts (at most {CLEARLY_NEARER:g} counts), so the plan is even."
    )


def _cautions(found: Backtest) -> tuple[str, ...]:
    """Cautions for a reader, in sentences."""
    cautions = []
    own = min(found.profile.by_step, found.level.by_step)
    if found.last_week.by_step < own:
        cautions.append(
            f"last week's values were nearer in the past (error {found.last_week.by_step:.0%}, "
            f"this forecast {own:.0%}): something changes faster than a level over weeks"
        )
    if found.n_origins < MIN_FOR_INTERVAL:
        cautions.append(
            f"only {found.n_origins} past forecasts could be judged, an interval needs "
            f"{MIN_FOR_INTERVAL}: none is drawn"
        )
    return tuple(cautions)
