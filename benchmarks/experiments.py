"""Experiments of `configs/experiment`: what the head of each says, and a run as the training command runs it.

Not a benchmark of its own: `quality` uses it. The head of an experiment is its page in the lab's log:

    # Question    what it was made to find out
    # Command     what runs it again
    # Settings    how they were chosen, and what is read
    # Expected    ndcg@20 0.1583 ± 0.0010        repeated per metric; outside of it the experiment has changed
    # Target      ndcg@20 0.1610                 what we wanted, reached or not
    # Published   ndcg@20 0.1584 MF + BSL, …     what others state, with the source
    # Variant     without text: data.features…   the same with overrides, to see what a part adds
    # Measured    when, over which seeds, how long, on what machine
    # Found       the answer, also where it is no
"""

import json
import logging
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from rich.console import Console

from marquee.errors import ConfigError
from training.choices import register_schemas
from training.cli.menu import CONFIGS
from training.config import TrainConfig, resolve
from training.train import train

EXPERIMENTS = CONFIGS / "experiment"
REQUIRED_KEYS = ("Question", "Command", "Settings", "Expected", "Measured", "Found")

_ENTRY = re.compile(r"# ([A-Z][a-z]+) {2,}(\S.*)")
_CONTINUED = re.compile(r"# {10,}(\S.*)")
_EXPECTED = re.compile(r"(\S+@\d+) ([\d.]+) ± ([\d.]+)")
_FIGURE = re.compile(r"(\S+@\d+) ([\d.]+)(?: (.+))?")


@dataclass(frozen=True)
class Figure:
    """A number that somebody states: of a metric, and where it comes from or how far it may be off."""

    metric: str
    value: float
    source: str = ""
    tolerance: float = 0.0


@dataclass(frozen=True)
class Notes:
    """The head of an experiment.

    Attributes:
        name: Of its file, without the ending.
        texts: What is said by key, one entry per line of that key.
        expected: What it must find again, within the tolerance.
        targets: What was wanted.
        published: What others state.
        variants: Overrides by what they leave out or add.
    """

    name: str
    texts: dict[str, list[str]]
    expected: list[Figure]
    targets: list[Figure]
    published: list[Figure]
    variants: dict[str, list[str]]


def list_experiments() -> list[str]:
    """Returns the names of all experiments, sorted."""
    return sorted(path.stem for path in EXPERIMENTS.glob("*.yaml"))


def read_notes(name: str, folder: Path = EXPERIMENTS) -> Notes:
    """Reads the head of an experiment.

    Raises:
        ConfigError: If there is no such experiment, or its head lacks a key or holds what cannot be read.
    """
    path = folder / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ConfigError(f"no experiment {name!r}; there are: {known}")
    texts = _read_head(path)
    missing = [key for key in REQUIRED_KEYS if key not in texts]
    if missing:
        raise ConfigError(
            f"the head of {path.name} lacks {', '.join(missing)}; see benchmarks/experiments.py"
        )
    variants = [text.partition(": ") for text in texts.get("Variant", [])]
    return Notes(
        name=name,
        texts=texts,
        expected=[_expected(path, text) for text in texts["Expected"]],
        targets=[_figure(path, text) for text in texts.get("Target", [])],
        published=[_figure(path, text) for text in texts.get("Published", [])],
        variants={what: overrides.split() for what, _, overrides in variants},
    )


def _read_head(path: Path) -> dict[str, list[str]]:
    """Returns the entries of a head by key, continued lines joined."""
    texts: dict[str, list[str]] = {}
    latest: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if entry := _ENTRY.fullmatch(line):
            latest = texts.setdefault(entry[1], [])
            latest.append(entry[2])
        elif latest and (more := _CONTINUED.fullmatch(line)):
            latest[-1] += f" {more[1]}"
        elif not line.startswith("#"):
            break
    return texts


def _expected(path: Path, text: str) -> Figure:
    """Returns the figure of an `Expected` line."""
    match = _EXPECTED.match(text)
    if match is None:
        raise ConfigError(f"{path.name}: expected 'metric@k value ± tolerance', got {text!r}")
    return Figure(match[1], float(match[2]), tolerance=float(match[3]))


def _figure(path: Path, text: str) -> Figure:
    """Returns the figure of a `Published` or `Target` line."""
    match = _FIGURE.fullmatch(text)
    if match is None:
        raise ConfigError(f"{path.name}: expected 'metric@k value source', got {text!r}")
    return Figure(match[1], float(match[2]), source=match[3] or "")


@dataclass(frozen=True)
class Result:
    """The figures of one run of an experiment.

    Attributes:
        means: Model → metric → mean over the judged users; the model itself is called `model`.
        part: Which part of the split was judged.
        seconds: Wall time of everything: reading, fitting, baselines, ranking, report.
        train_seconds: Wall time of the training epochs.
    """

    means: dict[str, dict[str, float]]
    part: str
    seconds: float
    train_seconds: float


def compose_config(overrides: Sequence[str]) -> TrainConfig:
    """Returns the config of a training command with these overrides."""
    register_schemas()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return resolve(compose("train", overrides=list(overrides)))


def run_experiment(name: str, overrides: Sequence[str] = ()) -> Result:
    """Returns the result of one experiment; its run folder is thrown away."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as runs:
        config = compose_config([f"experiment={name}", f"runs={runs}", *overrides])
        started = time.perf_counter()
        folder = train(config, Console(stderr=True))
        seconds = time.perf_counter() - started
        found = json.loads((folder.path / "evaluation.json").read_text(encoding="utf-8"))
    means = {
        model: {metric: estimate["mean"] for metric, estimate in facts["metrics"].items()}
        for model, facts in found["evaluation"]["models"].items()
    }
    return Result(means, found["part"], seconds, found["protocol"]["train_seconds"])
