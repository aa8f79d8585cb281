"""Models of repeat purchases without a contract: BG/NBD and MBG/NBD, fitted by maximum likelihood.

A customer buys at a rate of their own until they stop for good, which nobody sees. After each purchase the
customer stops with a probability of their own; rates and probabilities differ between customers as a gamma
and a beta distribution say. In BG/NBD only repeat purchases can be the last, so whoever bought once is alive
for certain; in MBG/NBD (modified) the first purchase can be the last as well.

This module fits. What a fitted model expects stands in `marquee.bundle.traits.purchases`, money in `spend`,
the choice of a model in `customer_value`.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, digamma, gammaln

from marquee.bundle.traits.purchases import Dropout, PurchaseModel, Purchases
from marquee.core.arrays import Float64Array

# Logarithms of parameters stay within these bounds. A parameter at a bound means that the likelihood has no
# maximum inside: e^9 purchases, or one in e^9 customers, is no longer told apart from all or none.
LOG_BOUND = 9.0


def fit_purchases(purchases: Purchases, dropout: Dropout) -> PurchaseModel:
    """Fits a model of repeat purchases by maximum likelihood.

    Args:
        purchases: One row per customer.
        dropout: `bg`: repeat purchases can be the last; `mbg`: the first as well.

    Returns:
        The parameters, with the names of those that ran off.

    Source:
        Fader, Hardie, Lee 2005, "Counting Your Customers the Easy Way", Marketing Science 24(2), equation 6.
        Batislam, Denizel, Filiztekin 2007, International Journal of Research in Marketing 24(3), equation 5.
    """
    # A unit of time in which the mean age is 1 keeps all four logarithms near 0, whatever the caller counts
    # in.
    unit = max(float(purchases.age.mean()), 1e-12)
    likelihood = _Likelihood(purchases, unit, dropout)
    found = None
    for start in ((0.0, 0.0, 0.0, 0.0), (-1.0, -1.0, 0.0, 1.0)):
        one = minimize(
            likelihood.negative,
            np.array(start),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-LOG_BOUND, LOG_BOUND)] * 4,
            options={"maxiter": 500, "ftol": 1e-14, "gtol": 1e-9},
        )
        found = one if found is None or one.fun < found.fun else found
    assert found is not None, "at least one start is tried"
    r, alpha, a, b = np.exp(found.x)
    names = np.array(["r", "alpha", "a", "b"])
    ran_off = np.abs(found.x) > LOG_BOUND - 0.01
    # The density of times loses a factor 1/unit per purchase when the unit is undone.
    log_likelihood = -found.fun * len(purchases.age) - float(purchases.n_repeats.sum()) * np.log(unit)
    return PurchaseModel(
        dropout,
        float(r),
        float(alpha * unit),
        float(a),
        float(b),
        float(log_likelihood),
        tuple(map(str, names[ran_off])),
    )


def vuong_statistic(one: PurchaseModel, other: PurchaseModel, purchases: Purchases) -> float:
    """Returns how clearly one model is likelier than another: a standard normal number if neither is.

    Both have four parameters, so that no correction for their number is needed. 0 where the two say the same
    of every customer.

    Args:
        one: Positive if this one is likelier.
        other: The other one.
        purchases: That both were fitted to.

    Source:
        Vuong 1989, Econometrica 57(2), "Likelihood ratio tests for model selection and non-nested
        hypotheses", equation 5.6.
    """
    unit = max(float(purchases.age.mean()), 1e-12)
    of_each = []
    for model in (one, other):
        parameters = np.log([model.r, model.alpha / unit, model.a, model.b])
        of_each.append(_Likelihood(purchases, unit, model.dropout).of_each(parameters))
    gain = of_each[0] - of_each[1]
    spread = float(gain.std())
    return float(gain.sum()) / (spread * len(gain) ** 0.5) if spread > 0 else 0.0


class _Likelihood:
    """Mean log-likelihood and its gradient, by logarithms of the parameters.

    Customers share few numbers of repeats: everything that depends on them alone is computed once per number.
    """

    def __init__(self, purchases: Purchases, unit: float, dropout: Dropout) -> None:
        self._age = purchases.age / unit
        self._recency = purchases.recency / unit
        self._repeats, self._row = np.unique(purchases.n_repeats, return_inverse=True)
        self._extra = float(dropout == "mbg")
        # BG/NBD: a first purchase is never the last.
        self._can_stop = self._repeats + self._extra > 0

    def of_each(self, log_parameters: Float64Array) -> Float64Array:
        """Returns the log-likelihood of each customer in nats, (n_customers,) float64."""
        return np.asarray(np.logaddexp(*self._parts(log_parameters)))

    def _parts(self, log_parameters: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Returns the log-likelihood of each history, of who is alive and of who has stopped."""
        r, alpha, a, b = np.exp(log_parameters)
        x, row, survived = self._repeats, self._row, b + self._repeats + self._extra
        log_age, log_recency = np.log(alpha + self._age), np.log(alpha + self._recency)
        common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
        # Alive: none of x (+1) chances to stop was taken. Stopped: the last one was.
        alive = (common + betaln(a, survived))[row] - (r + x[row]) * log_age
        last = np.where(self._can_stop, betaln(a + 1, np.where(self._can_stop, survived - 1, 1.0)), -np.inf)
        stopped = (common + last)[row] - (r + x[row]) * log_recency
        return alive, stopped

    def negative(self, log_parameters: Float64Array) -> tuple[float, Float64Array]:
        """Returns minus the mean log-likelihood in nats and its gradient, (4,) float64."""
        r, alpha, a, b = np.exp(log_parameters)
        x, row, survived = self._repeats, self._row, b + self._repeats + self._extra
        log_age, log_recency = np.log(alpha + self._age), np.log(alpha + self._recency)
        alive, stopped = self._parts(log_parameters)
        total = np.logaddexp(alive, stopped)
        share = np.exp(stopped - total)  # probability of having stopped, (n_customers,)
        n = len(row)
        counts = np.bincount(row, minlength=len(x))
        shares = np.bincount(row, share, minlength=len(x))
        log_time = log_age + share * (log_recency - log_age)
        inverse = 1 / (alpha + self._age) + share * (1 / (alpha + self._recency) - 1 / (alpha + self._age))
        both = digamma(a + survived)
        by_r = counts @ (digamma(r + x) - digamma(r) + np.log(alpha)) - log_time.sum()
        by_alpha = n * r / alpha - ((r + x[row]) * inverse).sum()
        by_a = counts @ (digamma(a) - both) + shares.sum() / a - n * (digamma(a) - digamma(a + b))
        before = np.where(self._can_stop, 1 / np.where(self._can_stop, survived - 1, 1.0), 0.0)
        by_b = counts @ (digamma(survived) - both) - shares @ before - n * (digamma(b) - digamma(a + b))
        gradient = np.array([by_r * r, by_alpha * alpha, by_a * a, by_b * b])
        return -float(total.sum()) / n, -gradient / n
