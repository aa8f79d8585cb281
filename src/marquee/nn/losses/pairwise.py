"""Losses of pairs: each target against each candidate of its query, one by one."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from marquee.nn.logits import Logits
from marquee.nn.losses.base import TemperedLossConfig, weighted_mean


def bpr_loss(logits: Logits, weight: Tensor, knobs: "BPRConfig") -> Tensor:
    """Returns how badly targets and candidates are told apart, pair by pair.

    The mean over a target's unmasked candidates of -log σ((positive - negative) / temperature).

    Args:
        logits: See `Logits`; the corrections are not used.
        weight: (n_targets,) float32 ≥ 0.
        knobs: See `BPRConfig`.

    Returns:
        Weighted mean over targets, scalar, in nats; a target without candidate counts as 0.

    Source:
        Rendle et al. 2009, UAI, "BPR: Bayesian Personalized Ranking from Implicit Feedback", section 4.
        Differs from the paper: many candidates per target, averaged; regularisation is the optimizer's.
    """
    negatives = logits.negatives[logits.target_row]  # (n_targets, n_candidates)
    mask = torch.isfinite(negatives)
    # Masked after as well as before: an infinite gap has no gradient but NaN.
    gap = logits.positive[:, None] - negatives.masked_fill(~mask, 0.0)
    pairs = F.softplus(-gap / knobs.temperature).masked_fill(~mask, 0.0)  # (n_targets, n_candidates)
    return weighted_mean(pairs.sum(dim=1) / mask.sum(dim=1).clamp_min(1), weight)


@dataclass(kw_only=True)
class BPRConfig(TemperedLossConfig):
    """Knobs of `bpr_loss`."""

    loss = staticmethod(bpr_loss)
    compares_pairs = True
    temperature: float = 1.0
