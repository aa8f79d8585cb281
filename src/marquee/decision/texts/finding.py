"""Candidates for words: those of the embedding and those that share words, by the sum of both."""

import numpy as np

from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.decision.texts.asking import AskedText

MAX_LIKE = 2_000
"""Items whose cosine counts: the most alike that may be returned. It bounds the vectors that are read."""


def most_alike(text: AskedText, is_allowed: BoolArray) -> tuple[IndexArray, FloatArray]:
    """Returns the allowed items whose cosine counts, ascending, and their cosines.

    Args:
        text: The words.
        is_allowed: Which items may be returned, (n_items + 1,) bool.
    """
    is_there = is_allowed[text.items]
    items, likeness = text.items[is_there], text.likeness[is_there]
    if len(items) <= MAX_LIKE:
        return items, likeness
    # Equal ones by ascending item_index, as everywhere.
    kept = np.sort(np.lexsort((items, -likeness))[:MAX_LIKE])
    return items[kept], likeness[kept]


def joined(
    found: tuple[IndexArray, FloatArray], alike: tuple[IndexArray, FloatArray], k: int
) -> tuple[IndexArray, FloatArray]:
    """Returns the k best of two lists of items with their scores; equal ones by ascending item_index.

    Exact: an item that is in neither has a score of the embedding alone, and k items have a higher one.

    Args:
        found: The k best of the embedding, with its scores.
        alike: Items that share words, with the sums of both scores; they count in place of `found`.
        k: How many are wanted.
    """
    is_other = ~np.isin(found[0], alike[0])
    items = np.concatenate((alike[0], found[0][is_other]))
    scores = np.concatenate((alike[1], found[1][is_other]))
    order = np.lexsort((items, -scores))[:k]
    return items[order], scores[order]
