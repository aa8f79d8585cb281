"""The forms of a knob, and the refusals of a search before it begins."""

from typing import Any

import optuna
import pytest

from marquee.errors import ConfigError
from training.tuning.config import KnobConfig, SearchConfig

SPACE = {"model.dim": KnobConfig(choices=[2, 4])}


def test_range_is_tried_between_its_ends() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    knob = KnobConfig(low=0.01, high=1.0, log=True)
    tried = [knob.suggest(study.ask(), "rate") for _ in range(40)]
    assert all(isinstance(value, float) and 0.01 <= value <= 1.0 for value in tried)
    below = sum(value < 0.1 for value in tried if isinstance(value, float))
    assert 10 <= below <= 30  # half of a logarithmic range, a tenth of a plain one


def test_whole_numbers_are_tried_where_wanted() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    tried = {KnobConfig(low=1, high=3, integer=True).suggest(study.ask(), "n") for _ in range(40)}
    assert tried == {1, 2, 3}


def test_choices_are_tried_as_they_are() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    tried = {KnobConfig(choices=["mean", "recency"]).suggest(study.ask(), "pooling") for _ in range(20)}
    assert tried == {"mean", "recency"}


@pytest.mark.parametrize(
    ("knob", "inside", "outside"),
    [
        (KnobConfig(low=1, high=2), [1, 1.5, 2], [0.9, 2.1, "1", None, True]),
        (KnobConfig(choices=["a", 3]), ["a", 3], ["b", 4]),
    ],
)
def test_knob_holds_what_may_be_tried(knob: KnobConfig, inside: list[Any], outside: list[Any]) -> None:
    assert all(knob.holds(value) for value in inside)
    assert not any(knob.holds(value) for value in outside)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"needs low and high, or choices, got low=None"),
        ({"low": 1.0}, r"needs low and high, or choices, got low=1\.0, high=None"),
        ({"low": 1.0, "high": 2.0, "choices": [1]}, r"needs low and high, or choices"),
        ({"low": 1.0, "choices": [1]}, r"needs low and high, or choices"),
        ({"low": 2.0, "high": 1.0}, r"low must be below high, got low=2\.0, high=1\.0"),
        ({"low": 0.0, "high": 1.0, "log": True}, r"must begin above 0, got low=0\.0"),
    ],
)
def test_impossible_knob_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        KnobConfig(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"space": {}}, r"search\.space must name at least one knob, got none"),
        ({"space": SPACE, "n_trials": 0}, r"search\.n_trials must be 1 or more, got 0"),
        ({"space": SPACE, "jobs": 0}, r"search\.jobs must be 1 or more, got 0"),
        ({"space": SPACE, "name": "../x"}, r"search\.name must be up to 128 letters"),
    ],
)
def test_impossible_search_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchConfig(**values)
