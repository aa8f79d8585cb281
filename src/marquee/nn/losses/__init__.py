"""Losses: functions of logits, masks, corrections and weights. They know no model and no sampler.

All share one signature. `negative_logits` has one row per query and one column per candidate; a query may
have several targets, which `target_row` assigns to its row: one row of logits then serves them all. A
masked candidate has the logit -inf. Losses never write into their arguments.
"""

from collections.abc import Mapping
from types import MappingProxyType

from marquee.nn.losses.autoencoding import (
    NormalisedSquaredErrorConfig,
    normalised_squared_error_loss,
)
from marquee.nn.losses.base import Loss, LossConfig, weighted_mean
from marquee.nn.losses.pairwise import BPRConfig, bpr_loss
from marquee.nn.losses.pointwise import (
    CosineContrastiveConfig,
    DegreeWeightedConfig,
    cosine_contrastive_loss,
    degree_weighted_loss,
)
from marquee.nn.losses.softmax import (
    BilateralSoftmaxConfig,
    SampledSoftmaxConfig,
    SoftmaxLossConfig,
    TopKSoftmaxConfig,
    bilateral_softmax_loss,
    sampled_softmax_loss,
    top_k_softmax_loss,
)

LOSSES: Mapping[str, type[LossConfig]] = MappingProxyType(
    {
        "sampled_softmax": SampledSoftmaxConfig,
        "bilateral_softmax": BilateralSoftmaxConfig,
        "top_k_softmax": TopKSoftmaxConfig,
        "normalised_squared_error": NormalisedSquaredErrorConfig,
        "bpr": BPRConfig,
        "cosine_contrastive": CosineContrastiveConfig,
        "degree_weighted": DegreeWeightedConfig,
    }
)
"""The losses by the name that a config chooses them by: the menu of training and the tests follow."""

__all__ = [
    "LOSSES",
    "BPRConfig",
    "BilateralSoftmaxConfig",
    "CosineContrastiveConfig",
    "DegreeWeightedConfig",
    "Loss",
    "LossConfig",
    "NormalisedSquaredErrorConfig",
    "SampledSoftmaxConfig",
    "SoftmaxLossConfig",
    "TopKSoftmaxConfig",
    "bilateral_softmax_loss",
    "bpr_loss",
    "cosine_contrastive_loss",
    "degree_weighted_loss",
    "normalised_squared_error_loss",
    "sampled_softmax_loss",
    "top_k_softmax_loss",
    "weighted_mean",
]
