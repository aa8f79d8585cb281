"""Rows on forecasts: revenue by day, and plans by the hour of the week that are or are not a pattern."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.rows import Measured, Row
from marquee.core.arrays import IndexArray
from marquee.marketing.forecast.forecasting import Forecast, forecast_series
from marquee.marketing.forecast.profile import PROFILE_WEEKS, weekly_profile
from marquee.marketing.forecast.series import SECONDS_PER_DAY, SECONDS_PER_HOUR, Series, sum_by_step


def rows(root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        "forecast, online-retail revenue, 28 days",
        "error by day: last week 0.413, profile 0.326; of the sum 0.189, 0.142; interval 78 %",
        "be 0.34 or less by day, 0.15 of the sum; the interval hold 70 to 90 % of days",
        partial(revenue, root),
    )
    yield Row(
        "hour-of-week plan, online-retail orders",
        "0.30 of the even plan's error",
        "be 0.40 or less",
        partial(orders_plan, root),
    )
    yield Row(
        "hour-of-week plan, ml-100k",
        "1.02 of the even plan's error",
        "say that there is no pattern",
        partial(ratings_plan, root),
    )


def revenue(root: Path) -> Measured:
    """Measures forecasts of revenue at the end of every week."""
    sales = _retail(root)
    series = sum_by_step(sales["time"].to_numpy(), sales["amount"].to_numpy(), SECONDS_PER_DAY)
    found = forecast_series(series, 28).backtest
    assert found.coverage is not None, "a year has enough past forecasts"
    text = (
        f"by day {found.profile.by_step:.3f}, last week {found.last_week.by_step:.3f}; of the sum "
        f"{found.profile.of_sum:.3f}, {found.last_week.of_sum:.3f}; interval holds {found.coverage:.1%} of "
        "days that are "
        f"are open; {found.n_origins} forecasts"
    )
    good = found.profile.by_step <= 0.34 and found.profile.of_sum <= 0.15
    return Measured(text, good and 0.70 <= found.coverage <= 0.90)


def orders_plan(root: Path) -> Measured:
    """Measures a plan of orders by the hour of the week."""
    found, ratio = _plan(shop_orders(root))
    return Measured(f"{ratio:.2f}; {found.verdict}", ratio <= 0.40 and found.has_pattern)


def ratings_plan(root: Path) -> Measured:
    """Measures a plan of ratings by the hour of the week, of which there is no pattern."""
    table = pl.read_csv(root / "ml-100k" / "u.data", separator="\t", has_header=False)
    found, ratio = _plan(table.to_series(3).to_numpy())
    return Measured(f"{ratio:.2f}; {found.verdict}", not found.has_pattern and ratio > 0.9)


def shop_orders(root: Path) -> IndexArray:
    """Returns when the orders of a shop came, seconds, in no order."""
    orders = _retail(root).group_by("invoice").agg(pl.col("time").min())
    times: IndexArray = orders["time"].to_numpy()
    return times


def _plan(times: IndexArray) -> tuple[Forecast, float]:
    """Returns the forecast by hour, and the error of the shares of a plan over that of an even one."""
    series = sum_by_step(times, None, SECONDS_PER_HOUR)
    return forecast_series(series, 7), share_error(series)


def share_error(series: Series) -> float:
    """Returns the error of planned shares over that of even ones, of weeks whose total is given.

    A plan of delivery parts a booked number over the hours; how many there are in all is not its business.
    """
    period = series.period
    planned = even = 0.0
    for start in range(PROFILE_WEEKS * period, len(series.values) - period + 1, period):
        came = series.values[start : start + period]
        profile = weekly_profile(series.values[:start], period)
        planned += float(np.abs(profile * came.mean() - came).sum())
        even += float(np.abs(came.mean() - came).sum())
    return planned / even


def _retail(root: Path) -> pl.DataFrame:
    """Returns the sold lines: `invoice`, `time` in seconds, `amount`, without returns and corrections."""
    path = root / "online-retail" / "online_retail.csv.gz"
    table = pl.read_csv(path, infer_schema_length=0, encoding="utf8-lossy")
    quantity = pl.col("Quantity").cast(pl.Float64)
    lines = table.select(
        pl.col("InvoiceNo").alias("invoice"),
        pl.col("InvoiceDate").str.to_datetime().dt.epoch("s").alias("time"),
        (quantity * pl.col("UnitPrice").cast(pl.Float64)).alias("amount"),
        (quantity > 0).alias("is_sold"),
    )
    return lines.filter(pl.col("is_sold") & (pl.col("amount") > 0))
