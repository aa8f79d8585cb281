"""Estimators of experiments against slow and obvious versions, on any data."""

import statistics
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from marquee.data.table_config import TableConfig
from marquee.evaluation.comparison import holm
from marquee.evaluation.experiments.adjustment import adjust
from marquee.evaluation.experiments.config import ExperimentConfig, MetricConfig
from marquee.evaluation.experiments.effects import measure_effects
from marquee.evaluation.experiments.exposure import arm_units, read_exposed
from marquee.evaluation.experiments.sample_ratio import sample_ratio
from marquee.evaluation.experiments.units import ArmUnits

DAY = 86_400
START = 1_750_032_000  # midnight in UTC
VALUES = st.lists(st.floats(-1e3, 1e3).map(lambda value: round(value, 3)), min_size=3, max_size=40)


@given(VALUES, st.data())
def test_ratio_and_its_variance_are_those_of_the_slow_formula(
    values: list[float], data: st.DataObject
) -> None:
    below = data.draw(st.lists(st.integers(1, 9), min_size=len(values), max_size=len(values)))
    n, arm = len(values), ArmUnits(np.array(values), np.array(below, dtype=float))
    ratio = sum(values) / sum(below)
    y, d = statistics.variance(values), statistics.variance(below)
    both = statistics.covariance(values, below)
    slow = (y - 2 * ratio * both + ratio**2 * d) / (statistics.mean(below) ** 2 * n)
    assert arm.mean == pytest.approx(ratio)
    assert arm.variance == pytest.approx(slow, rel=1e-6, abs=1e-9)


@given(st.integers(0, 10_000), st.integers(5, 60), st.floats(-2, 2))
def test_adjustment_is_that_of_the_slope_within_arms(seed: int, n: int, slope: float) -> None:
    rng = np.random.default_rng(seed)
    past = [rng.normal(size=n + arm) for arm in range(2)]
    now = [slope * before + rng.normal(size=len(before)) for before in past]
    arms = [ArmUnits(values, before=before) for values, before in zip(now, past, strict=True)]
    adjusted = adjust(arms)
    # Equations 4 to 6 of the paper, one sum after the other.
    pairs = [
        (x - past[arm].mean(), y - now[arm].mean())
        for arm in range(2)
        for x, y in zip(past[arm], now[arm], strict=True)
    ]
    theta = sum(x * y for x, y in pairs) / sum(x * x for x, _ in pairs)
    overall = statistics.mean([*past[0], *past[1]])
    for arm in range(2):
        rest = [y - theta * (x - overall) for x, y in zip(past[arm], now[arm], strict=True)]
        assert adjusted.arms[arm].mean == pytest.approx(statistics.mean(rest))
        assert adjusted.arms[arm].variance == pytest.approx(statistics.variance(rest) / len(rest))
    assert adjusted.removed == pytest.approx(
        1 - sum((y - theta * x) ** 2 for x, y in pairs) / sum(y * y for _, y in pairs), abs=1e-9
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_correction_is_the_step_down_procedure(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for level in (0.01, 0.05, 0.2):
        rejected: set[int] = set()
        for place, number in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
            if p_values[number] * (len(p_values) - place) > level:
                break
            rejected.add(number)
        assert {number for number, p in enumerate(corrected) if p <= level} == rejected


@given(st.lists(st.integers(1, 5_000), min_size=2, max_size=5), st.data())
def test_shares_are_held_against_the_weights_by_chi_squared(counts: list[int], data: st.DataObject) -> None:
    raw = data.draw(st.lists(st.integers(1, 9), min_size=len(counts), max_size=len(counts)))
    weights = {f"arm{number}": part / sum(raw) for number, part in enumerate(raw)}
    observed = dict(zip(weights, counts, strict=True))
    expected = [sum(counts) * weight for weight in weights.values()]
    assert sample_ratio(observed, weights).p_value == pytest.approx(float(chisquare(counts, expected).pvalue))


@given(VALUES, VALUES, VALUES)
def test_effects_do_not_hang_on_the_order_of_units(
    first: list[float], second: list[float], third: list[float]
) -> None:
    arms = {
        name: ArmUnits(np.array(values)) for name, values in zip("abc", (first, second, third), strict=True)
    }
    turned = {name: ArmUnits(arm.numerator[::-1]) for name, arm in reversed(arms.items())}
    if max(map(np.ptp, (first, second, third))) == 0:
        return
    effects = {effect.arm: effect for effect in measure_effects("m", arms, "a").effects}
    for other in measure_effects("m", turned, "a").effects:
        same = effects[other.arm]
        assert (other.difference, other.low, other.always_high) == pytest.approx(
            (same.difference, same.low, same.always_high)
        )


ROW = st.tuples(
    st.sampled_from("uvwxyz"),  # unit
    st.sampled_from(["old", "new", None]),  # arm of the exposure, None outside of the experiment
    st.integers(-3 * DAY, 6 * DAY),  # moment
    st.integers(0, 5),  # value
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(ROW, min_size=1, max_size=30), st.sampled_from([None, 1.0, 2.5]))
def test_units_of_a_log_are_those_of_a_slow_reading(
    tmp_path: Path, rows: list[tuple[str, str | None, int, int]], window: float | None
) -> None:
    schema = ["user_id", "arm", "timestamp", "value"]
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        pl.col("timestamp") + START,
        experiments=pl.when(pl.col("arm").is_not_null()).then(pl.format(";x={}@s;", pl.col("arm"))),
    )
    frame.write_parquet(tmp_path / "rows.parquet")
    config = ExperimentConfig(
        root=str(tmp_path),
        table=TableConfig(path="rows.parquet"),
        arms={"old": 0.5, "new": 0.5},
        metrics={"sum": MetricConfig(value="value")},
        unit="user_id",
        experiment="x",
        phase="s",
        time="timestamp",
        start="2025-06-16T00:00:00Z",
        end="2025-06-20T00:00:00Z",
        window_days=window,
    )
    assert config.moment(config.start) == START
    expected = slow_units(rows, window)
    if not expected:
        with pytest.raises(ValueError, match="no unit is left"):
            read_exposed(config)
        return
    exposed = read_exposed(config)
    found = {}
    for arm, units in arm_units(exposed, config, "sum").items():
        before = [None] * len(units) if units.before is None else units.before.tolist()
        past = [None if value is None or np.isnan(value) else value for value in before]
        found[arm] = sorted(zip(units.numerator.tolist(), past, strict=True), key=str)
    assert found == expected


def slow_units(
    rows: list[tuple[str, str | None, int, int]], window: float | None
) -> dict[str, list[tuple[float, float | None]]]:
    """Returns arm → sum and past of each of its units, one unit after the other."""
    found = defaultdict(list)
    for unit in {row[0] for row in rows}:
        own = [row[1:] for row in rows if row[0] == unit]
        exposed = [at for arm, at, _ in own if arm is not None and at >= 0]
        if not exposed or min(exposed) >= 4 * DAY:
            continue
        first = min(exposed)
        last = 4 * DAY if window is None else first + window * DAY
        counted = [(arm, value) for arm, at, value in own if arm is not None and first <= at < last]
        arms = {arm for arm, _ in counted}
        if len(arms) != 1:
            continue
        past = [value for _, at, value in own if at < first]
        found[arms.pop()].append((float(sum(v for _, v in counted)), float(sum(past)) if past else None))
    return {arm: sorted(units, key=str) for arm, units in found.items()}
