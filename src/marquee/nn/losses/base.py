"""What all losses share: one signature, one base for their configs, two sums that stay finite."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from marquee.errors import ConfigError
from marquee.nn.logits import Logits


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


def log_sum_exp(logits: Tensor) -> Tensor:
    """Returns the log of the sum of exponentials of each row of (batch, n_candidates), (batch,) float32.

    Trap: torch's own has no gradient but NaN for a row that is -inf throughout.
    test_row_without_candidate_has_finite_gradient.
    """
    is_empty = logits.detach().amax(dim=1) == -torch.inf
    sums = torch.logsumexp(logits.masked_fill(is_empty[:, None], 0.0), dim=1)
    return sums.masked_fill(is_empty, -torch.inf)


def validate_positive(**knobs: float) -> None:
    """Raises ConfigError unless every knob of a loss is above 0."""
    for name, value in knobs.items():
        if not value > 0:
            raise ConfigError(f"{name} must be above 0, got {value} (config loss.{name})")
