"""Auctions of the iPinYou data set, and what a bidder gets out of them.

A campaign's stream holds, in the order of time, whether an impression was clicked, the price that had to be
reached, and a published click probability. It is cut into episodes of 1,000 auctions; each begins with the
same budget.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from marquee.ads import PriceCurve
from marquee.core.arrays import Float64Array

EPISODE = 1_000
TRAINING_STREAMS = (1458, 2259, 2261, 2821, 2997, 3386)
CAMPAIGNS = (1458, 2259, 2261, 2821, 2997, 3358, 3386, 3427, 3476)


@dataclass(frozen=True)
class Campaign:
    """Facts of a campaign's training period.

    Attributes:
        n_clicks: Of its impressions.
        n_impressions: How many.
        cost: What all of them cost together.
        price_counts: Impressions at each price 0, 1, 2, …
    """

    n_clicks: int
    n_impressions: int
    cost: int
    price_counts: Float64Array

    @property
    def click_rate(self) -> float:
        """Clicks per impression."""
        return self.n_clicks / self.n_impressions

    def budget(self, fraction: float) -> int:
        """Returns the budget of an episode: that share of what its auctions cost in the training period."""
        return int(EPISODE * self.cost / self.n_impressions * fraction)

    def curve(self) -> PriceCurve:
        """Returns the distribution of prices."""
        prices = np.flatnonzero(self.price_counts)
        return PriceCurve(prices.tolist(), self.price_counts[prices].tolist())


@dataclass(frozen=True)
class Stream:
    """Auctions in the order of time; arrays of one length.

    Attributes:
        clicked: 1 where the impression was clicked, else 0.
        prices: What a bid had to reach.
        probabilities: Published click probabilities.
    """

    clicked: Float64Array
    prices: Float64Array
    probabilities: Float64Array


@dataclass(frozen=True)
class Bought:
    """The impressions that a bidder got.

    Attributes:
        n_clicks: Clicks among the impressions.
        n_impressions: Auctions won.
        cost: What they cost.
        budget: All episodes' budgets together.
        n_above: Episodes that spent more than their budget.
    """

    n_clicks: int
    n_impressions: int
    cost: int
    budget: int
    n_above: int

    @property
    def used(self) -> float:
        """Share of the budget that was spent."""
        return self.cost / self.budget


Bidder = Callable[[int, int, int], int]
"""(number of the auction, budget left, auctions left in the episode) → bid."""

Learner = Callable[[int], None]
"""Hears the cost of each auction, 0 if it was lost."""


@cache
def campaign(root: Path, number: int) -> Campaign:
    """Reads what the training period of a campaign tells."""
    facts = json.loads((root / "ipinyou-2997" / f"{number}.info.json").read_text())
    return Campaign(
        facts["clk_train"],
        facts["imp_train"],
        facts["cost_train"],
        np.array(facts["price_counter_train"], dtype=np.float64),
    )


@cache
def test_stream(root: Path) -> Stream:
    """Reads the test stream of campaign 2997."""
    with (root / "ipinyou-2997" / "2997.test.theta.txt").open() as lines:
        return _parse(lines)


@cache
def training_stream(root: Path, number: int) -> Stream:
    """Reads a stream of the training period."""
    with gzip.open(root / "ipinyou-train-streams" / f"{number}.txt.gz", "rt") as lines:
        return _parse(lines)


def _parse(lines: Iterator[str]) -> Stream:
    """Returns the auctions of a file, one per line."""
    return Stream(*np.loadtxt(lines).T.copy())


def play(stream: Stream, budget: int, bid: Bidder, learn: Learner | None = None) -> Bought:
    """Plays a stream, and returns what was bought.

    Args:
        stream: The auctions.
        budget: Of each episode.
        bid: Bids; what is above the budget left is cut off.
        learn: Hears what each auction cost.
    """
    n_clicks = n_impressions = cost = n_episodes = n_above = 0
    prices, clicked = stream.prices.astype(int).tolist(), stream.clicked.astype(int).tolist()
    for start in range(0, len(prices), EPISODE):
        n_episodes += 1
        left = budget
        for number in range(start, min(start + EPISODE, len(prices))):
            amount = bid(number, left, EPISODE - (number - start))
            # A price may be 0: such an auction is won, and costs nothing.
            is_won = min(amount, left) >= prices[number]
            paid = prices[number] if is_won else 0
            if is_won:
                left -= paid
                cost += paid
                n_impressions += 1
                n_clicks += clicked[number]
            if learn is not None:
                learn(paid)
        n_above += left < 0
    return Bought(n_clicks, n_impressions, cost, budget * n_episodes, n_above)
