"""The traffic of the coming hours: as many in the mean hour, and how the hours of a week differ.

```
known          the week is                                    judged at the end of each past
five weeks     that of the last weeks, by hour of the week    week
five days      the same day again and again, by its hours     day
less           even                                           –
```

Where the past says that a profile is no nearer than an even plan, the plan is even. The one implementation
is `forecast_series`; here a short past is met, which a service has that began yesterday.
"""

from dataclasses import dataclass, replace

import numpy as np

from marquee.core.arrays import Float64Array
from marquee.marketing.forecast.backtest import FEWEST_WEEKS
from marquee.marketing.forecast.forecasting import Forecast, forecast_series
from marquee.marketing.forecast.series import SECONDS_PER_HOUR, Series

HOURS_PER_DAY, HOURS_PER_WEEK = 24, 168


@dataclass(frozen=True)
class TrafficForecast:
    """The traffic of the coming hours.

    Attributes:
        per_hour: Of the mean hour.
        weights: Of each hour of the week beside the mean one, (168,) float64, mean 1; the hour since 1970 by
            the clock of the series modulo 168 is its place, place 0 after the midnight of a Thursday.
        low: Lower end of the 80 % interval of a sum over hours, beside the sum; None where too little of the
            past is known.
        high: Upper end.
        verdict: What the forecast rests on, in a sentence.
    """

    per_hour: float
    weights: Float64Array
    low: float | None
    high: float | None
    verdict: str


def even_traffic(per_hour: float, verdict: str) -> TrafficForecast:
    """Returns the forecast of hours that are all alike."""
    return TrafficForecast(per_hour, np.ones(HOURS_PER_WEEK), None, None, verdict)


def forecast_traffic(series: Series) -> TrafficForecast:
    """Returns the traffic of the coming hours.

    Args:
        series: Values by the hour; may be empty.
    """
    n_hours = len(series.values)
    for period in (HOURS_PER_WEEK, HOURS_PER_DAY):
        if n_hours >= (FEWEST_WEEKS + 1) * period:
            found = _of(forecast_series(series, period // HOURS_PER_DAY, period))
            return found if found.low is not None else _with_days(found, series)
    days = n_hours / HOURS_PER_DAY
    return even_traffic(
        float(series.values.mean()) if n_hours else 0.0,
        f"{days:.1f} days of traffic are known, a pattern needs {FEWEST_WEEKS + 1}: the plan is even.",
    )


def _with_days(found: TrafficForecast, series: Series) -> TrafficForecast:
    """Returns a forecast with the interval of single days, where too few weeks are known for one of weeks.

    Days spread more than weeks do, and days that take no heed of weekdays yet more: it is rather too wide.
    """
    of_days = _of(forecast_series(series, 1, HOURS_PER_DAY))
    return replace(found, low=of_days.low, high=of_days.high)


def _of(found: Forecast) -> TrafficForecast:
    """Returns the forecast of a week, or of a day that comes again and again."""
    mean = float(found.expected.mean())
    if not mean > 0:
        return even_traffic(0.0, found.verdict)
    first = int(found.moments[0]) // SECONDS_PER_HOUR
    weights = np.resize(found.expected / mean, HOURS_PER_WEEK)
    bounds = (found.total_low, found.total_high)
    low, high = (None if one is None else one / found.total for one in bounds)
    return TrafficForecast(mean, np.roll(weights, first % HOURS_PER_WEEK), low, high, found.verdict)
