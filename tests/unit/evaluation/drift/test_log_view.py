"""An event log as a table to be watched, and the statistics of it that travel."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from marquee.errors import DataError
from marquee.evaluation.drift.config import DriftConfig
from marquee.evaluation.drift.hours import SECONDS_PER_HOUR
from marquee.evaluation.drift.log_view import MAX_WEEKS, MIN_PER_HOUR, LogView, fit_log, view_log
from marquee.evaluation.drift.reference import Hours, Reference
from marquee.evaluation.drift.watching import Drift, compare
from marquee.world import World

HOUR = 1_704_067_200
ITEMS = pl.DataFrame({"item_id": ["a", "b"], "colour": ["red", "blue"]})


def log(n: int = MIN_PER_HOUR) -> pl.DataFrame:
    """One hour: n lists of two places, of which every third is clicked once and sold for 10."""
    rows = []
    for request in range(n):
        for place, item in enumerate(("a", "b"), start=1):
            shown = {"kind": "exposure", "position": place, "propensity": 0.5 / place, "value": None}
            rows.append({"request_id": str(request), "user_id": f"u{request % 2}", "item_id": item, **shown})
        if request % 3 == 0:
            for kind, value in (("click", None), ("click", None), ("conversion", 10.0)):
                came = {"kind": kind, "position": 1, "propensity": None, "value": value}
                rows.append({"request_id": str(request), "user_id": "u0", "item_id": "a", **came})
    return pl.DataFrame(rows, infer_schema_length=None).with_columns(timestamp=pl.lit(HOUR + 5))


def view(events: pl.DataFrame) -> LogView:
    return view_log(events, ["click"], ["device"], ITEMS)


def test_exposures_are_rows_with_what_is_known_of_them() -> None:
    rows = view(log()).rows
    assert rows.height == 2 * MIN_PER_HOUR
    assert rows.columns == ["timestamp", "position", "propensity", "item colour"]
    assert rows["item colour"].to_list()[:2] == ["red", "blue"]


def test_hours_hold_the_pulse_of_the_traffic() -> None:
    hours = view(log(3 * MIN_PER_HOUR)).hours
    assert {name: one.time.tolist() for name, one in hours.items()} == {name: [HOUR] for name in hours}
    weights = np.array([2.0, 4.0])
    expected = {
        "price": 10.0,
        "click rate": 1 / 6,
        "fill": 2.0,
        "coverage": 2 / (6 * MIN_PER_HOUR),
        "effective sample share": weights.sum() ** 2 / (weights**2).sum() / 2,
    }
    assert {name: float(one.values[0]) for name, one in hours.items()} == pytest.approx(expected)


def test_an_hour_of_few_rows_has_no_rate() -> None:
    assert view(log(MIN_PER_HOUR // 2 - 1)).hours["click rate"].time.tolist() == []


def test_a_log_without_exposures_is_watched_by_what_counts() -> None:
    events = log().filter(pl.col("kind") != "exposure")
    rows = view(events).rows
    assert rows.height == (events["kind"] == "click").sum()
    assert set(rows["kind"]) == {"click"}


def world_drift(world: World, current: pl.DataFrame) -> Drift:
    """A log beside the statistics of a world, after they have travelled."""
    columns = world.items.select("item_id", "category")
    before, now = (view_log(events, ["click"], ["device"], columns) for events in (world.events, current))
    reference = Reference.from_json(fit_log(before).to_json())
    config = DriftConfig(reference="bundle", current="log", time="timestamp")
    return compare(config, reference, now.rows, now.hours)


def test_the_log_of_the_same_market_is_quiet(tiny_world: World) -> None:
    drift = world_drift(tiny_world, tiny_world.events)
    assert drift.alarms == ()
    assert not drift.broken
    names = {column.name for column in drift.columns}
    assert names == {
        "surface", "position", "policy", "propensity", "device", "item category"
    }  # fmt: skip


def test_a_change_of_the_log_is_named_and_one_broken_column_stops_no_other(tiny_world: World) -> None:
    changed = tiny_world.events.with_columns(
        device=pl.lit("television"), propensity=pl.lit("?"), surface=pl.lit(None, pl.String)
    )
    drift = world_drift(tiny_world, changed)
    assert set(drift.broken) == {"propensity"}
    assert [alarm.split(" ")[0] for alarm in drift.alarms] == ["surface", "device", "propensity"]


def test_statistics_survive_their_journey(tiny_world: World) -> None:
    seen = view_log(tiny_world.events, ["click"], [], tiny_world.items.select("item_id"))
    reference = fit_log(seen)
    read = Reference.from_json(reference.to_json())
    assert read.n_rows == reference.n_rows
    assert read.last == reference.last
    assert read.unusable == reference.unusable
    for name, bins in reference.bins.items():
        assert read.bins[name].to_json_dict() == bins.to_json_dict()
    for name, hours in reference.hours.items():
        np.testing.assert_array_equal(read.hours[name].values, hours.values)
    with pytest.raises(DataError, match="must have format 1, got 7"):
        Reference.from_json(reference.to_json().replace('"reference_format": 1', '"reference_format": 7'))
    with pytest.raises(DataError, match="no reference statistics"):
        Reference.from_json("{}")


def test_hours_of_long_ago_do_not_travel() -> None:
    weeks = np.arange(MAX_WEEKS + 3)
    times = HOUR - weeks * 168 * SECONDS_PER_HOUR
    hours = Hours(times, weeks.astype(float))
    kept = fit_log(replace(view(log()), hours={"click rate": hours})).hours["click rate"]
    assert kept.values.tolist() == list(range(MAX_WEEKS))


def test_numbers_are_the_same_bins_from_csv_and_parquet() -> None:
    flag = [0, 1, 1] * 300
    reference = Reference.fit(pl.DataFrame({"flag": [str(one) for one in flag]}), ["flag"])
    config = DriftConfig(reference="a", current="b")
    for values in (flag, [float(one) for one in flag], [str(one) for one in flag]):
        drift = compare(config, reference, pl.DataFrame({"flag": values}), {})
        assert drift.alarms == ()
        assert drift.columns[0].index == 0.0
