"""Data read once, and any number of configs fitted on it, without a run folder that stays.

Not a benchmark of its own: `defaults` and `cold` use it.
"""

import contextlib
import io
import logging
import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.experiments import compose_config
from marquee.data.dataset import Dataset, JudgedPart
from marquee.data.reading.tables import Tables
from marquee.nn.models import TwoTower
from training.config import TrainConfig
from training.fitting.fit import fit, ranking
from training.fitting.linear_part import add_linear_part
from training.fitting.probing import choose_bias_scale, settle_and_probe
from training.runs.prepare import Prepared, part, read

EVERY_SET = ("movielens-100k", "movielens-1m", "gowalla", "deskdrop", "online-retail", "world")
WITHOUT_TUNED = "~tuned"


@dataclass(frozen=True)
class Fit:
    """A model and what it took.

    Attributes:
        model: With the weights of its best epoch on validation, or of the last where nothing chose.
        seconds: Wall time of the epochs.
        epochs: How many there were.
        validation_ndcg: Of the model, at the cutoff of the config's headline; NaN without validation.
    """

    model: TwoTower
    seconds: float
    epochs: int
    validation_ndcg: float


def read_data(data: str, overrides: Sequence[str] = ()) -> tuple[Tables, TrainConfig]:
    """Returns the tables of a data set and the config that they were read with, saying nothing."""
    config = compose_config([f"data={data}", *overrides])
    with tempfile.TemporaryDirectory() as folder:
        return read(config, Path(folder), Console(file=io.StringIO())), config


def prepare_data(data: str, overrides: Sequence[str] = ()) -> Prepared:
    """Returns a data set, split and encoded, saying nothing."""
    tables, config = read_data(data, overrides)
    return part(tables, config, Console(file=io.StringIO()))


def is_there(data: str) -> bool:
    """Returns whether the events of a data set are on this machine, or can be simulated."""
    config = compose_config([f"data={data}"]).data
    events = config.events
    paths = [path for part, path in events.paths.items() if part not in events.optional_paths]
    is_complete = all((Path(config.root) / path).exists() for path in paths or [events.path])
    return is_complete or config.world is not None


def fit_on(dataset: Dataset, validation: JudgedPart | None, config: TrainConfig) -> Fit:
    """Returns the fitted model of a config; its checkpoints are thrown away."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),
    ):
        started = time.perf_counter()
        console = Console(file=io.StringIO())
        found = settle_and_probe(config, dataset, validation, Path(folder), console)
        fitted = fit(dataset, validation, found, Path(folder))
        found = choose_bias_scale(fitted.model, found, dataset, validation, console)
        found = add_linear_part(fitted.model, found, dataset, validation, Path(folder), console)
        seconds = time.perf_counter() - started
    # As it would be exported: with what was chosen after its last step.
    ndcg = math.nan if validation is None else ranking(dataset, validation, found).rank(fitted.model)[0]
    return Fit(fitted.model, seconds, fitted.epochs, ndcg)
