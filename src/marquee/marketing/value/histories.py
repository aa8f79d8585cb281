"""From transactions to what the models of purchases read: repeats, recency, age and value of each customer.

Purchases of a customer on one day are one. Rows that cannot be a purchase are left out and counted by reason.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marquee.bundle.traits.purchases import Purchases
from marquee.core.arrays import Float64Array
from marquee.errors import DataError, ShapeError

SECONDS_PER_DAY = 86_400
DAYS_PER_WEEK = 7

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Transactions:
    """Who bought when, and for how much.

    Attributes:
        customer: Row of the customer in the caller's table, (n_transactions,) int64.
        timestamp: Seconds since 1970, UTC, (n_transactions,) int64.
        amount: In one currency, (n_transactions,) float64; None where the table has no amounts.
    """

    customer: IntArray
    timestamp: IntArray
    amount: Float64Array | None = None

    def __post_init__(self) -> None:
        """Validates that the columns are of one length."""
        lengths = {
            len(column) for column in (self.customer, self.timestamp, self.amount) if column is not None
        }
        if len(lengths) != 1:
            raise ShapeError(
                f"transactions need columns of one length, got {sorted(lengths)}: "
                "give each row a customer and a time"
            )

    def where(self, kept: npt.NDArray[np.bool_]) -> "Transactions":
        """Returns the marked rows."""
        amount = None if self.amount is None else self.amount[kept]
        return Transactions(self.customer[kept], self.timestamp[kept], amount)


@dataclass(frozen=True)
class RejectedTransactions:
    """Transactions that are no purchase, for one reason.

    Attributes:
        reason: In words, with what to do.
        count: How many.
        first_row: The first of them, from 0.
        first_value: What stands there.
    """

    reason: str
    count: int
    first_row: int
    first_value: str


@dataclass(frozen=True)
class PurchaseHistories:
    """Purchases of the customers who bought up to a moment; one row per such customer, by customer.

    Attributes:
        customer: Row in the caller's table, (n_customers,) int64, ascending.
        purchases: Counts, recency and age in weeks.
        spend: Value of all purchases, (n_customers,) float64; None without amounts.
        repeat_value: Mean value of a repeat purchase, (n_customers,) float64, 0 without repeats; None without
            amounts.
        n_merged: Transactions that fell on a day on which their customer had another.
        n_free: Purchases for 0; they count, as somebody chose and ordered.
    """

    customer: IntArray
    purchases: Purchases
    spend: Float64Array | None
    repeat_value: Float64Array | None
    n_merged: int
    n_free: int = 0

    @property
    def one_time_fraction(self) -> float:
        """Share of customers with one purchase."""
        return float(np.mean(self.purchases.n_repeats == 0))


def usable_transactions(
    transactions: Transactions, as_of: int
) -> tuple[Transactions, tuple[RejectedTransactions, ...]]:
    """Returns the transactions that are purchases up to a moment, and the others by reason.

    Args:
        transactions: Every row of the table.
        as_of: Moment up to which is counted, seconds; a purchase at this moment counts.
    """
    amount = transactions.amount
    late = transactions.timestamp > as_of
    reasons = {"later than as_of: correct the date, or move as_of": late}
    if amount is not None:
        is_number = np.isfinite(amount)
        reasons["without an amount: fill it, or map no amounts at all"] = ~is_number & ~late
        # A return is not set off against the purchase: the table does not say which one it undoes.
        reasons["amount below 0: a return is no purchase, leave it out"] = is_number & (amount < 0) & ~late
    rejected = tuple(
        RejectedTransactions(
            reason, int(rows.sum()), int(np.argmax(rows)), _shown(transactions, rows, rows is late)
        )
        for reason, rows in reasons.items()
        if rows.any()
    )
    kept = ~np.logical_or.reduce(list(reasons.values()))
    return transactions.where(kept), rejected


def summarise_purchases(transactions: Transactions, as_of: int) -> PurchaseHistories:
    """Returns one history per customer with a purchase up to a moment.

    Args:
        transactions: Purchases, as `usable_transactions` returns them; later ones are not read.
        as_of: Moment up to which is counted, seconds.

    Raises:
        DataError: If nobody has a purchase.

    Example:
        >>> day = 86_400
        >>> times = np.array([0, 0, 14 * day])
        >>> table = Transactions(np.zeros(3, np.int64), times, np.array([5.0, 1.0, 8.0]))
        >>> found = summarise_purchases(table, 21 * day)
        >>> found.purchases.n_repeats, found.purchases.recency, found.purchases.age
        (array([1.]), array([2.]), array([3.]))
        >>> found.spend, found.repeat_value
        (array([14.]), array([8.]))
    """
    kept = transactions.where(transactions.timestamp <= as_of)
    if not len(kept.customer):
        raise DataError(
            f"no transaction up to {_date(as_of)} out of {len(transactions.customer)}: "
            "value needs purchases; set `as_of` later, or look at the rejected rows"
        )
    days = kept.timestamp // SECONDS_PER_DAY
    order = np.lexsort((days, kept.customer))
    customer, days = kept.customer[order], days[order]
    is_new = np.r_[True, (np.diff(customer) != 0) | (np.diff(days) != 0)]
    amounts = None
    if kept.amount is not None:
        amounts = np.add.reduceat(kept.amount[order], np.flatnonzero(is_new))
    customer, days = customer[is_new], days[is_new]  # one row per customer and day
    starts = np.flatnonzero(np.r_[True, np.diff(customer) != 0])
    ends = np.r_[starts[1:], len(customer)]
    n_repeats = (ends - starts - 1).astype(np.float64)
    first = days[starts]
    purchases = Purchases(
        n_repeats,
        (days[ends - 1] - first) / DAYS_PER_WEEK,
        (as_of // SECONDS_PER_DAY - first) / DAYS_PER_WEEK,
    )
    spend = repeat_value = None
    if amounts is not None:
        spend = np.add.reduceat(amounts, starts)
        # The first purchase is left out: counts of repeats and their mean belong together in the likelihood.
        repeat_value = np.where(n_repeats > 0, (spend - amounts[starts]) / np.maximum(n_repeats, 1), 0.0)
    n_free = 0 if amounts is None else int((amounts == 0).sum())
    n_merged = len(order) - int(is_new.sum())
    return PurchaseHistories(customer[starts], purchases, spend, repeat_value, n_merged, n_free)


def later_purchases(
    transactions: Transactions, customer: IntArray, after: int, until: int
) -> tuple[Float64Array, Float64Array | None]:
    """Returns days with a purchase and spend of given customers in the time (after, until].

    Args:
        transactions: Purchases.
        customer: The customers, ascending, (n_customers,).
        after: Beginning, seconds, not included.
        until: End, seconds.

    Returns:
        Purchases and spend, (n_customers,) float64 each; None for the spend where there are no amounts.
    """
    kept = transactions.where((transactions.timestamp > after) & (transactions.timestamp <= until))
    place = np.searchsorted(customer, kept.customer)
    known = (place < len(customer)) & (customer[np.minimum(place, len(customer) - 1)] == kept.customer)
    kept, place = kept.where(known), place[known]
    pairs = np.unique(np.stack([place, kept.timestamp // SECONDS_PER_DAY]), axis=1)[0]
    counts = np.bincount(pairs, minlength=len(customer)).astype(np.float64)
    spend = None if kept.amount is None else np.bincount(place, kept.amount, minlength=len(customer))
    return counts, None if spend is None else spend.astype(np.float64)


def _date(timestamp: int) -> str:
    """Returns the day of a moment, as YYYY-MM-DD."""
    # Not by `datetime`, which fails for years beyond 9999: those are the ones to be shown.
    return str(np.datetime64(timestamp, "s").astype("datetime64[D]"))


def _shown(transactions: Transactions, rows: npt.NDArray[np.bool_], is_date: bool) -> str:
    """Returns the value of the first marked row: its day, or its amount."""
    first = int(np.argmax(rows))
    if is_date:
        return _date(int(transactions.timestamp[first]))
    assert transactions.amount is not None, "amounts are rejected only where there are any"
    return f"{transactions.amount[first]:g}"
