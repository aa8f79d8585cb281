"""Which contexts an export counts, against the shop whose events fit on a screen (see `small_data`)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marquee.data_config import DataConfig
from marquee.errors import ConfigError
from marquee.events import TimeMeaning
from marquee.features import FeatureConfig, FeaturesConfig, FeatureType
from marquee.popularity import ContextPopularity, PopularityConfig
from marquee.splits import SplitConfig, SplitMethod
from tests.small_data import Prepared, write_shop
from training.popularity import fit_context_popularity

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


def test_declared_categories_and_the_hour_are_counted(shop: DataConfig) -> None:
    tables, _ = fitted(shop)
    assert tables.columns == ("device", "region", "hour")
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
    assert popular(shop, device="phone") == {"a": 0.5, "d": 0.5}


def test_segment_of_the_user_is_counted(shop: DataConfig) -> None:
    # South is u2 alone: a and c.
    assert popular(shop, region="south") == {"a": 0.5, "c": 0.5}


def test_named_columns_come_in_their_order(shop: DataConfig) -> None:
    tables, _ = fitted(shop, replace(EVERY, by=["hour", "region"]))
    assert tables.columns == ("hour", "region")


def test_surface_comes_first_and_lists_do_not_count(shop: DataConfig, tmp_path: Path) -> None:
    events = pl.read_parquet(tmp_path / "events.parquet")
    events.with_columns(surface=pl.lit("home"), tags=pl.lit(["x"])).write_parquet(tmp_path / "events.parquet")
    features = FeaturesConfig(
        context={
            "tags": FeatureConfig(type=FeatureType.multi),
            "kind_of_device": FeatureConfig(column="device"),
        }
    )
    tables, _ = fitted(replace(shop, features=features))
    assert tables.columns == ("surface", "device", "hour")


def test_set_without_a_clock_has_no_hours(shop: DataConfig) -> None:
    timeless = replace(shop, time=TimeMeaning.order, split=SplitConfig(method=SplitMethod.leave_last))
    assert fitted(timeless)[0].columns == ("device", "region")
    with pytest.raises(ConfigError, match="got 'hour'"):
        fitted(timeless, replace(EVERY, by=["hour"]))
