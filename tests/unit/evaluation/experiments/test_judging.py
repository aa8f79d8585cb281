"""A whole experiment judged: nothing before the shares, and every metric whatever the others do."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marquee.data.table_config import TableConfig
from marquee.decision.experiments.declaring import Better
from marquee.errors import DataError
from marquee.evaluation.experiments.config import ExperimentConfig, MetricConfig
from marquee.evaluation.experiments.exposure import read_exposed
from marquee.evaluation.experiments.judging import ExperimentResult, judge_experiment
from marquee.evaluation.experiments.planning import plan_experiment
from marquee.evaluation.experiments.units import ArmUnits
from marquee.evaluation.experiments.verdict import Conclusion

DAY = 86_400


def market(n: int = 4000, effect: float = 0.0, *, lost: bool = False) -> pl.DataFrame:
    """Returns one row per unit over ten days; `lost` drops a third of the new arm on phones."""
    rng = np.random.default_rng(5)
    is_new = rng.random(n) < 0.5
    past = rng.poisson(3, n).astype(float)
    device = np.where(rng.random(n) < 0.4, "phone", "desk")
    rows = pl.DataFrame(
        {
            "unit": [f"u{row}" for row in range(n)],
            "arm": np.where(is_new, "new", "old"),
            "at": rng.integers(0, 10 * DAY, n) + 1_750_000_000,
            "spend": past + rng.normal(0, 1, n) + effect * is_new,
            "views": rng.integers(1, 9, n),
            "past": past,
            "device": device,
            "flat": np.ones(n),
        }
    )
    is_lost = is_new & (device == "phone") & (rng.random(n) < 0.34)
    return rows.filter(pl.Series(~is_lost)) if lost else rows


def judged(folder: Path, rows: pl.DataFrame, **others: object) -> ExperimentResult:
    """Returns the result over these rows."""
    rows.write_parquet(folder / "rows.parquet")
    given: dict[str, object] = {
        "arms": {"old": 0.5, "new": 0.5},
        "metrics": {"spend": MetricConfig(value="spend", before="past")},
        "time": "at",
        "slices": ["device"],
        **others,
    }
    config = ExperimentConfig(root=str(folder), table=TableConfig(path="rows.parquet"), **given)  # type: ignore[arg-type] # of a test
    return judge_experiment(config, read_exposed(config))


def test_lost_units_hide_every_effect_and_are_traced(tmp_path: Path) -> None:
    result = judged(tmp_path, market(lost=True, effect=9.0))
    assert result.ratio.is_mismatch
    assert [len(part) for part in (result.metrics, result.slices, result.days)] == [0, 0, 0]
    assert result.causes[0].part == "device = phone"
    assert result.causes[0].p_value < 1e-6 < result.causes[1].p_value
    (arm,) = result.arms
    assert arm.verdict.conclusion is Conclusion.cannot_tell


def test_an_arm_without_anybody_is_a_mismatch(tmp_path: Path) -> None:
    result = judged(tmp_path, market().filter(pl.col("arm") == "old"))
    assert result.ratio.p_value == 0
    assert result.ratio.observed == {"old": result.exposed.n_units()["old"], "new": 0}


def test_true_effect_is_shipped_with_the_past_taken_out(tmp_path: Path) -> None:
    result = judged(tmp_path, market(effect=0.5), minimum_effect=0.1)
    (arm,), (metric,) = result.arms, result.metrics
    assert arm.verdict.conclusion is Conclusion.ship
    assert metric.effects is not None
    assert metric.plain is not None
    (effect,), (plain,) = metric.effects.effects, metric.plain.effects
    assert effect.low < 0.5 < effect.high
    assert effect.high - effect.low < 0.7 * (plain.high - plain.low), "three quarters of the variance is past"
    assert {part.part for part in result.slices} == {"device = desk", "device = phone"}
    assert len(result.days) == len(result.exposed.days)
    widths = [day.differences["new"].high - day.differences["new"].low for day in result.days]
    assert widths[-1] < widths[0]


def test_small_effect_goes_on_and_says_for_how_long(tmp_path: Path) -> None:
    (arm,) = judged(tmp_path, market(n=600), minimum_effect=0.05).arms
    assert arm.verdict.conclusion is Conclusion.go_on
    assert arm.days_more is not None
    assert 10 < arm.days_more < 10_000


def test_metric_of_one_unit_decides_nothing_and_a_guardrail_still_stops(tmp_path: Path) -> None:
    one = pl.when(pl.int_range(pl.len()) == 7).then(1e6).otherwise(0.0)
    rows = market(effect=-1.0).with_columns(rare=one)
    metrics = {"rare": MetricConfig(value="rare"), "spend": MetricConfig(value="spend")}
    (arm,) = judged(tmp_path, rows, metrics=metrics).arms
    assert arm.verdict.conclusion is Conclusion.cannot_tell
    assert arm.verdict.reason.startswith("one unit, 'u7', has 100% of all rare")
    (arm,) = judged(tmp_path, rows, metrics=metrics, guardrails=["spend"]).arms
    assert arm.verdict.conclusion is Conclusion.stop
    assert "spend is worse" in arm.verdict.reason


def test_metric_without_variance_stops_no_other(tmp_path: Path) -> None:
    metrics = {
        "flat": MetricConfig(value="flat"),
        "spend per view": MetricConfig(value="spend", per="views", better=Better.less),
        "spend": MetricConfig(value="spend", winsorise=0.99, quantiles=[0.5, 0.9999]),
    }
    result = judged(tmp_path, market(), metrics=metrics, guardrails=["spend"])
    flat, ratio, spend = result.metrics
    assert flat.effects is None
    assert "without variance there is nothing to test" in flat.reasons[0]
    assert ratio.effects is not None
    assert result.arms[0].verdict.conclusion is Conclusion.cannot_tell
    assert spend.cap is not None
    assert spend.capped is not None
    assert [found.quantile for found in spend.quantiles] == [0.5]
    assert "the 0.9999 quantile of" in spend.reasons[0]


def test_p_values_are_corrected_over_metrics_and_arms(tmp_path: Path) -> None:
    one = judged(tmp_path, market(effect=0.06))
    twice = {name: MetricConfig(value="spend", before="past") for name in ("spend", "again")}
    two = judged(tmp_path, market(effect=0.06), metrics=twice)
    (alone,), (first, _) = one.metrics, two.metrics
    assert alone.effects is not None
    assert first.effects is not None
    assert first.effects.effects[0].p_value == pytest.approx(2 * alone.effects.effects[0].p_value)


def test_small_parts_are_named_and_not_shown(tmp_path: Path) -> None:
    rows = market(n=800).with_columns(
        pl.when(pl.int_range(pl.len()) < 40).then(pl.lit("watch")).otherwise("device").alias("device")
    )
    result = judged(tmp_path, rows)
    assert result.small_slices == ("device = watch",)
    assert {part.part for part in result.slices} == {"device = desk", "device = phone"}


def test_plan_follows_the_variance_that_the_past_leaves() -> None:
    rng = np.random.default_rng(0)
    past = rng.normal(size=5000)
    values = past + rng.normal(size=5000)
    plain = plan_experiment("spend", ArmUnits(values), 0.1, 100)
    known = plan_experiment("spend", ArmUnits(values, before=past), 0.1, 100)
    assert known.removed == pytest.approx(0.5, abs=0.03)
    half = [
        found.plan.n_units / other.plan.n_units
        for found, other in zip(known.effects, plain.effects, strict=True)
    ]
    assert half == pytest.approx([0.5] * 3, abs=0.03)
    assert [found.effect for found in plain.effects] == pytest.approx([0.05, 0.1, 0.2])


def test_plan_without_an_effect_or_variance_is_refused() -> None:
    with pytest.raises(DataError, match="smallest effect on spend that matters, got 0"):
        plan_experiment("spend", ArmUnits(np.arange(9.0)), 0.0, 100)
    with pytest.raises(DataError, match="spend does not vary between 9 units"):
        plan_experiment("spend", ArmUnits(np.ones(9)), 0.1, 100)
