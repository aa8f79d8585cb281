"""Bidders of the literature, rebuilt: they show that streams, budgets and prices are the published ones.

Source:
    Cai et al. 2017, WSDM, "Real-time bidding by reinforcement learning in display advertising", section 3:
    the value V(t, b) of t auctions with budget b left, from the distribution of prices and the mean click
    rate; a bid is the highest price at which this impression is worth more than the money it costs.
"""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.ads.streams import EPISODE, Bidder, Bought, Campaign, campaign, play, test_stream
from benchmarks.rows import Measured, Row
from marquee.core.arrays import Float64Array

FRACTION = 1 / 32
CAMPAIGN = 2997
MAX_PRICE = 300
LINEAR_BID = 10
TOLERANCE_IMPRESSIONS = 5


def rows(root: Path) -> Iterator[Row]:
    """Yields a row per published bidder."""
    claims: tuple[tuple[str, Callable[[Path], Bought], tuple[int, int, int], int], ...] = (
        ("fixed price per click", fixed_price_per_click, (48, 14_752, 307_751), 0),
        ("linear, b0 = 10", linear, (71, 32_208, 203_610), 0),
        (
            "value function, click probability",
            value_of_probability,
            (78, 39_680, 304_375),
            TOLERANCE_IMPRESSIONS,
        ),
        ("value function, mean click rate", value_of_mean, (80, 40_395, 306_637), TOLERANCE_IMPRESSIONS),
    )
    for name, bidder, expected, tolerance in claims:
        must = f"within {tolerance} impressions, the same clicks" if tolerance else "equal"
        yield Row(
            f"published: {name}",
            " / ".join(map(str, expected)) + " clicks, impressions, cost",
            must,
            lambda bidder=bidder, expected=expected, tolerance=tolerance: measure(  # type: ignore[misc]
                bidder(root), expected, tolerance
            ),
        )


def measure(bought: Bought, expected: tuple[int, int, int], tolerance: int) -> Measured:
    """Holds what was bought to the published numbers."""
    got = (bought.n_clicks, bought.n_impressions, bought.cost)
    is_equal = got == expected
    is_near = bought.n_clicks == expected[0] and abs(bought.n_impressions - expected[1]) <= tolerance
    return Measured(" / ".join(map(str, got)), is_near if tolerance else is_equal)


def fixed_price_per_click(root: Path) -> Bought:
    """Bids what a click cost in the training period, times the click probability."""
    known, stream = campaign(root, CAMPAIGN), test_stream(root)
    bids = np.floor(stream.probabilities * known.cost / known.n_clicks).astype(int).tolist()
    return play(stream, known.budget(FRACTION), lambda number, *_: bids[number])


def linear(root: Path) -> Bought:
    """Bids in proportion to the click probability, `LINEAR_BID` for the mean one."""
    known, stream = campaign(root, CAMPAIGN), test_stream(root)
    bids = np.floor(LINEAR_BID * stream.probabilities / known.click_rate).astype(int).tolist()
    return play(stream, known.budget(FRACTION), lambda number, *_: bids[number])


def value_of_probability(root: Path) -> Bought:
    """Bids by the value function; an impression is worth its own click probability."""
    stream = test_stream(root)
    return play_by_value(root, stream.probabilities)


def value_of_mean(root: Path) -> Bought:
    """Bids by the value function; every impression is worth the mean click rate."""
    return play_by_value(root, np.full_like(test_stream(root).prices, campaign(root, CAMPAIGN).click_rate))


def play_by_value(root: Path, worth: Float64Array) -> Bought:
    """Plays the test stream of 2997 by the value function."""
    budget = campaign(root, CAMPAIGN).budget(FRACTION)
    return play(test_stream(root), budget, by_value(values_of(root, budget), worth))


@cache
def values_of(root: Path, budget: int) -> Float64Array:
    """Returns the value function of 2997."""
    return values(campaign(root, CAMPAIGN), budget)


def by_value(values_left: Float64Array, worth: Float64Array) -> Bidder:
    """Returns a bidder by a value function.

    Args:
        values_left: Value by auctions left after this one and by budget, (auctions, budget + 1).
        worth: What each auction's impression is worth, clicks.
    """

    def bid(number: int, left: int, n_left: int) -> int:
        value = values_left[n_left - 1]
        highest = min(left, MAX_PRICE)
        # What is gained by paying 0, 1, 2, …: it falls with the price.
        gain = worth[number] + value[left - highest : left + 1][::-1] - value[left]
        return int(np.searchsorted(-gain, 0.0, side="right")) - 1

    return bid


def values(known: Campaign, budget: int) -> Float64Array:
    """Returns the value by auctions left and budget, (`EPISODE`, budget + 1), in clicks."""
    chances = known.price_counts[: MAX_PRICE + 1] / known.n_impressions
    rest = np.arange(budget + 1)[:, None] - np.arange(MAX_PRICE + 1)[None, :]
    is_affordable, rest = rest >= 0, np.maximum(rest, 0)
    found = np.zeros((EPISODE, budget + 1))
    for n_left in range(1, EPISODE):
        before = found[n_left - 1]
        gain = known.click_rate + before[rest] - before[:, None]
        found[n_left] = before + np.where(is_affordable, np.maximum(gain, 0.0), 0.0) @ chances
    return found
