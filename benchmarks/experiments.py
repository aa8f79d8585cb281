"""Runs an experiment of `configs/experiment` as the training command would, and reads what it found.

Not a benchmark of its own: `movielens_100k` and `quality` use it.
"""

import json
import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from rich.console import Console

from training.config import register_schemas, resolve
from training.train import train

CONFIGS = Path(__file__).parents[1] / "configs"


@dataclass(frozen=True)
class Result:
    """What one run of an experiment found.

    Attributes:
        means: Model → metric → mean over test users; the model itself is called `model`.
        seconds: Wall time of everything: reading, fitting, baselines, ranking, report.
        train_seconds: Wall time of the training epochs.
    """

    means: dict[str, dict[str, float]]
    seconds: float
    train_seconds: float


def run_experiment(name: str, overrides: Sequence[str] = ()) -> Result:
    """Returns the result of one experiment; its run folder is thrown away."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    register_schemas()
    with tempfile.TemporaryDirectory() as runs:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("train", overrides=[f"experiment={name}", f"runs={runs}", *overrides])
        started = time.perf_counter()
        folder = train(resolve(config), Console(stderr=True))
        seconds = time.perf_counter() - started
        found = json.loads((folder.path / "evaluation.json").read_text(encoding="utf-8"))
    means = {
        model: {metric: estimate["mean"] for metric, estimate in facts["metrics"].items()}
        for model, facts in found["evaluation"]["models"].items()
    }
    return Result(means, seconds, found["protocol"]["train_seconds"])
