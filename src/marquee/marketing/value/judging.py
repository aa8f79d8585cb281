"""Whether the models of value hold: fitted to the past up to a holdout, and compared with what came in it.

Beside the models stand x / T and past spend. Totals say whether the level is right, the share of the top
tenth whether the order is.
"""

from dataclasses import dataclass, replace

import numpy as np

from marquee.core.arrays import Float64Array
from marquee.evaluation.intervals import Estimate, estimate_means
from marquee.marketing.value.forecasts import (
    ValueForecast,
    ValueModels,
    fit_models,
    model_forecast,
    past_forecast,
    rate_forecast,
)
from marquee.marketing.value.histories import (
    SECONDS_PER_DAY,
    Transactions,
    later_purchases,
    summarise_purchases,
)

N_TENTHS = 10

# A mean of fewer says little, and reports do not show it: fewer customers are parted into fewer groups.
MIN_PER_TENTH = 50

# Below so many purchases in the holdout, a quarter too many or too few is what chance makes.
MIN_HOLDOUT_PURCHASES = 50


@dataclass(frozen=True)
class JudgedForecast:
    """One forecast of the holdout beside what came.

    Attributes:
        name: Of the model or baseline.
        purchases: Expected in total.
        purchases_miss: Of the total, as a share: 0.1 is a tenth too many.
        mean_error: Mean absolute error of a customer's purchases.
        money: Expected in total; None without amounts.
        money_miss: Of the total, as a share.
        top_share: Share of what came (money, or purchases without amounts) that the best tenth by this
            forecast brought.
    """

    name: str
    purchases: float
    purchases_miss: float
    mean_error: float
    money: float | None
    money_miss: float | None
    top_share: float


@dataclass(frozen=True)
class Tenth:
    """A tenth of the customers by expected value, beside what they brought in the holdout.

    Attributes:
        n_customers: How many.
        expected: Mean of the expected value.
        came: Mean of what came, with its interval.
    """

    n_customers: int
    expected: float
    came: Estimate


@dataclass(frozen=True)
class JudgedValue:
    """The models on a holdout.

    Attributes:
        days: Length of the holdout.
        n_customers: Customers known before it.
        purchases: That came of them.
        money: That came of them; None without amounts.
        models: As fitted to the time before.
        forecasts: The models first, then x / T and past spend.
        other: With the model of purchases that was not chosen.
        best_share: Share of what came that the best tenth brought, had one known.
        tenths: By the models' value, highest first.
    """

    days: int
    n_customers: int
    purchases: float
    money: float | None
    models: ValueModels
    forecasts: tuple[JudgedForecast, ...]
    other: JudgedForecast
    best_share: float
    tenths: tuple[Tenth, ...]

    @property
    def is_enough(self) -> bool:
        """Whether so much was bought in the holdout that a miss is more than chance."""
        return self.purchases >= MIN_HOLDOUT_PURCHASES


def judge_value(
    transactions: Transactions, as_of: int, days: int, generator: np.random.Generator
) -> JudgedValue:
    """Fits the models to all but the last days, and compares what they expect of those with what came.

    Customers who are new in the holdout are in no forecast, and in no total.

    Args:
        transactions: Purchases up to `as_of`.
        as_of: End of the holdout, seconds.
        days: Its length.
        generator: Draws the resamples of the intervals.

    Raises:
        DataError: If nobody bought before the holdout.
    """
    cutoff = as_of - days * SECONDS_PER_DAY
    histories = summarise_purchases(transactions, cutoff)
    models = fit_models(histories)
    counts, spend = later_purchases(transactions, histories.customer, cutoff, as_of)
    observed = (cutoff - int(transactions.timestamp.min())) / SECONDS_PER_DAY
    forecasts = {
        models.chosen.name: model_forecast(models, histories, days, discount=0.0),
        "repeats per week so far": rate_forecast(histories, days),
        "past spend" if spend is not None else "past purchases": past_forecast(histories, days, observed),
    }
    swapped = model_forecast(replace(models, chosen=models.other), histories, days, discount=0.0)
    came = counts if spend is None else spend
    judged = tuple(_judged(name, forecast, counts, spend) for name, forecast in forecasts.items())
    own = forecasts[models.chosen.name]
    expected = own.purchases if own.money is None else own.money
    # Purchases beside purchases where too few repeats leave no model of money.
    tenths_of = counts if own.money is None else came
    return JudgedValue(
        days,
        len(counts),
        float(counts.sum()),
        None if spend is None else float(spend.sum()),
        models,
        judged,
        _judged(models.other.name, swapped, counts, spend),
        top_share(came, came),
        value_tenths(expected, tenths_of, generator),
    )


def top_share(score: Float64Array, came: Float64Array) -> float:
    """Returns the share of what came that the best tenth by a score brought; 0 where nothing came.

    Example:
        >>> top_share(np.arange(10.0), np.array([5.0, 0, 0, 0, 0, 0, 0, 0, 0, 15.0]))
        0.75
    """
    best = np.argsort(-score, kind="stable")[: max(len(score) // N_TENTHS, 1)]
    total = float(came.sum())
    return float(came[best].sum()) / total if total > 0 else 0.0


def value_tenths(
    expected: Float64Array, came: Float64Array, generator: np.random.Generator
) -> tuple[Tenth, ...]:
    """Returns tenths of the customers by expected value, highest first; fewer groups of few customers."""
    order = np.argsort(-expected, kind="stable")
    return tuple(
        Tenth(len(rows), float(expected[rows].mean()), mean_interval(came[rows], generator))
        for rows in np.array_split(order, min(N_TENTHS, max(len(order) // MIN_PER_TENTH, 1)))
    )


def mean_interval(came: Float64Array, generator: np.random.Generator) -> Estimate:
    """Returns the mean of amounts of any size, at least 0, with its 95 % interval."""
    # The intervals are of values in [0, 1]: in units of the largest amount, every table's are.
    scale = float(came.max(initial=0.0)) or 1.0
    (found,) = estimate_means((came / scale)[:, np.newaxis], generator)
    return Estimate(found.mean * scale, found.low * scale, found.high * scale)


def _judged(
    name: str, forecast: ValueForecast, counts: Float64Array, spend: Float64Array | None
) -> JudgedForecast:
    """Returns one forecast beside the purchases and money that came."""
    money = money_miss = None
    if spend is not None and forecast.money is not None:
        money = float(forecast.money.sum())
        money_miss = _miss(money, float(spend.sum()))
    # Without a model of money the order by purchases is still an order by money.
    score = forecast.purchases if forecast.money is None else forecast.money
    purchases = float(forecast.purchases.sum())
    return JudgedForecast(
        name,
        purchases,
        _miss(purchases, float(counts.sum())),
        float(np.abs(forecast.purchases - counts).mean()),
        money,
        money_miss,
        top_share(score, counts if spend is None else spend),
    )


def _miss(expected: float, came: float) -> float:
    """How far too high a total is, as a share of what came; 1 where something was expected of nothing."""
    if came > 0:
        return expected / came - 1
    return 0.0 if expected == 0 else 1.0
