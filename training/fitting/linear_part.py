"""A linear model of items from items beside what was learned, where it ranks validation better.

On small catalogs a closed form of all pairs of items is hard to beat: where articles have near doubles it
tells them apart, which a few hundred learned coordinates do not. So a trained model gets its vectors as
further coordinates, and validation says how much they count; where they add nothing, none stay. Does not
train.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from marquee.core.arrays import TokenArray
from marquee.core.cooccurrence import csr_matrix_class
from marquee.data.dataset import Dataset, JudgedPart
from marquee.index.ranking import inner_product_scores
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.embed import embed_catalog, embed_queries
from marquee.nn.initialisation.linear_items import LinearItems
from marquee.nn.models import TwoTower
from training.config import TrainConfig
from training.fitting.callbacks import RankValidation
from training.fitting.checkpoints import LINEAR_FILE
from training.fitting.fit import ranking
from training.fitting.recipe import LINEAR_WEIGHT

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

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
    search = _Search(model, towers, dataset, ranking(dataset, validation, config), config.seed)
    regularization, weight = search.best_point()
    alone = search.tried[FIRST, 0.0]
    is_worth_it = weight > 0 and search.tried[regularization, weight] >= MARGIN * alone
    said = ", ".join(f"{w:g} at {r:g} {ndcg:.4f}" for (r, w), ndcg in search.tried.items() if w)
    console.print(
        f"  {LINEAR_WEIGHT}={weight if is_worth_it else 0:g} model.linear_regularization={regularization:g} "
        f"because the trained model ranks validation so: without {alone:.4f}, {said}",
        highlight=False,
        soft_wrap=True,
    )
    return replace(towers, linear_weight=weight if is_worth_it else 0.0, linear_regularization=regularization)


class _Search:
    """Ranks validation with both parts side by side, each embedded once: a weight costs one multiplication.

    Args:
        model: Trained, without a linear part.
        towers: With the rank of the linear part.
        dataset: Training part.
        judge: Who ranks.
        seed: Of the linear part.

    Attributes:
        tried: Regularisation and weight → NDCG; weight 0 is what was learned alone.
    """

    def __init__(
        self, model: TwoTower, towers: TwoTowerConfig, dataset: Dataset, judge: RankValidation, seed: int
    ) -> None:
        self.towers, self.dataset, self.judge, self.seed = towers, dataset, judge, seed
        self.items = embed_catalog(model)  # (n_items + 1, out_dim)
        self.queries = embed_queries(model, self.items, judge.queries)  # (n_queries, out_dim)
        self.histories = _rooted(judge.queries.history_items, len(self.items))
        alone, _ = judge.rank_scores(inner_product_scores(self.queries, self.items))
        self.tried = {(FIRST, 0.0): alone}

    def best_point(self) -> tuple[float, float]:
        """Returns the best regularisation and weight, each way tried as far as it ranks better."""
        # One that adds nothing with any weight is not worth solving for again.
        if self._is_better(FIRST):
            for way in OTHERS:
                for regularization in way:
                    if not self._is_better(regularization):
                        break
        return self._best()

    def _best(self) -> tuple[float, float]:
        """Returns the regularisation and the weight that rank highest so far."""
        return max(self.tried, key=lambda point: self.tried[point])

    def _is_better(self, regularization: float) -> bool:
        """Returns whether a regularisation ranks better than all before it, with the best weight or more."""
        (_, start), before = self._best(), max(self.tried.values())
        solved = replace(self.towers, linear_regularization=regularization)
        vectors = np.zeros((len(self.items), solved.linear_rank), dtype=np.float32)
        of_trained = _vectors(self.dataset, solved, self.seed).numpy()
        vectors[: len(of_trained)] = of_trained  # items after training have no linear part
        sums = self.histories @ vectors  # (n_queries, rank)
        items = np.hstack([self.items, vectors])
        for weight in [weight for weight in WEIGHTS if weight >= start]:
            highest = max(self.tried.values())
            queries = np.hstack([self.queries, np.float32(weight) * sums])
            self.tried[regularization, weight], _ = self.judge.rank_scores(
                inner_product_scores(queries, items)
            )
            if self.tried[regularization, weight] <= highest:
                break
        return max(self.tried.values()) > before


def _rooted(history_items: TokenArray, n_rows: int) -> "csr_matrix[np.float32]":
    """Returns how often each history holds each item, over the root of its length, (n_queries, n_rows).

    Args:
        history_items: item_index, (n_queries, length) int32, 0 = padding.
        n_rows: Items of the catalog and the padding one.
    """
    is_event = history_items > 0
    n_events = is_event.sum(axis=1)  # (n_queries,)
    shares = np.repeat(np.maximum(n_events, 1) ** -0.5, n_events).astype(np.float32)
    offsets = np.concatenate(([0], np.cumsum(n_events)))
    # As `nn.towers.sum_per_root` has it, but without an array of all histories' vectors.
    return csr_matrix_class()((shares, history_items[is_event], offsets), shape=(len(history_items), n_rows))


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
