from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from marquee.core.event_kinds import KindConfig
from marquee.core.schema import TimeMeaning
from marquee.data.reading.tables import DataConfig, TableConfig
from marquee.data.splits import SplitConfig, SplitMethod
from marquee.errors import ConfigError
from marquee.features import FeatureConfig, FeaturesConfig
from tests.support.paths import ROOT

SHIPPED = sorted((ROOT / "configs" / "data").glob("*.yaml"))
EVENTS = TableConfig(path="e.csv")
PARTS = TableConfig(paths={"train": "a.txt"})
GIVEN = SplitConfig(method=SplitMethod.given)
LAST = SplitConfig(method=SplitMethod.leave_last)
ORDER = TimeMeaning.order


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"name": ""}, "data.name must be a plain name that a folder can have, got ''"),
        ({"name": "a/b"}, "data.name must be a plain name that a folder can have, got 'a/b'"),
        ({"name": "m[x]é"}, r"got 'm\[x\]é'; runs and bundles are called by it"),
        ({"name": ".."}, "data.name must be a plain name that a folder can have, got '..'"),
        ({"max_rejected_fraction": 1.5}, "max_rejected_fraction must be between 0 and 1, got 1.5"),
        ({"history_length": 0}, "history_length must be 1 or more, got 0"),
        ({"kinds": {"wish": KindConfig()}}, r"data.kinds must name at least one of .*, got \['wish'\]"),
        ({"split": GIVEN}, "split.method=given and data.events.paths belong together, got method=given"),
        ({"events": PARTS}, "got method=time and paths={'train': 'a.txt'}"),
        ({"events": TableConfig(path="e", unique=True)}, "data.events.unique=True is for items and users"),
        ({"items": PARTS}, "data.items.paths and deduplicate are for events, got ''"),
        (
            {"users": TableConfig(path="u", deduplicate=True)},
            "data.users.paths and deduplicate are for events",
        ),
        ({"time": ORDER}, "split.method=time needs data.time=absolute, got time=order"),
        (
            {"time": ORDER, "split": LAST, "timestamp_min": 5},
            r"need data.time=absolute, got \(5, None\) with order",
        ),
        (
            {"timestamp_min": 6, "timestamp_max": 5},
            r"timestamp_min must not be after timestamp_max, got \(6, 5\)",
        ),
    ],
)
def test_impossible_data_set_is_refused(keywords: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DataConfig(**{"name": "mine", "events": EVENTS, **keywords})  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(("whose", "table"), [("item", "items"), ("user", "users")])
def test_features_need_their_table(whose: str, table: str) -> None:
    features = FeaturesConfig(**{whose: {"age": FeatureConfig()}})
    with pytest.raises(
        ConfigError, match=rf"declares \['age'\] of {table}, but there is no table data\.{table}"
    ):
        DataConfig(name="mine", events=EVENTS, features=features)


def test_every_kind_but_exposure_counts_by_default() -> None:
    kinds = DataConfig(name="mine", events=EVENTS).kinds
    assert list(kinds) == ["view", "click", "conversion", "rating", "feedback"]
    assert {kind.weight for kind in kinds.values()} == {1.0}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_data_set_is_a_valid_config(path: Path) -> None:
    said = OmegaConf.load(path)
    assert isinstance(said, DictConfig)
    # Another form of the same files begins with theirs, as Hydra composes them.
    bases = [path.with_name(f"{name}.yaml") for name in said.pop("defaults", []) if name != "_self_"]
    merged = OmegaConf.merge(OmegaConf.structured(DataConfig), *map(OmegaConf.load, bases), said)
    config = OmegaConf.to_object(merged)
    assert isinstance(config, DataConfig)
    assert config.name == path.stem
    # The files of the loop are a person's own: nobody publishes or simulates them.
    n_origins = (config.download is not None) + (config.world is not None)
    assert n_origins == (0 if config.name == "loop" else 1)


def test_every_kind_but_exposures_counts_where_none_is_named() -> None:
    kinds = DataConfig(name="d", events=EVENTS).kinds
    assert list(kinds) == ["view", "click", "conversion", "rating", "feedback"]


def test_yaml_that_names_kinds_names_all_of_them() -> None:
    declared = OmegaConf.create({"name": "d", "events": {"path": "e.csv"}, "kinds": {"click": {"weight": 2}}})
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DataConfig), declared))
    assert isinstance(config, DataConfig)
    assert config.kinds == {"click": KindConfig(weight=2.0)}
