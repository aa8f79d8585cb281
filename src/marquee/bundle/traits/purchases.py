"""Models of repeat purchases as plain numbers: what they expect of a customer, read by numpy alone.

Fitting stands in `marquee.marketing.value.purchases`, which says what the models mean; the service expects by
them without the library that fits.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from marquee.core.arrays import Float64Array
from marquee.errors import DataError

Dropout = Literal["bg", "mbg"]

NAMES: dict[Dropout, str] = {"bg": "BG/NBD", "mbg": "MBG/NBD"}

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
            nodes, weights = beta_quadrature(self.a, self._survived + float(n_repeats))
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


@lru_cache(maxsize=1024)
def beta_quadrature(a: float, b: float) -> tuple[Float64Array, Float64Array]:
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
    beside = np.sqrt(square / divisor)
    # Dense, although it has three diagonals: the service has no library for less.
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
    # Rounding can put a node of a density that is piled up at 0 just below it.
    return np.clip((nodes + 1) / 2, 1e-300, 1.0), vectors[0] ** 2
