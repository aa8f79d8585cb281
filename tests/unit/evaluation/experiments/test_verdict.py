"""Sample ratios, sequences, plans, and the verdict that follows from them."""

from dataclasses import replace

import numpy as np
import pytest

from marquee.errors import DataError
from marquee.evaluation.experiments.effects import measure_effects
from marquee.evaluation.experiments.planning import plan
from marquee.evaluation.experiments.sample_ratio import SampleRatio, sample_ratio
from marquee.evaluation.experiments.sequences import sequence_half_width
from marquee.evaluation.experiments.units import ArmUnits
from marquee.evaluation.experiments.verdict import Conclusion, Measured, decide

EVEN = {"a": 0.5, "b": 0.5}
FAIR = sample_ratio({"a": 500, "b": 500}, EVEN)


def measured(low: float, high: float, name: str = "clicks", *, is_better_low: bool = False) -> Measured:
    """Returns an effect with these ends, in the fixed interval and in the sequence alike."""
    rng = np.random.default_rng(0)
    arms = {"control": ArmUnits(rng.normal(size=9)), "new": ArmUnits(rng.normal(size=9))}
    (effect,) = measure_effects(name, arms, "control").effects
    moved = replace(effect, low=low, high=high, always_low=low, always_high=high)
    return Measured(name, moved, is_better_low)


@pytest.mark.parametrize(
    ("observed", "weights", "is_mismatch"),
    [
        ({"a": 49_000, "b": 51_000}, EVEN, True),
        ({"a": 95_100, "b": 4_900}, {"a": 0.95, "b": 0.05}, False),
        ({"a": 10}, EVEN, True),
        ({"a": 21_307, "b": 21_387, "c": 21_306}, dict.fromkeys("abc", 1 / 3), False),
    ],
    ids=["49 to 51", "as declared", "an arm of nobody", "hillstrom"],
)
def test_mismatch_is_against_the_declared_weights(
    observed: dict[str, int], weights: dict[str, float], is_mismatch: bool
) -> None:
    assert sample_ratio(observed, weights).is_mismatch is is_mismatch


def test_hillstroms_arms_have_the_published_p_value() -> None:
    ratio = sample_ratio({"a": 21_307, "b": 21_387, "c": 21_306}, dict.fromkeys("abc", 1 / 3))
    assert ratio.p_value == pytest.approx(0.90, abs=0.005)


