"""Spends a budget over a known number of auctions: before each, a multiplier of the bid.

The multiplier λ solves

    mean over recent ratios r of  E[payment of a bid λ·r]  =  budget left / auctions left / real-to-expected

where a ratio says how much an opportunity is worth beside the mean one: p / mean p. What is over or under
spent returns into the equation at once (a receding horizon), so there is no gain to tune; a slow ratio of
real to expected spend corrects prices that differ from the curve's.

Source:
    Balseiro and Gur 2019, Management Science 65(9), "Learning in repeated auctions with budgets", section 3,
    name the multiplier and follow it by a gradient step, which needs a rate; here it is solved anew.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marquee.ads.prices import PriceCurve
from marquee.core.arrays import Float64Array
from marquee.errors import ConfigError

N_HALVINGS = 16
"""Of the bracket of ln λ: it ends narrower than a thousandth."""

# Beyond the prices by so much: a mean bid of a twentieth of the lowest price still wins where a ratio is 20.
_BELOW_LOG, _ABOVE_LOG = 3.0, 0.7


@dataclass(frozen=True, kw_only=True)
class PacingConfig:
    """How a pacer looks at the past.

    Attributes:
        n_ratios: How many of the latest ratios stand for those to come.
        weight: Of the latest auction in the averages of real and of expected spend.

    Raises:
        ConfigError: If a number is out of range.
    """

    n_ratios: int = 500
    weight: float = 0.002

    def __post_init__(self) -> None:
        if self.n_ratios < 1:
            raise ConfigError(f"pacing n_ratios={self.n_ratios} must be at least 1")
        if not 0.0 < self.weight <= 1.0:
            raise ConfigError(f"pacing weight={self.weight} must be above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class PacedBid:
    """The bid for one auction.

    Attributes:
        amount: The bid, an integer of the unit of the price curve; never above what is left.
        multiplier: The λ behind it: the bid for an opportunity of mean worth.
        expected: What it is expected to pay on average, before what is left bounds it.
    """

    amount: int
    multiplier: float
    expected: float


class Pacer:
    """One campaign's pacer: for each auction first `bid`, then `settle`.

    A campaign never shares its pacer: pooled ones let one campaign's prices hold another back.

    Args:
        curve: The prices that bids must reach.
        planned: What the plan spends per auction, above 0; the averages begin with it.
        config: How it looks at the past.
        ceiling: The highest multiplier, None for no bound; a campaign that states its bid per click has one.

    Raises:
        ConfigError: If `planned` or `ceiling` is not above 0.
    """

    def __init__(
        self,
        curve: PriceCurve,
        planned: float,
        config: PacingConfig | None = None,
        ceiling: float | None = None,
    ) -> None:
        if not planned > 0 or not math.isfinite(planned):
            raise ConfigError(f"a pacer needs a planned spend per auction above 0, got {planned}")
        if ceiling is not None and not ceiling > 0:
            raise ConfigError(f"the ceiling of a multiplier must be above 0, got {ceiling}")
        self._curve = curve
        self._config = config or PacingConfig()
        self._prior = planned / 2
        lowest, highest = curve.log_range
        self._log_range = (lowest - _BELOW_LOG, highest + _ABOVE_LOG)
        self._log_ceiling = math.inf if ceiling is None else math.log(ceiling)
        self._log_ratios = np.zeros(self._config.n_ratios)
        self._n_seen = 0
        self._real = 0.0
        self._expected = 0.0
        self._awaited = 0.0

    @property
    def real_to_expected(self) -> float:
        """How much dearer the market is than its curve says; 1 before anything is known."""
        return (self._real + self._prior) / (self._expected + self._prior)

    def bid(self, ratio: float, budget_left: int, auctions_left: float) -> PacedBid:
        """Returns the bid for the next auction.

        Args:
            ratio: What this opportunity is worth beside the mean one, above 0.
            budget_left: What may still be spent.
            auctions_left: How many auctions the rest of the flight is forecast to hold, this one included;
                below 1 counts as 1.

        Raises:
            ConfigError: If the ratio is not a number above 0: nothing was noted.
        """
        if not ratio > 0 or not math.isfinite(ratio):
            raise ConfigError(f"a ratio must be a number above 0, got {ratio}; bid on no such opportunity")
        log_ratio = math.log(ratio)
        self._log_ratios[self._n_seen % len(self._log_ratios)] = log_ratio
        self._n_seen += 1
        budget = max(0, budget_left)
        log_multiplier = self._solve(budget / max(1.0, auctions_left) / self.real_to_expected)
        amount = math.exp(log_multiplier + log_ratio)
        self._awaited = float(self._curve.expected_payment(np.array([amount]))[0])
        return PacedBid(min(int(amount), budget), math.exp(log_multiplier), self._awaited)

    def pace(
        self, curve: PriceCurve, ratios: Sequence[float], budget_left: int, auctions_left: float, paid: float
    ) -> float:
        """Returns λ after several auctions at once, in the unit of the price curve.

        The same as `bid` and `settle` one by one, but for the multiplier within them, which was one.

        Args:
            curve: The prices that bids must reach from now on.
            ratios: As in `bid`, of the auctions since the last time, one at least.
            budget_left: As in `bid`.
            auctions_left: As in `bid`.
            paid: What they cost together.
        """
        self._curve = curve
        lowest, highest = curve.log_range
        self._log_range = (lowest - _BELOW_LOG, highest + _ABOVE_LOG)
        kept = min(len(ratios), len(self._log_ratios))
        places = (self._n_seen + np.arange(kept)) % len(self._log_ratios)
        self._log_ratios[places] = np.log(np.asarray(ratios[-kept:], dtype=np.float64))
        self._n_seen += kept
        # So many steps of the two averages towards the mean of their auctions.
        weight = 1.0 - (1.0 - self._config.weight) ** len(ratios)
        self._real += weight * (paid / len(ratios) - self._real)
        self._expected += weight * (self._awaited - self._expected)
        budget = max(0, budget_left)
        log_multiplier = self._solve(budget / max(1.0, auctions_left) / self.real_to_expected)
        seen = self._log_ratios[: min(self._n_seen, len(self._log_ratios))]
        self._awaited = curve.mean_payment_of_logs(seen + log_multiplier)
        return math.exp(log_multiplier)

    def settle(self, paid: int) -> None:
        """Notes what the auction of the last `bid` cost, 0 if it was lost."""
        weight = self._config.weight
        self._real += weight * (paid - self._real)
        self._expected += weight * (self._awaited - self._expected)

    def _solve(self, target: float) -> float:
        """Returns ln λ, the highest within the bracket whose mean expected payment is at most `target`."""
        ratios: Float64Array = self._log_ratios[: min(self._n_seen, len(self._log_ratios))]
        low, high = self._log_range
        high = min(high, self._log_ceiling)
        # Where all auctions that can be won are affordable, the bracket need not be searched.
        if self._curve.mean_payment_of_logs(ratios + high) <= target:
            return high
        for _ in range(N_HALVINGS):
            middle = (low + high) / 2
            if self._curve.mean_payment_of_logs(ratios + middle) <= target:
                low = middle
            else:
                high = middle
        return low
