"""Finds the k best columns of each row of scores without sorting, or even partitioning, a row.

Columns are dealt out to groups; the k groups with the highest bests hold the k best scores, so one pass over
a row at the speed of memory leaves few candidates. Column 0 is like any other here.

**Tie rule:** among equal scores the lower column comes first, also where the tie straddles the k-th place.
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, FloatArray, IndexArray

MIN_GROUP_SIZE = 8  # smaller groups save nothing over a plain partition
COST_OF_CANDIDATE = 8  # fetching a score from somewhere in the row, in units of one group's share of a pass


@dataclass(frozen=True, slots=True)
class Best:
    """The best columns of each row, best first.

    Attributes:
        columns: (rows, k) int64.
        scores: (rows, k) float32, descending.
        tied: Whether a column left out has the score of the last one taken, and that is not -inf, (rows,).
        undefined: Whether the row holds NaN, (rows,) bool: then the rest says nothing of it.
    """

    columns: IndexArray
    scores: FloatArray
    tied: BoolArray
    undefined: BoolArray


def best_of_rows(scores: FloatArray, k: int) -> Best:
    """Returns the k best columns of each row.

    Args:
        scores: (rows, n_columns) float32, row by row in memory.
        k: At most n_columns.

    Example:
        >>> best = best_of_rows(np.array([[5, 7, 5, 9]], dtype=np.float32), 3)
        >>> best.columns.tolist(), best.tied.tolist()
        ([[3, 1, 0]], [True])
    """
    groups = _group_bests(scores, k)
    undefined = np.asarray(np.isnan(groups).any(axis=1))
    columns, certain = _best_in_groups(scores, groups, k)
    tied = np.zeros(len(scores), dtype=np.bool_)
    for row in np.flatnonzero(~certain & ~undefined):  # ties, or fewer than k allowed
        columns[row], tied[row] = _best_by_index(scores[row], groups[row], k)
    values = np.take_along_axis(scores, columns, axis=1)  # (rows, k)
    order = np.lexsort((columns, -values), axis=1)
    return Best(
        np.take_along_axis(columns, order, axis=1),
        np.take_along_axis(values, order, axis=1),
        tied,
        undefined,
    )


def _group_bests(scores: FloatArray, k: int) -> FloatArray:
    """Returns the best score of each group of columns, (rows, n_groups); the scores where no group pays.

    Columns are dealt out to groups, column c to group c modulo n_groups: the bests of all groups are then
    one vectorised pass over the row, at the speed of memory.

    ```
    scores          7 3 9 1 | 2 4 8 0 | 5 6        10 columns, 4 groups of up to 3
    group bests     7 6 9 1
    ```
    """
    n_rows, n_columns = scores.shape
    # Least work: one look at each group's best, and COST_OF_CANDIDATE for each of k * n_columns / n_groups.
    n_groups = int(np.sqrt(COST_OF_CANDIDATE * k * n_columns))
    n_full = n_columns // n_groups
    if n_full < MIN_GROUP_SIZE:
        return scores
    in_full = scores[:, : n_full * n_groups].reshape(n_rows, n_full, n_groups)  # (rows, n_full, n_groups)
    bests: FloatArray = in_full.max(axis=1)  # (rows, n_groups)
    # The last, incomplete round: its columns belong to the first groups.
    rest = scores[:, n_full * n_groups :]
    np.maximum(bests[:, : rest.shape[1]], rest, out=bests[:, : rest.shape[1]])
    return bests


def _best_in_groups(scores: FloatArray, bests: FloatArray, k: int) -> tuple[IndexArray, BoolArray]:
    """Returns the k best columns of each row in any order, (rows, k), and whether they are certain, (rows,).

    The k groups with the highest bests hold the k best scores: a score outside them is at most its own
    group's best, and k others are above that. Where that needs "above or equal", the row is not certain.

    Args:
        scores: (rows, n_columns).
        bests: From `_group_bests`, (rows, n_groups).
        k: At most n_columns.
    """
    groups, certain = _best_columns(bests, k)
    n_columns, n_groups = scores.shape[1], bests.shape[1]
    if n_groups == n_columns:
        return groups, certain
    n_per_group = -(-n_columns // n_groups)
    columns = groups[:, None, :] + n_groups * np.arange(n_per_group)[None, :, None]  # (rows, n_per_group, k)
    # Beyond the last column: a second column 0 at worst makes a row uncertain, and those are done one by one.
    columns = np.where(columns < n_columns, columns, 0).reshape(len(scores), -1)
    first = np.arange(len(scores))[:, None] * n_columns
    chosen, certain_inside = _best_columns(scores.ravel().take(first + columns), k)
    return np.take_along_axis(columns, chosen, axis=1), certain & certain_inside


def _best_columns(values: FloatArray, k: int) -> tuple[IndexArray, BoolArray]:
    """Returns the columns of each row's k best values, (rows, k), and whether no tie blurs them, (rows,)."""
    n_columns = values.shape[1]
    last = np.partition(values, n_columns - k, axis=1)[:, n_columns - k]  # (rows,)
    is_best = values >= last[:, None]
    # More than k are as good as the k-th: a tie straddles the cutoff.
    certain = is_best.sum(axis=1) == k
    columns = np.zeros((len(values), k), dtype=np.int64)
    columns[certain] = np.flatnonzero(is_best[certain]).reshape(-1, k) % n_columns
    return columns, certain


def _best_by_index(scores: FloatArray, bests: FloatArray, k: int) -> tuple[IndexArray, bool]:
    """Returns the k best columns of one row, ties by index, (k,), and whether a tie straddles the cutoff.

    No group is needed whose best lies below the k-th best of the groups: only columns at or above that are
    looked at.

    Args:
        scores: (n_columns,).
        bests: Of its groups, (n_groups,).
        k: At most n_groups.
    """
    columns = np.flatnonzero(scores >= np.partition(bests, len(bests) - k)[len(bests) - k])
    values = scores[columns]
    last = np.partition(values, len(values) - k)[len(values) - k]
    above, equal = columns[values > last], columns[values == last]
    n_equal = k - len(above)
    return np.concatenate((above, equal[:n_equal])), bool(last > -np.inf and len(equal) > n_equal)
