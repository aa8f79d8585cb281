"""The pace of one campaign in one process: how much of its bid it offers now.

Answers ask for a multiplier and note what an opportunity would be worth; a thread beside them solves the
multiplier anew, because solving takes longer than an answer may. Budgets are of all processes, and so is the
forecast of auctions: every process comes to the same multiplier without asking the others.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from marquee.ads.pacing import Pacer, PacingConfig
from marquee.ads.prices import PriceCurve
from marquee.store.campaigns.campaign import Delivery

_PER_MILLE = 1_000
_MOST_NOTED = 2_000
AHEAD = 0.75
"""Front-loaded delivery plans as if only so much of the traffic were still to come."""


class Outlook(NamedTuple):
    """The rest of a budget and of its time. Money is millionths.

    Attributes:
        budget: What may still be spent.
        seconds: Of the time that it is for, weighed by its traffic (see `marquee.ads.traffic`).
        auctions_per_s: Opportunities that all processes together give it, per weighed second.
    """

    budget: int
    seconds: float
    auctions_per_s: float


@dataclass(slots=True)
class CampaignPace:
    """The pace of one campaign; `note` and `multiplier` may be used while another thread solves.

    Attributes:
        delivery: How its budget is spread.
        multiplier: Of its bid, in [0, 1]; 0 until it was solved once: nothing is spent without a plan.
        n_noted: Opportunities so far.
        mean_value: The mean worth of a thousand impressions of them; 0 before any was solved for.
    """

    delivery: Delivery
    multiplier: float = 0.0
    n_noted: int = 0
    mean_value: float = 0.0
    _values: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_NOTED))
    _paid: float = 0.0
    _pacer: Pacer | None = None
    _n_means: int = 0

    def note(self, values: Sequence[float]) -> None:
        """Notes the worth of a thousand impressions of opportunities at the whole bid, above 0 each."""
        self.n_noted += len(values)
        self._values.extend(values)

    def paid(self, price: float) -> None:
        """Notes the price of a thousand impressions of an ad that was shown."""
        self._paid += price

    def solve(self, curve: PriceCurve, outlook: Outlook, config: PacingConfig | None = None) -> None:
        """Solves the multiplier anew, from all opportunities since the last time.

        Args:
            curve: Prices of a thousand impressions that bids must reach.
            outlook: The rest.
            config: How a pacer looks at the past.
        """
        values = [self._values.popleft() for _ in range(len(self._values))]
        if values:
            self._learn_mean(values)
        if self.delivery is Delivery.fast or not values:
            self.multiplier = 1.0 if self.delivery is Delivery.fast else self.multiplier
            return
        auctions = max(1.0, outlook.seconds * outlook.auctions_per_s)
        auctions *= AHEAD if self.delivery is Delivery.front_loaded else 1.0
        # A curve is of a thousand impressions, and so is the budget beside it.
        budget = outlook.budget * _PER_MILLE
        if self._pacer is None:
            planned = max(1.0, budget / auctions)
            self._pacer = Pacer(curve, planned, config)
        offered = self._pacer.pace(
            curve, [value / self.mean_value for value in values], budget, auctions, self._paid
        )
        self._paid = 0.0
        self.multiplier = min(1.0, offered / self.mean_value) if budget > 0 else 0.0

    def _learn_mean(self, values: list[float]) -> None:
        """Takes opportunities into the mean of what one is worth."""
        total = self.mean_value * self._n_means + sum(values)
        self._n_means += len(values)
        self.mean_value = total / self._n_means
