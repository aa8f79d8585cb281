"""The moving average of a model's weights, at the cost of what each step touches.

A row that a step does not touch stays where it is while its average goes on moving towards it, by the same
factor in every step. So the average of a row is brought up to date only when the row is about to change, and
of all rows when somebody wants to see it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverages:
    """Exponential moving averages of all parameters of a model.

    After each step: average ← decay · average + (1 − decay) · weight. One more copy of the weights, and one
    number per row of a table with sparse gradients.

    Args:
        model: Whose weights are averaged; the averages begin at what they are now.
        decay: What an average keeps of itself in one step.

    Source:
        Polyak and Juditsky 1992, SIAM J. Control and Optimization 30(4), on averaging along the way. Differs
        from it: exponential weights, as usual since.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.n_steps = 0
        self.parameters = dict(model.named_parameters())
        self.averages = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.seen = {
            name: torch.zeros(p.shape[:1], dtype=torch.int64, device=p.device)
            for name, p in self.parameters.items()
        }

    @torch.no_grad()
    def before_step(self) -> None:
        """Takes note of what the coming step will change; to be called once gradients are there."""
        for name, p in self.parameters.items():
            if p.grad is not None:
                self._follow(name, p.grad._indices()[0] if p.grad.is_sparse else None)
        # Counted only now: rows were followed up to the step before.
        self.n_steps += 1

    @torch.no_grad()
    def catch_up(self) -> dict[str, Tensor]:
        """Returns the average of every parameter as it is after the latest step, by name, not copied."""
        for name in self.parameters:
            self._follow(name, None)
        return self.averages

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts the averages in place of the weights inside the block."""
        self.catch_up()
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def load(self, averages: dict[str, Tensor], n_steps: int) -> None:
        """Goes on from averages that `catch_up` returned after `n_steps` steps."""
        self.n_steps = n_steps
        for name, average in self.averages.items():
            average.copy_(averages[name])
            self.seen[name].fill_(n_steps)

    def _follow(self, name: str, rows: Tensor | None) -> None:
        """Moves the averages of `rows`, or of all, through the steps since they last moved."""
        weight: Tensor = self.parameters[name]
        average, seen = self.averages[name], self.seen[name]
        if rows is not None:
            weight, average, seen = weight[rows], average[rows], seen[rows]
        # of the average, over the steps since the row last moved
        kept = torch.pow(self.decay, (self.n_steps - seen).to(weight.dtype))
        moved = torch.lerp(weight, average, kept.view((*kept.shape, *[1] * (weight.dim() - 1))))
        if rows is None:
            self.averages[name].copy_(moved)
            self.seen[name].fill_(self.n_steps)
        else:
            self.averages[name][rows] = moved
            self.seen[name][rows] = self.n_steps

    def _swap(self) -> None:
        """Exchanges weights and averages, without moving a number."""
        for name, p in self.parameters.items():
            # Through `data`: autograd and the optimizer must not see the exchange.
            p.data, self.averages[name] = self.averages[name], p.data
