"""The head of a run: fitted when its towers are, read again by whatever judges or exports it."""

from dataclasses import dataclass
from pathlib import Path

from marquee.core.ids import IdMap
from marquee.data.dataset import Dataset
from marquee.data.splits import Split
from marquee.features.exposures.places import Places
from marquee.nn.embed import embed_catalog
from marquee.nn.models import TwoTower
from marquee.nn.probabilities import HeadConfig
from training.config import TrainConfig
from training.fitting.probabilities.described import (
    ScoredExposures,
    parts_of,
    score_exposures,
    why_no_head,
)
from training.fitting.probabilities.fit import FittedHead, fit_head


@dataclass(frozen=True)
class HeadOfRun:
    """A head with the exposures of its run.

    Attributes:
        head: Trained.
        exposures: Of all parts, as the head reads them.
        item_ids: Of the catalog.
    """

    head: FittedHead
    exposures: ScoredExposures
    item_ids: IdMap


def fit_head_of_run(
    dataset: Dataset, split: Split, model: TwoTower, config: TrainConfig, folder: Path
) -> HeadOfRun | str:
    """Fits the head of a run and keeps it in its folder; or returns why there is none, '' if none is wanted.

    Args:
        dataset: Training part and catalog.
        split: Events of all parts.
        model: The towers, trained.
        config: Of the run.
        folder: Of the run.
    """
    settings = config.probabilities
    if not isinstance(settings, HeadConfig):
        return ""
    if reason := why_no_head(split, config.data.time):
        return reason
    exposures = score_exposures(dataset, split, model, embed_catalog(model), settings)
    head = fit_head(exposures, parts_of(split, exposures.shown.timestamp), settings, config)
    if isinstance(head, str):
        return head
    head.write(folder)
    return HeadOfRun(head, exposures, dataset.item_ids)


def read_head_of_run(
    dataset: Dataset, split: Split, model: TwoTower, config: TrainConfig, folder: Path
) -> HeadOfRun | None:
    """Returns the head that a run keeps, with its exposures described anew; None if it keeps none."""
    settings, head = config.probabilities, FittedHead.read(folder, config.probabilities)
    if head is None or not isinstance(settings, HeadConfig):
        return None
    places = Places(head.facts.places)
    vectors = embed_catalog(model)
    exposures = score_exposures(dataset, split, model, vectors, settings, places)
    return HeadOfRun(head, exposures, dataset.item_ids)
