"""Losses of autoencoders: what the model says of all items, against what the user had, as two directions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from marquee.errors import ConfigError
from marquee.nn.logits import Logits
from marquee.nn.losses.base import LossConfig, weighted_mean

_TINY = float(torch.finfo(torch.float32).tiny)


def normalised_squared_error_loss(
    logits: Logits, weight: Tensor, knobs: "NormalisedSquaredErrorConfig"
) -> Tensor:
    """Returns the squared distance between a query's row of logits and that of its targets, as directions.

    ```
    row of the query     targets: logit - self_score      candidates: logit      (all else: not seen)
    row of its targets   targets: 1                        candidates: 0
    loss                 |row / |row| - targets / |targets||² = 2 - 2 · cosine
    ```

    Where the history that made the query holds the targets themselves, each of them says `self_score` of
    itself: taken away, what is left is what the others say of it, and the model does not learn to repeat.

    Args:
        logits: See `Logits`; a candidate stands for as many items as it was drawn too seldom, so that any
            sampler estimates the length of the row over the whole catalog.
        weight: (n_targets,) float32 ≥ 0; a query counts by the sum of its targets' weights, a target of
            weight 0 is none.
        knobs: See `NormalisedSquaredErrorConfig`.

    Returns:
        Weighted mean over queries, scalar, between 0 and 4; a row of zeros costs 1.

    Source:
        Vančura et al. 2022, RecSys, "Scalable Linear Shallow Autoencoder for Collaborative Filtering"
        (ELSA). Differs from the paper: summed over items instead of averaged, and candidates may be sampled.

    Example:
        >>> one = torch.ones(1)
        >>> logits = Logits(2 * one, torch.zeros(1, 3), torch.tensor([0]), 0 * one, torch.zeros(3), one, one)
        >>> knobs = NormalisedSquaredErrorConfig(self_score=1.0)
        >>> normalised_squared_error_loss(logits, one, knobs).item()  # all of the row is the target
        0.0
    """
    n_rows, row = len(logits.negatives), logits.target_row
    is_target = (weight > 0).to(weight.dtype)
    positive = (logits.positive - knobs.self_score) * is_target
    others = logits.negatives.masked_fill(logits.negatives == -torch.inf, 0.0)  # (batch, n_candidates)
    sums = torch.stack([positive, positive.square(), is_target, weight], dim=1)
    total, square, n_targets, weight_of_row = sums.new_zeros(n_rows, 4).index_add(0, row, sums).unbind(dim=1)
    # Each candidate stands for 1 / expected draws items.
    square = square + (others.square() * torch.exp(-logits.log_q_negatives)).sum(dim=1)
    is_zero = square <= _TINY
    # The root has an infinite gradient at 0.
    length = torch.sqrt(square.masked_fill(is_zero, 1.0) * n_targets.clamp_min(1.0))
    distance = (2 - 2 * total / length).clamp_min(0.0)
    return weighted_mean(torch.where(is_zero, 1.0, distance), weight_of_row)


@dataclass(kw_only=True)
class NormalisedSquaredErrorConfig(LossConfig):
    """Knobs of `normalised_squared_error_loss`.

    Attributes:
        self_score: Score that an item of the history adds to its own logit; 1 for vectors of length 1.
    """

    loss = staticmethod(normalised_squared_error_loss)
    self_score: float = 1.0

    def validate(self) -> None:
        """Raises ConfigError if an item would be said to speak against itself."""
        if self.self_score < 0:
            raise ConfigError(f"self_score must be 0 or more, got {self.self_score} (config loss.self_score)")
