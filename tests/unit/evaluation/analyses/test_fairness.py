"""Gaps between groups: equal ones are left in peace, different ones found, small ones named."""

import numpy as np
import pytest

from marquee.errors import ShapeError
from marquee.evaluation.analyses.fairness import (
    BoundFinding,
    Gap,
    GapFinding,
    measure_gaps,
)
from marquee.evaluation.intervals import Estimate


def test_equal_groups_are_flagged_seldom() -> None:
    rng = np.random.default_rng(0)
    n_worlds, n_flagged = 400, 0
    for _ in range(n_worlds):
        groups = rng.choice(["a", "b", "c", "d"], 600)
        largest = measure_gaps("g", "ndcg", rng.beta(0.3, 1.5, 600), groups.tolist()).largest
        assert largest is not None
        n_flagged += largest.finding is GapFinding.differs
    assert n_flagged <= 0.05 * n_worlds


def test_true_gap_is_found_with_its_size() -> None:
    rng = np.random.default_rng(1)
    groups = ["f"] * 2000 + ["m"] * 2000
    values = np.concatenate([rng.random(2000) < 0.30, rng.random(2000) < 0.40]).astype(float)
    largest = measure_gaps("gender", "selection rate", values, groups).largest
    assert largest is not None
    assert (largest.higher, largest.lower, largest.finding) == ("m", "f", GapFinding.differs)
    assert largest.difference.low < 0.10 < largest.difference.high


def test_share_of_nobody_is_not_certain() -> None:
    values = np.concatenate([np.zeros(50), np.arange(400) % 25 == 0]).astype(float)
    gaps = measure_gaps("region", "selection rate", values, ["a"] * 50 + ["b"] * 400)
    assert gaps.groups[0].estimate.mean == 0.0
    assert 0.06 < gaps.groups[0].estimate.high < 0.08  # by Wilson z² / (n + z²)
    assert gaps.largest is not None
    assert gaps.largest.difference.mean == pytest.approx(0.04)
    assert gaps.largest.finding is GapFinding.cannot_tell


def test_rows_without_a_group_are_one_and_small_ones_are_named() -> None:
    groups = [None] * 60 + [""] * 40 + ["a"] * 100 + ["b"] * 7
    values = np.ones(207)
    values[::3] = 0.0
    values[-1] = np.nan
    gaps = measure_gaps("region", "ndcg", values, groups)
    assert [(group.name, group.n) for group in gaps.groups] == [("(none)", 100), ("a", 100)]
    assert gaps.small == {"b": 6}


def test_calibration_gap_is_a_ratio_by_the_delta_method() -> None:
    rng = np.random.default_rng(2)
    probability = rng.uniform(0.05, 0.4, 8000)
    groups = np.where(np.arange(8000) < 4000, "right", "doubled")
    came = (rng.random(8000) < probability).astype(float)
    said = np.where(groups == "doubled", 2 * probability, probability)
    gaps = measure_gaps("g", "calibration ratio", said, groups.tolist(), came)
    means = {group.name: group.estimate for group in gaps.groups}
    assert means["right"].low < 1 < means["right"].high
    assert means["doubled"].low < 2 < means["doubled"].high
    assert gaps.largest is not None
    assert gaps.largest.finding is GapFinding.differs


def test_group_without_outcomes_says_why() -> None:
    gaps = measure_gaps("g", "calibration ratio", np.ones(100), ["a"] * 100, np.zeros(100))
    assert gaps.groups == ()
    assert gaps.largest is None
    assert "g = a: the denominators of all 100 units are 0" in gaps.reasons[0]
    with pytest.raises(ShapeError, match="got 3 groups for 2 rows"):
        measure_gaps("g", "m", np.ones(2), ["a"] * 3)


@pytest.mark.parametrize(
    ("low", "high", "finding"),
    [
        (0.06, 0.10, BoundFinding.fails),
        (0.01, 0.04, BoundFinding.holds),
        (0.01, 0.09, BoundFinding.cannot_tell),
    ],
)
def test_bound_fails_only_with_the_whole_interval_beyond_it(
    low: float, high: float, finding: BoundFinding
) -> None:
    assert Gap("a", "b", Estimate(0.05, low, high)).against(0.05) is finding
