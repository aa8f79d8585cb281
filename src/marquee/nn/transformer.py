"""A history as a causal transformer sees it: each event in the light of those before it.

The state behind an event says what should follow it, and is the same whether the history ends there or
goes on. So one pass over a history yields a query after each of its events (`pool_views`), and at serving the
state behind the latest event is the pooled history (`forward`).

In training the real events of all histories stand one after the other, without padding; only attention sees
them row by row. Padding costs nothing anywhere else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

# Histories whose attention is computed at once, as wide as the longest of them: on a CPU what fits its cache.
ROWS_TOGETHER = 16
DEVICE_ROWS_TOGETHER = 512
# Radians per event of the slowest pair of a rotated vector: a turn takes thousands of events.
SLOWEST_TURN = 1e-3
# Trap: cuDNN's makes a plan for each new shape, a tenth of a second each, and every batch has its own shape.
DEVICE_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]

Attend = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TransformerSizes:
    """How large a transformer is.

    Attributes:
        dim: Length of vectors.
        n_blocks: Layers of attention and feed-forward.
        n_heads: Parts of a vector that attend by themselves; they divide `dim`.
        expansion: Width of a feed-forward layer, in multiples of `dim`.
        dropout: Of the inputs, and of what each half of a block adds.
        rotary: Whether attention also sees how many events lie between two, in every block.
    """

    dim: int
    n_blocks: int
    n_heads: int
    expansion: int
    dropout: float
    rotary: bool = False


class Block(nn.Module):
    """Attention, then a feed-forward layer, each added to what it read.

    Args:
        sizes: See `TransformerSizes`.
    """

    def __init__(self, sizes: TransformerSizes) -> None:
        super().__init__()
        dim = sizes.dim
        self.norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, 3 * dim)
        self.join = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(sizes.dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, sizes.expansion * dim),
            nn.GELU(),
            nn.Linear(sizes.expansion * dim, dim),
            nn.Dropout(sizes.dropout),
        )

    def forward(self, vectors: Tensor, attend: Attend, last: int | None = None) -> Tensor:
        """Returns the next states.

        Args:
            vectors: (..., dim) float32.
            attend: From queries, keys and values side by side, (..., 3 · dim), to what each query found.
            last: How many of the latest states `attend` returns; None for all.

        Returns:
            (..., dim) float32.
        """
        attended = self.join(attend(self.project(self.norm(vectors))))
        kept = vectors if last is None else vectors[:, -last:]
        kept = kept + self.dropout(attended)
        states: Tensor = kept + self.feed_forward(kept)
        return states


@dataclass(frozen=True, slots=True)
class _Group:
    """Histories that stand in one array while they attend, padded to the longest of them.

    Attributes:
        n_rows: Histories.
        width: Events of the longest.
        slot: Of each event, row by row, (their events,) int64.
    """

    n_rows: int
    width: int
    slot: Tensor


class CausalTransformer(nn.Module):
    """Pools a history into the state behind its latest event.

    What enters is the vector of each item, the kind of each event and its place, counted from the oldest
    event that is known; a history longer than `history_length` counts its places from the end, and all that
    is older shares the first one.

    Args:
        sizes: See `TransformerSizes`.
        n_kinds: Rows of `EventKinds`.
        history_length: Longest history.

    Source:
        Kang and McAuley 2018, ICDM, "Self-Attentive Sequential Recommendation", section III. Differs from
        the paper: layer norm before each half of a block and once at the end, GELU, no dropout of attention
        weights (the fused operator has none on a CPU), events have kinds, places count from the oldest
        event, so that a history and its beginning share them, and an item's input is the very vector that
        it is scored by.
    """

    def __init__(self, sizes: TransformerSizes, n_kinds: int, history_length: int) -> None:
        super().__init__()
        self.length = history_length
        self.n_heads = sizes.n_heads
        self.turns = _turns(sizes.dim // sizes.n_heads) if sizes.rotary else None
        self.scale = sizes.dim**0.5
        self.place = nn.Parameter(torch.randn(history_length, sizes.dim) * sizes.dim**-0.5)
        self.kind = nn.Embedding(n_kinds + 1, sizes.dim, padding_idx=0)
        nn.init.zeros_(self.kind.weight)
        self.dropout = nn.Dropout(sizes.dropout)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.n_blocks))
        self.norm = nn.LayerNorm(sizes.dim)

    def forward(self, vectors: Tensor, kinds: Tensor) -> Tensor:
        """Returns the pooled history, as it is exported.

        Args:
            vectors: Item embeddings without bias, (batch, length, dim) float32.
            kinds: (batch, length) int64, 0 = padding, on the left.

        Returns:
            (batch, dim) float32; zeros for an empty history.
        """
        # A column of padding in front keeps what follows defined for a history of length 0.
        kinds = F.pad(kinds, (1, 0))  # (batch, 1 + length)
        vectors = F.pad(vectors, (0, 0, 1, 0))  # (batch, 1 + length, dim)
        mask = kinds > 0
        states = self._inputs(vectors, kinds, self._places(mask))  # (batch, 1 + length, dim)
        age = torch.arange(kinds.shape[1], device=kinds.device)
        is_self = age[:, None] == age[None, :]
        is_before = age[:, None] >= age[None, :]
        # Trap: a padded event that might look nowhere would look at infinity; it looks at itself.
        sees = is_before & (mask[:, None, :] | is_self)  # (batch, 1 + length, 1 + length)
        for block in list(self.blocks)[:-1]:
            states = block(states, partial(self._attend_padded, sees=sees))
        # Of the last block only the latest state is read: the others need not be computed.
        latest = self.blocks[-1](states, partial(self._attend_padded, sees=sees[:, -1:]), last=1)
        pooled: Tensor = self.norm(latest[:, -1]) * mask[:, -1:]
        return pooled

    def pool(self, table: Tensor, place: Tensor, kinds: Tensor) -> Tensor:
        """Pools as `forward` does on `table[place]`, without ever making that array.

        Args:
            table: Embeddings of the distinct items of a batch, without bias, (n_distinct, dim) float32.
            place: Row of `table` of each past event, (batch, length) int64.
            kinds: (batch, length) int64, 0 = padding, wherever it stands.
        """
        row = torch.arange(len(kinds), device=kinds.device)
        return self.pool_views(table, place, kinds, row, torch.full_like(row, kinds.shape[1]))

    def pool_views(self, table: Tensor, place: Tensor, kinds: Tensor, row: Tensor, end: Tensor) -> Tensor:
        """Returns the pooled history of each query, where several see parts of one history.

        Args:
            table: Embeddings of the distinct items of a batch, without bias, (n_distinct, dim) float32.
            place: Row of `table` of each past event, (n_histories, length) int64.
            kinds: (n_histories, length) int64, 0 = padding, wherever it stands.
            row: The history that each query sees, (batch,) int64.
            end: How many of its columns, from the left, (batch,) int64.

        Returns:
            (batch, dim) float32; zeros where nothing is seen.
        """
        order = (kinds > 0).sum(dim=1).argsort()  # attention takes histories of like length together
        place, kinds, row = place[order], kinds[order], order.argsort()[row]
        mask = kinds > 0
        known = F.pad(mask.cumsum(dim=1), (1, 0))  # (n_histories, 1 + length): events before each column
        n_events = known[:, -1]
        first = n_events.cumsum(0) - n_events  # of each history, among all events
        seen = known[row, end]  # (batch,): events that each query sees
        states = self._states(table, place, kinds, mask)
        # Behind nothing there is a state of zeros.
        states = torch.cat([states.new_zeros(1, states.shape[1]), states])
        return states.index_select(0, torch.where(seen > 0, first[row] + seen, 0))

    def _states(self, table: Tensor, place: Tensor, kinds: Tensor, mask: Tensor) -> Tensor:
        """Returns the state behind each real event, history by history, (n_events, dim).

        Args:
            table: As of `pool_views`.
            place: As of `pool_views`; histories by their number of events, ascending.
            kinds: As of `pool_views`, in the same order.
            mask: Where there is an event, (n_histories, length) bool.
        """
        event = mask.view(-1).nonzero()[:, 0]  # (n_events,)
        if not len(event):
            return table.new_zeros(0, table.shape[1])
        place, kinds, places = (
            values.reshape(-1).index_select(0, event) for values in (place, kinds, self._places(mask))
        )
        states = self._inputs(F.embedding(place, table), kinds, places)
        attend = partial(self._attend_packed, groups=_groups(mask.sum(dim=1)))
        for block in self.blocks:
            states = block(states, attend)
        normed: Tensor = self.norm(states)  # (n_events, dim)
        return normed

    def _places(self, mask: Tensor) -> Tensor:
        """Returns the place of each event among the known ones, (batch, length) int64; 0 for padding."""
        known = mask.long().cumsum(dim=1)
        beyond = (known[:, -1:] - self.length).clamp_min(0)
        return (known - 1 - beyond).clamp_min(0)

    def _inputs(self, vectors: Tensor, kinds: Tensor, places: Tensor) -> Tensor:
        """Returns the inputs of the first block, (..., dim), for item vectors, (..., dim), and kinds."""
        inputs: Tensor = self.dropout(
            vectors * self.scale + self.kind(kinds) + F.embedding(places, self.place)
        )
        return inputs

    def _attend_padded(self, projected: Tensor, sees: Tensor) -> Tensor:
        """Attends from the latest queries to their histories, (batch, n_queries, dim).

        Args:
            projected: Queries, keys and values, (batch, length, 3 · dim) float32.
            sees: Whether a query sees a key, (batch, n_queries, length) bool; of the latest `n_queries`.
        """
        batch, length, _ = projected.shape
        n_queries = sees.shape[1]
        query, key, value = self._heads(projected)
        query = query[:, :, length - n_queries :]  # (batch, n_heads, n_queries, head_dim)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=sees[:, None])
        return found.transpose(1, 2).reshape(batch, n_queries, -1)

    def _attend_packed(self, projected: Tensor, groups: Sequence[_Group]) -> Tensor:
        """Attends from each event to its history up to itself, (all events, dim).

        Args:
            projected: Queries, keys and values of all events, history by history, (all events, 3 · dim).
            groups: Of the histories, all of them.
        """
        parts = torch.split(projected, [len(group.slot) for group in groups])
        found = [self._attend_rows(part, group) for part, group in zip(parts, groups, strict=True)]
        return torch.cat(found)

    def _attend_rows(self, projected: Tensor, group: _Group) -> Tensor:
        """Attends from the events of a few histories to what came before each, (their events, dim).

        Each history begins in the first column of its row: no event looks ahead, and so none sees padding.
        """
        # Attention wants one rectangle per group; everything else works on packed events.
        rows = projected.new_zeros(group.n_rows * group.width, projected.shape[1])
        rows = rows.index_copy(0, group.slot, projected).view(group.n_rows, group.width, -1)
        if projected.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):  # half precision takes a CPU twice as long here
                query, key, value = self._heads(rows.float())
                found = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            with sdpa_kernel(DEVICE_ATTENTION):
                found = F.scaled_dot_product_attention(*self._heads(rows), is_causal=True)
        return found.transpose(1, 2).reshape(len(rows) * group.width, -1).index_select(0, group.slot)

    def _heads(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries, keys and values, (batch, n_heads, length, head_dim) each."""
        batch, length, width = projected.shape
        # (batch, length, 3, n_heads, head_dim)
        parts = projected.view(batch, length, 3, self.n_heads, width // (3 * self.n_heads))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (batch, n_heads, length, head_dim) each
        if self.turns is None:
            return query, key, value
        # By column: only how far two events are apart matters, and padding stands outside of a history.
        angle = torch.arange(length, device=projected.device)[:, None] * self.turns.to(projected.device)
        turned = angle.cos(), angle.sin()  # (length, head_dim / 2) each
        return _rotated(query, *turned), _rotated(key, *turned), value


def _turns(head_dim: int) -> Tensor:
    """Returns how far each pair of coordinates turns from one event to the next, (head_dim / 2,) radians."""
    n_pairs = head_dim // 2
    return SLOWEST_TURN ** (torch.arange(n_pairs) / n_pairs)


def _rotated(vectors: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the pairs of coordinates of each vector by its place, (..., length, head_dim).

    Args:
        vectors: (..., length, head_dim) float32; coordinate i is paired with i + head_dim / 2.
        cos: Of the angle of each place and pair, (length, head_dim / 2) float32.
        sin: The same of its sine.

    Source:
        Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", eq. 13 to 15.
    """
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def _groups(n_events: Tensor) -> list[_Group]:
    """Returns the groups of histories with so many events each, (n_histories,) int64, ascending.

    Example:
        >>> [(group.n_rows, group.width, group.slot.tolist()) for group in _groups(torch.tensor([0, 1, 3]))]
        [(2, 3, [0, 3, 4, 5])]
    """
    # One copy to the host: shapes of the groups must be known there.
    sizes = [size for size in n_events.tolist() if size]
    device = n_events.device
    at_once = ROWS_TOGETHER if device.type == "cpu" else DEVICE_ROWS_TOGETHER
    groups = []
    for first in range(0, len(sizes), at_once):
        some = sizes[first : first + at_once]
        width, size = some[-1], torch.tensor(some, device=device)
        row = torch.repeat_interleave(torch.arange(len(some), device=device), size, output_size=sum(some))
        column = torch.arange(len(row), device=device) - (size.cumsum(0) - size).index_select(0, row)
        groups.append(_Group(len(some), width, row * width + column))
    return groups
