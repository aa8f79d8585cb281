"""Turns scores into ordered lists: every query against the whole catalog, in bounded memory.

`rank` walks over blocks of queries, takes out what must not be returned, and keeps the k best. Which
model made the scores is of no concern here, so a model and its baselines go through the very same path.
Does not judge the lists (see `metrics`) and samples no candidates: a ranking is always a full one.

**Tie rule:** among equal scores the lower item_index comes first, also where the tie straddles the
cutoff. A score of -inf means "never": it is not returned, and the list is shorter instead.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.availability import Availability
from marquee.core.ids import PADDING_INDEX
from marquee.core.item_lists import ItemLists
from marquee.errors import DataError, ShapeError
from marquee.index.selection import Best, best_of_rows

ScoreBlock = Callable[[slice], FloatArray]
"""Scores of a block of queries, (block, n_items + 1) float32; column 0 is ignored. It may be overwritten."""

Progress = Callable[[int, int], None]
"""Told after each block: queries done, queries in all."""

BYTES_PER_SCORE = 4
MAX_BLOCK_ROWS = 1024  # more rows make the matrix product no faster
MIN_BLOCK_ROWS = 16  # fewer rows and the product is bound by reading the item vectors
ROWS_PER_SELECTION = 16  # unit of work of one selecting thread: its rows stay near in the caches
MORE_LOOKED, MIN_LOOK = 1.5, 8  # of what a list holds on average where items are missing at random
MIN_SHARE_LOOKED = 0.25  # where fewer items are there, a mask costs less than a long list


@dataclass(frozen=True, slots=True)
class RankedLists:
    """The best items of each query, best first.

    Attributes:
        items: (n_queries, k) int64; 0 behind the last allowed item.
        scores: (n_queries, k) float32, descending; -inf where the item is 0.
        tied: Whether an item left out has the score of the last one taken, (n_queries,) bool: there the
            list hangs on the tie rule and not on the model.
    """

    items: IndexArray
    scores: FloatArray
    tied: BoolArray


def rank(
    score_block: ScoreBlock,
    n_queries: int,
    n_items: int,
    k: int,
    excluded: ItemLists | None = None,
    *,
    available: Availability | None = None,
    memory_mb: int = 512,
    progress: Progress | None = None,
) -> RankedLists:
    """Returns the k best items of every query over the whole catalog.

    Blocks are as large as `memory_mb` allows. The k best are found without sorting a row (see `selection`).

    Args:
        score_block: Scores of a slice of the queries; see `ScoreBlock`.
        n_queries: Number of queries.
        n_items: Items of the catalog, without the padding one.
        k: Length of the lists.
        excluded: Items that must not be returned, per query; None for none.
        available: When items could be shown and queries were asked: an item out of its time is not
            returned; None if every item always could be.
        memory_mb: Bound on the memory of one block of scores, in MiB. What the scorer needs beyond its
            result comes on top.
        progress: Told how far it is after each block.

    Returns:
        Lists of exactly k columns; a query with fewer than k allowed items ends in zeros.

    Raises:
        DataError: If k < 1, or a score is NaN.
        ShapeError: If `excluded` or `available` has another number of queries, or the scores another shape.

    Example:
        >>> scores = np.array([[9, 5, 7, 5], [9, 1, 2, 3]], dtype=np.float32)
        >>> rank(lambda rows: scores[rows].copy(), 2, 3, 2, ItemLists.of([[], [2, 3]])).items.tolist()
        [[2, 1], [1, 0]]
    """
    if k < 1:
        raise DataError(f"k must be 1 or more, got {k}; choose the length of the lists")
    if excluded is not None and len(excluded) != n_queries:
        raise ShapeError(f"excluded must have one list per query ({n_queries}), got {len(excluded)}")
    if available is not None and (len(available), available.n_items) != (n_queries, n_items):
        raise ShapeError(
            f"available must have {n_queries} queries and {n_items} items, got {len(available)} and "
            f"{available.n_items}"
        )
    ranked = RankedLists(
        items=np.zeros((n_queries, k), dtype=np.int64),
        scores=np.full((n_queries, k), -np.inf, dtype=np.float32),
        tied=np.zeros(n_queries, dtype=np.bool_),
    )
    # Threads, not processes: NumPy gives up the interpreter's lock, and the block is not copied.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for rows in _slices(0, n_queries, block_rows(n_items, memory_mb)):
            block = _scores_of(score_block, rows, n_items)
            select = partial(
                _select,
                block,
                first_row=rows.start,
                excluded=excluded,
                available=available,
                ranked=ranked,
            )
            # list: an error in a thread is raised only where its result is asked for.
            list(pool.map(select, _slices(rows.start, rows.stop, ROWS_PER_SELECTION)))
            del block, select  # before the scorer makes the next: never two blocks at a time
            if progress is not None:
                progress(rows.stop, n_queries)
    return ranked


def block_rows(n_items: int, memory_mb: int) -> int:
    """Returns how many queries are scored at once within `memory_mb`, at least `MIN_BLOCK_ROWS`."""
    fitting = memory_mb * 2**20 // ((n_items + 1) * BYTES_PER_SCORE)
    return int(min(max(fitting, MIN_BLOCK_ROWS), MAX_BLOCK_ROWS))


def inner_product_scores(query_embeddings: FloatArray, item_embeddings: FloatArray) -> ScoreBlock:
    """Returns a scorer of inner products that writes every block into the same memory.

    Fresh memory for each block costs about as much again as the product itself.

    Args:
        query_embeddings: (n_queries, dim) float32.
        item_embeddings: (n_items + 1, dim) float32, row 0 is padding.

    Raises:
        ShapeError: If the dims differ.
    """
    if query_embeddings.shape[1] != item_embeddings.shape[1]:
        raise ShapeError(
            f"query and item embeddings must have one dim, got {query_embeddings.shape[1]} and "
            f"{item_embeddings.shape[1]}"
        )
    memory = np.empty((0, len(item_embeddings)), dtype=np.float32)

    def score(rows: slice) -> FloatArray:
        nonlocal memory
        queries = query_embeddings[rows]  # (block, dim)
        if len(queries) > len(memory):
            memory = np.empty((len(queries), len(item_embeddings)), dtype=np.float32)
        return np.matmul(queries, item_embeddings.T, out=memory[: len(queries)])

    return score


def _slices(start: int, stop: int, size: int) -> Iterator[slice]:
    """Yields slices of at most `size` that cover start … stop."""
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def _scores_of(score_block: ScoreBlock, rows: slice, n_items: int) -> FloatArray:
    """Returns the scorer's block, (block, n_items + 1), writable and row by row in memory."""
    block = score_block(rows)
    expected = (rows.stop - rows.start, n_items + 1)
    if block.shape != expected:
        raise ShapeError(
            f"scores of queries {rows.start} to {rows.stop} must have shape {expected} (column 0 is "
            f"padding), got {block.shape}"
        )
    # Copies only where it must: a broadcast or read-only block could not be masked in place.
    return np.require(block, requirements=["C", "W"])


