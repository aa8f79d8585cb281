"""Optimizers whose step costs what the batch touches, not what the table holds.

A row of an embedding table has a gradient only if the batch used it. Both optimizers here update those
rows and their state alone; parameters with an ordinary gradient get the ordinary update. One optimizer
for all parameters keeps training loops, schedules and checkpoints simple.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any  # of torch's own groups of parameters

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from marquee.errors import ConfigError
from marquee.nn.bags import touched_rows

ROWS_AT_A_TIME = 1024
FUSED_ON = ("cpu", "cuda")


class LazyAdam(Optimizer):
    """Adam that leaves rows without gradient alone, moments included.

    Args:
        parameters: Parameters; those of `nn.Embedding(sparse=True)` are updated by row.
        learning_rate: Step size.
        betas: Decay of the first and second moment.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled decay per step, applied to touched rows only.

    Source:
        Kingma and Ba 2015, ICLR, algorithm 1; decoupled decay after Loshchilov and Hutter 2019, ICLR.
        Differs from the paper: the moments of a row decay only in steps that touch it.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            parameters, {"lr": learning_rate, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override] # torch overloads it
        """Updates the parameters once."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            whole: list[tuple[AdamTables, Tensor, int]] = []
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    # One count for all rows: they share the correction of the moments' start.
                    state["step"] = 0
                    state["exp_avg"] = torch.zeros_like(p)
                    state["exp_avg_sq"] = torch.zeros_like(p)
                state["step"] += 1
                rows, gradient = touched_rows(p.grad) if p.grad.is_sparse else (None, p.grad)
                tables = (p, state["exp_avg"], state["exp_avg_sq"])
                if rows is None:
                    whole.append((tables, gradient, state["step"]))
                # Picking rows costs more than a pass over a table most of which is touched.
                elif 2 * len(rows) > len(p):
                    _adam_on_most_rows(tables, rows, gradient, state["step"], group)
                else:
                    _adam_on_rows(tables, rows, gradient, state["step"], group)
            _adam(whole, group)
        return loss


AdamTables = tuple[Tensor, Tensor, Tensor]  # parameter, first and second moment


def _adam(updates: Sequence[tuple[AdamTables, Tensor, int]], group: dict[str, Any]) -> None:
    """Takes one step of Adam on whole tensors in place, in one pass where the device has one for it.

    Args:
        updates: Tables, the gradient of the parameter and the number of its step, from 1; on one device.
        group: Learning rate and what else they share.
    """
    if not updates:
        return
    tables, gradients, steps = zip(*updates, strict=True)
    parameters, first, second = (list(part) for part in zip(*tables, strict=True))
    device = parameters[0].device
    if len(set(steps)) == 1:  # a number that need not travel to the device
        taken = torch.full((len(steps),), float(steps[0] - 1), device=device)
    else:
        taken = torch.tensor(steps, dtype=torch.float32, device=device) - 1
    adamw(
        parameters,
        list(gradients),
        first,
        second,
        [],
        list(taken.unbind()),  # torch counts the step itself
        foreach=False,
        fused=device.type in FUSED_ON,
        amsgrad=False,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )


def _adam_on_rows(
    tables: AdamTables, rows: Tensor, gradient: Tensor, step: int, group: dict[str, Any]
) -> None:
    """Takes one step on some rows: on a CPU so many at a time that they stay in its cache."""
    at_a_time = ROWS_AT_A_TIME if rows.device.type == "cpu" else max(len(rows), 1)
    for some, part in zip(*(torch.split(tensor, at_a_time) for tensor in (rows, gradient)), strict=True):
        p, first, second = (table.index_select(0, some) for table in tables)
        _adam([((p, first, second), part, step)], group)
        for table, moved in zip(tables, (p, first, second), strict=True):
            table.index_copy_(0, some, moved)


def _adam_on_most_rows(
    tables: AdamTables, rows: Tensor, gradient: Tensor, step: int, group: dict[str, Any]
) -> None:
    """Takes one step on all rows and puts back the few that were not to be touched: cheaper than picking."""
    is_touched = torch.zeros(len(tables[0]), dtype=torch.bool, device=rows.device)
    is_touched.index_fill_(0, rows, True)
    untouched = (~is_touched).nonzero()[:, 0]
    before = [table.index_select(0, untouched) for table in tables]
    _adam([(tables, torch.zeros_like(tables[0]).index_copy_(0, rows, gradient), step)], group)
    for table, kept in zip(tables, before, strict=True):
        table.index_copy_(0, untouched, kept)


class RowwiseAdagrad(Optimizer):
    """Adagrad with one accumulator per row: a table's state is one column, not a second table.

    Args:
        parameters: Parameters; a one-dimensional one is treated as a table of one-element rows.
        learning_rate: Step size.
        eps: Added to the root of the accumulator.
        weight_decay: Decoupled decay per step, applied to touched rows only.

    Source:
        Duchi et al. 2011, JMLR 12; the accumulator holds the mean square of a row's gradient, after
        Gupta et al. 2014, "Training Highly Multiclass Classifiers", section on AdaGrad per embedding.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        learning_rate: float,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override] # torch overloads it
        """Updates the parameters once."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["sum"] = torch.zeros(p.shape[:1], dtype=p.dtype, device=p.device)
                rows, gradient = touched_rows(p.grad) if p.grad.is_sparse else (None, p.grad)
                by_row = gradient.reshape(gradient.shape[0], math.prod(gradient.shape[1:]))  # maybe no row
                mean_square = by_row.square().mean(dim=1)  # (n_rows,)
                accumulator = (state["sum"] if rows is None else state["sum"][rows]) + mean_square
                if rows is None:
                    state["sum"].copy_(accumulator)
                else:
                    state["sum"][rows] = accumulator
                scale = accumulator.sqrt().add_(group["eps"]).reshape(-1, *[1] * (gradient.dim() - 1))
                _descend(p, rows, gradient / scale, group["lr"], group["weight_decay"])
        return loss


def _evaluate(closure: Callable[[], float] | None) -> float | None:
    """Returns the closure's loss, computed with gradients, or None."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def _descend(p: Tensor, rows: Tensor | None, update: Tensor, learning_rate: float, decay: float) -> None:
    """Applies one step to `p` (its `rows`) in place."""
    if rows is None:
        p.mul_(1 - learning_rate * decay).sub_(update, alpha=learning_rate)
    elif decay:
        p[rows] = p[rows] * (1 - learning_rate * decay) - learning_rate * update
    else:
        p.index_add_(0, rows, update, alpha=-learning_rate)


