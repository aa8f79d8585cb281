"""The value of a customer by a form: orders, days since the last and the first, and what repeats brought.

The words are those of the columns that a run makes of transactions: `orders` counts days with a purchase,
`recency_days` and `tenure_days` are days since the last and the first of them, as of the present.
"""

from collections.abc import Mapping
from typing import ClassVar

import msgspec
import numpy as np

from marquee.bundle.traits.columns import Column, NumberColumn, Values
from marquee.bundle.traits.forms.form import FormScores
from marquee.bundle.traits.purchases import PurchaseModel, Purchases
from marquee.bundle.traits.spend import SpendModel
from marquee.core.arrays import Float64Array
from marquee.errors import FormError
from marquee.store.people.consent import Tier

DAYS_PER_WEEK = 7
DAYS_PER_YEAR = 365.25

N_PIECES = 12
"""Equal pieces of the horizon, each discounted at its middle: exact to 1e-4 of the value at 10 % per year."""

ORDERS, RECENCY, TENURE = "orders", "recency_days", "tenure_days"
REPEAT_VALUE, TOTAL_VALUE = "repeat_value", "total_value"

_KEPT = 100
"""Numbers of repeats whose integrals are made when a run is read: the first form must not wait for them."""


class ValueModel(msgspec.Struct, frozen=True):
    """The models by which value is expected.

    Attributes:
        purchases: Times in weeks.
        spend: None where value is a number of purchases.
    """

    purchases: PurchaseModel
    spend: SpendModel | None

    def expect(
        self, past: Purchases, repeat_value: Float64Array | None, days: float, discount: float
    ) -> tuple[Float64Array, Float64Array | None]:
        """Returns purchases and money to be expected in the coming days, (n_customers,) each.

        Args:
            past: Of the customers, times in weeks.
            repeat_value: Mean value of a repeat purchase, (n_customers,); None without amounts.
            days: How far ahead.
            discount: Yearly rate on the money; purchases are not discounted.

        Returns:
            Both; None for the money where there is no model of it.
        """
        purchases = self.purchases.expected_purchases(past, days / DAYS_PER_WEEK)
        if self.spend is None or repeat_value is None:
            return purchases, None
        per_purchase = self.spend.expected_spend(past.n_repeats, repeat_value)
        counted = self._discounted(past, days, discount) if discount else purchases
        return purchases, counted * per_purchase

    def _discounted(self, past: Purchases, days: float, discount: float) -> Float64Array:
        """Expected purchases, each weighted by what money at its time is worth now, (n_customers,)."""
        total = before = np.zeros(len(past.n_repeats))
        for piece in range(N_PIECES):
            end = days * (piece + 1) / N_PIECES
            until = self.purchases.expected_purchases(past, end / DAYS_PER_WEEK)
            total = total + (until - before) * discount_factor(discount, end - days / N_PIECES / 2)
            before = until
        return total


def discount_factor(discount: float, days: float) -> float:
    """Returns the present worth of one unit of money in so many days."""
    return float((1 - discount) ** (days / DAYS_PER_YEAR))


class ValueForm(msgspec.Struct, frozen=True, tag="value"):
    """Expects the value of whoever sends a form.

    Attributes:
        name: Of the trait.
        version: Of the fit.
        as_of: Moment up to which it has learned, seconds since 1970.
        model: The models; None where value is past spend.
        share: Of the past that the horizon is as long as; read where value is past spend.
        horizon_days: How far ahead.
        discount: Yearly rate on money.
        margin: Share of an amount that is earned.
        has_amounts: Whether value is money; a number of purchases otherwise.
    """

    name: str
    version: str
    as_of: float | None
    model: ValueModel | None
    share: float
    horizon_days: float
    discount: float
    margin: float
    has_amounts: bool

    type: ClassVar[str] = "value"
    tier: ClassVar[Tier] = Tier.personal

    @property
    def fields(self) -> list[Column]:
        """Columns that a form must hold."""
        if self.model is None:
            names = [ORDERS, *([TOTAL_VALUE] if self.has_amounts else [])]
        else:
            names = [ORDERS, RECENCY, TENURE, *([] if self.model.spend is None else [REPEAT_VALUE])]
        return [NumberColumn(name, 0.0, [], None, has_missing=False) for name in names]

    def score_forms(self, values: Mapping[str, Values]) -> FormScores:
        """Returns values, with the purchases that are expected; see `Form`."""
        numbers = {name: _number(name, values[name]) for name in (field.name for field in self.fields)}
        orders = numbers[ORDERS]
        _require(ORDERS, orders, (orders >= 1) & (orders == np.round(orders)), "a whole number from 1")
        if self.model is None:
            return self._past(orders, numbers.get(TOTAL_VALUE))
        recency, tenure = numbers[RECENCY], numbers[TENURE]
        _require(RECENCY, recency, recency >= 1, "1 or more: the present is the midnight after the last day")
        _require(TENURE, tenure, tenure >= recency, f"{RECENCY} or more")
        is_once = orders == 1
        _require(TENURE, tenure, ~is_once | (tenure == recency), f"{RECENCY} where there is one order")
        past = Purchases(orders - 1, (tenure - recency) / DAYS_PER_WEEK, (tenure - 1) / DAYS_PER_WEEK)
        repeat_value = numbers.get(REPEAT_VALUE)
        if repeat_value is not None:
            # Of no repeat there is no mean, whatever a form says.
            repeat_value = np.where(is_once, 0.0, repeat_value)
        purchases, money = self.model.expect(past, repeat_value, self.horizon_days, self.discount)
        value = purchases if money is None else self.margin * money
        return FormScores(value.tolist(), {"purchases": purchases})

    def _past(self, orders: Float64Array, total: Float64Array | None) -> FormScores:
        """Returns past spend, as if the coming days were a share of those that the table spans."""
        purchases = orders * self.share
        value = purchases if total is None else self.margin * total * self.share
        return FormScores(value.tolist(), {"purchases": purchases})

    def warm(self) -> None:
        """Makes what the usual forms need, so that none of them waits for it."""
        if self.model is not None:
            n = np.arange(_KEPT, dtype=np.float64)
            self.model.purchases.expected_purchases(Purchases(n, n / 2, n + 1), 1.0)


def _number(name: str, values: Values) -> Float64Array:
    """Returns the numbers of a field; raises FormError if one is missing or below 0."""
    found = np.asarray(values, dtype=np.float64)
    if name == REPEAT_VALUE:
        # Null of whoever bought once.
        found = np.where(np.isnan(found), 0.0, found)
    _require(name, found, found >= 0, "a number from 0")
    return found


def _require(name: str, values: Float64Array, is_right: np.ndarray, wanted: str) -> None:
    """Raises FormError unless every value is right."""
    if not is_right.all():
        value = float(values[~is_right][0])
        came = "none" if np.isnan(value) else f"{value:g}"
        raise FormError(f"{name} must be {wanted}, got {came}; correct it", name)