def _select(
    block: FloatArray,
    part: slice,
    *,
    first_row: int,
    excluded: ItemLists | None,
    available: Availability | None,
    ranked: RankedLists,
) -> None:
    """Writes the best of the queries `part` into `ranked`; takes what must not be returned out of `block`.

    Args:
        block: Scores of the queries from `first_row` on, (block, n_items + 1); changed in place.
        part: The queries to do, within the block.
        first_row: Query of the block's first row.
        excluded: See `rank`.
        available: See `rank`.
        ranked: Result, changed in place.
    """
    scores = block[part.start - first_row : part.stop - first_row]  # (rows, n_items + 1), a view
    scores[:, PADDING_INDEX] = -np.inf
    if excluded is not None:
        bounds = excluded.offsets[part.start : part.stop + 1]
        query = np.repeat(np.arange(len(scores)), np.diff(bounds))
        scores[query, excluded.item_index[bounds[0] : bounds[-1]]] = -np.inf
    k = min(ranked.items.shape[1], scores.shape[1])
    if available is None:
        best = best_of_rows(scores, k)
    else:
        best = _best_available(scores, k, np.arange(part.start, part.stop), available)
    # NaN compares false with everything: a list with it would depend on where it stands.
    if best.undefined.any():
        raise DataError(
            f"scores must be numbers, got NaN for query {part.start + int(best.undefined.argmax())}; "
            "the model has diverged or was given a missing value"
        )
    ranked.scores[part, :k] = best.scores
    ranked.items[part, :k] = np.where(best.scores > -np.inf, best.columns, PADDING_INDEX)
    ranked.tied[part] = best.tied


def _best_available(scores: FloatArray, k: int, queries: IndexArray, available: Availability) -> Best:
    """Returns the k best items of each query that could be shown to it.

    Few lists hold what could not be shown: a somewhat longer list, thinned out, mostly still holds k items
    and the next one, which says whether the last place is tied. Only rows where it does not are masked.

    Args:
        scores: (rows, n_items + 1); changed in place.
        k: Length of the lists.
        queries: Of the rows.
        available: See `rank`.
    """
    # Of the query that misses most: one length serves all rows.
    share_there = 1.0 - available.n_unavailable[queries].max(initial=0) / max(available.n_items, 1)
    n_looked = int(MIN_LOOK + MORE_LOOKED * (k + 1) / max(share_there, MIN_SHARE_LOOKED))
    if share_there < MIN_SHARE_LOOKED or n_looked >= scores.shape[1]:
        available.mask_scores(scores, queries)
        return best_of_rows(scores, k)
    looked = best_of_rows(scores, n_looked)
    is_there = available.allows(queries[:, None], looked.columns) & (looked.scores > -np.inf)
    # Stable: those that are there come first and keep their order.
    order = np.argsort(~is_there, axis=1, kind="stable")[:, : k + 1]
    columns = np.take_along_axis(looked.columns, order, axis=1)  # (rows, k + 1)
    values = np.take_along_axis(looked.scores, order, axis=1)
    tied = values[:, k] == values[:, k - 1]
    short = np.flatnonzero(is_there.sum(axis=1) <= k)
    if len(short):
        masked = scores[short]
        available.mask_scores(masked, queries[short])
        again = best_of_rows(masked, k)
        columns[short, :k], values[short, :k], tied[short] = again.columns, again.scores, again.tied
    return Best(columns[:, :k], values[:, :k], tied, looked.undefined)
