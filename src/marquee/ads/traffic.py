"""The time of a campaign, weighed by the traffic of the hours of a week: how much of it is still to come.

An hour in which twice as many come counts as two; one in which the campaign may not be shown counts nothing.
So a rate by weighed second is the same at noon and at night, and times what is left it forecasts auctions.
"""

import numpy as np

from marquee.ads.campaigns.calendar import HOURS_PER_WEEK, hour_of_week, hours_of, shown_hours
from marquee.core.arrays import Float64Array
from marquee.store.campaigns.campaign import Campaign

_HOUR_S = 3600
EVEN = np.ones(HOURS_PER_WEEK)
"""Hours of a week that are all alike."""


class WeighedTime:
    """The time of one campaign.

    Args:
        weights: Of each hour of the week beside the mean one, (168,); the hour since 1970 UTC modulo 168 is
            its place.
    """

    def __init__(self, weights: Float64Array = EVEN) -> None:
        # Before hour k of a week lie _before[k] seconds of it.
        self._before = np.concatenate([[0.0], np.cumsum(weights) * _HOUR_S])
        self._weights = weights

    def seconds(self, since_s: float, until_s: float) -> float:
        """Returns the weighed seconds from one moment to another, 0 where that lies before it.

        Args:
            since_s: Seconds since 1970 UTC.
            until_s: The same.
        """
        return max(0.0, self._to(until_s) - self._to(since_s))

    def _to(self, moment_s: float) -> float:
        """Returns the weighed seconds since 1970."""
        hours, rest = divmod(moment_s, _HOUR_S)
        weeks, hour = divmod(int(hours), HOURS_PER_WEEK)
        return float(weeks * self._before[-1] + self._before[hour] + self._weights[hour] * rest)


def time_of(campaign: Campaign, weights: Float64Array, now_s: float) -> WeighedTime:
    """Returns the time of a campaign, by the hours in which it and one of its ads may be shown.

    Hours are those of its zone as it stands to UTC in the coming week; one that begins within an hour of UTC
    counts from the beginning of that hour.

    Args:
        campaign: The campaign.
        weights: Of the traffic where it is shown; see `WeighedTime`.
        now_s: Seconds since 1970 UTC.
    """
    shown = shown_hours(campaign) if campaign.creatives else hours_of(campaign.targeting.hours)
    if len(shown) == HOURS_PER_WEEK:
        return WeighedTime(weights)
    first = int(now_s // _HOUR_S)
    is_shown = np.zeros(HOURS_PER_WEEK)
    for hour in range(first, first + HOURS_PER_WEEK):
        is_shown[hour % HOURS_PER_WEEK] = hour_of_week(campaign.timezone, hour * _HOUR_S) in shown
    return WeighedTime(weights * is_shown)
