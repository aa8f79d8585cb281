"""Histories: the events of a user, oldest first, and the one function that cuts them to a fixed length.

`Interactions` holds all events grouped by user; a history is a window of it. Training cuts a window
before each target, serving cuts one before now: both through `window_positions`.
Does not map ids (see `ids`) and does not read tables (see `events`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import FloatArray, IndexArray, TokenArray
from marquee.errors import ShapeError

# Not 0, which is a position as any other; and -1 indexes the last entry without an error, so `gather` masks.
OUTSIDE = -1


def window_positions(starts: IndexArray, ends: IndexArray, length: int) -> IndexArray:
    """Returns the positions of the last `length` entries of each range, padded on the left.

    ```
    length = 4, two users in one flat array
    flat                 7 3 9 | 5 2 8 6 4
    range of each user   [0, 3)  [3, 8)
    result               [[-1, 0, 1, 2],      oldest → newest; -1 = padding, always on the left
                          [ 4, 5, 6, 7]]
    ```

    Args:
        starts: First position of each range, (batch,) int64.
        ends: One past the last position, (batch,) int64; an empty range has `ends == starts`.
        length: Columns of the result.

    Returns:
        Positions into the flat array, (batch, length) int64, `OUTSIDE` where there is none.

    Example:
        >>> window_positions(np.array([0, 3]), np.array([3, 8]), 4).tolist()
        [[-1, 0, 1, 2], [4, 5, 6, 7]]
    """
    if starts.shape != ends.shape:
        raise ShapeError(f"starts and ends must have one shape, got {starts.shape} and {ends.shape}")
    positions = ends[:, None] + np.arange(-length, 0)[None, :]  # (batch, length)
    return np.where(positions >= starts[:, None], positions, OUTSIDE)


def gather(flat: npt.NDArray[np.generic], positions: IndexArray) -> npt.NDArray[np.generic]:
    """Returns `flat` at `positions`, with 0 where a position is `OUTSIDE`; same shape as positions."""
    # Even the masked positions are looked up below, and an empty array has none.
    if flat.size == 0:
        return np.zeros(positions.shape, dtype=flat.dtype)
    return np.where(positions == OUTSIDE, np.zeros((), dtype=flat.dtype), flat[positions])


@dataclass(frozen=True, slots=True)
class Interactions:
    """All interactions of all users as flat arrays, grouped by user, oldest first within a user.

    Attributes:
        offsets: Events of user_index u are `offsets[u]:offsets[u + 1]`, (n_users + 2,) int64. User 0
            is the unknown user: its range holds the events of users without a row.
        item_index: (n_events,) int32; 0 for an item outside the catalog.
        kind_index: Row in `EventKinds`, (n_events,) int32, never 0.
        timestamp: Seconds since 1970 UTC, or the order within the user, (n_events,) int64.
        weight: Training weight, (n_events,) float32.
    """

    offsets: IndexArray
    # Four bytes: of many events these columns are most of what training holds.
    item_index: TokenArray
    kind_index: TokenArray
    timestamp: IndexArray
    weight: FloatArray

    @classmethod
    def group(
        cls,
        user_index: IndexArray,
        item_index: IndexArray | TokenArray,
        kind_index: IndexArray | TokenArray,
        timestamp: IndexArray,
        weight: FloatArray,
        *,
        n_users: int,
    ) -> "Interactions":
        """Groups rows by user and orders each group by time; rows with equal time keep their order.

        Args:
            user_index: (n_events,) int64 in 0 … n_users.
            item_index: (n_events,) int64 or int32.
            kind_index: (n_events,) int64 or int32.
            timestamp: (n_events,) int64.
            weight: (n_events,) float32.
            n_users: Number of users with a row, without the unknown one.

        Raises:
            ShapeError: If the arrays differ in length or a user_index is out of range.
        """
        sizes = {a.shape for a in (user_index, item_index, kind_index, timestamp, weight)}
        if len(sizes) != 1:
            raise ShapeError(f"all columns must have one length, got {sorted(sizes)}")
        if user_index.size and not 0 <= user_index.min() <= user_index.max() <= n_users:
            raise ShapeError(
                f"user_index must be between 0 and {n_users}, got {user_index.min()} to {user_index.max()}"
            )
        # The last key counts most: by user, then by time.
        order = np.lexsort((timestamp, user_index))  # stable: ties keep the order of the table
        # Users without events need a range as well, or offsets would shift.
        counts = np.bincount(user_index, minlength=n_users + 1)
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        return cls(
            offsets=offsets,
            item_index=item_index.astype(np.int32)[order],
            kind_index=kind_index.astype(np.int32)[order],
            timestamp=timestamp[order],
            weight=weight[order],
        )

    @property
    def n_users(self) -> int:
        """Number of users with a row, without the unknown one."""
        return len(self.offsets) - 2

    @property
    def user_index(self) -> IndexArray:
        """The user of each event, (n_events,) int64."""
        return np.repeat(np.arange(self.n_users + 1), np.diff(self.offsets))

    def __len__(self) -> int:
        return len(self.item_index)

    def windows(self, user_index: IndexArray, length: int) -> IndexArray:
        """Returns positions of the latest `length` events of each user, (batch, length) int64."""
        return window_positions(self.offsets[user_index], self.offsets[user_index + 1], length)

    def take(self, keep: npt.NDArray[np.bool_]) -> "Interactions":
        """Returns the events where `keep`, (n_events,) bool, is True; order and users unchanged."""
        # Not regrouped: the rows are in order already, and a sort costs more than all of this.
        counts = np.bincount(self.user_index[keep], minlength=self.n_users + 1)
        return Interactions(
            offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            item_index=self.item_index[keep],
            kind_index=self.kind_index[keep],
            timestamp=self.timestamp[keep],
            weight=self.weight[keep],
        )


def pad_lists(lists: Sequence[Sequence[int]], length: int) -> IndexArray:
    """Returns the last `length` entries of each list, left-padded with 0, (batch, length) int64.

    Example:
        >>> pad_lists([[3, 7, 4], []], 2).tolist()
        [[7, 4], [0, 0]]
    """
    sizes = np.array([len(values) for values in lists], dtype=np.int64)
    ends = np.cumsum(sizes)
    # `np.concatenate` of many short lists converts each by itself, and refuses none at all.
    flat = np.fromiter((value for values in lists for value in values), dtype=np.int64)
    return gather(flat, window_positions(ends - sizes, ends, length)).astype(np.int64)
