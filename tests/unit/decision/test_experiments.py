from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from marquee.bundle.variants import layer_position, unit_position
from marquee.decision.experiments.assignment import Experiment, Holdout, validate_layers
from marquee.errors import ConfigError

UNITS = [f"u{number}" for number in range(20_000)]


def experiment(**said: Any) -> Experiment:
    return Experiment(**{"name": "order", "arms": ("old", "new"), "weights": (0.5, 0.5), **said})


def arms(one: Experiment, units: list[str] = UNITS) -> dict[str, str | None]:
    return {unit: one.arm_of(unit, now=0.0) for unit in units}


def test_arms_get_their_weights_and_each_unit_keeps_its_arm() -> None:
    one = experiment(weights=(0.9, 0.1))
    counts = Counter(arms(one).values())
    assert abs(counts["new"] - 2_000) < 4 * (20_000 * 0.09) ** 0.5
    assert counts[None] == 0
    assert arms(one) == arms(one)


def test_arm_is_that_of_the_published_hash() -> None:
    one = experiment(declared_seed="seed")
    # Published: "seed" and "b" stand at 0.2696.
    assert one.arm_of("b", 0.0) == "old"
    assert experiment(declared_seed="seed", weights=(0.2, 0.8)).arm_of("b", 0.0) == "new"


def test_raising_the_coverage_moves_nobody() -> None:
    small, large = arms(experiment(coverage=0.2)), arms(experiment(coverage=0.6))
    assert all(large[unit] == arm for unit, arm in small.items() if arm)
    assert sum(arm is not None for arm in large.values()) > 2 * sum(arm is not None for arm in small.values())


def test_other_weights_and_another_phase_draw_anew() -> None:
    first = experiment()
    for other in (experiment(phase=2), experiment(weights=(0.4, 0.6))):
        assert other.seed != first.seed
        moved = sum(a != b for a, b in zip(arms(first).values(), arms(other).values(), strict=True))
        assert 0.4 < moved / len(UNITS) < 0.6


def test_experiment_runs_from_its_start_until_its_end_where_it_is_declared() -> None:
    one = experiment(start=100.0, end=200.0, surfaces=("home",))
    assert one.arm_of("b", 99.0) is None
    assert one.arm_of("b", 100.0) is not None
    assert one.arm_of("b", 200.0) is None
    assert one.runs_on("home")
    assert not one.runs_on("article")
    assert experiment().runs_on("anywhere")


def test_experiments_of_one_layer_share_no_unit() -> None:
    first = experiment(name="a", layer="ranking", layer_range=(0.0, 0.4))
    second = experiment(name="b", layer="ranking", layer_range=(0.4, 1.0))
    validate_layers((first, second))
    one, other = arms(first), arms(second)
    assert all((one[unit] is None) != (other[unit] is None) for unit in UNITS)
    assert abs(sum(arm is not None for arm in one.values()) / len(UNITS) - 0.4) < 0.02


def test_layers_and_arms_are_independent() -> None:
    one = experiment(layer="ranking", layer_range=(0.0, 0.5))
    counts = Counter(arms(one).values())
    assert abs(counts["old"] - counts["new"]) < 4 * counts["old"] ** 0.5 * 1.5


def test_two_experiments_that_could_share_a_unit_of_a_layer_are_refused() -> None:
    first = experiment(name="a", layer="ranking", layer_range=(0.0, 0.5))
    second = experiment(name="b", layer="ranking", layer_range=(0.4, 1.0))
    with pytest.raises(ConfigError, match="a and b share units of layer ranking"):
        validate_layers((first, second))
    validate_layers((first, replace(second, layer="other")))
    validate_layers((replace(first, surfaces=("home",)), replace(second, surfaces=("article",))))
    validate_layers((replace(first, end=10.0), replace(second, start=10.0)))


def test_two_experiments_of_one_seed_are_refused() -> None:
    with pytest.raises(ConfigError, match="a and b have the same seed, 's'"):
        validate_layers((experiment(name="a", declared_seed="s"), experiment(name="b", declared_seed="s")))


def test_holdout_is_its_share_and_nobody_leaves_it() -> None:
    small, large = Holdout(share=0.01), Holdout(share=0.05)
    held = {unit for unit in UNITS if small.includes(unit)}
    assert abs(len(held) - 200) < 4 * 200**0.5
    assert all(large.includes(unit) for unit in held)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"arms": ("old",), "weights": (1.0,)}, "two different arms"),
        ({"arms": ("old", "old")}, "two different arms"),
        ({"weights": (1.0,)}, "a weight per arm"),
        ({"weights": (0.5, 0.4)}, "sum to 1"),
        ({"coverage": 1.5}, "coverage"),
        ({"layer_range": (0.5, 0.5)}, "layer_range"),
        ({"layer_range": (0.5, float("nan"))}, "layer_range"),
        ({"start": 5.0, "end": 5.0}, "start before it ends"),
    ],
)
def test_impossible_experiment_is_refused_in_words(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        experiment(**said)


@pytest.mark.parametrize("share", [0.0, 0.06, float("nan")])
def test_impossible_holdout_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="holdout"):
        Holdout(share=share)


def test_positions_are_defined_for_any_text() -> None:
    assert 0 <= unit_position("seed", "\ud800") < 1
    assert 0 <= layer_position("layer", "") < 1


def test_shares_are_those_that_can_be_drawn() -> None:
    assert experiment(weights=(0.9, 0.1)).shares == {"old": 0.9, "new": 0.1}
    thirds = experiment(arms=("a", "b", "c"), weights=(1 / 3, 1 / 3, 1 / 3), coverage=0.0004)
    drawn = Counter(thirds.arm_of(f"user-{number}", 0.0) for number in range(100_000))
    del drawn[None]
    assert thirds.shares == {"a": 0.5, "b": 0.25, "c": 0.25}
    for arm, share in thirds.shares.items():
        assert abs(drawn[arm] - share * drawn.total()) < 4 * drawn.total() ** 0.5


def test_an_arm_below_what_can_be_drawn_is_refused() -> None:
    assert experiment(weights=(0.9999, 0.0001)).shares["new"] == pytest.approx(0.0001)
    with pytest.raises(ConfigError, match="arm new of experiment order is to have less than the smallest"):
        experiment(weights=(0.99995, 0.00005))
    with pytest.raises(ConfigError, match=r"coverage 0\.0001; raise them"):
        experiment(coverage=0.0001)
    with pytest.raises(ConfigError, match=r"must be at least 0\.0001 and at most 0\.05, got 1e-05"):
        Holdout(share=0.00001)
