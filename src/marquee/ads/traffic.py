"""The time of a campaign, weighed by the traffic of the hours of a week: how much of it is still to come.

An hour in which twice as many come counts as two; one in which the campaign may not be shown counts nothing.
So a rate by weighed second is the same at noon and at night, and times what is left it forecasts auctions.

Hours are those that the clocks of the campaign's zone show: people rise by them, also from the day on that
they are changed.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from marquee.ads.campaigns.calendar import HOURS_PER_WEEK, clock_shifts, hours_of, shown_hours
from marquee.core.arrays import Float64Array
from marquee.store.campaigns.campaign import Campaign

_HOUR_S = 3600
# 1970 began on a Thursday.
_FIRST_HOUR = 72
EVEN = np.ones(HOURS_PER_WEEK)
"""Hours of a week that are all alike."""


class WeighedTime:
    """The time of one campaign.

    Args:
        weights: Of each hour of the week beside the mean one, (168,); the hour that clocks have shown since
            1970 modulo 168 is its place.
        shifts: Moments, ascending, seconds since 1970 UTC, and by how many seconds clocks are ahead of UTC
            from each on; the first holds before it too.
    """

    def __init__(self, weights: Float64Array = EVEN, shifts: Sequence[tuple[int, int]] = ((0, 0),)) -> None:
        # Before hour k of a week lie _before[k] seconds of it.
        self._before = np.concatenate([[0.0], np.cumsum(weights) * _HOUR_S])
        self._weights = weights
        begins = [-math.inf, *[moment for moment, _ in shifts[1:]], math.inf]
        self._parts = [(*span, shift) for span, (_, shift) in zip(pairwise(begins), shifts, strict=True)]

    def seconds(self, since_s: float, until_s: float) -> float:
        """Returns the weighed seconds from one moment to another, 0 where that lies before it.

        Args:
            since_s: Seconds since 1970 UTC.
            until_s: The same.
        """
        total = 0.0
        for begins, ends, shift in self._parts:
            first, last = max(since_s, begins), min(until_s, ends)
            if last > first:
                total += self._to(last + shift) - self._to(first + shift)
        return total

    def _to(self, clock_s: float) -> float:
        """Returns the weighed seconds since clocks showed the beginning of 1970."""
        hours, rest = divmod(clock_s, _HOUR_S)
        weeks, hour = divmod(int(hours), HOURS_PER_WEEK)
        return float(weeks * self._before[-1] + self._before[hour] + self._weights[hour] * rest)


def time_of(campaign: Campaign, weights: Float64Array) -> WeighedTime:
    """Returns the time of a campaign, by the hours in which it and one of its ads may be shown.

    Args:
        campaign: The campaign.
        weights: Of the traffic where it is shown, by the clocks of its zone; see `WeighedTime`.
    """
    shown = shown_hours(campaign) if campaign.creatives else hours_of(campaign.targeting.hours)
    shifts = clock_shifts(campaign.timezone, campaign.starts, campaign.ends)
    if len(shown) == HOURS_PER_WEEK:
        return WeighedTime(weights, shifts)
    is_shown = np.zeros(HOURS_PER_WEEK)
    is_shown[sorted(shown)] = 1.0
    return WeighedTime(weights * np.roll(is_shown, -_FIRST_HOUR), shifts)
