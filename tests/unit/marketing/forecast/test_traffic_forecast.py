"""Traffic of a service that has just begun, of one that knows days, and of one that knows weeks."""

import numpy as np
import pytest

from marquee.core.arrays import Float64Array
from marquee.marketing.forecast.series import SECONDS_PER_HOUR, Series
from marquee.marketing.forecast.traffic import forecast_traffic

DAY = np.r_[np.full(8, 1.0), np.full(10, 20.0), np.full(6, 8.0)]
WEEK = np.r_[np.tile(DAY, 5), np.tile(DAY / 4, 2)]
FIRST = 9
"""The hour since 1970 UTC at which the traffic begins: of a Thursday morning."""


def hourly(values: Float64Array, seed: int = 0) -> Series:
    noisy = np.random.default_rng(seed).poisson(values * 20).astype(np.float64)
    return Series(FIRST * SECONDS_PER_HOUR, SECONDS_PER_HOUR, noisy)


@pytest.mark.parametrize("n_hours", [0, 1, 119])
def test_little_traffic_is_expected_to_go_on_evenly(n_hours: int) -> None:
    found = forecast_traffic(hourly(np.resize(DAY, n_hours)))
    assert found.weights.tolist() == [1.0] * 168
    assert (found.low, found.high) == (None, None)
    assert found.per_hour == pytest.approx(20 * np.resize(DAY, n_hours).mean() if n_hours else 0.0, rel=0.2)
    assert f"{n_hours / 24:.1f} days" in found.verdict


def test_after_some_days_the_hours_of_a_day_are_told_apart() -> None:
    found = forecast_traffic(hourly(np.tile(DAY, 20)))
    assert found.weights.mean() == pytest.approx(1.0)
    assert found.weights[(FIRST + 10) % 168] == pytest.approx(20 / DAY.mean(), rel=0.1)
    # Whichever day: one like the other.
    assert found.weights[:24] == pytest.approx(found.weights[72:96])
    assert found.low is not None
    assert found.high is not None
    assert 0.8 < found.low < 1.0 < found.high < 1.2
    assert "hour of the day" in found.verdict


def test_after_some_weeks_the_hours_of_a_week_are() -> None:
    found = forecast_traffic(hourly(np.tile(WEEK, 14)))
    assert found.weights == pytest.approx(np.roll(WEEK / WEEK.mean(), FIRST), rel=0.25, abs=0.02)
    assert "hour of the week" in found.verdict
    assert found.low is not None


def test_few_weeks_take_the_interval_of_days() -> None:
    found = forecast_traffic(hourly(np.tile(WEEK, 6)))
    assert "hour of the week" in found.verdict
    assert found.low is not None
    assert found.high is not None
    # Days differ by weekday, weeks hardly at all.
    assert found.low < 0.8
    assert found.high > 1.05


def test_place_of_an_hour_is_the_same_wherever_the_traffic_ends() -> None:
    whole, cut = hourly(np.tile(WEEK, 14)), hourly(np.tile(WEEK, 14)[:-31])
    assert forecast_traffic(cut).weights == pytest.approx(forecast_traffic(whole).weights, rel=0.25, abs=0.02)


def test_hours_without_a_pattern_are_planned_evenly() -> None:
    found = forecast_traffic(hourly(np.full(168 * 8, 5.0)))
    assert found.weights.tolist() == [1.0] * 168
    assert found.verdict.startswith("No pattern by hour of the week")


def test_service_that_nobody_asks_any_more_expects_nobody() -> None:
    assert forecast_traffic(hourly(np.zeros(168 * 6))).per_hour == 0.0
