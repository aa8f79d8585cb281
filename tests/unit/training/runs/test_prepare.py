"""The output of a command about the data that it reads."""

from io import StringIO
from pathlib import Path

import polars as pl
from rich.console import Console

from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from tests.support.small_data import write_shop
from training.config import TrainConfig
from training.runs.prepare import prepare


def _printed(config: TrainConfig, folder: Path) -> str:
    console = Console(file=StringIO(), width=200)
    prepare(config, folder, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_data_quality_is_told_once_and_again_when_the_data_have_changed(tmp_path: Path) -> None:
    config = TrainConfig(
        data=write_shop(tmp_path),
        model=TwoTowerConfig(),
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(),
        optimizer=LazyAdamConfig(),
    )
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
