"""The worth of exposures on the scale of the objective, with an interval over users."""

import numpy as np
import pytest

from marquee.ads.objective import Objective
from marquee.evaluation.probabilities.objective import Brought, judge_objective, variety_of

WORTHS = Objective(click=0.5, conversion=2.0)


def test_parts_add_up_to_the_worth_of_a_thousand() -> None:
    clicked = np.array([True, True, False, False])
    converted = np.array([True, False, False, False])
    said = np.array([0.4, 0.2, 0.1, 0.1])
    found = judge_objective(
        WORTHS, "test", Brought(clicked, converted), np.arange(4), np.random.default_rng(0), said
    )
    assert (found.clicks, found.conversions, found.worth.mean) == (500.0, 250.0, 750.0)
    assert found.said == pytest.approx(200.0)
    assert "(click 0.5, conversion 2, revenue 1, diversity 0)" in found.sentence
    assert "500 clicks x 0.5 + 250 conversions x 2" in found.sentence
    assert found.to_json_dict()["worths"] == {
        "click": 0.5,
        "conversion": 2.0,
        "revenue": 1.0,
        "diversity": 0.0,
    }


def test_variety_of_answers_is_worth_what_the_declaration_says() -> None:
    nothing = np.zeros(5, dtype=bool)
    like = np.array([[1.0, 0.0], [0.0, 3.0], [2.0, 2.0], [1.0, 1.0], [1.0, 0.0]])
    variety = variety_of(np.array([7, 7, 3, 3, 9]), like)
    # Two items that are unlike, two that are alike, and one alone.
    assert variety.tolist() == pytest.approx([0.5, 0.5, 0.0, 0.0, 0.0])
    worths = Objective(diversity=2.0)
    found = judge_objective(
        worths, "test", Brought(nothing, nothing, variety), np.arange(5), np.random.default_rng(0)
    )
    assert found.variety == pytest.approx(200.0)
    assert found.worth.mean == pytest.approx(400.0)
    assert "+ 200 answers by how varied they are x 2; money for places is not" in found.sentence
    assert found.to_json_dict()["variety_per_thousand"] == pytest.approx(200.0)
    opposite = variety_of(np.zeros(2, dtype=np.int64), np.array([[1.0], [-1.0]]))
    assert opposite.sum() == pytest.approx(1.0)


def test_money_that_campaigns_owe_is_worth_what_the_declaration_says() -> None:
    nothing = np.zeros(4, dtype=bool)
    found = judge_objective(
        Objective(revenue=3.0),
        "test",
        Brought(nothing, nothing, revenue=np.array([0.0, 0.25, 0.0, 0.75])),
        np.arange(4),
        np.random.default_rng(0),
    )
    assert (found.revenue, found.worth.mean) == (250.0, 750.0)
    assert "+ 250 of revenue x 3." in found.sentence


def test_interval_draws_users_and_covers_the_truth() -> None:
    truth, covered = 0.5 * 0.2 * 1000, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        # Twenty exposures a user that go together: as rows of their own they would seem to say more.
        rate = rng.beta(2, 8, 60)
        user = np.repeat(np.arange(60), 20)
        clicked = rng.random(len(user)) < rate[user]
        nothing = np.zeros(len(user), dtype=bool)
        worth = judge_objective(WORTHS, "test", Brought(clicked, nothing), user, rng).worth
        covered += worth.low <= truth <= worth.high
    assert 87 <= covered <= 99
