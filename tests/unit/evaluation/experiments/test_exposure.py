"""From rows of a table to units: who counts, which rows, and what is said of the others."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError, DataError, RejectedRowsError
from marquee.evaluation.experiments.config import ExperimentConfig, MetricConfig
from marquee.evaluation.experiments.exposure import arm_units, read_exposed

HOUR = 3600
MARCH = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())


def declared(folder: Path, rows: pl.DataFrame, **others: object) -> ExperimentConfig:
    """Returns the declaration of an experiment over these rows, with a metric `orders`."""
    rows.write_csv(folder / "rows.csv")
    given: dict[str, object] = {
        "arms": {"old": 0.5, "new": 0.5},
        "metrics": {"orders": MetricConfig(value="n")},
        **others,
    }
    return ExperimentConfig(root=str(folder), table=TableConfig(path="rows.csv"), **given)  # type: ignore[arg-type] # of a test


def events(*rows: tuple[str, str, int, float]) -> pl.DataFrame:
    """Returns rows of unit, arm, seconds since the first of March, and n."""
    unit, arm, at, n = zip(*rows, strict=True)
    return pl.DataFrame({"unit": unit, "arm": arm, "at": [MARCH + second for second in at], "n": n})


def test_rows_of_a_unit_are_added_up_and_units_of_several_arms_left_out(tmp_path: Path) -> None:
    rows = events(
        ("a", "old", 0, 1), ("a", "old", 5, 2), ("b", "new", 0, 4), ("c", "new", 0, 8), ("c", "old", 1, 8)
    )
    config = declared(tmp_path, rows)
    exposed = read_exposed(config)
    sums = {arm: units.numerator.tolist() for arm, units in arm_units(exposed, config, "orders").items()}
    assert sums == {"old": [3.0], "new": [4.0]}
    assert exposed.left_out == {"units seen in several arms": 1}


def test_only_rows_after_the_first_exposure_and_within_the_window_count(tmp_path: Path) -> None:
    rows = events(
        ("a", "old", -HOUR, 7), ("a", "old", HOUR, 1), ("a", "old", 26 * HOUR, 5), ("b", "new", HOUR, 2)
    )
    config = declared(tmp_path, rows, time="at", start="2026-03-01", window_days=1)
    exposed = read_exposed(config)
    units = arm_units(exposed, config, "orders")
    assert units["old"].numerator.tolist() == [1.0]
    assert units["old"].before is not None
    assert units["old"].before.tolist() == [7.0]
    assert units["new"].before is not None
    assert str(units["new"].before[0]) == "nan", "no history is not a history of nothing"
    assert exposed.left_out == {"rows behind the window": 1}


def test_days_are_half_open_in_the_declared_zone(tmp_path: Path) -> None:
    rows = events(("a", "old", -HOUR, 1), ("b", "new", 23 * HOUR - 1, 1), ("c", "new", 23 * HOUR, 1))
    config = declared(tmp_path, rows, time="at", zone="Europe/Berlin", start="2026-03-01", end="2026-03-02")
    exposed = read_exposed(config)  # in Berlin the first of March begins an hour before it does in UTC
    assert exposed.n_units() == {"new": 1, "old": 1}
    assert exposed.days == ("2026-03-01",)
    assert exposed.left_out == {"units first exposed behind the end": 1}


def test_end_is_reached_by_the_clock_and_by_the_table(tmp_path: Path) -> None:
    rows = events(("a", "old", 0, 1), ("b", "new", 25 * HOUR, 1))
    config = declared(tmp_path, rows, time="at", end="2026-03-03")
    end = MARCH + 48 * HOUR
    assert read_exposed(config, now=end).is_final
    assert not read_exposed(config, now=end - 1).is_final
    short = declared(tmp_path, rows, time="at", end="2026-03-04")
    assert not read_exposed(short, now=end + 99 * HOUR).is_final, "the table stops a day before"


def test_wrong_clocks_lost_days_and_missing_values_are_named(tmp_path: Path) -> None:
    rows = events(("a", "old", 0, 1), ("b", "new", 72 * HOUR, 1), ("c", "new", 999 * HOUR, 1))
    rows = rows.with_columns(pl.when(pl.col("unit") != "b").then("n").alias("n"))
    exposed = read_exposed(declared(tmp_path, rows, time="at"), now=MARCH + 100 * HOUR)
    assert exposed.left_out == {"rows later than now (a clock is wrong)": 1}
    assert any("2 of 4 days have no rows: 2026-03-02, 2026-03-03" in note for note in exposed.notes)
    assert any("1 of 3 rows have no orders: they count as 0" in note for note in exposed.notes)


def test_a_metric_that_is_one_unit_for_the_most_part_is_named(tmp_path: Path) -> None:
    rows = events(*((f"u{n}", "old" if n % 2 else "new", 0, 500.0 if n == 3 else 1.0) for n in range(20)))
    (note,) = read_exposed(declared(tmp_path, rows)).notes
    assert note.startswith("one unit, 'u3', has 96% of all orders")


def test_an_arm_that_was_not_declared_stops_with_its_rows(tmp_path: Path) -> None:
    rows = events(("a", "old", 0, 1), ("b", "newer", 0, 1))
    with pytest.raises(DataError, match=r"arms that were not declared, {'newer': 1} rows"):
        read_exposed(declared(tmp_path, rows))


def test_infinite_outcomes_are_rejected_by_count(tmp_path: Path) -> None:
    rows = events(("a", "old", 0, float("inf")), ("b", "new", 0, 1))
    with pytest.raises(RejectedRowsError, match="non_finite_value"):
        read_exposed(declared(tmp_path, rows))
    exposed = read_exposed(declared(tmp_path, rows, max_rejected_fraction=0.5))
    assert any(note.startswith("rejected: 1 non_finite_value in n") for note in exposed.notes)


def test_an_experiment_of_which_nobody_is_left_says_so(tmp_path: Path) -> None:
    rows = events(("a", "old", 0, 1), ("a", "new", 0, 1))
    with pytest.raises(DataError, match=r"no unit is left to compare, {'units seen in several arms': 1}"):
        read_exposed(declared(tmp_path, rows))


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"metrics": {}}, "needs a metric, got none"),
        ({"guardrails": ["revenue"]}, r"guardrails \['revenue'\] are no metrics"),
        ({"slices": ["orders"]}, r"\['orders'\] names two things"),
        ({"zone": "Mars/Olympus"}, "zone 'Mars/Olympus' is not known"),
        ({"time": "at", "start": "yesterday"}, "must be days as 2026-03-01"),
        ({"time": "at", "start": "2026-03-02", "end": "2026-03-02"}, "must lie behind start"),
        ({"window_days": 7}, r"\['window_days'\] need the moment of each row"),
        ({"time": "at", "window_days": 0}, "window_days must be above 0"),
        ({"minimum_effect": -1}, "must be 0 or more"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(
    tmp_path: Path, others: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        declared(tmp_path, events(("a", "old", 0, 1)), **others)


def test_a_metric_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must lie in \(0, 1\), got 99"):
        MetricConfig(value="n", winsorise=99)
    with pytest.raises(ConfigError, match="a ratio has no quantiles"):
        MetricConfig(value="n", per="views", quantiles=[0.5])


def test_arms_of_an_experiment_of_the_service_are_read_out_of_its_training_table(tmp_path: Path) -> None:
    decisions = [
        ("u1", ";variety=varied@s1;canary=control@v1;", 1),
        ("u1", ";variety=varied@s1;", 0),
        ("u2", ";canary=canary@v1;variety=control@s1;", 1),
        ("u3", ";variety_2=varied@s1;", 1),
        ("u4", None, 1),
        ("u5", ";variety=control@s0;", 1),
    ]
    pl.DataFrame(decisions, schema=["user_id", "experiments", "clicked"], orient="row").write_parquet(
        tmp_path / "shown.parquet"
    )
    said: dict[str, Any] = {
        "root": str(tmp_path),
        "arms": {"control": 0.5, "varied": 0.5},
        "metrics": {"clicks": MetricConfig(value="clicked")},
        "unit": "user_id",
        "experiment": "variety",
    }
    exposed = read_exposed(ExperimentConfig(table=TableConfig(path="shown.parquet"), phase="s1", **said))
    assert exposed.n_units() == {"control": 1, "varied": 1}
    assert exposed.left_out == {"rows in no arm, not before the first exposure": 2}
    assert any("1 rows excluded as in another phase of variety" in note for note in exposed.notes)
    every_phase = read_exposed(ExperimentConfig(table=TableConfig(path="shown.parquet"), **said))
    assert every_phase.n_units() == {"control": 2, "varied": 1}


@pytest.mark.parametrize("name", ["a'b", "a;b", "a@b"])
def test_name_that_would_break_out_of_the_text_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="experiment, phase and surfaces must not hold"):
        ExperimentConfig(
            table=TableConfig(path="x"),
            arms={"a": 1.0},
            metrics={"m": MetricConfig(value="x")},
            experiment=name,
        )
