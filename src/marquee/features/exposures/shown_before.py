"""Earlier exposures of a user, and how often the user reacted to what is like a candidate.

Three questions: of all that was shown, of what is near it by item vectors, and of what shares a token with
it. Each is a log ratio of reactions to the clicks that the places alone would have brought.
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import FloatArray, IndexArray

NEARNESS = 3.0
"""An exposure weighs exp(NEARNESS · (cosine - 1)): 1 for the item itself, a twentieth at a right angle."""

HALF_LIFE_DAYS = 14.0
"""Days after which an exposure weighs half in what a user did lately."""

_SHORTEST = np.float32(1e-12)
_USER_PRIOR, _NEAR_PRIOR, _TOKEN_PRIOR, _SAME_PRIOR = 1.0, 0.5, 1.0, 0.3


@dataclass(frozen=True, slots=True)
class ShownBefore:
    """Earlier exposures of some users, oldest first, padded on the left with item 0.

    Attributes:
        items: (batch, length) int64.
        expected: Clicks to be expected by the place, (batch, length) float32; 0 for padding.
        came: 1 where the user reacted, be it by a click or a view, (batch, length) float32.
        age_days: Days since it was shown, (batch, length) float32.
        directions: Item vectors of length 1, (batch, length, dim) float32.
        tokens: Rows of the item features, (batch, length, n_item_slots) int64.
    """

    items: IndexArray
    expected: FloatArray
    came: FloatArray
    age_days: FloatArray
    directions: FloatArray
    tokens: IndexArray


@dataclass(frozen=True, slots=True)
class Shown:
    """Candidates of the same users.

    Attributes:
        items: (batch, n) int64; 0 for an item without a row.
        directions: (batch, n, dim) float32.
        tokens: (batch, n, n_item_slots) int64.
    """

    items: IndexArray
    directions: FloatArray
    tokens: IndexArray


def column_names(item_features: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names of the columns of `describe`."""
    of_features = [(f"user and {name}", f"user and {name}, lately") for name in item_features]
    return (
        "user",
        "user, lately",
        "user: exposures",
        "user and items near it",
        "user and items near it, lately",
        "user: nearest reaction",
        "user: mean reaction",
        "user and the item",
        "user and the item: exposures",
        *(name for pair in of_features for name in pair),
    )


def describe(shown: Shown, before: ShownBefore, widths: tuple[int, ...]) -> FloatArray:
    """Returns the columns that rest on earlier exposures, (batch, n, n_columns) float32.

    Args:
        shown: The candidates.
        before: What their users were shown before.
        widths: Slots of each item feature.
    """
    recency = np.exp2(before.age_days * np.float32(-1 / HALF_LIFE_DAYS))  # (batch, length)
    outcomes = np.stack([before.came, before.expected], axis=2)  # (batch, length, 2)
    # Of all time and of late at once: one product with the weights of the exposures.
    both = np.concatenate([outcomes, outcomes * recency[..., None]], axis=2)  # (batch, length, 4)
    everything = np.broadcast_to(both.sum(axis=1)[:, None], (*shown.items.shape, 4))
    cosines = shown.directions @ before.directions.transpose(0, 2, 1)  # (batch, n, length)
    near = np.exp(np.float32(NEARNESS) * (cosines - np.float32(1))) @ both  # (batch, n, 4)
    is_same = (shown.items[..., None] == before.items[:, None]) & (shown.items[..., None] > 0)
    same = is_same.astype(np.float32) @ outcomes  # (batch, n, 2)
    n_came = before.came.sum(axis=1)[:, None]  # (batch, 1)
    nearest = np.where(before.came[:, None] > 0, cosines, np.float32(-1)).max(axis=2, initial=-1)
    columns = [
        *_ratios(everything, _USER_PRIOR),
        np.log1p(everything[..., 1]),
        *_ratios(near, _NEAR_PRIOR),
        np.where(n_came > 0, nearest, np.float32(0)),
        (cosines @ before.came[..., None])[..., 0] / np.maximum(n_came, 1),
        *_ratios(same, _SAME_PRIOR),
        np.log1p(same[..., 1]),
    ]
    first = 0
    for width in widths:
        slots = slice(first, first + width)
        shared = _shared(shown.tokens[..., slots], before.tokens[..., slots], both)
        columns += _ratios(shared, _TOKEN_PRIOR)
        first += width
    return np.stack(columns, axis=2).astype(np.float32, copy=False)


def directions(vectors: FloatArray) -> FloatArray:
    """Returns vectors divided by their length, (n, dim) float32; zeros stay zeros."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    found: FloatArray = vectors / np.maximum(lengths, _SHORTEST)[:, None]
    return found


def _shared(shown: IndexArray, before: IndexArray, outcomes: FloatArray) -> FloatArray:
    """Returns the outcomes of the exposures that share a token with each candidate, once per token shared.

    Args:
        shown: Tokens of the candidates, (batch, n, width); 0 for padding.
        before: Tokens of the exposures, (batch, length, width).
        outcomes: Of the exposures, (batch, length, n_outcomes).
    """
    n_batch, n_rows = len(shown), 1 + max(int(shown.max(initial=0)), int(before.max(initial=0)))
    # By token first: every pair of candidate and exposure would be compared else, token by token.
    cell = (before + n_rows * np.arange(n_batch)[:, None, None]).reshape(-1)
    sums = np.empty((n_batch, n_rows, outcomes.shape[2]), dtype=np.float32)
    for number in range(outcomes.shape[2]):
        weight = np.broadcast_to(outcomes[..., number, None], before.shape).reshape(-1)
        sums[..., number] = np.bincount(cell, weight, n_batch * n_rows).reshape(n_batch, n_rows)
    sums[:, 0] = 0.0  # padding is no value that two could share
    return np.asarray(sums[np.arange(n_batch)[:, None, None], shown].sum(axis=2))


def _ratios(outcomes: FloatArray, prior: float) -> list[FloatArray]:
    """Returns the log ratios of what came to what was expected, (batch, n) each.

    Args:
        outcomes: Pairs of what came and what was expected, (batch, n, 2 · n_pairs).
        prior: Outcomes that both begin with.
    """
    logs = np.log(outcomes + np.float32(prior))
    return [logs[..., first] - logs[..., first + 1] for first in range(0, outcomes.shape[2], 2)]
