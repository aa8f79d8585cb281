"""Shared by all losses: one signature, one base for their configs, two sums that stay finite.

A knob is declared once, as a field of the config beside the loss. The loss takes that config as `knobs`, and
`LossConfig.build` binds the two.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from marquee.errors import ConfigError
from marquee.nn.autograd import Context
from marquee.nn.logits import Logits

LOG2_E = math.log2(math.e)


class Loss(Protocol):
    """Returns the loss of one batch, a scalar, from logits and the weight of each target."""

    def __call__(self, logits: Logits, weight: Tensor) -> Tensor: ...  # noqa: D102 - the class says it


@dataclass(kw_only=True)
class LossConfig:
    """Base of the loss configs: the group `loss` holds one file per subclass.

    Attributes:
        loss: Function of logits, weight and knobs, the knobs being the subclass itself.
        compares_pairs: Whether it holds a number for every pair of target and candidate, which is too many
            where the candidates are the whole catalog.
    """

    loss: ClassVar[Callable[..., Tensor]]
    compares_pairs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a knob is out of range."""

    @property
    def odds_unit(self) -> float:
        """The difference of two scores that multiplies the odds between their items by e."""
        return 1.0

    def build(self) -> Loss:
        """Binds the loss to these knobs."""
        return partial(type(self).loss, knobs=self)


@dataclass(kw_only=True)
class TemperedLossConfig(LossConfig):
    """Base of the configs of losses that divide scores by a temperature.

    Attributes:
        temperature: Divides all logits, before any correction. Cosines need one well below 1.
    """

    temperature: float = 0.2

    def validate(self) -> None:
        """Raises ConfigError if the temperature is not positive."""
        validate_positive(temperature=self.temperature)

    @property
    def odds_unit(self) -> float:
        """The temperature; see `LossConfig.odds_unit`."""
        return self.temperature


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Returns the mean of `values` by `weight`, (n,) each, as a scalar; 0 if all weights are 0."""
    return (values * weight).sum() / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)


def log_sum_exp(logits: Tensor) -> Tensor:
    """Returns the log of the sum of exponentials of each row of (batch, n_candidates), (batch,) float32.

    Trap: torch's own has no gradient but NaN for a row that is -inf throughout.
    test_row_without_candidate_has_finite_gradient. It is also the dearest step of a softmax on a CPU: powers
    of 2 cost a third of those of e, and each pass over the logits counts.
    """
    summed: Tensor = _LogSumExp.apply(logits)  # type: ignore[no-untyped-call] # torch's own
    return summed


class _LogSumExp(torch.autograd.Function):
    """The log of a sum of exponentials, whose gradient is a softmax."""

    @staticmethod
    def forward(ctx: Context, logits: Tensor) -> Tensor:
        """Returns (batch,); -inf for a row without candidate."""
        peak = logits.amax(dim=1, keepdim=True)
        peak = torch.where(peak == -torch.inf, 0.0, peak)
        powers = (logits - peak).mul_(LOG2_E).exp2_()
        sums = powers.sum(dim=1)
        ctx.save_for_backward(powers, sums)
        return peak[:, 0] + sums.log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: Tensor) -> Tensor:
        """Returns the softmax of each row times its gradient, (batch, n_candidates)."""
        powers, sums = ctx.saved_tensors
        scale = torch.where(sums > 0, gradient / sums, 0.0)  # nothing moves a row without candidate
        return powers * scale[:, None]


def validate_positive(**knobs: float) -> None:
    """Raises ConfigError unless every knob of a loss is above 0."""
    for name, value in knobs.items():
        if not value > 0:
            raise ConfigError(f"{name} must be above 0, got {value} (config loss.{name})")
