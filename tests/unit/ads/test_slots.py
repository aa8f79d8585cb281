from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marquee.ads.objective import Objective
from marquee.ads.slots import SlotConfig
from marquee.errors import ConfigError


@pytest.mark.parametrize(
    ("config", "k", "places"),
    [
        ({}, 10, (0, 4, 8)),
        ({"first": 2, "every": 3}, 10, (2, 5, 8)),
        ({"every": 1, "max_load": 0.3}, 10, (0, 1, 2)),
        ({"every": 2, "max_ads": 2}, 10, (0, 2)),
        ({"first": 5}, 5, ()),
        ({}, 1, ()),
        ({"max_load": 1.0}, 1, (0,)),
    ],
)
def test_slots_of_an_answer(config: dict[str, Any], k: int, places: tuple[int, ...]) -> None:
    assert SlotConfig(**config).places(k) == places


@given(
    first=st.integers(0, 9),
    every=st.integers(1, 6),
    max_load=st.floats(0.01, 1.0),
    k=st.integers(1, 40),
)
def test_ad_load_and_spacing_hold_for_every_answer(first: int, every: int, max_load: float, k: int) -> None:
    places = SlotConfig(first=first, every=every, max_load=max_load).places(k)
    assert len(places) <= k * max_load
    assert all(later - earlier == every for earlier, later in pairwise(places))
    assert all(first <= place < k for place in places)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"first": -1}, "slots.first must be 0 or more, got -1"),
        ({"every": 0}, "slots.every must be 1 or more"),
        ({"max_load": 0.0}, "slots.max_load must be above 0"),
        ({"max_load": float("nan")}, "slots.max_load"),
        ({"max_ads": 0}, "slots.max_ads"),
        ({"floor": -1}, "slots.floor"),
        ({"n_candidates": 0}, "slots.n_candidates"),
        ({"click_window_s": 0}, "slots.click_window_s"),
        ({"conversion_window_s": 0}, "slots.conversion_window_s"),
    ],
)
def test_slots_that_cannot_be(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SlotConfig(**config)


def test_ad_must_pay_what_the_content_is_worth_more() -> None:
    objective = Objective(click=0.5, conversion=10.0, revenue=2.0)
    content, ad = objective.worth(0.1, 0.01), objective.worth(0.02, 0.0)
    assert content == pytest.approx(0.15)
    assert objective.least_revenue(content, ad) == pytest.approx((0.15 - 0.01) / 2)
    assert objective.least_revenue(ad, content) == 0.0


@pytest.mark.parametrize(
    "worths", [{"click": -1.0}, {"conversion": float("nan")}, {"revenue": 0.0}, {"diversity": float("inf")}]
)
def test_worth_must_be_one(worths: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"objective.{next(iter(worths))}"):
        Objective(**worths)
