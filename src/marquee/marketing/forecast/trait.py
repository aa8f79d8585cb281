"""The trait `forecast`: sales of the coming days. It says nothing of single customers."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from marquee.bundle.traits.forms.files import NoForm
from marquee.errors import ConfigError
from marquee.marketing.forecast.forecasting import Forecast, forecast_series
from marquee.marketing.forecast.series import (
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    UTC,
    Series,
    sum_by_step,
    wall_clock,
)
from marquee.marketing.reading.customers import USER_ID
from marquee.marketing.traits import TraitContext, TraitResult
from marquee.marketing.versions import version_of


@dataclass(frozen=True)
class ForecastConfig:
    """A forecast of sales.

    Attributes:
        of: `amount` for revenue, `purchases` for their number.
        by: `day`, or `hour` for a plan of delivery by the hour of the week.
        days: How far ahead.
        time_zone: Whose days and hours, by its name in the IANA database, such as Europe/Oslo.
    """

    of: Literal["amount", "purchases"] = "amount"
    by: Literal["day", "hour"] = "day"
    days: int = 28
    time_zone: str = UTC

    def __post_init__(self) -> None:
        """Validates horizon and time zone.

        Raises:
            ConfigError: If it is outside of its bounds, or there is no such time zone.
        """
        if not 1 <= self.days <= 366:
            raise ConfigError(f"days must be between 1 and 366, got {self.days}")
        try:
            wall_clock(np.zeros(1, np.int64), self.time_zone)
        except pl.exceptions.PolarsError as error:
            raise ConfigError(
                f"time_zone must be a name of the IANA database such as Europe/Oslo, got {self.time_zone!r}; "
                "correct it"
            ) from error


@dataclass(frozen=True)
class JudgedForecasts:
    """A forecast with the past that it follows.

    Attributes:
        forecast: The coming steps.
        past: The series.
        config: The settings.
    """

    forecast: Forecast
    past: Series
    config: ForecastConfig


def compute_forecast(name: str, config: ForecastConfig, context: TraitContext) -> TraitResult:
    """Returns the forecast of all purchases of a table.

    Consent is asked for a person's own numbers: sums of sales are the shop's, and hold everybody.

    Raises:
        ConfigError: If there is no table of transactions, or no amounts where revenue is asked for.
        DataError: If the table is too short.
    """
    purchases = context.customers.transactions
    if purchases is None or (config.of == "amount" and not purchases.has_values):
        raise ConfigError(
            f"customers.traits.{name} forecasts the {config.of}, got transactions without "
            f"{'a table' if purchases is None else 'a value'}; add transactions: {{path: …, columns: "
            "{user_id: …, timestamp: …, value: …}}"
        )
    rows = purchases.rows
    if config.of == "purchases":
        # Several lines of one basket share a moment: they are one purchase.
        rows = rows.unique([USER_ID, "timestamp"])
    past = sum_by_step(
        wall_clock(rows["timestamp"].cast(pl.Int64).to_numpy(), config.time_zone),
        rows["value"].cast(pl.Float64).to_numpy() if config.of == "amount" else None,
        SECONDS_PER_DAY if config.by == "day" else SECONDS_PER_HOUR,
        int(wall_clock(np.array([int(purchases.as_of)]), config.time_zone)[0]),
    )
    found = forecast_series(past, config.days)
    return TraitResult(
        name=name,
        type="forecast",
        version=version_of(name, config, context.version),
        values=None,
        judged=JudgedForecasts(found, past, config),
        cautions=found.cautions,
        form=NoForm(name, "it forecasts the sales of the shop and says nothing of single customers"),
    )
