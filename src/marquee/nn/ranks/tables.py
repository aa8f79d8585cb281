"""The tables of learned rows, whole or in parts: one interface for a model that does not know which.

A table that is larger than a device is parted by rows among the ranks (`files.own_rows`), its optimizer's
state beside it. A step asks the owners for the distinct rows of its batch, and sends them the gradients: what
travels follows the batch, not the table. Once trained, the rows are read out of files.
"""

import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from marquee.errors import DataError
from marquee.nn.autograd import Context
from marquee.nn.bags import distinct_rows, sum_rows
from marquee.nn.ranks.files import RowFiles, own_rows
from marquee.nn.ranks.group import ALONE, Ranks

# Elements drawn at a time: torch draws normal numbers by 16, so that blocks must be a multiple of it.
DRAWN, UNIT = 1 << 20, 16


class WholeTable(nn.Embedding):
    """A table of which this process holds every row; row 0 is padding."""

    def sum_rows(self, index: Tensor, weight: Tensor, sizes: Tensor) -> Tensor:
        """Returns weighted sums of rows; see `bags.sum_rows`."""
        return sum_rows(self.weight, index, weight, sizes, is_sparse=True)

    def log_mean_exp(self, unit: float) -> Tensor:
        """Returns `unit` times the log of the mean of exp(row / unit), without row 0, (dim,)."""
        of_rows = self.weight[1:]
        return unit * (torch.logsumexp(of_rows / unit, dim=0) - math.log(len(of_rows)))

    def subtract_(self, common: Tensor) -> None:
        """Takes `common`, (dim,), from every row but padding."""
        self.weight[1:].sub_(common)


@dataclass(frozen=True)
class _Plan:
    """Who asks whom for which rows.

    Attributes:
        place: Of each entry of the index among the rows that come, in its shape.
        n_asked: Rows asked of each rank.
        n_wanted: Rows that each rank wants of this one.
        wanted: These rows, as places in this rank's part.
    """

    place: Tensor
    n_asked: list[int]
    n_wanted: list[int]
    wanted: Tensor


