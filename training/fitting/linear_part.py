"""A linear model of items from items beside what was learned, where it ranks validation better.

On small catalogs a closed form of all pairs of items is hard to beat: where articles have near doubles it
tells them apart, which a few hundred learned coordinates do not. So a trained model gets its vectors as
further coordinates, and validation says how much they count; where they add nothing, none stay. Does not
train.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from marquee.data.dataset import Dataset, JudgedPart
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.initialisation.linear_items import LinearItems
from marquee.nn.models import TwoTower
from training.config import TrainConfig
from training.fitting.checkpoints import LINEAR_FILE
from training.fitting.fit import ranking
from training.fitting.recipe import LINEAR_WEIGHT

WEIGHTS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Tried from the lowest up, as long as the next one ranks better."""
FIRST = 300.0
OTHERS = ((100.0, 30.0), (1000.0, 3000.0))
"""Regularisations below and above the first, each way as far as it ranks better."""
MARGIN = 1.005  # of the learned part alone, which is worth hundreds of coordinates


def add_linear_part(
    model: TwoTower,
    config: TrainConfig,
    dataset: Dataset,
    validation: JudgedPart | None,
    folder: Path,
    console: Console,
) -> TrainConfig:
    """Returns the config with what the linear part counts; puts it into the model, and its vectors on disk.

    Args:
        model: Trained; changed in place.
        config: That it was trained by.
        dataset: Training part.
        validation: Who ranks, where the weight is open; None leaves the part out.
        folder: Of the run; the vectors stay in it.
        console: Shows what was chosen.
    """
    towers = config.model
    if not isinstance(towers, TwoTowerConfig) or not towers.linear_rank:
        return config
    if LINEAR_WEIGHT in config.left_open:
        left_open = [name for name in config.left_open if name != LINEAR_WEIGHT]
        towers = _chosen(model, towers, dataset, validation, config, console)
        config = replace(config, left_open=left_open, model=towers)
    if not towers.linear_weight:
        return replace(config, model=replace(towers, linear_rank=0))
    _attach(model, _vectors(dataset, towers, config.seed), towers.linear_weight)
    np.save(folder / LINEAR_FILE, model.linear_table.numpy())
    return config


def _chosen(
    model: TwoTower,
    towers: TwoTowerConfig,
    dataset: Dataset,
    validation: JudgedPart | None,
    config: TrainConfig,
    console: Console,
) -> TwoTowerConfig:
    """Returns the towers with the weight and the regularisation that rank validation best."""
    if validation is None:
        return replace(towers, linear_weight=0.0)
    judge = ranking(dataset, validation, config)
    alone, _ = judge.rank(model)
    tried: dict[tuple[float, float], float] = {(FIRST, 0.0): alone}

    def is_better(regularization: float) -> bool:
        """Returns whether a regularisation ranks better than all before it, with the best weight or more."""
        (_, start), before = _best(tried), max(tried.values())
        solved = replace(towers, linear_regularization=regularization)
        vectors = _vectors(dataset, solved, config.seed)
        for weight in [weight for weight in WEIGHTS if weight >= start]:
            highest = max(tried.values())
            _attach(model, vectors, weight)
            tried[regularization, weight], _ = judge.rank(model)
            if tried[regularization, weight] <= highest:
                break
        return max(tried.values()) > before

    # One that adds nothing with any weight is not worth solving for again.
    if is_better(FIRST):
        for way in OTHERS:
            for regularization in way:
                if not is_better(regularization):
                    break
    regularization, weight = _best(tried)
    is_worth_it = weight > 0 and tried[regularization, weight] >= MARGIN * alone
    said = ", ".join(f"{w:g} at {r:g} {ndcg:.4f}" for (r, w), ndcg in tried.items() if w)
    console.print(
        f"  {LINEAR_WEIGHT}={weight if is_worth_it else 0:g} model.linear_regularization={regularization:g} "
        f"because the trained model ranks validation so: without {alone:.4f}, {said}",
        highlight=False,
        soft_wrap=True,
    )
    # What was tried last must not stay in the model.
    model.attach_linear(model.linear_table[:, :0])
    return replace(towers, linear_weight=weight if is_worth_it else 0.0, linear_regularization=regularization)


def _best(tried: Mapping[tuple[float, float], float]) -> tuple[float, float]:
    """Returns the regularisation and the weight that rank highest."""
    return max(tried, key=lambda point: tried[point])


def _vectors(dataset: Dataset, towers: TwoTowerConfig, seed: int) -> Tensor:
    """Returns the vectors of the trained items, (n_trained_items + 1, rank) float32."""
    found = LinearItems.find(
        dataset.train,
        dataset.n_items,
        rank=towers.linear_rank,
        regularization=towers.linear_regularization,
        generator=np.random.default_rng(seed),
    )
    return torch.from_numpy(found.vectors[: dataset.n_trained_items + 1])


def _attach(model: TwoTower, vectors: Tensor, weight: float) -> None:
    """Puts vectors into a model so that their scores count `weight`."""
    # Its root on both sides: a history is made of the very vectors that are scored.
    model.attach_linear(vectors * weight**0.5)
