"""The output of a command about the data that it reads."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from marquee.data.config import DataConfig
from marquee.errors import ConfigError
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from tests.support.preparing import differences, prepare_here
from tests.support.small_data import write_shop
from training.config import TrainConfig
from training.runs.prepare import prepare


def _config(data: DataConfig) -> TrainConfig:
    return TrainConfig(
        data=data,
        model=TwoTowerConfig(),
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(),
        optimizer=LazyAdamConfig(),
    )


def _printed(config: TrainConfig, folder: Path) -> str:
    console = Console(file=StringIO(), width=200)
    prepare(config, folder, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_data_quality_is_told_once_and_again_when_the_data_have_changed(tmp_path: Path) -> None:
    config = _config(write_shop(tmp_path))
    run = tmp_path / "run"
    run.mkdir()
    first, again = (_printed(config, run) for _ in range(2))
    assert "events: 13 rows in" in first
    assert "events: 13 rows in" not in again
    assert f"the same counts as before, see {run / 'quality.json'}" in again
    assert again.endswith(first[first.index("split:") :])
    events = pl.read_parquet(tmp_path / "events.parquet")
    events.head(12).write_parquet(tmp_path / "events.parquet")
    assert "events: 12 rows in" in _printed(config, run)


def test_run_of_prepared_data_has_the_data_of_a_run_of_files(tmp_path: Path) -> None:
    data = write_shop(tmp_path)
    prepare_here(data, tmp_path / "prepared")
    (tmp_path / "run").mkdir()
    console = Console(file=StringIO(), width=200)
    of_files = prepare(_config(data), tmp_path / "run", console)
    in_parts = replace(data, prepared=str(tmp_path / "prepared"), root=str(tmp_path / "nowhere"))
    of_parts = prepare(_config(in_parts), tmp_path / "run", console)

    assert differences(of_files.dataset, of_parts.dataset) == []
    assert differences(of_files.validation, of_parts.validation) == []
    assert differences(of_files.test, of_parts.test) == []
    assert of_parts.quality.kinds == of_files.quality.kinds
    for name in ("n_users", "n_items", "users_without_row", "items_without_row", "items_without_event"):
        assert getattr(of_parts.quality, name) == getattr(of_files.quality, name), name


def test_run_names_the_key_in_which_its_data_are_not_the_prepared_ones(tmp_path: Path) -> None:
    data = write_shop(tmp_path)
    prepare_here(data, tmp_path / "prepared")
    other = replace(data, prepared=str(tmp_path / "prepared"), max_rejected_fraction=0.5)

    with pytest.raises(
        ConfigError, match=r"data\.max_rejected_fraction is 0\.5, but .* was prepared with 0\.01"
    ):
        prepare(_config(other), tmp_path, Console(file=StringIO()))
