"""Models of repeat purchases without a contract: BG/NBD and MBG/NBD, fitted by maximum likelihood.

A customer buys at a rate of their own until they stop for good, which nobody sees. After each purchase the
customer stops with a probability of their own; rates and probabilities differ between customers as a gamma
and a beta distribution say. In BG/NBD only repeat purchases can be the last, so whoever bought once is alive
for certain; in MBG/NBD (modified) the first purchase can be the last as well.

This module fits and predicts numbers of purchases. Money stands in `spend`, the choice of a model in
`customer_value`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.optimize import minimize
from scipy.special import betaln, digamma, gammaln

from marquee.core.arrays import Float64Array
from marquee.errors import DataError

Dropout = Literal["bg", "mbg"]

NAMES: dict[Dropout, str] = {"bg": "BG/NBD", "mbg": "MBG/NBD"}

# Logarithms of parameters stay within these bounds. A parameter at a bound means that the likelihood has no
# maximum inside: e^9 purchases, or one in e^9 customers, is no longer told apart from all or none.
LOG_BOUND = 9.0

# Nodes of the quadrature over the probability to stop; 64 give 1e-10 up to horizons of a hundred times the
# past.
N_NODES = 64


@dataclass(frozen=True)
class Purchases:
    """Purchases of each customer up to a moment, as counts and ages; one row per customer.

    Attributes:
        n_repeats: Purchases after the first, by day: several on one day are one, (n_customers,) float64.
        recency: Time from the first to the last purchase, (n_customers,) float64, 0 without repeats.
        age: Time from the first purchase to the moment, (n_customers,) float64, in the unit of `recency`.
    """

    n_repeats: Float64Array
    recency: Float64Array
    age: Float64Array

    def __post_init__(self) -> None:
        """Validates that no purchase lies after the moment.

        Raises:
            DataError: If a customer's last purchase is later than the moment, or the table is empty.
        """
        if not len(self.n_repeats):
            raise DataError(
                f"{len(self.n_repeats)} customers have a purchase, value needs one: look at the rejected rows"
            )
        late = self.recency > self.age
        if late.any():
            raise DataError(
                f"{late.sum()} customers bought after the moment up to which is counted, the first one "
                f"{(self.recency - self.age)[late][0]:g} later: set `as_of` behind the last purchase"
            )


@dataclass(frozen=True)
class PurchaseModel:
    """A fitted model of repeat purchases.

    Attributes:
        dropout: `bg` or `mbg`.
        r: Shape of the gamma distribution of purchase rates.
        alpha: Rate of the same, in the unit of time of the purchases.
        a: First parameter of the beta distribution of the probability to stop after a purchase.
        b: Second parameter of the same.
        log_likelihood: Of the purchases that it was fitted to, in nats.
        at_bounds: Names of parameters that ran off to a bound.
    """

    dropout: Dropout
    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float
    at_bounds: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in the literature."""
        return NAMES[self.dropout]

    @property
    def stop_probability(self) -> float:
        """The mean probability to stop after a purchase."""
        return self.a / (self.a + self.b)

    def alive_probability(self, purchases: Purchases) -> Float64Array:
        """Returns the probability of each customer not to have stopped, (n_customers,) float64.

        Trap: under BG/NBD it is 1 for everybody who bought once, so it orders customers by no likelihood of
            return.
        It is never offered as a churn score.
        """
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(self._log_odds_stopped(purchases)))

    def expected_purchases(self, purchases: Purchases, horizon: float) -> Float64Array:
        """Returns the purchases that each customer is expected to make in the coming time.

        Given the past and that the customer is alive, the rate is Gamma(r + x, α + T) and the probability to
        stop p is Beta(a, b'). The mean over the rate is ((1 − (1 + p h / (α + T))^−(r + x)) / p, and this is
        integrated over p. The closed form by a hypergeometric function divides 0 by 0 at a = 1 and loses all
        digits for many purchases; the integral does neither.

        Args:
            purchases: The past, one row per customer.
            horizon: How far ahead, in the unit of the past's times.

        Returns:
            Expected purchases, (n_customers,) float64, at least 0.

        Source:
            Fader, Hardie, Lee 2005, Marketing Science 24(2), equation 10; Batislam, Denizel, Filiztekin 2007,
            equation 7. Differs from the papers: integrated over p by Gauss-Jacobi quadrature.
        """
        expected = np.empty(len(purchases.n_repeats))
        for n_repeats in np.unique(purchases.n_repeats):
            rows = np.flatnonzero(purchases.n_repeats == n_repeats)
            nodes, weights = _beta_quadrature(self.a, self._survived + float(n_repeats))
            ratio = horizon / (self.alpha + purchases.age[rows])
            growth = np.log1p(ratio[:, np.newaxis] * nodes)  # (n_rows, n_nodes)
            expected[rows] = (-np.expm1(-(self.r + n_repeats) * growth) / nodes) @ weights
        return expected * self.alive_probability(purchases)

    @property
    def _survived(self) -> float:
        """Second parameter of the beta distribution of p, of one who is alive and bought once."""
        return self.b + (self.dropout == "mbg")

    def _log_odds_stopped(self, purchases: Purchases) -> Float64Array:
        """Log-odds of having stopped at the last purchase, −inf where nobody can have."""
        x = purchases.n_repeats
        survived = self._survived + x
        can_stop = survived > self.b
        return np.where(
            can_stop,
            np.log(self.a)
            - np.log(np.where(can_stop, survived - 1, 1.0))
            + (self.r + x) * np.log((self.alpha + purchases.age) / (self.alpha + purchases.recency)),
            -np.inf,
        )


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


def _beta_quadrature(a: float, b: float) -> tuple[Float64Array, Float64Array]:
    """Returns nodes and weights that integrate smooth functions against the Beta(a, b) density.

    Returns:
        Nodes in (0, 1) and weights that sum to 1, both (n_nodes,) float64.

    Source:
        Golub, Welsch 1969, Mathematics of Computation 23: eigenvalues of the matrix of the Jacobi recurrence.
        Scaled so that the density integrates to 1, which does not overflow for thousands of purchases as the
        usual weights do.
    """
    # Jacobi polynomials in z = 2p − 1 with the weight (1 − z)^β (1 + z)^α.
    alpha, beta = b - 1, a - 1
    k = np.arange(N_NODES, dtype=np.float64)
    both = 2 * k + alpha + beta
    diagonal = np.empty(N_NODES)
    diagonal[0] = (beta - alpha) / (alpha + beta + 2)
    diagonal[1:] = (beta**2 - alpha**2) / (both[1:] * (both[1:] + 2))
    k, both = k[1:], both[1:]
    square = 4 * k * (k + alpha) * (k + beta) * (k + alpha + beta)
    # At k = 1 the factor (k + α + β) cancels against (2k + α + β − 1), and both can be 0.
    square[0] = 4 * (1 + alpha) * (1 + beta)
    divisor = both**2 * (both**2 - 1)
    divisor[0] = both[0] ** 2 * (both[0] + 1)
    nodes, vectors = eigh_tridiagonal(diagonal, np.sqrt(square / divisor))
    # Rounding can put a node of a density that is piled up at 0 just below it.
    return np.clip((nodes + 1) / 2, 1e-300, 1.0), vectors[0] ** 2
