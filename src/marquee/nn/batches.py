"""Inputs of a model and of a training step: tensors with names, never a dict.

One training batch holds queries and, for each query, one or more targets. An example per event has one
target per query; an example per user has all of the user's targets behind one query, so that one row of
logits serves them all.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class HistoryViews:
    """Which part of which history each query sees, where queries of one user share a history.

    ```
    history_items   row 0   [0, 7, 3, 9]        row [0, 0, 0, 0],  end [1, 2, 3, 4]: queries that know
                                                nothing; 7; 7, 3; 7, 3, 9
    ```

    Attributes:
        row: Row of the histories, (batch,) int64.
        end: How many of its columns are seen, from the left, padding included, (batch,) int64.
    """

    row: Tensor
    end: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "HistoryViews":
        """Returns the same views on `device`."""
        return HistoryViews(
            *(getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self))
        )


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """The left side of retrieval: who asks, and what is known of them at that moment.

    Attributes:
        user_index: (batch,) int64; 0 for an unknown or anonymous user.
        tokens: Tokens of user and context features, (batch, n_token_columns) int64, 0 = padding.
        numeric: Numeric user and context features, (batch, n_numeric) float32.
        history_items: item_index of past events, oldest first, (batch, length) int64, 0 = padding (left).
        history_kinds: Row in `EventKinds` of each past event, (batch, length) int64, 0 = padding.
        views: Which history each query sees; the histories may then have another number of rows. None where
            each query sees the whole of its own row.
    """

    user_index: Tensor
    tokens: Tensor
    numeric: Tensor
    history_items: Tensor
    history_kinds: Tensor
    views: HistoryViews | None = None

    def to(self, device: torch.device | str) -> "QueryBatch":
        """Returns the same batch on `device`."""
        moved = {
            f.name: value.to(device, non_blocking=True)
            for f in fields(self)
            if (value := getattr(self, f.name)) is not None
        }
        return QueryBatch(**moved)

    def __len__(self) -> int:
        return len(self.user_index)


@dataclass(frozen=True, slots=True)
class WholeBatch:
    """The batch that several processes step on together, each with a part of it.

    Attributes:
        target_item: item_index of each target of all parts, (n_targets of the whole,) int64.
        weight: Sum of the weights of all targets, scalar float32.
    """

    target_item: Tensor
    weight: Tensor

    def to(self, device: torch.device | str) -> "WholeBatch":
        """Returns the same facts on `device`."""
        return WholeBatch(*(t.to(device, non_blocking=True) for t in (self.target_item, self.weight)))


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Queries and the items that followed.

    ```
    batch = 3 queries, n_targets = 4
    query          q0   q1   q2
    target_item    [17,  4,  9,  23]
    target_row     [ 0,  1,  1,   2]     items 4 and 9 are both targets of q1
    ```

    Attributes:
        query: The queries, `batch` rows.
        target_item: item_index of each target, (n_targets,) int64, never 0.
        target_row: Row of the query that each target belongs to, (n_targets,) int64.
        weight: Multiplies the loss of each target, (n_targets,) float32.
        whole: What this is a part of; None where one process steps on all of it.
    """

    query: QueryBatch
    target_item: Tensor
    target_row: Tensor
    weight: Tensor
    whole: WholeBatch | None = None

    @property
    def all_targets(self) -> Tensor:
        """item_index of the targets of all processes, (n_targets,) int64."""
        return self.target_item if self.whole is None else self.whole.target_item

    def to(self, device: torch.device | str) -> "TrainingBatch":
        """Returns the same batch on `device`."""
        return TrainingBatch(
            self.query.to(device),
            self.target_item.to(device, non_blocking=True),
            self.target_row.to(device, non_blocking=True),
            self.weight.to(device, non_blocking=True),
            None if self.whole is None else self.whole.to(device),
        )