@pytest.mark.parametrize(
    ("observed", "weights", "message"),
    [
        ({"a": 1}, {"a": 1.0}, "two arms or more"),
        ({"a": 1}, {"a": 0.5, "b": 0.6}, "sum to 1"),
        ({"a": 1, "c": 2}, EVEN, r"holds the arms \['c'\]"),
        ({}, EVEN, "no unit was seen"),
    ],
)
def test_ratio_of_nothing_is_refused(
    observed: dict[str, int], weights: dict[str, float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        sample_ratio(observed, weights)


def test_sequence_covers_at_all_looks_together() -> None:
    rng = np.random.default_rng(1)
    n = np.arange(1, 21) * 200
    means = [np.cumsum(rng.normal(size=(500, 20, 200)).sum(axis=2), axis=1) / n for _ in range(2)]
    error = np.sqrt(2 / n)
    half = np.array([sequence_half_width(float(e), int(2 * k)) for e, k in zip(error, n, strict=True)])
    strays = np.abs(means[1] - means[0])
    assert (strays > 1.96 * error).any(axis=1).mean() > 0.15  # looking often at a fixed interval
    assert (strays > half).any(axis=1).mean() <= 0.05


def test_plan_finds_the_effect_in_four_of_five_worlds() -> None:
    needed = plan(1.0, 0.2, 100).n_units
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(400):
        arms = {"control": ArmUnits(rng.normal(size=needed)), "new": ArmUnits(rng.normal(0.2, 1, needed))}
        found += measure_effects("x", arms, "control").effects[0].p_value < 0.05
    assert 0.74 < found / 400 < 0.86


def test_plan_for_daily_looks_needs_more_and_days_follow_from_units() -> None:
    found = plan(0.0958875, 0.015, 1000)
    assert found.n_units == pytest.approx(6690, abs=5)
    assert found.n_units < found.n_units_always < 3 * found.n_units
    assert found.days == found.n_units / 500
    assert plan(0.0958875, 0.015, 0).days == float("inf")


@pytest.mark.parametrize(
    ("ratio", "primary", "guardrails", "is_final", "expected"),
    [
        (SampleRatio({}, {}, 0.0), measured(1, 2), [], True, Conclusion.cannot_tell),
        (FAIR, measured(0.1, 0.3), [], False, Conclusion.ship),
        (FAIR, measured(-0.3, -0.1), [], False, Conclusion.stop),
        (FAIR, measured(-0.3, -0.1, is_better_low=True), [], False, Conclusion.ship),
        (FAIR, measured(-0.2, 0.05), [], False, Conclusion.stop),
        (FAIR, measured(-0.2, 0.3), [], False, Conclusion.go_on),
        (FAIR, measured(-0.2, 0.3), [], True, Conclusion.cannot_tell),
        (FAIR, measured(0.1, 0.3), [measured(-2, -1, "latency")], True, Conclusion.stop),
        (FAIR, measured(0.1, 0.3), [measured(-2, 1, "latency")], True, Conclusion.ship),
    ],
)
def test_verdict_follows_from_intervals(
    ratio: SampleRatio, primary: Measured, guardrails: list[Measured], is_final: bool, expected: Conclusion
) -> None:
    verdict = decide(ratio, primary, guardrails, minimum_effect=0.1, is_final=is_final)
    assert verdict.conclusion is expected
    assert verdict.reason


def test_at_the_end_an_arm_ships_by_the_p_value_corrected_for_all_that_was_looked_at() -> None:
    clear = measured(0.1, 0.3)
    for p_value, conclusion in ((0.04, Conclusion.ship), (0.06, Conclusion.cannot_tell)):
        primary = replace(clear, effect=replace(clear.effect, p_value=p_value))
        verdict = decide(FAIR, primary, [], minimum_effect=0.05, is_final=True)
        assert verdict.conclusion is conclusion
        assert ("corrected for all metrics and arms" in verdict.reason) is (conclusion is not Conclusion.ship)
    # Before the end the sequence decides, which no p-value belongs to.
    running = replace(clear, effect=replace(clear.effect, p_value=0.06))
    verdict = decide(FAIR, running, [], minimum_effect=0.05, is_final=False)
    assert verdict.conclusion is Conclusion.ship


def test_sequences_of_several_arms_hold_together() -> None:
    rng = np.random.default_rng(3)
    units = {arm: ArmUnits(rng.normal(size=500)) for arm in ("control", "b", "c", "d")}
    (alone,) = measure_effects("m", {arm: units[arm] for arm in ("control", "b")}, "control").effects
    beside = measure_effects("m", units, "control").effects[0]
    assert beside.low == pytest.approx(alone.low)
    assert beside.always_high - beside.always_low > 1.05 * (alone.always_high - alone.always_low)
    # The level of each of three arms is a third.
    half = sequence_half_width(0.01, 1_000, n_arms=3)
    rho_squared = (-2 * np.log(0.05 / 3) + np.log(-2 * np.log(0.05 / 3) + 1)) / 10_000
    scale = 1_000 * rho_squared
    assert half == pytest.approx(
        0.01 * np.sqrt(2 * (scale + 1) / scale * np.log(np.sqrt(scale + 1) / (0.05 / 3)))
    )


def test_plan_is_by_the_smallest_arm_and_needs_more_for_several() -> None:
    even = plan(1.0, 0.1, 100)
    # The difference of arms of 2 % and 98 % of N units varies by 1 / (0.02 N) + 1 / (0.98 N).
    held_out = plan(1.0, 0.1, 100, weights=(0.02, 0.98))
    assert held_out.n_units / even.n_units == pytest.approx((1 / 0.02 + 1 / 0.98) / 4, rel=0.01)
    assert plan(1.0, 0.1, 100, weights=(0.4, 0.3, 0.3)).days > 1.4 * even.days
