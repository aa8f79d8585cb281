"""Sums gradients over ranks: whole ones in one buffer, those of tables by the rows that somebody touched.

NCCL reduces no sparse gradients (pytorch/pytorch#22400), and one made whole would cost what the table holds.
So rows and values are gathered as bytes and added up by every rank alike, in the order of ranks: replicas
stay equal bit by bit, on NCCL and gloo. Does not step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from marquee.nn.bags import distinct_rows, touched_rows
from marquee.nn.ranks.group import Ranks


@dataclass(frozen=True)
class Shared:
    """The parameters of which every rank has a copy.

    Attributes:
        whole: With ordinary gradients.
        tables: With sparse gradients.
    """

    whole: tuple[nn.Parameter, ...]
    tables: tuple[nn.Parameter, ...]

    @classmethod
    def of(cls, model: nn.Module, parts: Sequence[nn.Parameter] = ()) -> "Shared":
        """Returns the parameters of a model but for `parts`, of which each rank holds rows of its own."""
        sparse = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse}
        own = {id(p) for p in parts}
        shared = [p for p in model.parameters() if id(p) not in own]
        return cls(
            tuple(p for p in shared if id(p) not in sparse), tuple(p for p in shared if id(p) in sparse)
        )


def sum_gradients(shared: Shared, loss: Tensor, ranks: Ranks) -> Tensor:
    """Puts the sum over ranks in place of each gradient; returns the sum of the losses, scalar.

    A parameter that no rank has a gradient of keeps none, as with one process.

    Args:
        shared: Parameters that all ranks have, in the same order.
        loss: This rank's share of the batch's loss, scalar.
        ranks: All of them.
    """
    total = _sum_whole(shared, loss, ranks)
    if shared.tables:
        _sum_tables(shared.tables, ranks)
    return total


def _sum_whole(shared: Shared, loss: Tensor, ranks: Ranks) -> Tensor:
    """Sums the ordinary gradients in one buffer, behind the loss and who has a gradient at all."""
    parameters = shared.whole
    device = loss.device
    has_one = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
    flat = [loss.detach().view(1).float(), has_one]
    flat += [(torch.zeros_like(p) if p.grad is None else p.grad).view(-1).float() for p in parameters]
    buffer = torch.cat(flat)
    ranks.sum_(buffer)
    n_with = buffer[1 : 1 + len(parameters)].tolist()
    at = 1 + len(parameters)
    for parameter, n in zip(parameters, n_with, strict=True):
        if n:
            parameter.grad = buffer[at : at + parameter.numel()].view_as(parameter).to(parameter.dtype)
        at += parameter.numel()
    return buffer[0]


def _sum_tables(tables: Sequence[nn.Parameter], ranks: Ranks) -> None:
    """Sums sparse gradients: the rows of all tables travel in one message."""
    own = [_rows_of(p) for p in tables]
    device = tables[0].device
    # -1: no gradient at all, which is more than one of no rows.
    sizes = torch.tensor([-1 if part is None else len(part[0]) for part in own], device=device)
    n_rows = [counts.tolist() for counts in ranks.gather(sizes)]  # rank → table → rows
    n_bytes = [_n_bytes(counts, tables) for counts in n_rows]
    message = torch.zeros(max(n_bytes), dtype=torch.uint8, device=device)
    _write(message, own)
    parts = [
        _read(bytes_, counts, tables) for bytes_, counts in zip(ranks.gather(message), n_rows, strict=True)
    ]
    for place, parameter in enumerate(tables):
        if all(counts[place] < 0 for counts in n_rows):
            continue
        parameter.grad = _added([part[place] for part in parts], parameter)


def _rows_of(parameter: nn.Parameter) -> tuple[Tensor, Tensor] | None:
    """Returns the distinct rows of a sparse gradient, ascending, and their values; None without one."""
    gradient = parameter.grad
    if gradient is None:
        return None
    assert gradient.is_sparse, f"expected a sparse gradient of {len(parameter)} rows, got a whole one"
    return touched_rows(gradient)


def _n_bytes(counts: Sequence[int], tables: Sequence[nn.Parameter]) -> int:
    """Returns how long a message of so many rows is: 8 bytes for a row's number, 4 for each of its values."""
    return sum(max(n, 0) * (8 + 4 * p[0].numel()) for n, p in zip(counts, tables, strict=True))


def _write(message: Tensor, own: Sequence[tuple[Tensor, Tensor] | None]) -> None:
    """Writes rows, then values, of each table into a message."""
    # Numbers of 8 bytes first, all of them: they must begin at a multiple of 8.
    written = [part[0] for part in own if part is not None]
    written += [part[1].float() for part in own if part is not None]
    at = 0
    for tensor in written:
        content = tensor.contiguous().view(-1).view(torch.uint8)
        message[at : at + len(content)] = content
        at += len(content)


def _read(
    message: Tensor, counts: Sequence[int], tables: Sequence[nn.Parameter]
) -> list[tuple[Tensor, Tensor]]:
    """Returns rows and values of each table out of one rank's message."""
    found = [max(n, 0) for n in counts]
    at = 8 * sum(found)
    rows = torch.split(message[:at].view(torch.int64), found)
    parts = []
    for n, of_table, parameter in zip(found, rows, tables, strict=True):
        end = at + 4 * n * parameter[0].numel()
        parts.append((of_table, message[at:end].view(torch.float32).view(n, *parameter.shape[1:])))
        at = end
    return parts


def _added(parts: Sequence[tuple[Tensor, Tensor]], parameter: nn.Parameter) -> Tensor:
    """Returns the sum of the ranks' rows as a sparse gradient, ascending and each row once."""
    index, place = distinct_rows(torch.cat([rows for rows, _ in parts]), len(parameter))
    values = torch.cat([values for _, values in parts])
    # In the order of ranks, on each of them: the sum has the same bits everywhere.
    summed = values.new_zeros((len(index), *values.shape[1:])).index_add_(0, place, values)
    return torch.sparse_coo_tensor(
        index[None], summed.to(parameter.dtype), parameter.shape, is_coalesced=True, check_invariants=False
    )
