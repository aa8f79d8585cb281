"""The traffic that campaigns may expect, from the hours that the log was counted by.

Learned in a thread beside the answers, anew when another hour was counted. A service that has just begun
expects every hour to be like the others.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from marquee.errors import EventLogError
from marquee.marketing.forecast.series import SECONDS_PER_HOUR, Series, wall_clock
from marquee.marketing.forecast.traffic import TrafficForecast, forecast_traffic
from marquee.store.campaigns.campaign import Campaign
from marquee.store.ledger.traffic import HourCount
from serving.releases.surfaces import DEFAULT

logger = logging.getLogger(__name__)

Counted = tuple[int, Sequence[HourCount]]
"""The first hour since 1970 UTC that was not counted, and the counts of those before."""

LOOK_EVERY_S = 60.0


def nothing_counted() -> Counted:
    """Returns the counts of a service that has none."""
    return 0, ()


class Traffic:
    """Forecasts of traffic by where a campaign may be shown. May be asked by several threads.

    Args:
        counted: Returns what was counted; raises EventLogError.
    """

    def __init__(self, counted: Callable[[], Counted] = nothing_counted) -> None:
        self._counted = counted
        self._until = -1
        self._look_at = 0.0
        self._counts: Sequence[HourCount] = ()
        self._forecasts: dict[tuple[frozenset[str], frozenset[str], str], TrafficForecast] = {}

    @property
    def until(self) -> int:
        """The first hour since 1970 UTC that is not known, 0 or less before any is."""
        return self._until

    def look(self, now_s: float) -> None:
        """Takes in hours that were counted since the last time, at most once a minute.

        Args:
            now_s: Seconds since 1970 UTC.
        """
        if 0 <= self._look_at - now_s <= LOOK_EVERY_S:
            return
        self._look_at = now_s + LOOK_EVERY_S
        try:
            until, counts = self._counted()
        except EventLogError as error:
            logger.warning("the traffic is expected as before, its counts cannot be read: %s", error)
            return
        if until != self._until:
            self._until, self._counts, self._forecasts = until, counts, {}

    def of(self, campaign: Campaign) -> TrafficForecast:
        """Returns the traffic of the surfaces where a campaign may be shown, by the clocks of its zone."""
        key = frozenset(campaign.surfaces), frozenset(campaign.exclusions.surfaces), campaign.timezone
        forecasts = self._forecasts
        found = forecasts.get(key)
        if found is None:
            found = forecasts[key] = forecast_traffic(self._series(*key))
        return found

    def _series(self, named: frozenset[str], excluded: frozenset[str], timezone: str) -> Series:
        """Returns the decisions of surfaces by the hour that the clocks of a zone showed."""
        counts = [one for one in self._counts if _is_meant(one.surface or DEFAULT, named, excluded)]
        hours = np.array([self._until, *[one.hour for one in counts]], dtype=np.int64)
        until, *shown = (wall_clock(hours * SECONDS_PER_HOUR, timezone) // SECONDS_PER_HOUR).tolist()
        first = min(shown, default=until)
        # An hour that clocks show twice may be the last one and the next.
        values = np.zeros(max([until, *[hour + 1 for hour in shown]]) - first)
        for hour, one in zip(shown, counts, strict=True):
            values[hour - first] += one.n
        return Series(first * SECONDS_PER_HOUR, SECONDS_PER_HOUR, values)


def _is_meant(surface: str, named: frozenset[str], excluded: frozenset[str]) -> bool:
    """Returns whether a campaign may be shown on a surface."""
    return (not named or surface in named) and surface not in excluded