@dataclass(kw_only=True)
class OptimizerConfig:
    """Base of the optimizer configs: the group `optimizer` holds one file per subclass.

    Attributes:
        learning_rate: Step size at its highest.
        weight_decay: Decoupled decay per step of what the step touches.
        cosine: Lower the rate to 0 along half a cosine; otherwise it stays.
        warmup_fraction: Part of the run over which the rate rises from 0.
    """

    learning_rate: float = 0.005
    weight_decay: float = 0.0
    cosine: bool = True
    warmup_fraction: float = 0.0

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a number is out of range."""
        if not self.learning_rate > 0:
            raise ConfigError(f"optimizer.learning_rate must be above 0, got {self.learning_rate}")
        if self.weight_decay < 0:
            raise ConfigError(f"optimizer.weight_decay must be 0 or more, got {self.weight_decay}")
        if not 0 <= self.warmup_fraction < 1:
            raise ConfigError(f"optimizer.warmup_fraction must be in [0, 1), got {self.warmup_fraction}")

    def build(self, parameters: Iterable[Tensor]) -> Optimizer:
        """Returns the optimizer of `parameters`."""
        raise NotImplementedError(f"{type(self).__name__} must define build")

    def rate(self, progress: float) -> float:
        """Returns the factor on `learning_rate` after the fraction `progress` of all steps.

        Example:
            >>> [round(LazyAdamConfig(warmup_fraction=0.5).rate(p), 2) for p in (0.0, 0.25, 0.5, 0.75, 1.0)]
            [0.0, 0.5, 1.0, 0.5, 0.0]
        """
        if progress < self.warmup_fraction:
            return progress / self.warmup_fraction
        if not self.cosine:
            return 1.0
        rest = (progress - self.warmup_fraction) / (1 - self.warmup_fraction)
        return 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))


@dataclass(kw_only=True)
class LazyAdamConfig(OptimizerConfig):
    """Knobs of `LazyAdam`."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def build(self, parameters: Iterable[Tensor]) -> Optimizer:
        """Returns the optimizer of `parameters`."""
        return LazyAdam(parameters, self.learning_rate, (self.beta1, self.beta2), self.eps, self.weight_decay)


@dataclass(kw_only=True)
class RowwiseAdagradConfig(OptimizerConfig):
    """Knobs of `RowwiseAdagrad`."""

    eps: float = 1e-8

    def build(self, parameters: Iterable[Tensor]) -> Optimizer:
        """Returns the optimizer of `parameters`."""
        return RowwiseAdagrad(parameters, self.learning_rate, self.eps, self.weight_decay)


OPTIMIZERS: Mapping[str, type[OptimizerConfig]] = MappingProxyType(
    {"lazy_adam": LazyAdamConfig, "rowwise_adagrad": RowwiseAdagradConfig}
)
"""The optimizers by the name that a config chooses them by."""
