"""Exposure beside merit: shares are those of a slow sum, and their intervals hold the truth."""

import numpy as np
import pytest

from marquee.errors import ShapeError
from marquee.evaluation.analyses.supply import popularity_fifths, supply_shares

SECOND = 1 / np.log2(3)


def test_exposure_stands_beside_merit() -> None:
    lists = np.array([[1, 2], [1, 0]])
    (one, two) = supply_shares(
        lists, np.array([1, 2, 3, 3]), np.array([0, 0, 1, 1]), ["", "one", "two", "two"]
    )
    assert (one.name, one.n_items) == ("one", 1)
    assert one.merit == pytest.approx(1 / 4)
    assert one.exposure == pytest.approx(2 / (2 + SECOND))
    assert two.exposure == pytest.approx(SECOND / (2 + SECOND))
    assert one.difference is not None
    assert one.difference.mean == pytest.approx(one.exposure - one.merit)


def test_each_target_needs_a_user_and_each_item_a_group() -> None:
    with pytest.raises(ShapeError, match="got 1 users for 2 targets and 4 groups for items up to 3"):
        supply_shares(np.array([[1]]), np.array([1, 3]), np.array([0]), ["", "a", "a", "b"])
    with pytest.raises(ShapeError, match="2 groups for items up to 2"):
        supply_shares(np.array([[2]]), np.array([1]), np.array([0]), ["", "a"])


def test_shares_of_nothing_are_0_and_have_no_interval() -> None:
    (one,) = supply_shares(
        np.zeros((3, 2), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), ["", "a"]
    )
    assert (one.exposure, one.merit, one.exposure_interval, one.difference) == (0.0, 0.0, None, None)


def test_share_of_nobody_is_not_certain() -> None:
    lists = np.ones((100, 1), np.int64)
    _, unseen = supply_shares(lists, np.array([1, 2] * 50), np.arange(100), ["", "a", "b"])
    assert unseen.exposure == 0.0
    assert unseen.exposure_interval is not None
    assert 0.03 < unseen.exposure_interval.high < 0.04


def test_intervals_hold_the_truth_in_95_of_100_worlds() -> None:
    rng = np.random.default_rng(0)
    held = np.zeros(3)
    n_worlds, n_users = 400, 120
    for _ in range(n_worlds):
        # Users differ in what they are shown and in how much they do: events of one are not independent.
        taste = rng.beta(1, 3, n_users)
        lists = np.where(rng.random((n_users, 4)) < taste[:, None], 1, 2)
        sizes = rng.integers(1, 9, n_users)
        whose = np.repeat(np.arange(n_users), sizes)
        targets = np.where(rng.random(len(whose)) < taste[whose], 1, 2)
        one, _ = supply_shares(lists, targets, whose, ["", "one", "two"])
        truths = ((one.exposure_interval, 0.25), (one.merit_interval, 0.25), (one.difference, 0.0))
        for place, (found, truth) in enumerate(truths):
            assert found is not None
            held[place] += found.low <= truth <= found.high
    assert (held[:2] / n_worlds > 0.92).all()
    assert (held[:2] / n_worlds < 0.98).all()
    assert held[2] / n_worlds > 0.95  # widened for two groups


def test_fifths_hold_a_fifth_of_the_items_each() -> None:
    fifths = popularity_fifths(np.append(0, np.random.default_rng(0).permutation(100)))
    assert {name: fifths.count(name) for name in set(fifths[1:])} == {f"fifth {n}": 20 for n in range(1, 6)}
