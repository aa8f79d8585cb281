"""Days and hours by the clock of a campaign's time zone, where a day may have 23 or 25 hours."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from marquee.store.campaigns.campaign import Campaign, HourRange, Weekday

HOURS_PER_WEEK = 168
_HOURS_PER_DAY = 24
# Days of a flight and hours of a week are few; each is asked for at every decision.
_KEPT = 4096


@lru_cache(maxsize=_KEPT)
def _local_hour(timezone: str, hour: int) -> tuple[str, int]:
    """Returns day and hour of the week of a quarter of an hour since 1970 UTC."""
    local = datetime.fromtimestamp(hour * 900, UTC).astimezone(ZoneInfo(timezone))
    return local.date().isoformat(), local.weekday() * _HOURS_PER_DAY + local.hour


def local_day(timezone: str, timestamp: int) -> str:
    """Returns the day of a moment in a zone, as `2026-03-29`.

    Example:
        >>> local_day("UTC", 1_774_735_200), local_day("Europe/Berlin", 1_774_735_200 + 4_000)
        ('2026-03-28', '2026-03-29')
    """
    # By the quarter of an hour: no zone of the list begins a day between two of them.
    return _local_hour(timezone, timestamp // 900)[0]


def hour_of_week(timezone: str, timestamp: int) -> int:
    """Returns the hour of the week of a moment in a zone, 0 for Monday from midnight to one."""
    return _local_hour(timezone, timestamp // 900)[1]


@lru_cache(maxsize=_KEPT)
def day_bounds(timezone: str, day: str) -> tuple[int, int]:
    """Returns the first second of a day in a zone and the first one behind it, since 1970 UTC.

    Example:
        >>> begins, ends = day_bounds("Europe/Berlin", "2026-03-29")
        >>> (ends - begins) // 3600
        23
    """
    zone = ZoneInfo(timezone)
    first = datetime.fromisoformat(day).replace(tzinfo=zone)
    # By the calendar: so many seconds later would be another hour where the clock is changed.
    last = datetime.combine(first.date() + timedelta(days=1), first.time(), tzinfo=zone)
    return int(first.timestamp()), int(last.timestamp())


def clock_shifts(timezone: str, since: int, until: int) -> tuple[tuple[int, int], ...]:
    """Returns by how many seconds the clocks of a zone are ahead of UTC, and from when on, oldest first.

    The first holds from before `since` on.

    Args:
        timezone: Of the IANA database.
        since: Seconds since 1970 UTC.
        until: The same; at least `since`.

    Example:
        >>> [shift // 3600 for _, shift in clock_shifts("Europe/Berlin", 1_767_225_600, 1_790_000_000)]
        [1, 2]
    """
    first, last = (datetime.fromtimestamp(moment, UTC).year for moment in (since, until))
    shifts: list[tuple[int, int]] = []
    for year in range(first, last + 1):
        shifts += [one for one in _shifts_of_year(timezone, year) if not shifts or one[1] != shifts[-1][1]]
    begun = max([place for place, (from_s, _) in enumerate(shifts) if from_s <= since], default=0)
    return tuple([one for one in shifts[begun:] if one[0] <= max(since, until)])


@lru_cache(maxsize=_KEPT)
def _shifts_of_year(timezone: str, year: int) -> tuple[tuple[int, int], ...]:
    """Returns the shifts of a year by UTC, the first from its first second on."""
    zone = ZoneInfo(timezone)

    def shift(moment: int) -> int:
        """Returns the shift of a moment, seconds."""
        offset = datetime.fromtimestamp(moment, UTC).astimezone(zone).utcoffset()
        assert offset is not None, f"a time of {timezone} must have an offset"
        return int(offset.total_seconds())

    first = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    end = int(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp())
    found = [(first, shift(first))]
    # Clocks of every zone are changed at a whole quarter of an hour, and never twice in a day.
    for day in range(first, end, 86_400):
        if shift(day + 86_400) != shift(day):
            moment = next(at for at in range(day + 900, day + 86_401, 900) if shift(at) != shift(day))
            found.append((moment, shift(moment)))
    return tuple([one for one in found if one[0] < end])


@lru_cache(maxsize=_KEPT)
def hours_of(ranges: Sequence[HourRange]) -> frozenset[int]:
    """Returns the hours of the week that some ranges hold, each from 0 to 167; all for none.

    Example:
        >>> sorted(hours_of((HourRange(days=(Weekday.tue,), from_hour=22, until_hour=24),)))
        [46, 47]
    """
    if not ranges:
        return frozenset(range(HOURS_PER_WEEK))
    weekdays = list(Weekday)
    return frozenset(
        weekdays.index(day) * _HOURS_PER_DAY + hour
        for one in ranges
        for day in one.days or weekdays
        for hour in range(one.from_hour, one.until_hour)
    )


def shown_hours(campaign: Campaign) -> frozenset[int]:
    """Returns the hours of the week in which a campaign may be shown with one creative at least."""
    # Of ten thousand campaigns with ten creatives each few say other hours than others.
    return _hours_of_both(campaign.targeting.hours, frozenset([one.hours for one in campaign.creatives]))


@lru_cache(maxsize=_KEPT)
def _hours_of_both(
    of_campaign: Sequence[HourRange], of_creatives: frozenset[Sequence[HourRange]]
) -> frozenset[int]:
    """Returns the hours that ranges and one of several other ranges at least hold."""
    return hours_of(of_campaign) & frozenset[int]().union(*map(hours_of, of_creatives))
