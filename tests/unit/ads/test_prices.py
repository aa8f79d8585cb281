import numpy as np
import pytest

from marquee.ads import PriceCurve
from marquee.ads.prices import GRID_STEP
from marquee.errors import ConfigError


def test_curve_adds_up_what_a_bid_pays() -> None:
    curve = PriceCurve([10, 20, 40], [1, 2, 1])
    bids = np.array([0.0, 9.9, 10.0, 20.0, 39.0, 40.0, 1e9])
    assert curve.expected_payment(bids).tolist() == [0, 0, 2.5, 12.5, 12.5, 22.5, 22.5]


def test_free_places_cost_nothing() -> None:
    curve = PriceCurve([0, 5], [3, 1])
    assert curve.expected_payment(np.array([1.0, 5.0])).tolist() == [0, 1.25]


def test_grid_agrees_with_the_search_but_near_a_price() -> None:
    rng = np.random.default_rng(0)
    curve = PriceCurve(list(range(5, 301)), rng.random(296).tolist())
    for log_bid in rng.uniform(np.log(1), np.log(1_000), 500):
        low, high = curve.expected_payment(np.exp([log_bid - GRID_STEP, log_bid + GRID_STEP]))
        assert low <= curve.mean_payment_of_logs(np.array([log_bid])) <= high


@pytest.mark.parametrize(
    ("prices", "counts", "said"),
    [
        ([], [], "at least one above 0"),
        ([1, 2], [1], "one count per price"),
        ([1, 2], [0, 0], "at least one above 0"),
        ([1, 2], [1, float("nan")], "at least one above 0"),
        ([1, 2], [1, -1], "0 or more"),
        ([2, 1], [1, 1], "ascending"),
        ([2, 2], [1, 1], "ascending"),
        ([-1, 2], [1, 1], "0 or more, ascending"),
        ([0], [1], "one at least above 0"),
    ],
)
def test_wrong_curve_is_refused_in_words(prices: list[int], counts: list[float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PriceCurve(prices, counts)
