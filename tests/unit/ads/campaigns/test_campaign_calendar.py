"""Days and hours by the clock of a campaign's zone: offsets of quarters of an hour, and days of 23 and 25."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from marquee.ads.campaigns.calendar import clock_shifts, day_bounds, hour_of_week, hours_of, local_day
from marquee.store.campaigns.campaign import HourRange, Weekday

# Offsets of 45 and of 30 minutes; clocks that change, at midnight too; a day that is left out.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "America/St_Johns",
    "America/Havana",
    "Pacific/Apia",
)


@pytest.mark.parametrize("timezone", ZONES)
def test_every_moment_lies_in_its_own_day(timezone: str) -> None:
    zone = ZoneInfo(timezone)
    for start in ("2026-03-05", "2026-10-20", "2011-12-27"):
        moment = datetime.fromisoformat(start).replace(tzinfo=UTC)
        for _ in range(600):  # 25 days, by the hour and eleven seconds
            seconds = int(moment.timestamp())
            local = moment.astimezone(zone)
            assert local_day(timezone, seconds) == local.date().isoformat()
            assert hour_of_week(timezone, seconds) == local.weekday() * 24 + local.hour
            begins, ends = day_bounds(timezone, local.date().isoformat())
            assert begins <= seconds < ends
            moment += timedelta(hours=1, seconds=11)


def test_day_on_which_the_clock_is_changed_has_another_length() -> None:
    lengths = [
        (ends - begins) / 3600
        for day in ("2026-03-29", "2026-03-30", "2026-10-25")
        for begins, ends in [day_bounds("Europe/Berlin", day)]
    ]
    assert lengths == [23, 24, 25]


def test_hours_of_ranges_are_their_union() -> None:
    weekend = HourRange(days=(Weekday.sat, Weekday.sun), from_hour=10, until_hour=12)
    daily = HourRange(from_hour=11, until_hour=13)
    expected = {day * 24 + hour for day in range(7) for hour in (11, 12)} | {5 * 24 + 10, 6 * 24 + 10}
    assert hours_of((weekend, daily)) == expected
    assert len(hours_of(())) == 168


def test_clocks_of_a_zone_are_ahead_as_its_days_are() -> None:
    since, until = day_bounds("Europe/Berlin", "2026-01-10")[0], day_bounds("Europe/Berlin", "2027-06-01")[0]
    shifts = clock_shifts("Europe/Berlin", since, until)
    assert [shift for _, shift in shifts] == [3600, 7200, 3600, 7200]
    # At one o'clock in UTC, on the last Sundays of March and October.
    assert [moment for moment, _ in shifts[1:]] == [1_774_746_000, 1_792_890_000, 1_806_195_600]
    assert clock_shifts("Asia/Kathmandu", since, until) == ((1_767_225_600, 20_700),)
    assert clock_shifts("Europe/Berlin", until, until) == ((1_806_195_600, 7200),)
