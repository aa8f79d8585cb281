"""The time of a campaign by the traffic of its hours."""

from datetime import datetime

import numpy as np
import pytest

from marquee.ads.campaigns.calendar import HOURS_PER_WEEK, day_bounds
from marquee.ads.traffic import EVEN, WeighedTime, time_of
from marquee.store.campaigns.campaign import Creative, HourRange, Targeting, Weekday
from tests.support.campaigns import campaign

HOUR, DAY, WEEK = 3600, 86_400, 7 * 86_400
MONDAY = 1_704_067_200
"""A midnight in UTC, the first of January 2024."""
MONDAY_2026 = MONDAY + 105 * WEEK


def test_hours_that_are_alike_count_as_they_are() -> None:
    time = WeighedTime()
    assert time.seconds(MONDAY + 17, MONDAY + 3 * WEEK + 18) == pytest.approx(3 * WEEK + 1)
    assert time.seconds(MONDAY + 1, MONDAY) == 0.0


def test_hour_with_twice_the_traffic_counts_as_two() -> None:
    weights = np.full(168, 0.5)
    weights[(MONDAY // HOUR + 9) % 168] = 2.0
    time = WeighedTime(weights)
    assert time.seconds(MONDAY + 8 * HOUR, MONDAY + 10 * HOUR) == pytest.approx(2.5 * HOUR)
    assert time.seconds(MONDAY + 9.5 * HOUR, MONDAY + 9.75 * HOUR) == pytest.approx(0.5 * HOUR)
    # The same again in every week.
    assert time.seconds(MONDAY, MONDAY + WEEK) * 3 == pytest.approx(time.seconds(MONDAY, MONDAY + 3 * WEEK))


def test_hours_in_which_a_campaign_is_not_shown_count_nothing() -> None:
    evening = HourRange(days=(Weekday.mon,), from_hour=18, until_hour=20)
    # In Kolkata 18 h is 12:30 UTC.
    one = campaign(timezone="Asia/Kolkata", targeting=Targeting(hours=(evening,)))
    time = time_of(one, EVEN)
    assert time.seconds(MONDAY, MONDAY + WEEK) == pytest.approx(2 * HOUR)
    assert time.seconds(MONDAY + 12.5 * HOUR, MONDAY + 14.5 * HOUR) == pytest.approx(2 * HOUR)


@pytest.mark.parametrize(
    ("day", "noon_utc", "n_hours"),
    [("2026-03-27", 11, 24), ("2026-03-29", 10, 23), ("2026-03-30", 10, 24), ("2026-10-25", 11, 25)],
)
def test_hours_follow_the_clock_of_the_campaign_over_a_change(day: str, noon_utc: int, n_hours: int) -> None:
    begins, ends = day_bounds("Europe/Berlin", day)
    weights = np.zeros(HOURS_PER_WEEK)
    weights[[24 * number + 12 for number in range(7)]] = 24.0
    midnight_utc = int(datetime.fromisoformat(f"{day}T00:00+00:00").timestamp())
    noon = midnight_utc + noon_utc * HOUR
    # The flight lasts over both changes of the year.
    one = campaign(timezone="Europe/Berlin", starts=MONDAY_2026, ends=MONDAY_2026 + 360 * DAY)
    time = time_of(one, weights)
    assert time.seconds(begins, ends) == time.seconds(noon, noon + HOUR) == pytest.approx(24 * HOUR)
    assert time_of(one, EVEN).seconds(begins, ends) == pytest.approx(n_hours * HOUR)
    at_night = campaign(
        timezone="Europe/Berlin",
        starts=MONDAY_2026,
        ends=MONDAY_2026 + 360 * DAY,
        targeting=Targeting(hours=(HourRange(from_hour=12, until_hour=13),)),
    )
    assert time_of(at_night, EVEN).seconds(noon, noon + HOUR) == pytest.approx(HOUR)
    assert time_of(at_night, EVEN).seconds(begins, ends) == pytest.approx(HOUR)


def test_campaign_goes_on_while_one_of_its_ads_may_be_shown() -> None:
    morning = Creative(item_id="a", hours=(HourRange(from_hour=6, until_hour=8),))
    night = Creative(item_id="b", hours=(HourRange(from_hour=22, until_hour=24),))
    time = time_of(campaign(timezone="UTC", creatives=(morning, night)), EVEN)
    assert time.seconds(MONDAY, MONDAY + DAY) == pytest.approx(4 * HOUR)
