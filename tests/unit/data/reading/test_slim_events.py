"""Events are held without the texts that training does not use: what is learned stays the same."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marquee.core.ids import IdMap
from marquee.data.config import DataConfig
from marquee.data.dataset import Dataset
from marquee.data.exposures import read_exposures
from marquee.data.reading import table_reader
from marquee.data.reading.tables import TableConfig, Tables, read_tables
from marquee.data.splits import split_events
from marquee.features import FeatureConfig
from marquee.world import World
from tests.support.small_data import write_tiny_world


@pytest.fixture
def config(tiny_world: World, tmp_path: Path) -> DataConfig:
    config = write_tiny_world(tiny_world, tmp_path)
    context = {**config.features.context, "surface": FeatureConfig()}
    return replace(config, features=replace(config.features, context=context))


def as_written(tables: Tables, config: DataConfig) -> Tables:
    """Returns the tables with the texts of the file in place of what stands for them."""
    written = pl.read_parquet(f"{config.root}/events.parquet").select(
        "event_id", "request_id", "surface", "policy"
    )
    events = tables.events
    # The number of an event is its place in the file.
    texts = written[events["event_id"].to_numpy()]
    return replace(tables, events=events.with_columns(texts.get_columns()))


def test_what_is_learned_is_the_same_as_of_the_texts(config: DataConfig) -> None:
    tables = read_tables(config)
    texts = as_written(tables, config)
    assert texts.events.schema != tables.events.schema
    held_once = ["request_id", "surface", "policy"]
    assert texts.events[held_once].equals(tables.events[held_once].cast(pl.String))
    found, expected = (
        Dataset.prepare(one, split_events(one.events, config.split, config.time), config)
        for one in (tables, texts)
    )
    assert found.item_ids == expected.item_ids
    for part in ("train", "train_context", "item_features"):
        one, other = (getattr(dataset, part) for dataset in (found, expected))
        for name in (field.name for field in fields(one)):
            np.testing.assert_equal(getattr(one, name), getattr(other, name))


def test_clicks_belong_to_the_same_exposures_as_by_the_texts(config: DataConfig) -> None:
    tables = read_tables(config)
    item_ids = IdMap.fit(tables.events["item_id"].unique().sort().to_list())
    found, expected = (read_exposures(one.events, item_ids) for one in (tables, as_written(tables, config)))
    assert found.is_clicked.sum() > 10
    assert found.is_clicked.tolist() == expected.is_clicked.tolist()
    assert found.frame["request_id"].cast(pl.String).equals(expected.frame["request_id"])


def read(folder: Path, *ids: str) -> Tables:
    for number in range(2):
        rows = "".join(f"{event_id},u,i,{place}\n" for place, event_id in enumerate(ids[number::2]))
        (folder / f"{number}.csv").write_text("event_id,user_id,item_id,timestamp\n" + rows)
    events = TableConfig(path="*.csv")
    return read_tables(DataConfig(name="m", root=str(folder), events=events, max_rejected_fraction=1.0))


def test_ids_that_share_a_digest_are_told_apart_by_their_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ["a", "b", "c", "a", "d", "b", "e", "f"]
    expected = read(tmp_path, *ids)
    assert [reject.count for reject in expected.quality.events.rejects] == [len(ids) - len(set(ids))]
    # All ids get one digest.
    monkeypatch.setattr(table_reader, "_digest", lambda name: pl.col(name).str.slice(0, 0).hash())
    found = read(tmp_path, *ids)
    assert found.events.equals(expected.events)
    assert found.quality == expected.quality


def test_of_events_with_one_id_in_two_files_the_first_is_kept(tmp_path: Path) -> None:
    tables = read(tmp_path, "a", "b", "b", "a", "c", "d")
    assert tables.events["timestamp"].to_list() == [0, 1, 2, 2]
    (reject,) = tables.quality.events.rejects
    assert (reject.reason, reject.count, reject.example) == ("duplicate_id", 2, "event_id='b'")
