"""Purchases and money expected of each customer: by the models, and by two baselines of one line each."""

from dataclasses import dataclass

import numpy as np

from marquee.bundle.traits.forms.value import ValueModel
from marquee.bundle.traits.purchases import Dropout, PurchaseModel
from marquee.bundle.traits.spend import SpendModel
from marquee.core.arrays import Float64Array
from marquee.marketing.value.config import ValueConfig
from marquee.marketing.value.histories import DAYS_PER_WEEK, PurchaseHistories
from marquee.marketing.value.purchases import fit_purchases, vuong_statistic
from marquee.marketing.value.spend import MIN_CUSTOMERS, fit_spend

TOLD_APART = 1.959963984540054
"""Two-sided level of 5 % of a standard normal number."""


@dataclass(frozen=True)
class ValueModels:
    """Models that were fitted to the purchases.

    Attributes:
        chosen: The likelier model of purchases; BG/NBD, the published one, where the data do not tell the two
            apart.
        other: The other one.
        told_apart: How clearly MBG/NBD is likelier (see `vuong_statistic`): beyond ±`TOLD_APART` it is, or
            is not.
        spend: The Gamma-Gamma model; None without amounts, or with too few repeats.
        correlation: Of the number and mean value of repeat purchases; NaN where it has no meaning.
    """

    chosen: PurchaseModel
    other: PurchaseModel
    told_apart: float
    spend: SpendModel | None
    correlation: float

    @property
    def as_model(self) -> ValueModel:
        """The chosen models as those that are asked for values."""
        return ValueModel(self.chosen, self.spend)


@dataclass(frozen=True)
class ValueForecast:
    """Expected purchases and money of each customer over a time to come.

    Attributes:
        purchases: (n_customers,) float64.
        money: In the currency of the amounts, (n_customers,) float64; None without amounts.
    """

    purchases: Float64Array
    money: Float64Array | None


def fit_models(histories: PurchaseHistories) -> ValueModels:
    """Fits both models of purchases and, where there are amounts, the Gamma-Gamma model."""
    fitted: dict[Dropout, PurchaseModel] = {
        dropout: fit_purchases(histories.purchases, dropout) for dropout in ("bg", "mbg")
    }
    told_apart = vuong_statistic(fitted["mbg"], fitted["bg"], histories.purchases)
    chosen: Dropout = "mbg" if told_apart > TOLD_APART else "bg"
    spend, correlation = None, float("nan")
    n_repeats, repeat_value = histories.purchases.n_repeats, histories.repeat_value
    # Whoever repeats for nothing but 0 has no amount that a density of positive numbers could hold.
    is_paid = np.zeros(len(n_repeats), np.bool_) if repeat_value is None else repeat_value > 0
    if repeat_value is not None and is_paid.sum() >= MIN_CUSTOMERS:
        repeats, values = n_repeats[is_paid], repeat_value[is_paid]
        spend = fit_spend(repeats, values)
        # A constant has no correlation, and cannot hurt.
        if np.ptp(repeats) > 0 and np.ptp(values) > 0:
            correlation = float(np.corrcoef(repeats, values)[0, 1])
    other: Dropout = "bg" if chosen == "mbg" else "mbg"
    return ValueModels(fitted[chosen], fitted[other], told_apart, spend, correlation)


def model_forecast(
    models: ValueModels, histories: PurchaseHistories, days: float, discount: float
) -> ValueForecast:
    """Returns purchases and money that the models expect in the coming days.

    Args:
        models: Fitted to these or other histories.
        histories: The past of the customers.
        days: How far ahead.
        discount: Yearly rate on the money; purchases are not discounted.
    """
    found = models.as_model.expect(histories.purchases, histories.repeat_value, days, discount)
    return ValueForecast(*found)


def rate_forecast(histories: PurchaseHistories, days: float) -> ValueForecast:
    """Returns the repeats per week so far, x / T, times the coming weeks, at the customer's mean amount."""
    past = histories.purchases
    # Under a week of age a rate is noise divided by nothing.
    purchases = past.n_repeats / np.maximum(past.age, 1.0) * days / DAYS_PER_WEEK
    if histories.spend is None:
        return ValueForecast(purchases, None)
    return ValueForecast(purchases, purchases * histories.spend / (past.n_repeats + 1))


def past_forecast(histories: PurchaseHistories, days: float, observed_days: float) -> ValueForecast:
    """Returns past purchases and past spend, as if the coming days were a share of the observed ones.

    Args:
        histories: The past of the customers.
        days: How far ahead.
        observed_days: Length of the time that the table spans.
    """
    share = days / max(observed_days, 1.0)
    spend = None if histories.spend is None else histories.spend * share
    return ValueForecast((histories.purchases.n_repeats + 1) * share, spend)


def value_of(forecast: ValueForecast, config: ValueConfig) -> Float64Array:
    """Returns the value of each customer: margin times money, or purchases where there are no amounts."""
    return forecast.purchases if forecast.money is None else config.margin * forecast.money
