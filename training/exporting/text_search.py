"""Learns to ask for items by words: where a catalog's words stand, and which query looks for each.

The query of a text is linear in its pieces and fitted in closed form (ridge regression): for the text of an
item it comes near the item's embedding, so that its inner products rank that item and what is like it first.
The item tower itself, fed with a text alone, was tried beside it and found less: with features of an item
missing it says where items of missing features lie.
"""

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, diags_array

from marquee.bundle.texts.contents import TextContents, text_encoder
from marquee.bundle.texts.search import weights_of
from marquee.core.arrays import Float64Array, FloatArray
from marquee.features import FeatureEncoder

RIDGE = 1.0
"""Weight of the squared length of the directions; a text has length 1. Chosen among 0.1, 1, 3 and 10."""

MAX_FITTED = 50_000
"""Texts that directions are learned from: evenly spaced ones of a larger catalog."""

_BLOCK_ROWS = 65_536
_MAX_STEPS = 100
_TOLERANCE = 1e-4


def fit_text_search(
    item_features: FeatureEncoder,
    tokens: npt.NDArray[np.int32],
    item_vectors: FloatArray,
    *,
    has_item_bias: bool,
) -> TextContents | None:
    """Returns the texts of items so that they can be asked for by words; None without texts.

    Args:
        item_features: Encodes them.
        tokens: Of all items, (n_items + 1, n_token_columns) int32.
        item_vectors: (n_items + 1, dim) float32.
        has_item_bias: Whether the last coordinate of a vector is the item's bias: a text does not ask for
            what is liked, and leaves it at 0.
    """
    has_piece = _incidence(item_features, tokens)
    if not has_piece.nnz:
        return None
    n_items = len(tokens) - 1
    by_piece = has_piece.tocsc()
    by_piece.sort_indices()
    offsets = by_piece.indptr.astype(np.int64)
    weights = weights_of(text_encoder(item_features), offsets, n_items)
    lengths = np.sqrt(np.asarray(has_piece @ weights**2))  # (n_items + 1,)
    return TextContents(
        offsets=offsets,
        items=by_piece.indices.astype(np.int32),
        lengths=lengths.astype(np.float32),
        directions=_directions(has_piece, weights, lengths, item_vectors, has_item_bias=has_item_bias),
        spread=_covariance(item_vectors[1:]).astype(np.float32),
    )


def _covariance(vectors: FloatArray) -> Float64Array:
    """Returns the covariance of the columns of some vectors, (n, dim), as (dim, dim) float64."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    total = np.zeros((vectors.shape[1],) * 2)
    # In blocks: a whole copy in float64 would take twice the memory of the vectors.
    for start in range(0, len(vectors), _BLOCK_ROWS):
        centred = vectors[start : start + _BLOCK_ROWS] - mean
        total += centred.T @ centred
    return total / len(vectors)


def _incidence(item_features: FeatureEncoder, tokens: npt.NDArray[np.int32]) -> "csr_array[np.float64]":
    """Returns which text has which piece, (n_items + 1, n_pieces), 1 where it does."""
    encoder = text_encoder(item_features)
    of_feature = {block.name: block for block in item_features.blocks}
    rows, pieces = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for block in encoder.blocks:
        # The same feature among all of them: other columns, other rows of the table.
        among_all = of_feature[block.name]
        columns = tokens[:, among_all.first_column : among_all.first_column + among_all.n_columns]
        is_said = (columns > 0) & (columns != among_all.unknown_row)
        row, column = np.nonzero(is_said)
        rows.append(row)
        pieces.append(columns[row, column].astype(np.int64) - among_all.first_row + block.first_row)
    row, piece = np.concatenate(rows), np.concatenate(pieces)
    shape = (len(tokens), encoder.n_token_rows)
    return csr_array((np.ones(len(row)), (row, piece)), shape=shape)


def _directions(
    has_piece: "csr_array[np.float64]",
    weights: Float64Array,
    lengths: Float64Array,
    item_vectors: FloatArray,
    *,
    has_item_bias: bool,
) -> FloatArray:
    """Returns the direction of each piece, (n_pieces, dim) float32."""
    has_text = np.flatnonzero(lengths)
    some = has_text[:: max(1, -(-len(has_text) // MAX_FITTED))]
    scaled = diags_array(1.0 / lengths[some]) @ has_piece[some] @ diags_array(weights)
    wanted = item_vectors[some].astype(np.float64)
    # What all items have in common no text can ask for.
    wanted -= item_vectors[1:].mean(axis=0)
    if has_item_bias:
        wanted[:, -1] = 0.0
    return solve_ridge(csr_array(scaled), wanted, RIDGE).astype(np.float32)


def solve_ridge(texts: "csr_array[np.float64]", wanted: Float64Array, ridge: float) -> Float64Array:
    """Returns x of the least |texts x - wanted|² + ridge |x|², (n_pieces, dim), by conjugate gradients.

    Args:
        texts: (n, n_pieces).
        wanted: (n, dim).
        ridge: Above 0.
    """
    found = np.zeros((texts.shape[1], wanted.shape[1]))
    transposed = texts.T
    residual: Float64Array = np.asarray(transposed @ wanted)
    step, squares = residual.copy(), np.sum(residual**2, axis=0)  # (dim,)
    enough = squares * _TOLERANCE**2
    for _ in range(_MAX_STEPS):
        if (squares <= enough).all():
            break
        image: Float64Array = np.asarray(transposed @ (texts @ step)) + ridge * step
        curvature = np.sum(step * image, axis=0)
        # A column that is solved has no step left to divide by.
        length = np.divide(squares, curvature, out=np.zeros_like(squares), where=curvature > 0)
        found += length * step
        residual -= length * image
        before, squares = squares, np.sum(residual**2, axis=0)
        step = residual + np.divide(squares, before, out=np.zeros_like(squares), where=before > 0) * step
    return found
