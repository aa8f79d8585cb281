"""A last fit on all events is as long as validation liked best, in one command that shows both."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.table_config import TableConfig
from tests.support.small_config import small_config
from training.config import TrainConfig
from training.fitting.callbacks import MONITOR, read_epochs
from training.fitting.fit import EPOCHS_FILE
from training.runs.folders import RunFolder
from training.runs.passes import ON_VALIDATION, wants_passes
from training.train import train

OPEN = ["loss.temperature", "trainer.epochs"]


def config_of(folder: Path) -> TrainConfig:
    """Returns a config of lists in two tastes, with passes left open."""
    draw = np.random.default_rng(0)
    lists = [[f"i{(user % 2) * 10 + i}" for i in draw.permutation(10)[:8]] for user in range(40)]
    rows = [f"u{user},{item}" for user, items in enumerate(lists) for item in items]
    (folder / "lists.csv").write_text("\n".join(["user_id,item_id", *rows]), encoding="utf8")
    split = SplitConfig(
        method=SplitMethod.random, validation_fraction=0.2, test_fraction=0.2, fit_on_validation=True
    )
    data = DataConfig(
        name="lists",
        root=str(folder),
        events=TableConfig(path="lists.csv"),
        time=TimeMeaning.none,
        split=split,
    )
    config = small_config(data, str(folder / "runs"))
    return replace(config, trainer=replace(config.trainer, epochs=3, patience=0), left_open=OPEN)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, str]:
    """The folder of a run with both fits, and what was printed."""
    console = Console(record=True, width=250)
    folder = train(config_of(tmp_path_factory.mktemp("passes")), console)
    return folder, console.export_text()


def test_the_last_fit_is_as_long_as_validation_liked_best(run: tuple[RunFolder, str]) -> None:
    folder, printed = run
    ranked = read_epochs(folder.path / ON_VALIDATION / EPOCHS_FILE)
    best = max(ranked, key=lambda row: float(row[MONITOR]))["epoch"]
    assert len(read_epochs(folder.path / EPOCHS_FILE)) == int(best)
    assert f"after {best} of {len(ranked)} passes, the best of them" in printed
    assert f"last fit: training and validation, {best} passes" in printed


def test_the_last_fit_learns_from_validation_too(run: tuple[RunFolder, str]) -> None:
    folder, printed = run
    assert "validation added to train" in printed
    config = folder.read_config()
    assert config.data.split.fit_on_validation
    # What is exported and resumed later asks nothing anew.
    assert (config.left_open, wants_passes(config)) == ([], False)
    assert json.loads((folder.path / "evaluation.json").read_text(encoding="utf8"))["part"] == "test"


def test_passes_that_somebody_has_set_are_not_learned(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert wants_passes(config)
    assert not wants_passes(replace(config, left_open=["loss.temperature"]))
    apart = replace(config.data, split=replace(config.data.split, fit_on_validation=False))
    assert not wants_passes(replace(config, data=apart))
