"""The trait `forecast`: sales of the coming days. It says nothing of single customers."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from marquee.errors import ConfigError
from marquee.marketing.forecast.forecasting import Forecast, forecast_series
from marquee.marketing.forecast.series import SECONDS_PER_DAY, SECONDS_PER_HOUR, Series, sum_by_step
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
    """

    of: Literal["amount", "purchases"] = "amount"
    by: Literal["day", "hour"] = "day"
    days: int = 28

    def __post_init__(self) -> None:
        """Validates the horizon.

        Raises:
            ConfigError: If it is outside of its bounds.
        """
        if not 1 <= self.days <= 366:
            raise ConfigError(f"days must be between 1 and 366, got {self.days}")


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
        rows["timestamp"].cast(pl.Int64).to_numpy(),
        rows["value"].cast(pl.Float64).to_numpy() if config.of == "amount" else None,
        SECONDS_PER_DAY if config.by == "day" else SECONDS_PER_HOUR,
        int(purchases.as_of),
    )
    found = forecast_series(past, config.days)
    return TraitResult(
        name=name,
        type="forecast",
        version=version_of(name, config, context.version),
        values=None,
        judged=JudgedForecasts(found, past, config),
        cautions=found.cautions,
    )
