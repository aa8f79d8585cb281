"""Losses of points: targets are drawn up and candidates pushed down, each by itself."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from marquee.errors import ConfigError
from marquee.nn.logits import Logits
from marquee.nn.losses.base import LossConfig, TemperedLossConfig, validate_positive, weighted_mean


def cosine_contrastive_loss(logits: Logits, weight: Tensor, knobs: "CosineContrastiveConfig") -> Tensor:
    """Returns how far targets are from cosine 1, plus how far candidates are above a margin.

    Most candidates are easy and lie below the margin: they cost nothing and teach nothing, so that many of
    them do not drown the few hard ones.

    Args:
        logits: See `Logits`; cosines. The corrections are not used.
        weight: (n_targets,) float32 ≥ 0.
        knobs: See `CosineContrastiveConfig`.

    Returns:
        Weighted mean over targets, scalar; a target without candidate counts by itself.

    Source:
        Mao et al. 2021, CIKM, "SimpleX: A Simple and Strong Baseline for Collaborative Filtering", eq. 1.
        Differs from the paper: a score above 1, which an item's bias makes possible, costs nothing.
    """
    mask = torch.isfinite(logits.negatives)
    above = (logits.negatives.masked_fill(~mask, knobs.margin) - knobs.margin).clamp_min(0.0)
    pushed = above.sum(dim=1) / mask.sum(dim=1).clamp_min(1)  # (batch,)
    drawn = (1.0 - logits.positive).clamp_min(0.0)  # (n_targets,)
    return weighted_mean(drawn + knobs.negative_weight * pushed[logits.target_row], weight)


@dataclass(kw_only=True)
class CosineContrastiveConfig(LossConfig):
    """Knobs of `cosine_contrastive_loss`; needs a model with `normalise`.

    Attributes:
        margin: Cosine up to which a candidate costs nothing.
        negative_weight: Weight of the candidates' mean beside the target.
    """

    loss = staticmethod(cosine_contrastive_loss)
    margin: float = 0.6
    negative_weight: float = 150.0

    def validate(self) -> None:
        """Raises ConfigError if a knob is out of range."""
        if not -1 <= self.margin < 1:
            raise ConfigError(f"margin must be in [-1, 1), got {self.margin} (config loss.margin)")
        validate_positive(negative_weight=self.negative_weight)


def degree_weighted_loss(logits: Logits, weight: Tensor, knobs: "DegreeWeightedConfig") -> Tensor:
    """Returns the binary cross-entropy of targets and candidates, weighed by their degrees in the graph.

    With 1 / d_u · sqrt((d_u + 1) / (d_i + 1)) as weight of a pair, what minimises the loss is where an
    infinitely deep graph convolution would end, without any convolution.

    Args:
        logits: See `Logits`. The degree of an item is its count; that of a query is the sum of its targets'
            weights in the batch, which holds all of them where an example is a user.
        weight: (n_targets,) float32 ≥ 0.
        knobs: See `DegreeWeightedConfig`.

    Returns:
        Weighted mean over targets, scalar, in nats.

    Source:
        Mao et al. 2021, CIKM, "UltraGCN: Ultra Simplification of Graph Convolutional Networks for
        Recommendation", eq. 9 to 12. Differs from the paper: without the item-item part, and the
        candidates are averaged per target.
    """
    degree = weight.new_zeros(len(logits.negatives)).index_add(0, logits.target_row, weight)  # (batch,)
    of_query = torch.where(degree > 0, (degree + 1).sqrt() / degree.masked_fill(degree <= 0, 1.0), 0.0)
    of_target = of_query[logits.target_row] * (logits.count_positive + 1).rsqrt()
    drawn = (1 + knobs.degree_weight * of_target) * F.softplus(-logits.positive / knobs.temperature)
    mask = torch.isfinite(logits.negatives)
    of_candidates = of_query[:, None] * (logits.count_negatives + 1).rsqrt()  # (batch, n_candidates)
    each = (1 + knobs.degree_weight * of_candidates) * F.softplus(
        logits.negatives.masked_fill(~mask, 0.0) / knobs.temperature
    )
    pushed = each.masked_fill(~mask, 0.0).sum(dim=1) / mask.sum(dim=1).clamp_min(1)  # (batch,)
    return weighted_mean(drawn + knobs.negative_weight * pushed[logits.target_row], weight)


@dataclass(kw_only=True)
class DegreeWeightedConfig(TemperedLossConfig):
    """Knobs of `degree_weighted_loss`.

    Attributes:
        temperature: See `TemperedLossConfig`.
        negative_weight: Weight of the candidates' mean beside a query's targets.
        degree_weight: Weight of the degrees beside 1; 0 gives the plain binary cross-entropy.
    """

    loss = staticmethod(degree_weighted_loss)
    negative_weight: float = 300.0
    degree_weight: float = 1.0

    def validate(self) -> None:
        """Raises ConfigError if a knob is out of range."""
        super().validate()
        validate_positive(negative_weight=self.negative_weight)
        if self.degree_weight < 0:
            raise ConfigError(
                f"degree_weight must be 0 or more, got {self.degree_weight} (config loss.degree_weight)"
            )
