"""From the vectors of a batch to its loss, without the logits of the whole batch ever standing in memory.

Queries do not meet in a loss: each has its targets and the candidates. So the loss of a batch is that of
its blocks, weighed by their share, and so is the gradient. A block is small enough to stay in the
processor's cache from the product that makes it to the two that take its gradient back.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from marquee.nn.autograd import Context
from marquee.nn.logits import Logits
from marquee.nn.negatives import Negatives

# Logits of a block: a few megabytes on a CPU; on other devices as much as one product should have to do.
CPU_BLOCK = 1 << 20
DEVICE_BLOCK = 1 << 27


@dataclass(frozen=True, slots=True)
class EmbeddedBatch:
    """Queries, targets and candidates of a training batch as vectors, with all that a loss may want to know.

    Attributes:
        queries: (batch, out_dim) float32.
        targets: Embedding of each target, (n_targets, out_dim) float32.
        candidates: Embedding of each candidate, (n_candidates, out_dim) float32.
        target_item: item_index of each target, (n_targets,) int64.
        target_row: Row of the query that each target belongs to, (n_targets,) int64.
        negatives: The candidates, and how often each was to be expected.
    """

    queries: Tensor
    targets: Tensor
    candidates: Tensor
    target_item: Tensor
    target_row: Tensor
    negatives: Negatives

    def logits(self) -> Logits:
        """Returns the inner products; a candidate that is a target of the same query is masked.

        Such a candidate is an accidental hit: it would be drawn up as a target and pushed down as another's.
        """
        others = (self.queries @ self.candidates.T).float()  # (batch, n_candidates), also of half precision
        others[self._accidental_hits()] = -torch.inf
        return Logits(
            positive=(self.queries.index_select(0, self.target_row) * self.targets).sum(dim=1),
            negatives=others,
            target_row=self.target_row,
            log_q_positive=self.negatives.log_q_target,
            log_q_negatives=self.negatives.log_q,
            count_positive=self.negatives.count_target,
            count_negatives=self.negatives.count,
        )

    def _accidental_hits(self) -> tuple[Tensor, Tensor]:
        """Returns row and column of each candidate that is a target of the same query, (n_hits,) int64 each.

        Found by search among the sorted candidates: a table of all pairs would be as large as the logits.
        """
        ordered, column = self.negatives.items.sort()  # (n_candidates,) each
        first = torch.searchsorted(ordered, self.target_item)
        n_hits = torch.searchsorted(ordered, self.target_item, right=True) - first
        start, total = n_hits.cumsum(0) - n_hits, int(n_hits.sum())
        hit = torch.arange(total, device=ordered.device)  # (n_hits,)
        row, offset = (
            torch.repeat_interleave(values, n_hits, output_size=total)
            for values in (self.target_row, first - start)
        )
        return row, column[offset + hit]

    def block(self, start: int, end: int, targets: Tensor) -> "EmbeddedBatch":
        """Returns the queries from `start` to `end` with their targets, (n,) int64, and all candidates."""
        negatives = self.negatives
        return EmbeddedBatch(
            self.queries[start:end],
            self.targets[targets],
            self.candidates,
            self.target_item[targets],
            self.target_row[targets] - start,
            Negatives(
                negatives.items,
                negatives.log_q,
                negatives.log_q_target[targets],
                negatives.count,
                negatives.count_target[targets],
            ),
        )


BatchLoss = Callable[[Logits, Tensor], Tensor]


def loss_in_blocks(
    embedded: EmbeddedBatch, weight: Tensor, loss: BatchLoss, block_logits: int | None = None
) -> Tensor:
    """Computes `loss` block by block; value and gradient are those of all logits at once.

    Args:
        embedded: The batch.
        weight: Of each target, (n_targets,) float32 ≥ 0.
        loss: A mean over targets by their weights, to which each query adds by itself.
        block_logits: Most logits of a block; None for what suits the device.

    Returns:
        Scalar float32.
    """
    if block_logits is None:
        block_logits = CPU_BLOCK if weight.device.type == "cpu" else DEVICE_BLOCK
    n_rows = max(1, block_logits // max(len(embedded.candidates), 1))
    if len(embedded.queries) <= n_rows:
        return loss(embedded.logits(), weight)
    summed: Tensor = _SumOverBlocks.apply(  # type: ignore[no-untyped-call] # torch's own
        embedded.queries, embedded.targets, embedded.candidates, embedded, weight, loss, n_rows
    )
    return summed


class _SumOverBlocks(torch.autograd.Function):
    """Computes loss and gradient block by block on the way forward: no block is ever computed twice."""

    @staticmethod
    def forward(
        ctx: Context,
        queries: Tensor,
        targets: Tensor,
        candidates: Tensor,
        embedded: EmbeddedBatch,
        weight: Tensor,
        loss: BatchLoss,
        n_rows: int,
    ) -> Tensor:
        """Returns the loss, scalar, and keeps its gradient."""
        by_query = torch.zeros_like(queries)
        by_target, by_candidate = torch.zeros_like(targets), torch.zeros_like(candidates)
        # of each target in the mean over the batch
        share = weight / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)
        total = share.new_zeros(())
        # Targets of one block must stand together, whatever their order in the batch.
        order = torch.argsort(embedded.target_row, stable=True)
        starts = range(0, len(queries), n_rows)
        ends = torch.searchsorted(
            embedded.target_row[order],
            torch.arange(n_rows, len(queries) + n_rows, n_rows, device=order.device),
        ).tolist()
        for start, first, last in zip(starts, [0, *ends], ends, strict=False):
            rows = order[first:last]
            part = embedded.block(start, start + n_rows, rows)
            # Cut off from the towers: each block's graph is freed before the next one begins.
            inputs = [tensor.detach().requires_grad_() for tensor in (part.queries, part.targets, candidates)]
            part = replace(part, queries=inputs[0], targets=inputs[1], candidates=inputs[2])
            with torch.enable_grad():
                value = loss(part.logits(), weight[rows]) * share[rows].sum()
            of_queries, of_targets, of_candidates = torch.autograd.grad(value, inputs)
            by_query[start : start + n_rows], by_target[rows] = of_queries, of_targets
            by_candidate += of_candidates
            total += value.detach()
        ctx.save_for_backward(by_query, by_target, by_candidate)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradient that was kept, times that of the loss."""
        return *(kept * gradient for kept in ctx.saved_tensors), None, None, None, None
