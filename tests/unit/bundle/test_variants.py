"""Assignment to arms: the published cases of GrowthBook's SDKs, evenness, independence, and steadiness."""

import math

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from marquee.bundle.variants import arm_ranges, choose_arm, unit_position
from marquee.errors import ConfigError

PUBLISHED = [
    ("seed", "a", 0.0505),
    ("seed", "b", 0.2696),
    ("foo", "ab", 0.2575),
    ("foo", "def", 0.2019),
    ("89123klj", "8952klfjas09ujkasdf", 0.124),
    ("90850943850283058242805", "123", 0.7516),
]
UNITS = [f"u{number}" for number in range(200_000)]


@pytest.mark.parametrize(("seed", "unit", "expected"), PUBLISHED)
def test_position_is_that_of_growthbook(seed: str, unit: str, expected: float) -> None:
    assert unit_position(seed, unit) == expected


def test_units_are_even_and_experiments_independent() -> None:
    first, second = ([unit_position(seed, unit) for unit in UNITS] for seed in ("one", "two"))
    counts = np.histogram(first, bins=100, range=(0, 1))[0]
    assert chisquare(counts).pvalue > 0.01
    table = np.histogram2d(first, second, bins=10, range=((0, 1), (0, 1)))[0]
    assert chi2_contingency(table).pvalue > 0.01


def test_raising_coverage_moves_nobody() -> None:
    positions = [unit_position("phase", unit) for unit in UNITS[:5000]]
    small, large = arm_ranges([0.2, 0.8], 0.3), arm_ranges([0.2, 0.8], 0.9)
    arms = [(choose_arm(position, small), choose_arm(position, large)) for position in positions]
    assert all(before == after for before, after in arms if before is not None)
    assert 0.85 < sum(after is not None for _, after in arms) / len(arms) < 0.95


@pytest.mark.parametrize(
    ("weights", "coverage", "message"),
    [
        ([0.5, 0.6], 1.0, r"sum to 1, got \[0.5, 0.6\]"),
        ([], 1.0, "sum to 1"),
        ([0.5, math.nan], 1.0, "sum to 1"),
        ([1.0], 1.5, "coverage must lie"),
    ],
)
def test_ranges_refuse_what_is_no_share(weights: list[float], coverage: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arm_ranges(weights, coverage)
