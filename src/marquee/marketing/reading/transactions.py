"""Purchases: who, when, how much. No item is needed.

What cannot be a purchase is counted by reason and left out: amounts below 0, moments behind the present. A
purchase for 0 counts: somebody chose and ordered.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from marquee.bundle.traits.columns import SECONDS_PER_DAY
from marquee.core.moments import day_text

ONE_TIME_SHARE = 0.7
_LARGEST_SHARE = 0.1
_MAX_GAP_DAYS = 365

# A return is not set off against its purchase: the table does not say which one it undoes.
_AMOUNTS = (
    (pl.col("value") < 0, "value is below 0: a return is no purchase; take it off its purchase, or leave it"),
    (pl.col("value").is_null(), "value is missing; fill it, or map no value at all"),
)


@dataclass(frozen=True)
class Transactions:
    """The purchases that count.

    Attributes:
        rows: `user_id`, `timestamp` in seconds, `value` (null where amounts are not known), by time.
        as_of: Moment up to which they are known, seconds since 1970.
        has_values: Whether amounts are known.
        left_out: Reason → rows.
        notes: What looks odd, one sentence each.
    """

    rows: pl.DataFrame
    as_of: float
    has_values: bool
    left_out: dict[str, int]
    notes: tuple[str, ...]


def clean_transactions(rows: pl.DataFrame, as_of: float | None) -> Transactions:
    """Returns the purchases of a table.

    Args:
        rows: `user_id`, `timestamp`, and `value` where there is one.
        as_of: Present moment, seconds since 1970; None for the midnight after the last purchase.
    """
    has_values = "value" in rows.columns and rows["value"].count() > 0
    if "value" not in rows.columns:
        rows = rows.with_columns(pl.lit(None, pl.Float64).alias("value"))
    left_out: dict[str, int] = {}
    notes: list[str] = []
    if has_values:
        for condition, words in _AMOUNTS:
            left_out |= _left_out(rows.filter(condition), words)
        rows = rows.filter((pl.col("value") >= 0).fill_null(False))
    if as_of is None:
        notes += _gap(rows)
        last = int(rows["timestamp"].max() or 0)  # type: ignore[arg-type] # of whole numbers
        as_of = float((last // SECONDS_PER_DAY + 1) * SECONDS_PER_DAY)
    is_late = pl.col("timestamp") >= as_of
    late = rows.filter(is_late).sort("timestamp", descending=True, maintain_order=True)
    left_out |= _left_out(late, "timestamp lies behind as_of; correct the date, or move as_of")
    rows = rows.filter(~is_late)
    rows = rows.select("user_id", "timestamp", "value").sort("timestamp", "user_id", maintain_order=True)
    notes += _odd(rows, has_values)
    return Transactions(rows, as_of, has_values, left_out, tuple(notes))


def _gap(rows: pl.DataFrame) -> list[str]:
    """Returns whether purchases stand far behind the others: a year typed wrongly moves the present."""
    days = (rows["timestamp"] // SECONDS_PER_DAY).unique().sort().to_numpy()
    places = np.flatnonzero(np.diff(days) > _MAX_GAP_DAYS)
    if not len(places):
        return []
    first = int(days[places[-1] + 1]) * SECONDS_PER_DAY
    n = rows.filter(pl.col("timestamp") >= first).height
    return [
        f"{n:,} of {rows.height:,} transactions lie more than {_MAX_GAP_DAYS} days behind all others, from "
        f"{day_text(first)} on; if their date is wrong, set as_of to the day after the last right one"
    ]


def _left_out(rows: pl.DataFrame, words: str) -> dict[str, int]:
    """Returns reason → count of rows that are left out, the first of them named; empty for none."""
    if rows.is_empty():
        return {}
    value, timestamp = rows.row(0, named=True)["value"], int(rows.row(0, named=True)["timestamp"])
    amount = "" if value is None else f"{value:g} "
    return {f"{words} (the first: {amount}on {day_text(timestamp)})": rows.height}


def _odd(rows: pl.DataFrame, has_values: bool) -> list[str]:
    """Returns the oddities of purchases."""
    if rows.is_empty():
        return []
    notes = []
    per_day = rows.with_columns((pl.col("timestamp") // SECONDS_PER_DAY).alias("day"))
    n_same_day = rows.height - per_day.unique(["user_id", "day"]).height
    if n_same_day:
        notes.append(
            f"{n_same_day:,} of {rows.height:,} rows are further ones of the same customer on the same day: "
            "they count as one order"
        )
    counts = per_day.unique(["user_id", "day"]).group_by("user_id").len()
    one_time = float((counts["len"] == 1).mean() or 0)  # type: ignore[arg-type] # of truths
    if one_time >= ONE_TIME_SHARE:
        notes.append(f"{one_time:.0%} of {counts.height:,} customers bought on one day alone")
    largest, total = (
        float(one or 0.0) for one in rows.select(pl.col("value").max(), sum=pl.col("value").sum()).row(0)
    )
    if has_values and largest > _LARGEST_SHARE * total:
        notes.append(f"one purchase of {largest:,.2f} is more than a tenth of all revenue")
    return notes


def orders_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Returns one row per customer and day: `user_id`, `day` since 1970, `value` summed."""
    days = rows.with_columns((pl.col("timestamp") // SECONDS_PER_DAY).alias("day"))
    return days.group_by("user_id", "day").agg(pl.col("value").sum()).sort("user_id", "day")


def behaviour(rows: pl.DataFrame, at: float, has_values: bool) -> pl.DataFrame:
    """Returns the behaviour of customers before a moment, one row per customer, in the order of ids.

    `recency_days` and `tenure_days` are days since the last and the first order, `orders` counts days with
    a purchase, `mean_value` is what such a day brought; `log_orders` and the like are their logarithms.

    Args:
        rows: Purchases.
        at: Moment, seconds since 1970: later purchases are not seen.
        has_values: Whether amounts are known.
    """
    seen = rows.filter(pl.col("timestamp") < at)
    orders = orders_of(seen)
    last_day = at / SECONDS_PER_DAY
    amounts = [pl.col("value").mean().alias("mean_value"), pl.col("value").sum().alias("total_value")]
    found = orders.group_by("user_id").agg(
        (last_day - pl.col("day").max()).alias("recency_days"),
        pl.len().cast(pl.Float64).alias("orders"),
        (last_day - pl.col("day").min()).alias("tenure_days"),
        *(amounts if has_values else []),
    )
    return found.sort("user_id")


def behaviour_features(behaved: pl.DataFrame) -> pl.DataFrame:
    """Returns behaviour on the scale that it is learned on: logarithms of counts, days and amounts."""
    # Without the tenure: a table that begins at some moment makes everybody's longer by the day, so that what
    # was learned of it at the cutoff is wrong today.
    logs = [
        pl.col(name).map_batches(_log, return_dtype=pl.Float64).alias(f"log_{name}")
        for name in ("recency_days", "orders", "mean_value")
        if name in behaved.columns
    ]
    return behaved.select("user_id", *logs)


def _log(values: pl.Series) -> pl.Series:
    """Returns ln(1 + x)."""
    return pl.Series(values.name, np.log1p(values.to_numpy()))
