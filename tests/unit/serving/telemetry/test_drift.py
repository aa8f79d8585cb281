"""The gauges of a report of drift."""

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marquee.evaluation.drift.config import DriftConfig
from marquee.evaluation.drift.watching import compare_tables
from marquee.evaluation.intervals import json_fields
from marquee.reports.evidence.drift import drift_facts
from serving.telemetry.drift import MAX_COLUMNS
from serving.telemetry.metrics import Metrics


def exposed(path: Path) -> dict[str, float]:
    """The samples of the gauges, by name and labels."""
    lines = Metrics(drift=path).exposition().decode().splitlines()
    samples = [line.rpartition(" ") for line in lines if line.startswith("marquee_drift")]
    return {name: float(value) for name, _, value in samples}


def test_gauges_tell_what_the_report_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    said = rng.uniform(0.1, 0.5, 800)
    before = pl.DataFrame({"x": rng.normal(size=800), "old": 1.0, "p": said, "y": rng.random(800) < said})
    now = before.drop("old").with_columns(pl.col("x") + 3, y=pl.lit(1))
    config = DriftConfig(reference="a", current="b", score="p", label="y")
    drift = compare_tables(config, before, now)
    path = tmp_path / "drift.json"
    path.write_text(json.dumps(json_fields(drift_facts(drift))))
    os.utime(path, (1000, 1000))
    found = exposed(path)
    assert found["marquee_drift_report_seconds"] == 1000
    assert found["marquee_drift_alarms"] == len(drift.alarms) == 3
    assert found['marquee_drift_index{column="x"}'] == drift.columns[0].index
    assert found["marquee_drift_broken_columns"] == 1
    assert drift.labels is not None
    assert found["marquee_drift_calibration_ratio"] == drift.labels.current.calibration_ratio.mean


def test_of_many_columns_those_that_shifted_most_are_told_apart(tmp_path: Path) -> None:
    columns = [{"name": f"c{n}", "index": n / 1000, "has_drifted": n == 0} for n in range(MAX_COLUMNS + 5)]
    report = {"alarms": [], "columns": columns, "broken": {}, "measures": [{"name": "price", "odd": [{}]}]}
    (tmp_path / "drift.json").write_text(json.dumps(report))
    found = exposed(tmp_path / "drift.json")
    named = {name for name in found if name.startswith("marquee_drift_index")}
    assert len(named) == MAX_COLUMNS
    assert 'marquee_drift_index{column="c0"}' in named
    assert 'marquee_drift_index{column="c1"}' not in named
    assert found['marquee_drift_odd_hours{measure="price"}'] == 1


@pytest.mark.parametrize("content", [None, "{", '{"alarms": 3}'])
def test_a_report_that_cannot_be_read_is_older_than_any(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "drift.json").write_text(content)
    assert exposed(tmp_path / "drift.json") == {"marquee_drift_report_seconds": 0.0}


def test_without_a_report_there_are_no_gauges() -> None:
    assert b"marquee_drift" not in Metrics().exposition()
