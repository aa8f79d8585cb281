"""The rule: facts become settings with reasons, what somebody has set stays, and nothing else is touched."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hydra import compose, initialize_config_dir

from marquee.core.schema import TimeMeaning
from marquee.data.dataset import Dataset
from marquee.data.order import Order
from marquee.data.reading.tables import read_tables
from marquee.data.splits import split_events
from marquee.nn.history_pooling import HistoryPooling
from marquee.nn.negatives import CatalogNegativesConfig, MixedNegativesConfig
from tests.support.paths import CONFIGS
from tests.support.small_data import Prepared, write_shop
from training.choices import register_schemas
from training.config import TrainConfig, resolve
from training.fitting.recipe import SMALL_CATALOG, Facts, rule, settle

LISTS = Facts(n_users=1000, n_items=500, n_events=20_000, time=TimeMeaning.none, has_order=False)


def composed(*overrides: str) -> TrainConfig:
    register_schemas()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return resolve(compose("train", overrides=["data=lightgcn-split", "~tuned", *overrides]))


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Lists without time and order."""
    folder = tmp_path_factory.mktemp("lists")
    rows = [f"u{u} " + " ".join(f"i{(u * step) % 17}" for step in (1, 2, 3)) for u in range(1, 30)]
    (folder / "train.txt").write_text("\n".join(rows), encoding="utf8")
    config = composed(f"data.root={folder}", "~data.events.paths.validation", "~data.events.paths.test").data
    config = replace(config, events=replace(config.events, optional_paths=[]), order=Order.none)
    tables = read_tables(config)
    return Dataset.prepare(tables, split_events(tables.events, config.split, config.time), config)


def asked_for(facts: Facts) -> dict[str, object]:
    return {setting.key: setting.value for setting in rule(facts)}


def test_events_with_times_keep_what_the_menu_shows() -> None:
    for time in (TimeMeaning.absolute, TimeMeaning.order):
        assert asked_for(replace(LISTS, time=time, has_order=True)) == {}


def test_old_targets_count_less_where_the_ends_of_lists_are_asked_for() -> None:
    assert "examples.target_decay" not in asked_for(replace(LISTS, has_order=True))
    assert asked_for(replace(LISTS, has_order=True, asks_end=True))["examples.target_decay"] == 2.0


def test_every_setting_of_the_rule_has_a_reason_and_a_knob() -> None:
    config = composed()
    for n_items in (SMALL_CATALOG, SMALL_CATALOG + 1):
        for setting in rule(replace(LISTS, n_items=n_items, asks_end=True)):
            assert setting.because
            assert setting.key == "negatives" or setting.key in config.left_open, setting.key


def test_a_small_catalog_takes_the_exact_softmax_and_a_large_one_candidates() -> None:
    small, large = (asked_for(replace(LISTS, n_items=n)) for n in (SMALL_CATALOG, SMALL_CATALOG + 1))
    assert small["negatives"] == CatalogNegativesConfig()
    assert "negatives" not in large
    assert large["negatives.n_uniform"] == 4000
    assert (small["model.dim"], large["model.dim"]) == (256, 128)


def test_a_small_catalog_may_have_a_linear_part_no_longer_than_serving_can_bear() -> None:
    ranks = [
        asked_for(replace(LISTS, n_items=n)).get("model.linear_rank") for n in (500, 2_900, 5_000, 8_000)
    ]
    assert ranks == [500, 1024, 600, 384]
    assert "model.linear_rank" not in asked_for(replace(LISTS, n_items=SMALL_CATALOG + 1))


def test_a_pass_over_many_pairs_takes_shorter_vectors() -> None:
    assert asked_for(replace(LISTS, n_users=60_001))["model.dim"] == 128  # of 500 items each


def test_open_knobs_are_set_and_said(lists: Dataset) -> None:
    settled = settle(composed(), lists)
    assert settled.config.model.history_pooling is HistoryPooling.mean  # type: ignore[attr-defined] # a two-tower
    assert isinstance(settled.config.negatives, CatalogNegativesConfig)
    # How much popularity and the linear part say waits for the trained model.
    assert settled.config.left_open == ["model.bias_scale", "model.linear_weight"]
    assert settle(composed("model.bias_scale=1.0"), lists).config.left_open == ["model.linear_weight"]
    assert settle(composed("model.linear_rank=0"), lists).config.left_open == ["model.bias_scale"]
    assert any("negatives=catalog" in line and "because" in line for line in settled.lines)
    assert settled.lines[0].startswith("rule: 29 users")


def test_what_somebody_has_set_stays_also_where_it_is_the_default(lists: Dataset) -> None:
    config = composed("model.dim=64", "negatives.n_uniform=1000", "model.history_pooling=attention")
    settled = settle(config, lists).config
    assert settled.model.dim == 64  # type: ignore[attr-defined] # a two-tower
    assert settled.model.history_pooling is HistoryPooling.attention  # type: ignore[attr-defined]
    assert settled.negatives == MixedNegativesConfig(n_uniform=1000, in_batch=False)


def test_pairs_keep_sampled_candidates(lists: Dataset) -> None:
    assert isinstance(settle(composed("loss=bpr"), lists).config.negatives, MixedNegativesConfig)


def test_places_are_not_read_where_lists_have_no_order(lists: Dataset) -> None:
    settled = settle(composed("examples.target_decay=2"), lists)
    assert settled.config.examples.target_decay == 0
    assert "target_decay is left out" in settled.lines[-1]


def test_a_config_without_open_knobs_is_left_as_it_is(tmp_path: Path) -> None:
    config = replace(composed(), left_open=[])
    shop = Prepared.read(write_shop(tmp_path)).dataset
    settled = settle(config, shop)
    assert settled.lines == ()
    assert (settled.config.model, settled.config.trainer) == (config.model, config.trainer)


def test_the_same_knobs_are_open_whatever_order_they_stand_in() -> None:
    names = composed().left_open
    assert names == sorted(names)
    assert pl.Series(names).is_unique().all()
