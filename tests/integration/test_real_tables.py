"""The published data sets, read by the configs that ship: every count is one that is known of the set."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf

from marquee.data.reading.tables import DataConfig, Tables, read_tables
from marquee.data.splits import Split, split_events
from tests.support.paths import CONFIGS

DATA_CONFIGS = CONFIGS / "data"


def config_of(name: str, root: Path) -> DataConfig:
    folder = {
        "movielens-100k": "ml-100k",
        "movielens-1m": "ml-1m",
        "lightgcn-split": "gowalla",
    }.get(name, name)
    if not (root / folder).is_dir():
        pytest.skip(f"{root / folder} is missing; see configs/data/{name}.yaml for where it comes from")
    merged = OmegaConf.merge(OmegaConf.structured(DataConfig), OmegaConf.load(DATA_CONFIGS / f"{name}.yaml"))
    merged.root = str(root / folder)
    config = OmegaConf.to_object(merged)
    assert isinstance(config, DataConfig)
    return config


def read_and_split(name: str, root: Path) -> tuple[Tables, Split]:
    config = config_of(name, root)
    tables = read_tables(config)
    return tables, split_events(tables.events, config.split, config.time)


def sizes_of(split: Split) -> tuple[int, int, int]:
    return split.train.height, split.validation.height, split.test.height


def heights_of(tables: Tables) -> tuple[int, int, int]:
    assert tables.items is not None
    assert tables.users is not None
    return tables.events.height, tables.items.height, tables.users.height


def test_movielens_100k_is_whole(data_root: Path) -> None:
    tables, split = read_and_split("movielens-100k", data_root)
    assert heights_of(tables) == (100_000, 1_682, 943)
    assert sizes_of(split) == (70_771, 9_596, 19_633)
    assert sum(table.n_rejected + table.n_excluded for table in tables.quality.tables) == 0
    assert tables.items is not None
    toy_story = tables.items.row(0, named=True)
    assert (toy_story["title"], toy_story["year"]) == ("Toy Story", 1995)
    assert toy_story["genres"] == ["Animation", "Children's", "Comedy"]


def test_popularity_of_movielens_100k_is_the_known_figure(data_root: Path) -> None:
    """NDCG@10 of popularity over unseen films, last fifth of each user's ratings held out: 0.119."""
    _, split = read_and_split("movielens-100k", data_root)
    train, test = (
        frame.select(pl.col("user_id", "item_id").cast(pl.Int64)).to_numpy()
        for frame in (pl.concat([split.train, split.validation]), split.test)
    )
    seen, wanted = np.zeros((2, 944, 1683), dtype=bool)
    seen[tuple(train.T)], wanted[tuple(test.T)] = True, True
    scores = np.where(seen, -1, seen.sum(axis=0))[1:, 1:]
    hits = np.take_along_axis(wanted[1:, 1:], np.argsort(-scores, axis=1, kind="stable")[:, :10], axis=1)
    discount = 1 / np.log2(np.arange(2, 12))
    ideal = np.array([discount[: min(10, n)].sum() for n in wanted[1:].sum(axis=1)])
    assert (hits @ discount / ideal).mean() == pytest.approx(0.119, abs=5e-4)


@pytest.mark.slow
def test_movielens_1m_is_whole(data_root: Path) -> None:
    tables, split = read_and_split("movielens-1m", data_root)
    assert heights_of(tables) == (999_611, 3_883, 6_040)
    assert tables.quality.n_items == 3_416
    assert sizes_of(split) == (999_611 - 2 * 6_040, 6_040, 6_040)
    assert tables.items is not None
    assert tables.items.filter(pl.col("item_id") == "1")["genres"].item().to_list() == [
        "Animation",
        "Children's",
        "Comedy",
    ]


@pytest.mark.slow
def test_online_retail_counts_sales_and_leaves_returns_out(data_root: Path) -> None:
    tables, split = read_and_split("online-retail", data_root)
    events = tables.quality.events
    assert events.rows_in == 541_909
    assert events.excluded == {"no_customer": 135_080, "return": 8_905, "no_article": 1_550}
    assert heights_of(tables) == (541_909 - 135_080 - 8_905 - 1_550, 3_660, 4_335)
    assert events.n_rejected == 0
    assert tables.events["value"][0] == pytest.approx(6 * 2.55)
    assert sum(sizes_of(split)) == 396_374


def test_deskdrop_grades_feedback(data_root: Path) -> None:
    tables, split = read_and_split("deskdrop", data_root)
    assert (tables.events.height, tables.quality.n_users, tables.quality.n_items) == (72_312, 1_895, 2_987)
    assert tables.quality.kinds == {"view": 61_086, "feedback": 11_226}
    by_value = tables.events["value"].value_counts().sort("value").rows()
    assert by_value == [(1.0, 61_086), (2.0, 5_745), (2.5, 2_463), (3.0, 1_407), (4.0, 1_611)]
    assert set(tables.events["device"].unique()) == {None, "app", "desktop", "phone", "tablet"}
    assert sum(sizes_of(split)) == 72_312


@pytest.mark.slow
def test_gowalla_is_the_published_split(data_root: Path) -> None:
    tables, split = read_and_split("lightgcn-split", data_root)
    assert sizes_of(split) == (719_081, 91_047, 217_242)
    assert (tables.quality.n_users, tables.quality.n_items) == (29_858, 40_981)


@pytest.mark.slow
def test_gowalla_as_published_has_no_validation_file(data_root: Path, tmp_path: Path) -> None:
    config = config_of("lightgcn-split", data_root)
    for name in ("train.txt", "test.txt"):
        (tmp_path / name).symlink_to(Path(config.root) / name)
    config.root = str(tmp_path)
    split = split_events(read_tables(config).events, config.split, config.time)
    assert split.train.height + split.validation.height == 719_081
    assert 0.05 < split.validation.height / 719_081 < 0.1
    assert split.test.height == 217_242


def test_own_table_needs_few_lines(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(
        "customer,sku,when\n" + "anna,x,2024-01-01\nben,y,2024-01-02T10:00:00Z\n" * 9
    )
    own = f"""
name: mine
root: {tmp_path}
events:
  path: orders.csv
  columns: {{user_id: customer, item_id: sku, timestamp: when}}
"""
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DataConfig), OmegaConf.create(own)))
    assert isinstance(config, DataConfig)
    events = read_tables(config).events
    assert events.select("user_id", "item_id", "timestamp").row(0) == ("anna", "x", 1_704_067_200)
    assert len(own.splitlines()) < 15
