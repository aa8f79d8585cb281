"""Short fits that find what no count tells: how sharply the softmax should tell items apart.

Where items have near doubles a low temperature ranks best, where lists are short a high one. A few passes at
each show which. Reads validation, as the choice of a checkpoint does.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from marquee.core.schema import TimeMeaning
from marquee.data.dataset import Dataset, JudgedPart
from marquee.errors import ConfigError
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.losses.base import TemperedLossConfig
from marquee.nn.models import TwoTower
from training.config import TrainConfig
from training.fitting.callbacks import MONITOR, read_epochs
from training.fitting.fit import EPOCHS_FILE, fit, ranking
from training.fitting.ranks.team import Team
from training.fitting.recipe import BIAS_SCALE, Settled, settle

TEMPERATURE = "loss.temperature"
TEMPERATURES = (0.2, 0.12, 0.08)
"""Tried from the highest down, as long as the next one ranks better."""
MARGIN = 1.005  # of the temperature above, which a lower one must reach
PROBES = "probes"
BIAS_SCALES = (1.0, 0.85, 0.7)
# Enough passes to tell temperatures apart, and no more events than a large set can spare.
PASSES, EVENTS = 6, 3_000_000


@dataclass(frozen=True)
class Probe:
    """The finding of a short fit.

    Attributes:
        temperature: Of the loss.
        ndcg: On validation, at the cutoff of the headline.
    """

    temperature: float
    ndcg: float


def settle_and_probe(
    config: TrainConfig,
    dataset: Dataset,
    validation: JudgedPart | None,
    folder: Path,
    console: Console,
    team: Team | None = None,
) -> TrainConfig:
    """Returns the config that training follows: open knobs set by the rule, and by short fits where it asks.

    Args:
        config: As composed.
        dataset: Training part.
        validation: Who ranks the short fits; None to keep what the rule says.
        folder: Of the run; short fits leave nothing in it.
        console: Shows what was set and why.
        team: The processes that train; None for those that each fit starts for itself.
    """
    settled = settle(config, dataset)
    for line in settled.lines:
        console.print(line, highlight=False, soft_wrap=True)
    if not _is_asked(settled, config, dataset) or validation is None:
        return settled.config
    found = [_probe(settled.config, TEMPERATURES[0], dataset, validation, folder, team)]
    best = found[0]
    for temperature in TEMPERATURES[1:]:
        found.append(_probe(settled.config, temperature, dataset, validation, folder, team))
        # A lower one learns faster: what hardly shows after a few passes is lost after many.
        if found[-1].ndcg <= MARGIN * found[-2].ndcg:
            break
        best = found[-1]
    tried = ", ".join(f"{probe.temperature:g} {probe.ndcg:.4f}" for probe in found)
    console.print(
        f"  {TEMPERATURE}={best.temperature:g} because a few passes at each rank validation so: {tried}",
        highlight=False,
        soft_wrap=True,
    )
    return _at(settled.config, best.temperature)


def choose_bias_scale(
    model: TwoTower, config: TrainConfig, dataset: Dataset, validation: JudgedPart | None, console: Console
) -> TrainConfig:
    """Returns the config with how much popularity says, where that is still open; sets it in the model too.

    It changes nothing about training, so that a trained model is ranked with each value.

    Args:
        model: Trained; changed in place.
        config: That it was trained by.
        dataset: Training part.
        validation: Who ranks; None keeps what the model was trained with.
        console: Shows what was chosen.
    """
    towers = config.model
    if BIAS_SCALE not in config.left_open or not isinstance(towers, TwoTowerConfig):
        return config
    config = replace(config, left_open=[name for name in config.left_open if name != BIAS_SCALE])
    if validation is None:
        return config
    judge = ranking(dataset, validation, config)
    found = {}
    for scale in BIAS_SCALES:
        model.item_tower.bias_scale = scale
        found[scale], _ = judge.rank(model)
    best = max(found, key=lambda scale: found[scale])
    model.item_tower.bias_scale = best
    tried = ", ".join(f"{scale:g} {ndcg:.4f}" for scale, ndcg in found.items())
    console.print(
        f"  {BIAS_SCALE}={best:g} because the trained model ranks validation so: {tried}",
        highlight=False,
        soft_wrap=True,
    )
    return replace(config, model=replace(towers, bias_scale=best))


def _is_asked(settled: Settled, config: TrainConfig, dataset: Dataset) -> bool:
    """Returns whether the temperature is to be found: nobody set it, and lists have no times."""
    has_one = isinstance(settled.config.loss, TemperedLossConfig)
    return TEMPERATURE in config.left_open and has_one and dataset.time is TimeMeaning.none


def _probe(
    config: TrainConfig,
    temperature: float,
    dataset: Dataset,
    validation: JudgedPart,
    folder: Path,
    team: Team | None = None,
) -> Probe:
    """Returns the finding of a short fit at one temperature."""
    passes = max(2, min(PASSES, EVENTS // max(len(dataset.train.item_index), 1)))
    trainer = replace(config.trainer, epochs=passes, patience=0, validate_every=passes)
    inside = folder / PROBES / f"{temperature:g}"
    # The rate of a long fit's beginning: one that falls at once favours whatever learns fastest.
    optimizer = replace(config.optimizer, cosine=False)
    short = replace(_at(config, temperature), trainer=trainer, optimizer=optimizer)
    fit(dataset, validation, short, inside, team=team)
    last = read_epochs(inside / EPOCHS_FILE)[-1]
    # A fit that another one resumes would be no short fit.
    shutil.rmtree(folder / PROBES)
    return Probe(temperature, float(last[MONITOR]))


def _at(config: TrainConfig, temperature: float) -> TrainConfig:
    """Returns the config at a temperature.

    Raises:
        ConfigError: If its loss has none.
    """
    if not isinstance(config.loss, TemperedLossConfig):
        raise ConfigError(f"{TEMPERATURE} needs a loss with a temperature, got {type(config.loss).__name__}")
    return replace(config, loss=replace(config.loss, temperature=temperature))
