"""Forecasts: gaps are zeros, patterns are found and denied, errors are those of the past alone."""

import numpy as np
import pytest

from marquee.core.arrays import Float64Array
from marquee.errors import DataError
from marquee.marketing.forecast.backtest import TAILS, interval_of, run_backtest, scaled
from marquee.marketing.forecast.forecasting import forecast_series
from marquee.marketing.forecast.profile import forecast_profile, weekly_profile
from marquee.marketing.forecast.series import SECONDS_PER_DAY, SECONDS_PER_HOUR, Series, sum_by_step

WEEK = np.array([10.0, 12.0, 11.0, 13.0, 20.0, 30.0, 0.0])


def daily(n_weeks: int, spread: float, seed: int = 0, week: Float64Array = WEEK) -> Series:
    generator = np.random.default_rng(seed)
    values = np.tile(week, n_weeks) * generator.lognormal(0, spread, 7 * n_weeks)
    return Series(0, SECONDS_PER_DAY, values)


def test_steps_without_a_row_are_zeros_and_the_cut_step_is_left_out() -> None:
    times = np.array([5, 2 * SECONDS_PER_DAY + 1, 3 * SECONDS_PER_DAY + 1])
    found = sum_by_step(times, np.array([2.0, 3.0, 4.0]), SECONDS_PER_DAY, until=3 * SECONDS_PER_DAY + 7)
    assert found.values.tolist() == [2.0, 0.0, 3.0]
    assert sum_by_step(times, None, SECONDS_PER_DAY).values.tolist() == [1.0, 0.0, 1.0, 1.0]


def test_profile_of_a_shop_that_repeats_its_week_is_exact() -> None:
    past = np.tile(WEEK, 8)
    assert forecast_profile(past, 10, 7, 4) == pytest.approx(np.resize(WEEK, 10))
    assert weekly_profile(past[:-2], 7).mean() == pytest.approx(1.0)
    # The first entry belongs to the day after the past, whatever weekday that is.
    assert forecast_profile(past[:-2], 2, 7, 4) == pytest.approx(WEEK[5:])


def test_weekly_pattern_is_found_and_said() -> None:
    found = forecast_series(daily(40, 0.2), 28)
    assert found.has_pattern
    assert found.verdict.startswith("There is a pattern by weekday")
    assert found.backtest.profile.by_step < min(
        found.backtest.level.by_step, found.backtest.last_week.by_step
    )
    # The shop is closed on the seventh day, and the interval knows it.
    assert found.high is not None
    assert found.high[6] == 0.0


def test_even_noise_has_no_pattern_and_gets_an_even_plan() -> None:
    found = forecast_series(daily(40, 0.5, week=np.full(7, 10.0)), 28)
    assert not found.has_pattern
    assert found.verdict.startswith("No pattern by weekday")
    assert np.ptp(found.expected) == 0


def test_interval_covers_four_days_of_five() -> None:
    covers = [run_backtest(daily(60, 0.3, seed=seed).values, 14, 7).coverage for seed in range(5)]
    assert 0.75 < float(np.mean([cover for cover in covers if cover is not None])) < 0.85


def test_errors_do_not_know_the_future() -> None:
    values = daily(30, 0.3).values
    whole = run_backtest(values, 7, 7)
    # Whatever comes later, the forecasts of the earlier origins stay as they were.
    changed = values.copy()
    changed[-7:] = 1e6
    again = run_backtest(changed, 7, 7)
    assert np.array_equal(whole.residuals[:-1], again.residuals[:-1], equal_nan=True)
    assert whole.n_origins == again.n_origins == 20


def test_sudden_change_is_better_foreseen_by_last_week_and_said() -> None:
    growing = np.tile(WEEK, 24) * np.repeat(1.3 ** np.arange(24), 7)
    found = forecast_series(Series(0, SECONDS_PER_DAY, growing), 7)
    assert any("last week's values were nearer" in caution for caution in found.cautions)


def test_hours_of_the_week_are_a_pattern_too() -> None:
    generator = np.random.default_rng(0)
    hours = np.tile(np.r_[np.zeros(8), np.full(10, 6.0), np.zeros(6)], 7)
    counts = generator.poisson(np.tile(hours, 20)).astype(np.float64)
    found = forecast_series(Series(0, SECONDS_PER_HOUR, counts), 7)
    assert "pattern by hour of the week" in found.verdict
    assert found.has_pattern
    assert found.backtest.coverage is not None
    assert 0.7 < found.backtest.coverage < 0.9


def test_total_has_an_interval_about_it() -> None:
    found = forecast_series(daily(40, 0.3), 28)
    assert found.total_low is not None
    assert found.total_high is not None
    assert found.total_low < found.total < found.total_high
    assert found.total == pytest.approx(found.expected.sum())


def test_short_table_has_a_forecast_without_an_interval_and_a_shorter_one_none() -> None:
    found = forecast_series(daily(9, 0.2), 14)
    assert found.low is None
    assert found.total_low is None
    assert any("an interval needs" in caution for caution in found.cautions)
    with pytest.raises(
        DataError, match=r"3\.0 weeks are known, a forecast of 2\.0 weeks needs at least 6\.0"
    ):
        forecast_series(daily(3, 0.2), 14)


def test_shop_that_sold_nothing_is_forecast_to_sell_nothing() -> None:
    found = forecast_series(Series(0, SECONDS_PER_DAY, np.zeros(140)), 7)
    assert found.total == 0
    assert np.isfinite(found.expected).all()
    assert not found.has_pattern


def test_interval_is_the_quantiles_of_past_errors_in_the_scale_of_the_step() -> None:
    forecast = np.array([4.0, 16.0, 0.0])
    residuals = np.array([scaled(np.array([error, 2 * error, 0.0]), forecast) for error in range(-5, 6)])
    interval = interval_of(forecast, residuals)
    assert interval is not None
    low, high = np.nanquantile(residuals, TAILS)
    unit = np.sqrt(forecast * forecast.mean())
    assert interval[1] == pytest.approx(forecast + high * unit)
    assert interval[0] == pytest.approx(np.maximum(forecast + low * unit, 0))
    assert interval_of(forecast, residuals[:7]) is None


def test_rows_of_another_century_are_refused_with_their_date() -> None:
    times = np.array([-2_000_000_000, 1_700_000_000])
    with pytest.raises(DataError, match="correct the earliest date, 1906"):
        sum_by_step(times, None, SECONDS_PER_HOUR)
    with pytest.raises(DataError, match="none of 0 rows"):
        sum_by_step(times[:0], None, SECONDS_PER_DAY)
