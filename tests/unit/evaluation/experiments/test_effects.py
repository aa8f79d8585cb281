"""Effects of experiments against slow versions, and over simulated worlds whose truth is known."""

import numpy as np
import pytest

from marquee.errors import DataError
from marquee.evaluation.experiments.adjustment import adjust
from marquee.evaluation.experiments.effects import corrected, measure_effects, quantile_effect
from marquee.evaluation.experiments.units import ArmUnits, cap_at

N_WORLDS = 400


def two_arms(control: ArmUnits, treated: ArmUnits) -> dict[str, ArmUnits]:
    return {"control": control, "new": treated}


def test_variance_of_a_ratio_is_that_of_resampled_units() -> None:
    rng = np.random.default_rng(1)
    per = (rng.poisson(5, 800) + 1).astype(np.float64)
    arm = ArmUnits(rng.binomial(per.astype(int), rng.beta(2, 8, 800)).astype(float), per)
    rows = rng.integers(0, 800, (4000, 800))
    resampled = arm.numerator[rows].sum(axis=1) / per[rows].sum(axis=1)
    assert arm.variance == pytest.approx(resampled.var(), rel=0.1)


def test_mean_per_unit_is_a_ratio_over_ones() -> None:
    values = np.array([1.0, 0.0, 3.0, 2.0])
    plain, ratio = ArmUnits(values), ArmUnits(values, np.ones(4))
    assert plain.mean == ratio.mean == 1.5
    assert plain.variance == pytest.approx(ratio.variance) == pytest.approx(values.var(ddof=1) / 4)


def test_false_alarms_of_equal_arms_are_as_rare_as_said() -> None:
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(N_WORLDS):
        arms = [ArmUnits(rng.exponential(size=300)) for _ in range(2)]
        (effect,) = measure_effects("spend", two_arms(*arms), "control").effects
        alarms += effect.p_value < 0.05
        assert (effect.p_value < 0.05) == (effect.low > 0 or effect.high < 0)
    assert 0.02 < alarms / N_WORLDS < 0.085


def test_intervals_hold_the_truth_with_and_without_the_past() -> None:
    rng = np.random.default_rng(3)
    held = shorter = 0
    for _ in range(N_WORLDS):
        past = [rng.normal(size=200) for _ in range(2)]
        arms = [
            ArmUnits(0.8 * x + 0.6 * rng.normal(size=200) + shift, before=x)
            for x, shift in zip(past, (0, 0.1), strict=True)
        ]
        (effect,) = measure_effects("spend", two_arms(*arms), "control").effects
        (plain,) = measure_effects(
            "spend", two_arms(*(ArmUnits(arm.numerator) for arm in arms)), "control"
        ).effects
        held += effect.low <= 0.1 <= effect.high
        shorter += effect.high - effect.low < plain.high - plain.low
    assert 0.92 < held / N_WORLDS < 0.98
    assert shorter == N_WORLDS


def test_absent_history_is_not_a_history_of_nothing() -> None:
    rng = np.random.default_rng(4)
    before = rng.normal(5, 1, 2000)
    is_new = rng.random(2000) < 0.5
    spent = np.where(is_new, 5.0, before) + 0.3 * rng.normal(size=2000)  # new ones spend like the average
    absent = ArmUnits(spent, before=np.where(is_new, np.nan, before))
    zero = ArmUnits(spent, before=np.where(is_new, 0.0, before))
    assert adjust([absent, absent]).removed > 0.7 > adjust([zero, zero]).removed


def test_past_without_variance_changes_nothing() -> None:
    arm = ArmUnits(np.array([1.0, 2.0, 3.0]), before=np.ones(3))
    found = adjust([arm, arm])
    assert not found.is_on
    assert found.removed == 0
    assert found.arms[0].mean == 2.0


def test_arms_that_differed_before_are_said() -> None:
    rng = np.random.default_rng(5)
    arms = [ArmUnits(rng.normal(size=500), before=rng.normal(shift, 1, 500)) for shift in (0, 0.5)]
    assert adjust(arms).differed_before < 0.001


def test_correction_covers_all_metrics_and_arms() -> None:
    rng = np.random.default_rng(6)
    metrics = [
        measure_effects(name, two_arms(*(ArmUnits(rng.normal(size=50)) for _ in range(2))), "control")
        for name in ("a", "b")
    ]
    before = sorted(metric.effects[0].p_value for metric in metrics)
    after = sorted(metric.effects[0].p_value for metric in corrected(metrics))
    assert after[0] == pytest.approx(min(1, 2 * before[0]))


def test_quantile_interval_holds_the_truth() -> None:
    rng = np.random.default_rng(7)
    found = [
        quantile_effect(rng.exponential(size=400), 1 + rng.exponential(size=400), 0.9) for _ in range(300)
    ]
    assert 0.9 < np.mean([low <= 1 <= high for _, low, high in found]) < 0.99


def test_cap_is_one_for_all_arms() -> None:
    arms = [ArmUnits(np.array([1.0, 2.0, 100.0])), ArmUnits(np.array([1.0, 3.0, 4.0]))]
    cap = cap_at(arms, 0.8)
    assert [arm.capped(cap).numerator.max() for arm in arms] == [cap, cap]


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"control": ArmUnits(np.ones(5))}, "another arm"),
        ({"control": ArmUnits(np.ones(5)), "new": ArmUnits(np.ones(1))}, "two units in each arm"),
        ({"control": ArmUnits(np.ones(5)), "new": ArmUnits(np.ones(5))}, "without variance"),
    ],
)
def test_what_cannot_be_tested_is_refused(arms: dict[str, ArmUnits], message: str) -> None:
    with pytest.raises(DataError, match=message):
        measure_effects("spend", arms, "control")


def test_infinite_revenue_is_counted_and_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 units have a numerator that is no finite number"):
        ArmUnits(np.array([1.0, np.inf]))
