"""Divides one budget over campaigns so that the last unit of money brings each of them the same.

Each campaign's curve of results against spend is cut into steps, cheapest first; the budget takes the best
steps of all campaigns until it is gone. The last step is taken in part: between two neighbouring bids a
campaign mixes them, or else whole bids leave a part of the budget unspent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import Float64Array
from marquee.errors import ConfigError


@dataclass(frozen=True)
class Prospect:
    """The places that a campaign can buy.

    Attributes:
        prices: Distinct prices of one place, 0 or more, ascending.
        counts: How many places may be had at each price.
        value: Results per place, such as its click rate, 0 or more.

    Raises:
        ConfigError: If the arrays do not fit together or a number is out of range.
    """

    prices: Sequence[int]
    counts: Sequence[float]
    value: float

    def __post_init__(self) -> None:
        if len(self.prices) != len(self.counts):
            raise ConfigError(
                f"a prospect needs one count per price, got {len(self.prices)} prices and "
                f"{len(self.counts)} counts"
            )
        if any(price < 0 for price in self.prices):
            raise ConfigError(f"a prospect needs prices of 0 or more, got {min(self.prices)}")
        if any(count < 0 for count in self.counts) or not self.value >= 0:
            raise ConfigError(f"a prospect needs counts and a value of 0 or more, got the value {self.value}")


@dataclass(frozen=True)
class Share:
    """A campaign's part of the budget.

    Attributes:
        spend: What it gets.
        results: What that is expected to bring.
        bid: The higher of the two neighbouring bids it mixes, 0 if it gets nothing.
        mixed: Share of the auctions in which it bids the higher one; in the others the next lower price.
    """

    spend: float
    results: float
    bid: int
    mixed: float


def allocate(prospects: Mapping[str, Prospect], budget: float) -> dict[str, Share]:
    """Returns each campaign's share; together they spend the budget, or all that can be spent.

    Args:
        prospects: Campaign → what it can buy.
        budget: What may be spent, 0 or more.

    Raises:
        ConfigError: If the budget is below 0 or no number.
    """
    if not 0 <= budget < float("inf"):
        raise ConfigError(f"a budget must be a number of 0 or more, got {budget}")
    names = list(prospects)
    owner = np.repeat(np.arange(len(names)), [len(prospects[name].prices) for name in names])
    prices = _joined([prospects[name].prices for name in names])
    counts = _joined([prospects[name].counts for name in names])
    values = np.array([prospects[name].value for name in names], dtype=np.float64)[owner]
    cost = prices * counts
    # Best results per money first; equal ones in the order given, so that equal input gives equal shares.
    with np.errstate(divide="ignore", invalid="ignore"):  # what is free comes first, without a ratio
        per_money = np.where(prices > 0, values / prices, np.inf)
    order = np.argsort(-per_money, kind="stable")
    order = order[(values[order] > 0) & (counts[order] > 0)]
    before = np.concatenate([[0.0], np.cumsum(cost[order])[:-1]])
    # What costs nothing is taken whole, whatever is left.
    parts_taken = np.divide(budget - before, cost[order], out=np.ones(len(order)), where=cost[order] > 0)
    taken = np.clip(parts_taken, 0.0, 1.0)
    shares = {name: Share(0.0, 0.0, 0, 0.0) for name in names}
    for number, name in enumerate(names):
        mine = (owner[order] == number) & (taken > 0)
        if not mine.any():
            continue
        steps, parts = order[mine], taken[mine]
        last = int(np.argmax(prices[steps]))
        shares[name] = Share(
            spend=float((cost[steps] * parts).sum()),
            results=float((counts[steps] * parts).sum() * prospects[name].value),
            bid=int(prices[steps[last]]),
            mixed=float(parts[last]),
        )
    return shares


def _joined(columns: Sequence[Sequence[float]]) -> Float64Array:
    """Returns all numbers after one another."""
    return np.concatenate([np.asarray(column, dtype=np.float64) for column in columns] or [np.empty(0)])
