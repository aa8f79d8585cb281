"""Initialises a model's tables before the first step, by something better than random numbers.

A start says where items should lie; this module turns that into the rows of the tables, so that the item
tower's output is what was asked for, whichever parts the towers have. What a start does not know of keeps
its random beginning. Does not train.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from marquee.core.arrays import FloatArray
from marquee.core.cooccurrence import user_item_matrix
from marquee.data.dataset import Dataset
from marquee.errors import ConfigError
from marquee.nn.embed import embed_catalog
from marquee.nn.initialisation.spectral import SpectralItems
from marquee.nn.models import TwoTower
from marquee.nn.towers import TokenBag

N_STEPS, STEP = 30, 0.6  # of `_apart`


@dataclass(kw_only=True)
class InitialisationConfig:
    """Leaves the random weights as they are; the group `start` holds one file per subclass beside it.

    Attributes:
        scale: Length of the vectors that are placed. A step of the optimizer is small or large beside it. 0
            places none: the weights stay random, whichever start was chosen.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a number is out of range."""
        if not self.scale >= 0:
            raise ConfigError(f"start.scale must be 0 or more, got {self.scale}")

    def apply(self, model: TwoTower, dataset: Dataset, seed: int) -> str:  # noqa: ARG002 - for subclasses
        """Writes the start into a model with random weights; returns what was done, in words.

        Args:
            model: Built for `dataset`; its tables are changed.
            dataset: Whose training part the start may learn from.
            seed: Of the run.
        """
        return ""


@dataclass(kw_only=True)
class SpectralInitialisationConfig(InitialisationConfig):
    """Items where the strongest directions of the interaction matrix put them, users in their midst.

    Towers that normalise keep an item's direction; how much is to be expected of it then stands in its bias.

    Attributes:
        scale: As of every start. Short beside random rows: a step turns a short vector far, so that the start
            says where to begin and not where to stay.
        user_exponent: How much users of many items count less in the matrix.
        item_exponent: How much items of many users count less in the matrix.
        length_exponent: Without normalisation: an item's length grows with its users to this power.
        bias_per_log_user: With normalisation and biases: an item's bias is the log of its users times this.
        n_passes: Passes over the matrix; more come closer to the exact singular vectors, and past a few
            rank no better.

    Source:
        Shen et al. 2021, CIKM, "How Powerful is Graph Convolution for Recommendation?" (GF-CF), whose
        low-pass filter ranks by the same singular vectors.
    """

    scale: float = 0.1
    user_exponent: float = 0.5
    item_exponent: float = 0.4
    length_exponent: float = 0.4
    bias_per_log_user: float = 0.08
    n_passes: int = 3

    def validate(self) -> None:
        """Raises ConfigError if a number is out of range."""
        super().validate()
        if self.n_passes < 1:
            raise ConfigError(f"start.n_passes must be 1 or more, got {self.n_passes}")

    def apply(self, model: TwoTower, dataset: Dataset, seed: int) -> str:
        """See `InitialisationConfig.apply`.

        Raises:
            ConfigError: If scipy is not installed.
        """
        if not self.scale:
            return "random start: start.scale is 0"
        found = SpectralItems.find(
            dataset.train,
            dataset.n_items,
            dim=model.config.dim,
            user_exponent=self.user_exponent,
            item_exponent=self.item_exponent,
            n_passes=self.n_passes,
            generator=np.random.default_rng(seed),
        )
        n_users = np.maximum(found.n_users, 1)
        if model.config.normalise:
            lengths = np.linalg.norm(found.vectors, axis=1, keepdims=True)
            vectors = np.divide(found.vectors, lengths, out=np.zeros_like(found.vectors), where=lengths > 0)
            bias = self.bias_per_log_user * np.log(n_users)
        else:
            vectors = found.vectors * n_users[:, None] ** self.length_exponent
            vectors /= np.sqrt(np.square(vectors).sum() / max((found.n_users > 0).sum(), 1))
            bias = np.zeros(len(n_users))
        place_items(model, (self.scale * vectors).astype(np.float32), bias.astype(np.float32))
        place_users(model, dataset, self.scale)
        return f"spectral start: {int((found.strengths > 0).sum())} directions of {len(bias) - 1:,} items"


@torch.no_grad()
def place_items(model: TwoTower, vectors: FloatArray, bias: FloatArray) -> None:
    """Makes the item tower return `vectors` for items of training, and something alike for the others.

    Rows of feature values become the mean of the vectors of the items that carry them, so that an item
    without a row of its own lies among its like; the rows of the id table are what is left.

    Args:
        model: Changed in place.
        vectors: (n_items + 1, dim) float32; an item whose vector is zero keeps its random row.
        bias: (n_items + 1,) float32; not used by a model without biases.
    """
    device = model.item_table.weight.device
    trained = torch.arange(model.n_trained_items + 1, device=device)  # row 0 is padding
    wanted = torch.from_numpy(vectors[: len(trained)]).to(device)  # (n_trained_items + 1, dim)
    is_placed = wanted.any(dim=1)
    if model.item_tower.features is not None:
        tokens, numeric = model.item_tokens[trained].long(), model.item_numeric[trained]
        _place_tokens(model.item_tower.features, tokens[is_placed], wanted[is_placed])
        # The id row carries what the features leave: their sum is the tower's input.
        wanted = wanted - model.item_tower.features(tokens, numeric)
    if model.config.item_id:
        if model.config.item_neighbours:
            wanted = _apart(wanted, model.neighbour_items[trained], model.neighbour_weights[trained])
        model.item_table.weight[is_placed] = wanted[is_placed]
    if model.bias_table is not None:
        model.bias_table.weight[is_placed, 0] = torch.from_numpy(bias[: len(trained)]).to(device)[is_placed]


@torch.no_grad()
def place_users(model: TwoTower, dataset: Dataset, length: float) -> None:
    """Puts users in the midst of the items that they had; what is known of a query adds nothing to it yet.

    Args:
        model: Whose items are placed; changed in place.
        dataset: Its training part.
        length: Of a user's learned vector, times `model.user_scale`.
    """
    features = model.query_tower.features
    if features is not None:
        features.table.weight.zero_()
        if features.numeric is not None:
            features.numeric.weight.zero_()
    if not model.config.user_id:
        return
    items = embed_catalog(model)[:, : model.config.dim]
    sums = torch.from_numpy(user_item_matrix(dataset.train, dataset.n_items) @ items)  # (n_users + 1, dim)
    weight = model.user_table.weight
    weight.copy_(length * model.config.user_scale * F.normalize(sums.to(weight.device), dim=1))


def _place_tokens(features: TokenBag, tokens: Tensor, vectors: Tensor) -> None:
    """Sets the row of each token to its share of the mean vector of those who carry it; numbers say nothing.

    Args:
        features: Changed in place.
        tokens: (n, n_token_columns) int64, 0 = padding.
        vectors: (n, dim) float32.
    """
    total = torch.zeros_like(features.table.weight)
    count = torch.zeros(len(total), device=total.device)
    for column in tokens.T:
        total.index_add_(0, column, vectors)
        count.index_add_(0, column, torch.ones(len(column), device=total.device))
    total[[0, *(block.unknown_row for block in features.blocks)]] = 0.0
    features.table.weight.copy_(total / (count.clamp_min(1.0) * max(len(features.blocks), 1))[:, None])
    if features.numeric is not None:
        features.numeric.weight.zero_()


def _apart(wanted: Tensor, neighbours: Tensor, weights: Tensor) -> Tensor:
    """Returns rows that are `wanted` once each is joined by those of its neighbours, (n, dim) float32.

    By steps against what is left, as long as they help: neighbours that weigh more than the item itself may
    leave no such rows.

    Args:
        wanted: (n, dim) float32; row 0 is zeros.
        neighbours: (n, n_neighbours) int64, 0 where there is none.
        weights: (n, n_neighbours) float32.
    """
    rows, nearest = torch.zeros_like(wanted), torch.inf
    best = rows
    for _ in range(N_STEPS):
        company = F.embedding_bag(neighbours, rows, per_sample_weights=weights, mode="sum")
        left = wanted - rows - company
        if left.norm() >= nearest:
            break
        best, nearest = rows, left.norm()
        rows = rows + STEP * left
    return best
