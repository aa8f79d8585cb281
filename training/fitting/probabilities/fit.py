"""Fits a head: a network on the training part, a calibration on later exposures; keeps it in the run."""

import io
import logging
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import msgspec
import torch

from marquee.ads.objective import Objective
from marquee.core.arrays import FloatArray, IndexArray
from marquee.errors import ConfigError
from marquee.nn.probabilities.calibrating import MIN_OUTCOMES, calibrate
from marquee.nn.probabilities.networks import (
    N_OUTCOMES,
    CalibratedNetwork,
    ClickNetwork,
    HeadConfig,
    ProbabilitiesConfig,
)
from marquee.store.files import replace_file
from training.cli.objective import objective_of
from training.config import TrainConfig, TrainerConfig
from training.fitting.checkpoints import CHECKPOINTS
from training.fitting.probabilities.described import Parts, ScoredExposures
from training.fitting.probabilities.module import ProbabilityModule, kept_negatives

HEAD_FILE = "click_head.ckpt"
FACTS_FILE = "click_head.json"


class HeadFacts(msgspec.Struct, frozen=True):
    """The facts of a trained head that its weights do not say.

    Attributes:
        places: Surface and position of each place.
        columns: Names of the columns that it reads.
    """

    places: tuple[tuple[str, int], ...]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class FittedHead:
    """A trained head.

    Attributes:
        network: Calibrated, on the CPU, in evaluation mode.
        facts: Beside the weights.
    """

    network: CalibratedNetwork
    facts: HeadFacts

    def probabilities(self, exposures: ScoredExposures, rows: IndexArray | slice) -> FloatArray:
        """Returns the probabilities of click, and of conversion after it, of some exposures, (n, 2)."""
        with torch.inference_mode():
            said = self.network(
                torch.from_numpy(exposures.columns[rows]),
                torch.from_numpy(exposures.place[rows]),
                torch.from_numpy(exposures.score[rows]),
            )
        found: FloatArray = said.numpy()
        return found

    def write(self, folder: Path) -> None:
        """Writes the head into a run folder."""
        buffer = io.BytesIO()
        torch.save(self.network.state_dict(), buffer)
        replace_file(folder / FACTS_FILE, msgspec.json.encode(self.facts))
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
        replace_file(folder / CHECKPOINTS / HEAD_FILE, buffer.getvalue())

    @classmethod
    def read(cls, folder: Path, config: ProbabilitiesConfig) -> "FittedHead | None":
        """Returns the head of a run; None if it has none.

        Raises:
            ConfigError: If what lies there is not what the config says.
        """
        path = folder / CHECKPOINTS / HEAD_FILE
        if not isinstance(config, HeadConfig) or not path.is_file():
            return None
        facts = msgspec.json.decode((folder / FACTS_FILE).read_bytes(), type=HeadFacts)
        network = CalibratedNetwork(ClickNetwork(config, len(facts.columns), len(facts.places) + 1))
        try:
            # Weights alone: a pickle could run code.
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (RuntimeError, ValueError, EOFError) as error:
            raise ConfigError(
                f"{path} is no click head of this config ({str(error).splitlines()[0]}); train the run again"
            ) from error
        return cls(network.eval(), facts)


def fit_head(
    exposures: ScoredExposures, parts: Parts, settings: HeadConfig, config: TrainConfig
) -> FittedHead | str:
    """Returns the head of a run, or why there is none.

    Args:
        exposures: Of all parts.
        parts: Which of them train, and which calibrate.
        settings: Of the head.
        config: Of the run.
    """
    moment = exposures.shown.timestamp
    train = exposures.outcomes(moment < parts.calibration)
    n_clicks, n_conversions = int(train.is_clicked.sum()), int(train.is_converted.sum())
    if min(n_clicks, len(train) - n_clicks) < MIN_OUTCOMES:
        return (
            f"{n_clicks} of {len(train)} exposures of the training part were clicked, expected "
            f"{MIN_OUTCOMES} of each outcome or more"
        )
    torch.manual_seed(config.seed)
    network = ClickNetwork(settings, exposures.columns.shape[1], len(exposures.spec.places) + 1)
    kept = kept_negatives(train, settings)
    # Among those that are kept. One more conversion of each kind: the logit of none would be minus infinity.
    rates = torch.tensor(
        [n_clicks / (n_clicks + kept * (len(train) - n_clicks)), (n_conversions + 1) / (n_clicks + 2)]
    )
    network.standardise(train.columns, rates)
    weights = outcome_weights(objective_of(config.objective), n_clicks, n_conversions)
    _train(ProbabilityModule(network, settings, train, config.seed, weights), config.trainer)
    head = CalibratedNetwork(network.cpu().eval())
    head.correction[0] = math.log(kept)
    assert head.correction.shape == (N_OUTCOMES,), "only clicks are sampled"
    later = exposures.outcomes((moment >= parts.calibration) & (moment < parts.test))
    if len(later):
        calibrate(head, later, uses_score=parts.is_unseen)
    return FittedHead(head.eval(), HeadFacts(exposures.spec.places, exposures.spec.columns))


def outcome_weights(objective: Objective, n_clicks: int, n_conversions: int) -> tuple[float, float]:
    """Returns the weights of the losses of clicks and of conversions, which sum to 2.

    An error in the probability of a click costs the objective the worth of a click and of the conversions
    that come of it, one in that of a conversion the worth of a conversion.

    Args:
        objective: The worths; where neither is worth anything both weigh the same.
        n_clicks: Of training.
        n_conversions: Of these clicks.

    Example:
        >>> outcome_weights(Objective(click=1.0, conversion=1.0), 100, 100)
        (1.3333333333333333, 0.6666666666666666)
    """
    click = objective.click + objective.conversion * n_conversions / max(n_clicks, 1)
    both = click + objective.conversion
    return (2.0 * click / both, 2.0 * objective.conversion / both) if both > 0 else (1.0, 1.0)


def _train(module: ProbabilityModule, config: TrainerConfig) -> None:
    """Runs the trainer for the epochs of the module's config."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Lightning 2.6 reads torch's tree specs in the old way; nothing here could change that.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        # It counts the batches itself, for the schedule.
        warnings.filterwarnings("ignore", message=".*has `__len__` defined.*")
        L.Trainer(
            max_epochs=module.n_epochs,
            accelerator=config.accelerator,
            devices=1,  # a head is small: rank 0 fits it alone
            precision=config.precision,  # type: ignore[arg-type] # Lightning lists the words
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            reload_dataloaders_every_n_epochs=1,
        ).fit(module)
