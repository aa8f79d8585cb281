"""Losses: functions of logits, masks, corrections and weights. They know no model and no sampler.

All share one signature. `negative_logits` has one row per query and one column per candidate; a query may
have several targets, which `target_row` assigns to its row. A masked candidate has the logit -inf.
Losses never write into their arguments.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from marquee.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Logits:
    """What a loss sees.

    Attributes:
        positive: Logit of each target, (n_targets,) float32.
        negatives: Logits of the candidates, (batch, n_candidates) float32; -inf where a candidate is masked.
        target_row: Row of `negatives` that belongs to each target, (n_targets,) int64.
        log_q_positive: Log of the expected number of draws of each target, (n_targets,) float32.
        log_q_negatives: The same for each candidate, (n_candidates,) float32.
    """

    positive: Tensor
    negatives: Tensor
    target_row: Tensor
    log_q_positive: Tensor
    log_q_negatives: Tensor


class Loss(Protocol):
    """Returns the loss of one batch, a scalar, from logits and the weight of each target."""

    def __call__(self, logits: Logits, weight: Tensor) -> Tensor: ...  # noqa: D102 - the class says it


@dataclass(kw_only=True)
class LossConfig:
    """Base of the loss configs: the group `loss` holds one file per subclass."""

    def build(self) -> Loss:
        """Returns the loss."""
        raise NotImplementedError(f"{type(self).__name__} must define build")


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Returns the mean of `values` by `weight`, (n,) each, as a scalar; 0 if all weights are 0."""
    return (values * weight).sum() / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)


def _log_sum_exp(logits: Tensor) -> Tensor:
    """Returns the log of the sum of exponentials of each row of (batch, n_candidates), (batch,) float32.

    Trap: torch's own has no gradient but NaN for a row that is -inf throughout.
    test_row_without_candidate_has_finite_gradient.
    """
    is_empty = logits.detach().amax(dim=1) == -torch.inf
    sums = torch.logsumexp(logits.masked_fill(is_empty[:, None], 0.0), dim=1)
    return sums.masked_fill(is_empty, -torch.inf)


def sampled_softmax_loss(
    logits: Logits, weight: Tensor, *, temperature: float, log_q_correction: bool
) -> Tensor:
    """Returns the cross-entropy of each target against the candidates, corrected for how they were drawn.

    Without the correction an item is pushed down in proportion to how often it is drawn. Subtracting the
    log of the expected number of draws removes that: the loss is then that of the posterior "which of
    these is the target", whose maximum is the true conditional distribution for any number of candidates.

    Args:
        logits: See `Logits`.
        weight: (n_targets,) float32 ≥ 0; weight 0 equals removing the target.
        temperature: Divides all logits before the correction.
        log_q_correction: Whether to subtract `log_q_positive` and `log_q_negatives`.

    Returns:
        Weighted mean over targets, scalar, in nats.

    Source:
        Yi et al. 2019, RecSys, "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
        Recommendations", eq. 3 to 5. Differs from the paper: log_q comes from the sampler, not from a
        streaming estimate, and a query may have several targets, each against the same candidates.

    Example:
        >>> one, three = torch.zeros(1), torch.zeros(3)
        >>> even = Logits(one, three[None, :], torch.tensor([0]), one, three)
        >>> loss = sampled_softmax_loss(even, torch.ones(1), temperature=1.0, log_q_correction=True)
        >>> round(loss.exp().item(), 4)  # one target among four equal items
        4.0
    """
    positive = logits.positive / temperature
    negatives = logits.negatives / temperature
    if log_q_correction:
        positive = positive - logits.log_q_positive
        negatives = negatives - logits.log_q_negatives
    log_others = _log_sum_exp(negatives)[logits.target_row]  # (n_targets,)
    return weighted_mean(F.softplus(log_others - positive), weight)


@dataclass(kw_only=True)
class SampledSoftmaxConfig(LossConfig):
    """Knobs of `sampled_softmax_loss`.

    With `negatives=catalog` every item is a candidate and this is the full softmax.
    """

    temperature: float = 0.2
    log_q_correction: bool = True

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if the temperature is not positive."""
        if not self.temperature > 0:
            raise ConfigError(
                f"temperature must be above 0, got {self.temperature} (config loss.temperature)"
            )

    def build(self) -> Loss:
        """Returns the loss."""
        return lambda logits, weight: sampled_softmax_loss(
            logits, weight, temperature=self.temperature, log_q_correction=self.log_q_correction
        )


def bpr_loss(logits: Logits, weight: Tensor) -> Tensor:
    """Returns how badly targets and candidates are told apart, pair by pair.

    The mean over a target's unmasked candidates of -log σ(positive - negative).

    Args:
        logits: See `Logits`; the corrections are not used.
        weight: (n_targets,) float32 ≥ 0.

    Returns:
        Weighted mean over targets, scalar, in nats; a target without candidate counts as 0.

    Source:
        Rendle et al. 2009, UAI, "BPR: Bayesian Personalized Ranking from Implicit Feedback", section 4.
        Differs from the paper: many candidates per target, averaged; regularisation is the optimizer's.
    """
    negatives = logits.negatives[logits.target_row]  # (n_targets, n_candidates)
    mask = torch.isfinite(negatives)
    gap = logits.positive[:, None] - negatives.masked_fill(~mask, 0.0)
    pairs = F.softplus(-gap).masked_fill(~mask, 0.0)
    return weighted_mean(pairs.sum(dim=1) / mask.sum(dim=1).clamp_min(1), weight)


@dataclass(kw_only=True)
class BPRConfig(LossConfig):
    """`bpr_loss` has no knobs."""

    def build(self) -> Loss:
        """Returns the loss."""
        return bpr_loss
