"""One budget over nine campaigns, from the prices of the training period."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.ads.streams import CAMPAIGNS, Campaign, campaign
from benchmarks.rows import Measured, Row
from marquee.ads import Prospect, allocate

CLAIMS = ((1 / 32, 2_644, 2_019), (1 / 8, 4_963, 4_308), (1 / 2, 9_365, 8_886))
TOLERANCE = 2.0


def rows(root: Path) -> Iterator[Row]:
    """Yields a row per budget."""
    for fraction, expected, by_spend in CLAIMS:
        yield Row(
            f"allocation: nine campaigns, 1/{round(1 / fraction)}",
            f"{expected:,} clicks (by past spend {by_spend:,})",
            f"be within {TOLERANCE:g}, all spent",
            lambda fraction=fraction, expected=expected: measure(root, fraction, expected),  # type: ignore[misc]
        )


def measure(root: Path, fraction: float, expected: int) -> Measured:
    """Divides that share of what all campaigns cost."""
    known = {str(number): campaign(root, number) for number in CAMPAIGNS}
    budget = sum(one.cost for one in known.values()) * fraction
    shares = allocate({name: prospect(one) for name, one in known.items()}, budget)
    clicks = sum(share.results for share in shares.values())
    spent = sum(share.spend for share in shares.values())
    is_within = abs(clicks - expected) <= TOLERANCE and bool(np.isclose(spent, budget))
    return Measured(f"{clicks:,.1f} clicks, {spent / budget:.1%} spent", is_within)


def prospect(known: Campaign) -> Prospect:
    """Returns the places that a campaign can buy at each price."""
    prices = np.flatnonzero(known.price_counts)
    return Prospect(prices.tolist(), known.price_counts[prices].tolist(), known.click_rate)
