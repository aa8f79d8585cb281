"""What a model and a training step receive: tensors with names, never a dict.

One training batch holds queries and, for each query, one or more targets. An example per event has one
target per query; an example per user has all of the user's targets behind one query, so that one row of
logits serves them all.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """The left side of retrieval: who asks, and what is known of them at that moment.

    Attributes:
        user_index: (batch,) int64; 0 for an unknown or anonymous user.
        tokens: Tokens of user and context features, (batch, n_token_columns) int64, 0 = padding.
        numeric: Numeric user and context features, (batch, n_numeric) float32.
        history_items: item_index of past events, oldest first, (batch, length) int64, 0 = padding (left).
        history_kinds: Row in `EventKinds` of each past event, (batch, length) int64, 0 = padding.
    """

    user_index: Tensor
    tokens: Tensor
    numeric: Tensor
    history_items: Tensor
    history_kinds: Tensor

    def to(self, device: torch.device | str) -> "QueryBatch":
        """Returns the same batch on `device`."""
        return QueryBatch(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))

    def __len__(self) -> int:
        return len(self.user_index)


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
    """

    query: QueryBatch
    target_item: Tensor
    target_row: Tensor
    weight: Tensor

    def to(self, device: torch.device | str) -> "TrainingBatch":
        """Returns the same batch on `device`."""
        return TrainingBatch(
            self.query.to(device),
            *(t.to(device, non_blocking=True) for t in (self.target_item, self.target_row, self.weight)),
        )
