"""Pooling of the item vectors of a history into one: a sum, or learned weights by kind, place and content.

The transformer, which pools them in order, is in `transformer`.
"""

from enum import StrEnum

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marquee.nn.bags import sum_rows


class HistoryPooling(StrEnum):
    """How past items become one vector."""

    sum = "sum"
    mean = "mean"
    recency = "recency"
    attention = "attention"
    transformer = "transformer"


class HistoryEncoder(nn.Module):
    """Pools the vectors of past items into one, by learned weights that sum to 1.

    ```
    log-weight of a past event =  its kind                      (always: a disliked film may count less)
                               +  its place counted from now    (recency, attention)
                               +  what the item itself is       (attention)
    ```

    Args:
        pooling: `mean`, `recency` or `attention`.
        dim: Length of the vectors.
        n_kinds: Rows of `EventKinds`.
        history_length: Longest history.
    """

    def __init__(self, pooling: HistoryPooling, dim: int, n_kinds: int, history_length: int) -> None:
        super().__init__()
        self.length = history_length
        self.kind_weight = nn.Parameter(torch.zeros(n_kinds + 1))
        self.kind_shift = nn.Embedding(n_kinds + 1, dim, padding_idx=0)
        # Zeros here and below, and a projection that is the identity: training starts from a plain mean.
        nn.init.zeros_(self.kind_shift.weight)
        by_place = pooling is not HistoryPooling.mean
        self.place_weight = nn.Parameter(torch.zeros(history_length)) if by_place else None
        self.content = None
        if pooling is HistoryPooling.attention:
            last = nn.Linear(dim, 1, bias=False)
            nn.init.zeros_(last.weight)
            self.content = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), last)
        self.project = nn.Linear(dim, dim, bias=False)
        nn.init.eye_(self.project.weight)

    def forward(self, vectors: Tensor, kinds: Tensor) -> Tensor:
        """Returns the pooled history.

        Args:
            vectors: Item embeddings without bias, (batch, length, dim) float32.
            kinds: (batch, length) int64, 0 = padding.

        Returns:
            (batch, dim) float32; zeros for an empty history.
        """
        # A column of padding in front keeps the sums below defined for a history of length 0.
        kinds = F.pad(kinds, (1, 0))  # (batch, 1 + length)
        vectors = F.pad(vectors, (0, 0, 1, 0))  # (batch, 1 + length, dim)
        content = None if self.content is None else self.content(vectors)[:, :, 0]
        weights = self.weights(kinds, content)  # (batch, 1 + length)
        pooled = (weights[:, None, :] @ vectors)[:, 0]  # (batch, dim)
        shift = (weights[:, :, None] * self.kind_shift(kinds)).sum(dim=1)  # (batch, dim)
        projected: Tensor = self.project(pooled + shift)
        return projected

    def pool(self, table: Tensor, place: Tensor, kinds: Tensor) -> Tensor:
        """Pools as `forward` does on `table[place]`, without ever making that array.

        Args:
            table: Embeddings of the distinct items of a batch, without bias, (n_distinct, dim) float32.
            place: Row of `table` of each past event, (batch, length) int64.
            kinds: (batch, length) int64, 0 = padding.
        """
        content = None if self.content is None else _entries(self.content(table)[:, 0], place)
        weights = self.weights(kinds, content)
        mask = kinds > 0
        event = mask.reshape(-1).nonzero()[:, 0]  # (n_events,): padding costs nothing from here on
        place, weight = (values.reshape(-1).index_select(0, event) for values in (place, weights))
        pooled = sum_rows(table, place, weight, mask.sum(dim=1))  # (batch, dim)
        # A kind shifts all of its events alike: their weights are summed first, to (batch, n_kinds + 1).
        of_kind = weights.new_zeros(len(kinds), len(self.kind_weight)).scatter_add(1, kinds, weights)
        shift = of_kind @ self.kind_shift.weight
        projected: Tensor = self.project(pooled + shift)
        return projected

    def weights(self, kinds: Tensor, content: Tensor | None) -> Tensor:
        """Returns the weight of each past event, (batch, length) float32; each row sums to 1, or is 0."""
        mask = (kinds > 0).to(self.kind_weight.dtype)
        log_weight = _entries(self.kind_weight, kinds)
        if self.place_weight is not None:
            age = torch.arange(kinds.shape[1] - 1, -1, -1, device=kinds.device)  # 0 = latest
            log_weight = log_weight + self.place_weight[age.clamp_max(self.length - 1)]
        if content is not None:
            log_weight = log_weight + content
        peak = log_weight.masked_fill(mask == 0, -torch.inf).amax(dim=1, keepdim=True)  # (batch, 1)
        # Padding alone has no peak. The peak cancels out of the quotient below and needs no gradient.
        peak = torch.where(torch.isfinite(peak), peak, torch.zeros_like(peak)).detach()
        # Padding may lie above the peak, and would overflow before the mask makes it 0.
        weight = torch.exp((log_weight - peak).clamp_max(0.0)) * mask
        return weight / weight.sum(dim=1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)


class HistorySum(nn.Module):
    """Adds the vectors of past items up: the smallest encoder of a history, without a parameter.

    Source:
        Vančura et al. 2022, RecSys, "Scalable Linear Shallow Autoencoder for Collaborative Filtering".
    """

    def forward(self, vectors: Tensor, kinds: Tensor) -> Tensor:
        """Returns the sum, (batch, dim) float32; arguments as of `HistoryEncoder.forward`."""
        mask = (kinds > 0).to(vectors.dtype)
        total: Tensor = (vectors * mask[:, :, None]).sum(dim=1)  # (batch, dim)
        return total

    def pool(self, table: Tensor, place: Tensor, kinds: Tensor) -> Tensor:
        """Pools as `forward` does on `table[place]`; arguments as of `HistoryEncoder.pool`."""
        mask = kinds > 0
        index = place[mask]
        return sum_rows(table, index, table.new_ones(len(index)), mask.sum(dim=1))


def _entries(values: Tensor, index: Tensor) -> Tensor:
    """Returns `values[index]`, in the shape of `index`; its gradient is much faster than that of indexing."""
    return values.index_select(0, index.reshape(-1)).view(index.shape)
