"""Which contexts an export counts, against the shop whose events fit on a screen (see `small_data`)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marquee.bundle.popularity import ContextPopularity, PopularityConfig
from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.splits import SplitConfig, SplitMethod
from marquee.errors import ConfigError
from marquee.features import FeatureConfig, FeaturesConfig, FeatureType
from tests.support.small_data import Prepared, write_shop
from training.exporting.popularity import fit_context_popularity

EVERY = PopularityConfig(min_events=1, prior_events=0)


@pytest.fixture
def shop(tmp_path: Path) -> DataConfig:
    return write_shop(tmp_path)


def fitted(data: DataConfig, config: PopularityConfig = EVERY) -> tuple[ContextPopularity, Prepared]:
    prepared = Prepared.read(data)
    popularity = np.zeros(prepared.dataset.n_items + 1, dtype=np.float32)
    events = prepared.tables.events
    return fit_context_popularity(prepared.dataset, events, data, popularity, config), prepared


def popular(data: DataConfig, config: PopularityConfig = EVERY, **stated: object) -> dict[str, float]:
    tables, prepared = fitted(data, config)
    context = tables.find(stated, timestamp=0)
    assert context is not None
    return dict(
        zip(prepared.dataset.item_ids.decode(context.items.tolist()), context.shares.tolist(), strict=True)
    )


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lets every column be telling, the later the more; returns the columns that are measured."""
    columns: list[str] = []

    def measure(_events: object, _item_ids: object, column: str, _config: object) -> tuple[float, float]:
        columns.append(column)
        return float(len(columns)), 0.1

    monkeypatch.setattr("training.exporting.popularity.measure_gain", measure)
    return columns


def test_declared_categories_and_the_hour_are_measured(shop: DataConfig, measured: list[str]) -> None:
    tables, _ = fitted(shop)
    assert measured == ["device", "region", "hour"]
    assert tables.columns == ("hour", "region", "device"), "the most telling comes first"


def test_column_that_tells_nothing_is_left_out(shop: DataConfig, tmp_path: Path) -> None:
    times = range(100, 500)
    events = pl.DataFrame(
        {
            "user_id": [f"u{1 + time % 3}" for time in times],
            "item_id": ["abc"[time % 2] if time % 10 else "c" for time in times],
            "timestamp": list(times),
            "kind": ["click" for _ in times],
            "device": [("phone", "tablet")[time % 2] for time in times],
        }
    )
    events.write_parquet(tmp_path / "events.parquet")
    items = pl.DataFrame({"item_id": [f"x{number:02d}" for number in range(30)] + ["a", "b", "c"]})
    items.with_columns(colour=pl.lit("red"), price=pl.lit(1.0)).write_parquet(tmp_path / "items.parquet")
    shop = replace(shop, split=SplitConfig(validation_from="450", test_from="480"))
    assert fitted(shop)[0].columns == ()


def test_every_value_has_its_table(shop: DataConfig) -> None:
    tables, _ = fitted(shop, replace(EVERY, by=["device", "region", "hour"]))
    assert tables.values == (
        ("device", "car"),
        ("device", "desktop"),
        ("device", "phone"),
        ("device", "tablet"),
        ("region", "north"),
        ("region", "south"),
        ("hour", "0"),
    )


def test_context_of_the_moment_is_counted(shop: DataConfig) -> None:
    # Phone clicks and views: u1 a, u2 a, u1 d, u3 d, and z, which is in no catalog; exposures do not count.
    assert popular(shop, replace(EVERY, by=["device"]), device="phone") == {"a": 0.5, "d": 0.5}


def test_segment_of_the_user_is_counted(shop: DataConfig) -> None:
    # South is u2 alone: a and c.
    assert popular(shop, replace(EVERY, by=["region"]), region="south") == {"a": 0.5, "c": 0.5}


def test_named_columns_come_in_their_order(shop: DataConfig) -> None:
    tables, _ = fitted(shop, replace(EVERY, by=["hour", "region"]))
    assert tables.columns == ("hour", "region")


def test_surface_is_measured_and_lists_are_not(shop: DataConfig, tmp_path: Path, measured: list[str]) -> None:
    events = pl.read_parquet(tmp_path / "events.parquet")
    events.with_columns(surface=pl.lit("home"), tags=pl.lit(["x"])).write_parquet(tmp_path / "events.parquet")
    features = FeaturesConfig(
        context={
            "tags": FeatureConfig(type=FeatureType.multi),
            "kind_of_device": FeatureConfig(column="device"),
        }
    )
    fitted(replace(shop, features=features))
    assert measured == ["surface", "device", "hour"]


def test_set_without_a_clock_has_no_hours(shop: DataConfig, measured: list[str]) -> None:
    timeless = replace(shop, time=TimeMeaning.order, split=SplitConfig(method=SplitMethod.leave_last))
    fitted(timeless)
    assert measured == ["device", "region"]
    with pytest.raises(ConfigError, match="got 'hour'"):
        fitted(timeless, replace(EVERY, by=["hour"]))
