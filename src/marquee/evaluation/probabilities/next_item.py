"""Turns the scores of a ranking into the probability that each listed item is the next one.

A model trained by softmax says how likely each item is among those that could be returned. The sum over them
needs every score; the probabilities need only the listed ones.
"""

import numpy as np

from marquee.core.arrays import Float64Array, IndexArray
from marquee.core.ids import PADDING_INDEX
from marquee.core.item_lists import ItemLists
from marquee.evaluation.evaluation import EvaluationTask
from marquee.index.ranking import ScoreBlock, block_rows


def first_targets(in_order: ItemLists, counted: ItemLists) -> IndexArray:
    """Returns the first target in time of each query that counts, (n_queries,) int64; -1 for none.

    Args:
        in_order: Targets as they came; 0 for an item outside the catalog, which counts as a target.
        counted: Those that count, in any order.

    Example:
        >>> first_targets(ItemLists.of([[5, 3], []]), ItemLists.of([[3], []])).tolist()
        [3, -1]
    """
    query, item = in_order.query_index, in_order.item_index
    n_items = 1 + max(int(item.max(initial=0)), int(counted.item_index.max(initial=0)))
    # One key per pair of query and item.
    counts = np.isin(query * n_items + item, counted.query_index * n_items + counted.item_index)
    found = np.full(len(in_order), -1, dtype=np.int64)
    rows = np.flatnonzero(counts)[::-1]  # of several, the last one written stays: that must be the first
    found[query[rows]] = item[rows]
    return found


def log_normalisers(
    score: ScoreBlock, task: EvaluationTask, temperature: float, memory_mb: int
) -> Float64Array:
    """Returns ln Σ exp(score / temperature) over the items that each query may get, (n_queries,).

    Args:
        score: Of the model, for a slice of the queries: (rows, n_items + 1) float32.
        task: Says what may be returned to whom.
        temperature: Of the loss that the model was trained with.
        memory_mb: Bound on the memory of one block of scores, in MiB.
    """
    n_rows = block_rows(task.n_items, memory_mb)
    sums = np.empty(len(task.targets))
    for start in range(0, len(sums), n_rows):
        rows = slice(start, min(start + n_rows, len(sums)))
        block = score(rows)  # (rows, n_items + 1)
        block[:, PADDING_INDEX] = -np.inf
        if task.excluded is not None:
            offsets = task.excluded.offsets[rows.start : rows.stop + 1]
            items = task.excluded.item_index[offsets[0] : offsets[-1]]
            block[np.repeat(np.arange(len(block)), np.diff(offsets)), items] = -np.inf
        if task.available is not None:
            task.available.mask_scores(block, np.arange(rows.start, rows.stop))
        block /= np.float32(temperature)
        highest = block.max(axis=1, keepdims=True)  # (rows, 1)
        highest[~np.isfinite(highest)] = 0.0  # a query that may get nothing
        np.exp(np.subtract(block, highest, out=block), out=block)  # in place: the block is the largest array
        with np.errstate(divide="ignore"):
            sums[rows] = highest[:, 0] + np.log(block.sum(axis=1, dtype=np.float64))
    return sums


def listed_probabilities(
    scores: Float64Array, log_normaliser: Float64Array, temperature: float
) -> Float64Array:
    """Returns the probability of each listed item, (n_queries, k).

    Args:
        scores: Of the listed items, (n_queries, k).
        log_normaliser: See `log_normalisers`, (n_queries,).
        temperature: Of the loss.
    """
    # Rounding of float32 sums may lift one item above the sum that holds it.
    return np.asarray(np.exp(np.minimum(scores / temperature - log_normaliser[:, None], 0.0)))
