"""How good a ranked list is: functions of ranked relevance and nothing else, one value per user.

Every metric of `METRICS` has one signature, stated here once:

Args:
    relevance: (n_users, k) bool, best rank first: whether the item at each rank is one of the user's targets.
        The cutoff k is the number of columns.
    n_targets: (n_users,) int64, 1 or more: all targets of each user, listed or not. A user without targets
        has no metric: leave such users out before (`evaluation` does, and counts them).

Returns:
    One value per user, (n_users,) float64 in [0, 1], higher is better.

Raises:
    ShapeError: If the rows differ in number.
    DataError: If a user has no target, or fewer targets than hits.

Where the literature disagrees, the docstring says which definition is meant.
"""

from collections.abc import Callable

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.core.ids import PADDING_INDEX
from marquee.errors import DataError, ShapeError

Metric = Callable[[BoolArray, IndexArray], Float64Array]
"""See the module for arguments, values and errors."""


def recall(relevance: BoolArray, n_targets: IndexArray) -> Float64Array:
    """Returns the share of each user's targets that the list holds, (n_users,).

    recall@k = hits among the first k / number of targets. With more targets than k it cannot reach 1.

    Source:
        As in He et al. 2020, SIGIR, "LightGCN", published code. Differs from Liang et al. 2018, WWW, who
        divide by min(k, number of targets).

    Example:
        >>> recall(np.array([[True, False, True]]), np.array([4])).tolist()
        [0.5]
    """
    return np.asarray(_validated(relevance, n_targets).sum(axis=1) / n_targets)


def precision(relevance: BoolArray, n_targets: IndexArray) -> Float64Array:
    """Returns the share of the list's k places that hold a target, (n_users,).

    precision@k = hits among the first k / k; a list shorter than k is not forgiven.

    Source:
        Manning, Raghavan and Schütze 2008, "Introduction to Information Retrieval", section 8.4.

    Example:
        >>> precision(np.array([[True, False, True, False]]), np.array([9])).tolist()
        [0.5]
    """
    return np.asarray(_validated(relevance, n_targets).mean(axis=1))


def hit_rate(relevance: BoolArray, n_targets: IndexArray) -> Float64Array:
    """Returns 1 for each user whose list holds at least one target and 0 for the others, (n_users,).

    Source:
        Deshpande and Karypis 2004, ACM TOIS 22(1), section 5.1.2.

    Example:
        >>> hit_rate(np.array([[False, True], [False, False]]), np.array([1, 1])).tolist()
        [1.0, 0.0]
    """
    return np.asarray(_validated(relevance, n_targets).any(axis=1), dtype=np.float64)


def mrr(relevance: BoolArray, n_targets: IndexArray) -> Float64Array:
    """Returns 1 / rank of the first target in each list, 0 where there is none, (n_users,).

    Source:
        Voorhees 1999, TREC-8 question answering track report. Differs from it: cut off at k.

    Example:
        >>> mrr(np.array([[False, True, True], [False, False, False]]), np.array([2, 2])).tolist()
        [0.5, 0.0]
    """
    relevance = _validated(relevance, n_targets)
    # argmax is 0 for a first hit and for none alike: `any` makes the latter 0.
    return np.asarray(relevance.any(axis=1) / (1.0 + relevance.argmax(axis=1)))


def map_(relevance: BoolArray, n_targets: IndexArray) -> Float64Array:
    """Returns the average precision of each list, (n_users,); its mean over users is MAP.

    map@k = sum over ranks r ≤ k that hold a target of precision@r, divided by min(k, number of targets),
    so that a perfect list has 1.

    Source:
        Manning, Raghavan and Schütze 2008, section 8.4. Differs from it: cut off at k, and therefore
        divided by what k places can hold instead of by the number of targets.

    Example:
        >>> map_(np.array([[True, False, True, False]]), np.array([2])).tolist()  # (1/1 + 2/3) / 2
        [0.8333333333333333]
    """
    relevance = _validated(relevance, n_targets)
    k = relevance.shape[1]
    precision_at = relevance.cumsum(axis=1) / np.arange(1, k + 1)  # (n_users, k)
    # By what k places can hold, so that a perfect list has 1.
    return np.asarray((precision_at * relevance).sum(axis=1) / np.minimum(k, n_targets))


def ndcg(relevance: BoolArray, n_targets: IndexArray) -> Float64Array:
    """Returns the discounted gain of each list over that of the best possible list, (n_users,).

    ndcg@k = DCG / IDCG with DCG = sum over ranks r ≤ k that hold a target of 1 / log2(r + 1), and IDCG
    the same sum over the ranks 1 … min(k, number of targets). Relevance is binary.

    Source:
        Järvelin and Kekäläinen 2002, ACM TOIS 20(4). Differs from it: the discount starts at rank 2, as
        in all later use.

    Example:
        >>> ndcg(np.array([[True, False, False]]), np.array([1])).tolist()
        [1.0]
        >>> ndcg(np.array([[False, False, True]]), np.array([1])).tolist()  # 1 / log2(4)
        [0.5]
    """
    relevance = _validated(relevance, n_targets)
    k = relevance.shape[1]
    discounts = 1.0 / np.log2(np.arange(2, k + 2))  # (k,)
    ideal = np.cumsum(discounts)[np.minimum(k, n_targets) - 1]  # (n_users,)
    # Trap: a product with the discounts sums in another order than `ideal` and ends a bit above 1.
    return np.asarray(np.cumsum(relevance * discounts, axis=1)[:, -1] / ideal)


def coverage(items: IndexArray, n_items: int) -> float:
    """Returns the share of the catalog that at least one list holds.

    Args:
        items: Ranked items, (n_users, k) int64; 0 is no item.
        n_items: Items that could have been recommended.

    Raises:
        DataError: If an item is beyond the catalog.

    Source:
        Ge, Delgado-Battenfeld and Jannach 2010, RecSys, "Beyond Accuracy", section 2.2 (catalog coverage).

    Example:
        >>> coverage(np.array([[1, 2], [2, 0]]), n_items=4)
        0.5
    """
    if items.max(initial=0) > n_items:
        raise DataError(
            f"items must be at most n_items ({n_items}), got {items.max()}; pass the full catalog"
        )
    distinct = np.unique(items)
    return float(np.count_nonzero(distinct != PADDING_INDEX)) / n_items


METRICS: dict[str, Metric] = {
    "recall": recall,
    "ndcg": ndcg,
    "mrr": mrr,
    "map": map_,
    "hit_rate": hit_rate,
    "precision": precision,
}
"""Every accuracy metric by its name in results: `ndcg` at cutoff 10 is `ndcg@10`."""


def _validated(relevance: BoolArray, n_targets: IndexArray) -> BoolArray:
    """Returns `relevance`, (n_users, k), after a look at whether the two fit together."""
    if relevance.ndim != 2 or relevance.shape[1] < 1 or n_targets.shape != relevance.shape[:1]:
        raise ShapeError(
            f"relevance must be (n_users, k) with k ≥ 1 and n_targets (n_users,), got {relevance.shape} and "
            f"{n_targets.shape}"
        )
    if n_targets.min(initial=1) < 1:
        raise DataError(
            f"n_targets must be 1 or more, got {n_targets.min()} for user row {int(n_targets.argmin())}; "
            "leave users without targets out"
        )
    surplus = relevance.sum(axis=1) - n_targets
    if surplus.max(initial=0) > 0:
        row = int(surplus.argmax())
        raise DataError(
            f"hits must be at most n_targets, got {relevance[row].sum()} of {n_targets[row]} for user row "
            f"{row}; count each target once"
        )
    return relevance
