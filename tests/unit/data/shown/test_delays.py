"""Delays of conversions: the law behind them is found although late ones are not seen yet."""

import numpy as np
import pytest

from marquee.data.shown.delays import mean_delay, seen_share


def test_law_is_found_from_those_that_have_come() -> None:
    rng = np.random.default_rng(0)
    elapsed = rng.integers(0, 20_000, 40_000)
    delay = rng.exponential(10_000, len(elapsed)).astype(np.int64)
    has_come = delay < elapsed
    found = mean_delay(delay[has_come], elapsed[has_come])
    # The mean of those that have come is 5,000 and less: it would take half of the late ones for lost.
    assert delay[has_come].mean() < 6_000
    assert found == pytest.approx(10_000, rel=0.05)


def test_without_conversions_nothing_is_waited_for() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert mean_delay(nothing, nothing) == 0.0
    assert seen_share(np.array([0, 5]), 0.0).tolist() == [1.0, 1.0]
