"""The cost of a place: the distribution of the prices that bids had to reach.

Money is an integer of the smallest unit that is counted; a curve does not know which.
"""

from collections.abc import Sequence

import numpy as np

from marquee.core.arrays import Float64Array
from marquee.errors import ConfigError

GRID_STEP = 0.001
"""Between two points of the grid of bids, in natural logarithms: a thousandth of the bid."""

# Bids below the lowest price win nothing: the grid begins a little below it, and ends above the highest.
_BELOW, _ABOVE = 2 * GRID_STEP, 2 * GRID_STEP


class PriceCurve:
    """The expected payment of a bid, where the winner pays the market's price.

    Args:
        prices: Distinct prices, 0 or more and one at least above 0, ascending; at 0 a place was free.
        counts: How often each was the price, 0 or more, same length.

    Raises:
        ConfigError: If there is no price above 0, or no count, or prices do not ascend.
    """

    def __init__(self, prices: Sequence[int], counts: Sequence[float]) -> None:
        paid, times = np.asarray(prices, dtype=np.float64), np.asarray(counts, dtype=np.float64)
        if paid.ndim != 1 or paid.shape != times.shape:
            raise ConfigError(
                f"a price curve needs one count per price, got {paid.size} prices and {times.size} counts"
            )
        if not times.size or not np.isfinite(times).all() or times.min() < 0 or times.sum() <= 0:
            raise ConfigError(
                "a price curve needs counts of 0 or more, at least one above 0; "
                f"got {times.size} with the sum {times.sum():g}"
            )
        if not np.isfinite(paid).all() or paid[0] < 0 or paid[-1] <= 0 or (np.diff(paid) <= 0).any():
            raise ConfigError(
                "a price curve needs distinct prices of 0 or more, ascending, one at least above 0; got "
                f"{paid[:3].tolist()}…; sort them and join equal ones"
            )
        share = times / times.sum()
        self._prices = paid
        self._payment = np.concatenate([[0.0], np.cumsum(share * paid)])
        self._log_range = float(np.log(paid[paid > 0][0])), float(np.log(paid[-1]))
        self._first = self._log_range[0] - _BELOW
        n_points = int((self._log_range[1] + _ABOVE - self._first) / GRID_STEP) + 2
        self._grid = self.expected_payment(np.exp(self._first + GRID_STEP * np.arange(n_points)))

    @property
    def log_range(self) -> tuple[float, float]:
        """The natural logarithms of the lowest price above 0 and of the highest."""
        return self._log_range

    def expected_payment(self, bids: Float64Array) -> Float64Array:
        """Returns the payment of each bid on average, wins and losses alike, shape of `bids`."""
        paid: Float64Array = self._payment[np.searchsorted(self._prices, bids, side="right")]
        return paid

    def mean_payment_of_logs(self, log_bids: Float64Array) -> float:
        """Returns the mean of `expected_payment` over bids given by logarithms, to a thousandth of a bid.

        A pacer asks for hundreds of bids many times per auction: a grid answers that several times as fast
        as a search.
        """
        places = ((log_bids - self._first) / GRID_STEP).astype(np.int64)
        # "clip" also takes bids beyond both ends to the ends.
        return float(self._grid.take(places, mode="clip").mean())
