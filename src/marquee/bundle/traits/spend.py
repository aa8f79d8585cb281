"""The Gamma-Gamma model as plain numbers: what a purchase of a customer is expected to bring.

Fitting stands in `marquee.marketing.value.spend`, which says what the model means.
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import Float64Array


@dataclass(frozen=True)
class SpendModel:
    """A fitted Gamma-Gamma model.

    Attributes:
        p: Shape of a customer's purchases.
        q: Shape of the rates over customers. The mean over customers is finite above 1 only.
        gamma: Rate of the same, in the currency of the values.
        log_likelihood: Of the mean values that it was fitted to, in nats.
        at_bounds: Names of parameters that ran off to a bound.
    """

    p: float
    q: float
    gamma: float
    log_likelihood: float
    at_bounds: tuple[str, ...] = ()

    @property
    def mean_spend(self) -> float:
        """Expected value of a purchase of an unseen customer; infinite unless q is above 1."""
        return self.p * self.gamma / (self.q - 1) if self.q > 1 else float("inf")

    def expected_spend(self, n_purchases: Float64Array, mean_value: Float64Array) -> Float64Array:
        """Returns the expected value of a purchase of each customer, in the values' currency.

        Args:
            n_purchases: How many purchases the mean is of, (n_customers,) float64; 0 takes the mean over
                customers.
            mean_value: Their mean value, (n_customers,) float64; not read where there are none.

        Returns:
            (n_customers,) float64.

        Source:
            Fader, Hardie 2013, "The Gamma-Gamma Model of Monetary Value", equation 5.
        """
        seen = np.where(n_purchases > 0, n_purchases * mean_value, 0.0)
        weight = self.p * n_purchases + self.q - 1
        if self.q <= 1:
            # Without a finite mean over customers there is no estimate for those who were not seen.
            return np.where(
                weight > 0, self.p * (self.gamma + seen) / np.where(weight > 0, weight, 1.0), np.inf
            )
        return self.p * (self.gamma + seen) / weight
