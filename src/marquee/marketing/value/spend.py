"""The Gamma-Gamma model: how much a customer spends per purchase, given what the few that were seen came to.

A purchase is Gamma(p, ν) with a ν of the customer's own, and ν is Gamma(q, γ) over customers. A customer seen
once is held to be much like the others; one seen often, to be as seen. The model supposes that how much and
how often do not go together: `customer_value` measures that first.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from marquee.bundle.traits.spend import SpendModel
from marquee.core.arrays import Float64Array
from marquee.errors import DataError

LOG_BOUND = 9.0
MIN_CUSTOMERS = 30


def fit_spend(n_purchases: Float64Array, mean_value: Float64Array) -> SpendModel:
    """Fits the Gamma-Gamma model by maximum likelihood.

    Args:
        n_purchases: How many purchases each mean is of, (n_customers,) float64, above 0.
        mean_value: Mean value of a purchase, (n_customers,) float64, above 0.

    Returns:
        The parameters, with the names of those that ran off.

    Raises:
        DataError: If there are too few customers, or a count or value is not above 0.

    Source:
        Fader, Hardie 2013, "The Gamma-Gamma Model of Monetary Value", equation 1a.
    """
    _validate_spend(n_purchases, mean_value)
    # A currency in which the mean is 1: yen and bitcoin start at the same place.
    unit = float(mean_value.mean())
    found = minimize(
        _negative_likelihood,
        np.array([1.0, 1.0, 1.0]),
        args=(n_purchases, mean_value / unit),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-LOG_BOUND, LOG_BOUND)] * 3,
        options={"maxiter": 1000, "ftol": 1e-15, "gtol": 1e-9},
    )
    p, q, gamma = np.exp(found.x)
    ran_off = np.abs(found.x) > LOG_BOUND - 0.01
    log_likelihood = -found.fun * len(mean_value) - len(mean_value) * np.log(unit)
    names = np.array(["p", "q", "gamma"])
    return SpendModel(
        float(p), float(q), float(gamma * unit), float(log_likelihood), tuple(map(str, names[ran_off]))
    )


def _validate_spend(n_purchases: Float64Array, mean_value: Float64Array) -> None:
    """Raises DataError where the likelihood would be undefined."""
    if len(mean_value) < MIN_CUSTOMERS:
        raise DataError(
            f"{len(mean_value)} customers have repeat purchases, the Gamma-Gamma model needs "
            f"{MIN_CUSTOMERS}: wait for more, or take past spend"
        )
    broken = ~((n_purchases > 0) & (mean_value > 0) & np.isfinite(mean_value))
    if broken.any():
        raise DataError(
            f"{broken.sum()} customers have a mean value that is not above 0, the first one "
            f"{mean_value[broken][0]:g} of {n_purchases[broken][0]:g} purchases: leave returns and gifts out"
        )


def _negative_likelihood(
    log_parameters: Float64Array, x: Float64Array, m: Float64Array
) -> tuple[float, Float64Array]:
    """Minus the mean log-likelihood in nats and its gradient by logarithms of p, q and γ."""
    p, q, gamma = np.exp(log_parameters)
    total = np.log(gamma + m * x)
    shape = p * x + q
    likelihood = (
        gammaln(shape)
        - gammaln(p * x)
        - gammaln(q)
        + q * np.log(gamma)
        + (p * x - 1) * np.log(m)
        + p * x * np.log(x)
        - shape * total
    )
    by_shape = digamma(shape) - total
    by_p = x * (by_shape - digamma(p * x) + np.log(m * x))
    by_q = by_shape - digamma(q) + np.log(gamma)
    by_gamma = q / gamma - shape / (gamma + m * x)
    gradient = np.array([by_p.mean() * p, by_q.mean() * q, by_gamma.mean() * gamma])
    return -float(likelihood.mean()), -gradient