@dataclass
class Router:
    """Finds the owners of rows; tables that are asked for the same rows share the answer.

    Attributes:
        ranks: Who holds rows.
    """

    ranks: Ranks
    _asked: Tensor | None = None
    _plan: _Plan | None = None

    def plan(self, index: Tensor) -> _Plan:
        """Returns who asks whom for the rows of an index; all ranks must ask, table by table."""
        # By identity: the same batch's very index, which nobody writes into.
        if self._plan is None or self._asked is not index:
            self._asked, self._plan = index, self._found(index)
        return self._plan

    def _found(self, index: Tensor) -> _Plan:
        """See `plan`."""
        size = self.ranks.size
        distinct, place = torch.unique(index, return_inverse=True)
        owner = distinct % size
        order = torch.argsort(owner, stable=True)
        n_asked = torch.bincount(owner, minlength=size)  # (size,)
        asked_of = [counts.tolist() for counts in self.ranks.gather(n_asked)]  # rank → rank → rows
        n_wanted = [counts[self.ranks.rank] for counts in asked_of]
        wanted = self.ranks.exchange(distinct[order] // size, asked_of[self.ranks.rank], n_wanted)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return _Plan(back[place], asked_of[self.ranks.rank], n_wanted, wanted)


class ShardedTable(nn.Module):
    """A table of which each rank holds every `size`-th row; row 0, on rank 0, is padding.

    Args:
        rows: This rank's rows, (n, dim) float32.
        n_rows: Of the whole table.
        router: Of the ranks.
    """

    def __init__(self, rows: Tensor, n_rows: int, router: Router) -> None:
        super().__init__()
        self.weight = nn.Parameter(rows)
        self.n_rows = n_rows
        self.router = router

    def forward(self, index: Tensor) -> Tensor:
        """Returns rows by their places in the whole table, in the shape of the index; a collective call."""
        plan = self.router.plan(index)
        return F.embedding(plan.place, self._fetched(plan))

    def sum_rows(self, index: Tensor, weight: Tensor, sizes: Tensor) -> Tensor:
        """Returns weighted sums of rows; see `bags.sum_rows`."""
        plan = self.router.plan(index)
        return sum_rows(self._fetched(plan), plan.place, weight, sizes)

    def log_mean_exp(self, unit: float) -> Tensor:
        """See `WholeTable`; a collective call."""
        of_rank = torch.logsumexp(self._without_padding() / unit, dim=0)
        of_all = torch.logsumexp(torch.stack(self.router.ranks.gather(of_rank)), dim=0)
        return unit * (of_all - math.log(self.n_rows - 1))

    def subtract_(self, common: Tensor) -> None:
        """See `WholeTable`."""
        self._without_padding().sub_(common)

    def _without_padding(self) -> Tensor:
        return self.weight[1:] if self.router.ranks.is_first else self.weight

    def _fetched(self, plan: _Plan) -> Tensor:
        """Returns the distinct rows of a plan, out of all parts."""
        fetched: Tensor = _Fetch.apply(self.weight, plan, self.router.ranks)  # type: ignore[no-untyped-call] # torch's own
        return fetched


class _FetchContext(Context, Protocol):
    """Facts that `_Fetch` keeps beside tensors."""

    plan: _Plan
    ranks: Ranks


class _Fetch(torch.autograd.Function):
    """Rows travel from their owners on the way forward, gradients to their owners on the way back."""

    @staticmethod
    def forward(ctx: _FetchContext, weight: Tensor, plan: _Plan, ranks: Ranks) -> Tensor:
        """Returns the rows that this rank has asked for, (n_distinct, dim) float32."""
        ctx.save_for_backward(weight)
        ctx.plan, ctx.ranks = plan, ranks
        return ranks.exchange(weight.index_select(0, plan.wanted), plan.n_wanted, plan.n_asked)

    @staticmethod
    @once_differentiable
    def backward(ctx: _FetchContext, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the sparse gradient of this rank's part: the sum of those of all ranks, in their order."""
        (weight,), plan = ctx.saved_tensors, ctx.plan
        of_wanted = ctx.ranks.exchange(gradient, plan.n_asked, plan.n_wanted)
        rows, place = distinct_rows(plan.wanted, len(weight))
        values = of_wanted.new_zeros((len(rows), weight.shape[1])).index_add_(0, place, of_wanted)
        if ctx.ranks.is_first and len(rows) and rows[0] == 0:
            # Padding gets no gradient.
            rows, values = rows[1:], values[1:]
        of_weight = torch.sparse_coo_tensor(
            rows[None], values, weight.shape, is_coalesced=True, check_invariants=False
        )
        return of_weight, None, None


class MappedTable(nn.Module):
    """A trained table that stays in its files; it ranks and exports, and cannot be trained.

    Args:
        files: Where its rows lie.
    """

    def __init__(self, files: RowFiles) -> None:
        super().__init__()
        self.files = files

    def forward(self, index: Tensor) -> Tensor:
        """Returns rows by their places, in the shape of the index."""
        distinct, place = torch.unique(index, return_inverse=True)
        return F.embedding(place, self._read(distinct))

    def sum_rows(self, index: Tensor, weight: Tensor, sizes: Tensor) -> Tensor:
        """Returns weighted sums of rows; see `bags.sum_rows`."""
        distinct, place = torch.unique(index, return_inverse=True)
        return sum_rows(self._read(distinct), place, weight, sizes)

    def log_mean_exp(self, unit: float) -> Tensor:
        """Raises TypeError: nothing of a mapped table is trained."""
        raise TypeError(f"expected a table in training, got {self.files.stem} mapped with unit {unit}")

    def subtract_(self, common: Tensor) -> None:
        """Raises TypeError: nothing of a mapped table is trained."""
        raise TypeError(f"expected a table in training, got {self.files.stem} mapped for {common.shape}")

    @property
    def weight(self) -> Tensor:
        """All rows, mapped: copied from file to file in blocks, (n_rows, dim) float32."""
        # Without a name: its room is free once nobody holds the array.
        with tempfile.TemporaryFile() as file:
            dim = self.files.take(np.zeros(1, dtype=np.int64)).shape[1]
            rows = np.memmap(file, dtype=np.float32, mode="w+", shape=(self.files.n_rows, dim))
        for start, block in self.files.blocks():
            rows[start : start + len(block)] = block
        return torch.from_numpy(rows)

    def _read(self, rows: Tensor) -> Tensor:
        """Returns rows on the device that asks."""
        return torch.from_numpy(self.files.take(rows.cpu().numpy())).to(rows.device)


IdTable = WholeTable | ShardedTable | MappedTable


@dataclass(frozen=True)
class Tables:
    """How the tables of a model are held.

    Attributes:
        ranks: Who trains together.
        is_sharded: Whether each rank holds a part of every table.
        mapped: Trained tables that stay in files, by name.
    """

    ranks: Ranks = ALONE
    is_sharded: bool = False
    mapped: Mapping[str, RowFiles] = field(default_factory=dict)
    _router: list[Router] = field(default_factory=list)

    def build(self, name: str, n_rows: int, dim: int, std: float | None = None) -> IdTable:
        """Returns a table of random rows whose row 0 is zero and stays so, or a mapped one.

        The same seed gives the same rows, whole or in parts.

        Args:
            name: Of the table in the model.
            n_rows: With row 0.
            dim: Length of a row.
            std: Of the random numbers; None for rows of a length of about 1.

        Raises:
            DataError: If the files hold another number of rows.
        """
        if files := self.mapped.get(name):
            if files.n_rows != n_rows:
                raise DataError(
                    f"{files.stem} holds {files.n_rows} rows, expected {n_rows}; put back the data that it "
                    "was trained on, or train again"
                )
            return MappedTable(files)
        std = dim**-0.5 if std is None else std
        if self.is_sharded:
            if not self._router:
                self._router.append(Router(self.ranks))
            return ShardedTable(_drawn_part(n_rows, dim, std, self.ranks), n_rows, self._router[0])
        table = WholeTable(n_rows, dim, padding_idx=0, sparse=True)
        nn.init.normal_(table.weight, std=std)
        with torch.no_grad():
            table.weight[0] = 0.0
        return table


def _drawn_part(n_rows: int, dim: int, std: float, ranks: Ranks) -> Tensor:
    """Returns a rank's rows of the table that one process would draw, without ever holding that table."""
    for _ in _drawn(n_rows, dim, 1.0):
        # An embedding draws its rows once before they are drawn again.
        pass
    part = torch.empty(len(own_rows(n_rows, ranks.rank, ranks.size)), dim)
    n_kept = 0
    for start, block in _drawn(n_rows, dim, std):
        mine = block[(ranks.rank - start) % ranks.size :: ranks.size]
        part[n_kept : n_kept + len(mine)] = mine
        n_kept += len(mine)
    if ranks.is_first:
        part[0] = 0.0
    return part


def _drawn(n_rows: int, dim: int, std: float) -> Iterator[tuple[int, Tensor]]:
    """Yields random rows in blocks, each with its first row: the numbers that one large draw would give."""
    at_a_time = max(DRAWN // dim // UNIT, 1) * UNIT
    starts = list(range(0, n_rows, at_a_time))
    # A block of fewer numbers than torch draws together would be drawn another way.
    if len(starts) > 1 and (n_rows - starts[-1]) * dim < UNIT:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], n_rows], strict=True):
        yield start, torch.empty(end - start, dim).normal_(std=std)
