"""The value of each customer: by the models where a holdout bears them out, else past spend, with reasons.

P(alive) of BG/NBD is 1 for everybody who bought once: it is reported as a parameter of the model and never as
a probability that somebody returns or leaves.
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import Float64Array, IndexArray
from marquee.errors import DataError
from marquee.marketing.value.config import ValueConfig
from marquee.marketing.value.forecasts import (
    ValueForecast,
    ValueModels,
    fit_models,
    model_forecast,
    past_forecast,
    value_of,
)
from marquee.marketing.value.histories import (
    SECONDS_PER_DAY,
    PurchaseHistories,
    RejectedTransactions,
    Transactions,
    summarise_purchases,
    usable_transactions,
)
from marquee.marketing.value.judging import MIN_HOLDOUT_PURCHASES, JudgedValue, judge_value
from marquee.marketing.value.spend import MIN_CUSTOMERS

# A mean probability to stop below this is nobody: of a hundred customers with five repeats, less than one is
# gone.
NOBODY_STOPS = 0.002

# From so many one-time buyers on, the report says whose purchases the models rest on.
MANY_ONE_TIME_BUYERS = 0.7


@dataclass(frozen=True)
class CustomerValues:
    """The value of each customer with a purchase, and what it rests on.

    Attributes:
        customer: Row in the caller's table, (n_customers,) int64, ascending.
        value: Over the horizon, discounted, times the margin, (n_customers,) float64; purchases without
            amounts.
        purchases: Expected over the horizon, (n_customers,) float64.
        basis: `model` or `past spend`.
        reasons: Why it is past spend, in sentences; empty for the model.
        cautions: What else to know, in sentences.
        models: Fitted to everything up to the moment.
        judged: The models on the holdout; None where the table is too short for one.
        rejected: Transactions that are no purchase, by reason.
        n_merged: Transactions that fell on a day with another of the same customer.
        observed_days: Length of the time that the table spans.
    """

    customer: IndexArray
    value: Float64Array
    purchases: Float64Array
    basis: str
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]
    models: ValueModels
    judged: JudgedValue | None
    rejected: tuple[RejectedTransactions, ...]
    n_merged: int
    observed_days: float


def customer_values(
    transactions: Transactions, as_of: int, config: ValueConfig, generator: np.random.Generator
) -> CustomerValues:
    """Returns the value of each customer over the horizon.

    Args:
        transactions: Every row of the table.
        as_of: Moment up to which is known, seconds.
        config: Horizon, discount, margin and holdout.
        generator: Draws the resamples of intervals.

    Raises:
        DataError: If no row is a purchase.
    """
    kept, rejected = usable_transactions(transactions, as_of)
    if not len(kept.customer):
        raise DataError(
            f"none of {len(transactions.customer)} transactions is a purchase "
            f"({'; '.join(f'{one.count} {one.reason}' for one in rejected) or 'the table is empty'})"
        )
    histories = summarise_purchases(kept, as_of)
    observed_days = (as_of - int(kept.timestamp.min())) / SECONDS_PER_DAY
    judged = _judged(kept, as_of, _holdout_days(config, observed_days), generator)
    models = fit_models(histories)
    reasons = fallback_reasons(models, histories, judged, config)
    forecast = _forecast(models, histories, reasons, config, observed_days)
    return CustomerValues(
        histories.customer,
        value_of(forecast, config),
        forecast.purchases,
        "past spend" if reasons else "model",
        reasons,
        _cautions(histories, judged),
        models,
        judged,
        rejected,
        histories.n_merged,
        observed_days,
    )


def fallback_reasons(
    models: ValueModels, histories: PurchaseHistories, judged: JudgedValue | None, config: ValueConfig
) -> tuple[str, ...]:
    """Returns why the models may not be used, in sentences; empty where they may.

    Args:
        models: Fitted to everything.
        histories: What they were fitted to.
        judged: The same kind of models on a holdout.
        config: How much may be missed.
    """
    return (
        *_reasons_of_purchases(models),
        *_reasons_of_spend(models, histories, config),
        *_reasons_of_holdout(judged, config),
    )


def _reasons_of_purchases(models: ValueModels) -> list[str]:
    """Reasons against the models in the parameters of the purchases."""
    model = models.chosen
    if model.stop_probability < NOBODY_STOPS:
        return [
            f"{model.name} finds nobody who stops for good (a mean chance of "
            f"{model.stop_probability:.2g} per purchase): "
            "it would go on expecting purchases of customers who left"
        ]
    if model.at_bounds:
        return [f"{_listed(model.at_bounds)} of {model.name} ran off: the purchases do not settle the model"]
    return []


def _reasons_of_spend(models: ValueModels, histories: PurchaseHistories, config: ValueConfig) -> list[str]:
    """Reasons against a model of how much apart from how often."""
    if histories.repeat_value is None:
        return []
    if models.spend is None:
        n_paid = int((histories.repeat_value > 0).sum())
        return [f"{n_paid} customers have repeat purchases, a model of amounts needs {MIN_CUSTOMERS}"]
    reasons = []
    if abs(models.correlation) > config.max_correlation:
        direction = "more" if models.correlation > 0 else "less"
        reasons.append(
            f"customers who buy more often spend {direction} per purchase (correlation "
            f"{models.correlation:.2f}, at most {config.max_correlation:g}): "
            "the Gamma-Gamma model holds only where the two do not go together"
        )
    if models.spend.at_bounds:
        reasons.append(
            f"{_listed(models.spend.at_bounds)} of the Gamma-Gamma model ran off: amounts do not settle it"
        )
    elif models.spend.q <= 1:
        reasons.append(
            f"amounts have no finite mean over customers (q = {models.spend.q:.2f}, must be above 1): "
            "a few very large purchases rule; look at them"
        )
    return reasons


def _reasons_of_holdout(judged: JudgedValue | None, config: ValueConfig) -> list[str]:
    """Reasons against the models in the holdout."""
    if judged is None:
        return ["too few bought early in the table to hold out a time: the models are not judged"]
    if not judged.is_enough:
        return [
            f"{judged.purchases:.0f} purchases came in the holdout of {judged.days} days, at least "
            f"{MIN_HOLDOUT_PURCHASES} are needed to judge the models: give a longer `holdout_days`"
        ]
    own = judged.forecasts[0]
    reasons = []
    for noun, miss in (("purchases", own.purchases_miss), ("revenue", own.money_miss)):
        if miss is not None and abs(miss) > config.max_miss:
            reasons.append(
                f"the holdout of {judged.days} days was missed: {own.name} expected {1 + miss:.0%} "
                f"of the {noun} that came (at most {config.max_miss:.0%} off)"
            )
    return reasons


def _forecast(
    models: ValueModels,
    histories: PurchaseHistories,
    reasons: tuple[str, ...],
    config: ValueConfig,
    observed_days: float,
) -> ValueForecast:
    """Expected over the horizon: by the models, or past spend where a reason speaks against them."""
    if not reasons:
        return model_forecast(models, histories, config.horizon_days, config.discount)
    return past_forecast(histories, config.horizon_days, observed_days)


def _holdout_days(config: ValueConfig, observed_days: float) -> int:
    """Length of the holdout: as set, else the horizon, at most half of the table; 0 if nothing is left."""
    days = config.holdout_days or min(config.horizon_days, int(observed_days / 2))
    return days if days < observed_days else 0


def _judged(
    transactions: Transactions, as_of: int, days: int, generator: np.random.Generator
) -> JudgedValue | None:
    """The models on the last days; None where too little lies before them."""
    if days < 1 or int(transactions.timestamp.min()) > as_of - days * SECONDS_PER_DAY:
        return None
    return judge_value(transactions, as_of, days, generator)


def _cautions(histories: PurchaseHistories, judged: JudgedValue | None) -> tuple[str, ...]:
    """Cautions for a reader of the values, in sentences."""
    cautions = []
    if histories.one_time_fraction >= MANY_ONE_TIME_BUYERS:
        cautions.append(
            f"{histories.one_time_fraction:.0%} of customers bought once: their value rests on the others"
        )
    if histories.n_free:
        cautions.append(f"{histories.n_free:,} purchases for 0 count as purchases")
    if judged is not None:
        own, *baselines = judged.forecasts
        best = max(baselines, key=lambda one: one.top_share)
        if best.top_share > own.top_share:
            cautions.append(
                f"the best tenth by {best.name} brought {best.top_share:.1%} of the holdout, by {own.name} "
                f"{own.top_share:.1%}: to choose whom to speak to first, take {best.name}"
            )
    if histories.n_merged:
        cautions.append(
            f"{histories.n_merged:,} transactions fell on a day with another of the same customer: "
            "they count as one purchase"
        )
    return tuple(cautions)


def _listed(names: tuple[str, ...]) -> str:
    """Returns names as `a`, or `a and b`."""
    return " and ".join(names)
