"""Gaps of lists and of click probabilities by protected column, and exposure beside merit."""

import numpy as np
import pytest

from marquee.evaluation.analyses.fairness import GapFinding
from marquee.evaluation.group_fairness import (
    GroupFairness,
    JudgedClicks,
    click_gaps,
    list_gaps,
    supply_sides,
)
from marquee.evaluation.probabilities.click_heads import ScoredExposures

COUNTS = np.array([0, 50, 40, 30, 20, 10])
IS_AD = np.array([False, False, False, False, False, True])


def test_lists_of_a_group_are_told_by_what_they_show() -> None:
    # Item 1 is the most popular fifth, item 5 the only ad; group b is shown the ad on top, a never.
    lists = np.array([[1, 2], [5, 1]] * 100)
    groups = ["a", "b"] * 100
    gaps = list_gaps("group", groups, {"ndcg@10": np.ones(200)}, lists, COUNTS, IS_AD)
    means = {one.metric: {g.name: round(g.estimate.mean, 3) for g in one.groups} for one in gaps}
    below = 1 / np.log2(3) / (1 + 1 / np.log2(3))
    assert means == {
        "ndcg@10": {"a": 1.0, "b": 1.0},
        "exposure of the most popular fifth": {"a": round(1 - below, 3), "b": round(below, 3)},
        "exposure of ads": {"a": 0.0, "b": round(1 - below, 3)},
        "selection rate of ads": {"a": 0.0, "b": 1.0},
    }


def test_a_catalog_without_ads_has_no_exposure_of_them() -> None:
    lists = np.array([[1, 2], [0, 0]] * 50)
    gaps = list_gaps("group", ["a"] * 100, {}, lists, COUNTS, np.zeros(6, dtype=np.bool_))
    (popular,) = gaps
    # An empty list shows nothing, so it has no share.
    assert popular.groups[0].n == 50


def clicks(n_users: int = 400, n_each: int = 20) -> tuple[JudgedClicks, dict[str, object]]:
    """Exposures whose scores say nothing, and two groups of which one clicks three times as often."""
    rng = np.random.default_rng(0)
    users = [f"u{number}" for number in range(n_users)] * n_each
    group_of = {f"u{n}": "often" if n % 2 else "seldom" for n in range(n_users)}
    rate = np.where([group_of[user] == "often" for user in users], 0.3, 0.1)
    sides = [ScoredExposures(rng.normal(size=len(users)), rng.random(len(users)) < rate) for _ in range(2)]
    return JudgedClicks(sides[0], sides[1], users, users), dict(group_of)


def test_a_head_without_the_column_is_wrong_about_its_groups_and_one_with_it_is_right() -> None:
    judged, group_of = clicks()
    without, with_it = click_gaps("group", group_of, judged)
    assert without.metric == "calibration of clicks, without the column"
    ratios = {group.name: group.estimate for group in without.groups}
    assert ratios["often"].high < 0.8
    assert ratios["seldom"].low > 1.5
    assert without.largest is not None
    assert without.largest.finding is GapFinding.differs
    assert all(abs(group.estimate.mean - 1) < 0.1 for group in with_it.groups)


def test_users_without_a_group_are_a_group_of_their_own() -> None:
    judged, group_of = clicks()
    for user in list(group_of)[::4]:
        group_of[user] = None
    without, _ = click_gaps("group", group_of, judged)
    assert [group.name for group in without.groups] == ["(none)", "often", "seldom"]


def test_exposure_stands_beside_what_people_turned_to() -> None:
    lists = np.array([[1, 2], [1, 3]])
    suppliers = {"seller": ["", "north", "north", "south", "south", "south"]}
    sides = supply_sides(lists, np.array([1, 3, 3, 4]), np.array([0, 0, 1, 1]), COUNTS, suppliers)
    assert [share.name for share in sides["popularity"]] == [f"fifth {n}" for n in range(1, 6)]
    north, south = sides["seller"]
    total = 2 * (1 + 1 / np.log2(3))
    assert north.exposure == pytest.approx((2 + 1 / np.log2(3)) / total)
    assert (north.merit, south.merit) == (0.25, 0.75)
    assert (north.n_items, south.n_items) == (2, 3)


def test_everything_is_told_to_programs() -> None:
    lists = np.array([[1, 2]] * 120)
    gaps = list_gaps("group", ["a"] * 60 + ["b"] * 57 + ["few"] * 3, {}, lists, COUNTS, IS_AD)
    said = GroupFairness(
        tuple(gaps), supply_sides(lists, np.array([1]), np.array([0]), COUNTS, {})
    ).to_json_dict()
    first = said["gaps"][0]  # type: ignore[index]  # of JSON
    assert first["small"] == {"few": 3}
    assert said["supply"]["popularity"][0]["exposure"] > 0.5  # type: ignore[index]  # of JSON
