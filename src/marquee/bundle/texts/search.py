"""Finds items by words: by the pieces that a text shares with theirs, and by where such items are embedded.

```
"old feling"   words and n-grams   rare ones weigh more
               ├── cosine with the text of each item         finds titles, also with a typing error
               └── sum of directions                         finds what is like items with such words
```

Decides what pieces weigh and how a text becomes a query embedding. Leaves to others how both are added up
(see `marquee.decision.texts`), and how directions are learned.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marquee.bundle.texts.contents import TextContents, text_encoder
from marquee.core.arrays import Float64Array, FloatArray, IndexArray
from marquee.features import FeatureEncoder

MAX_POSTINGS = 2_000_000
"""Postings that one text may look at: bounds its work to some 10 ms, however large the catalog."""


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The pieces of a text that stand in the text of some item.

    Attributes:
        rows: Of the pieces, the rarest first, (n,) int64.
        weights: Inverse document frequency of each, (n,) float64, above 0.
        length: Of the vector of weights.
    """

    rows: IndexArray
    weights: Float64Array
    length: float


class TextSearch:
    """The texts of the items of a bundle. Several threads may ask at a time.

    Args:
        contents: As training made it.
        item_features: Of the bundle.
    """

    def __init__(self, contents: TextContents, item_features: FeatureEncoder) -> None:
        self.contents = contents
        self.encoder = text_encoder(item_features)
        self.columns = tuple(dict.fromkeys(one.column for one in self.encoder.features))
        n_items = len(contents.lengths) - 1
        self._weights = weights_of(self.encoder, contents.offsets, n_items)

    def pieces(self, text: str) -> Pieces | None:
        """Returns the pieces of a text, None if no item's text has any of them."""
        tokens = self.encoder.encode_one(dict.fromkeys(self.columns, text)).tokens
        rows = np.unique(tokens).astype(np.int64)
        rows = rows[self._weights[rows] > 0.0]
        if not len(rows):
            return None
        weights = self._weights[rows]
        # Rows ascend, and the sort is stable: equally rare pieces keep one order.
        order = np.argsort(-weights, kind="stable")
        return Pieces(rows[order], weights[order], float(np.sqrt(np.sum(weights**2))))

    def likeness(self, pieces: Pieces) -> tuple[IndexArray, FloatArray]:
        """Returns the items whose text shares a piece, ascending, with the cosine of both texts, above 0.

        Beyond `MAX_POSTINGS` the most frequent pieces find nothing more.
        """
        offsets = self.contents.offsets
        starts, ends = offsets[pieces.rows], offsets[pieces.rows + 1]
        # The first always: one piece alone has no more postings than there are items.
        n_read = max(1, int(np.searchsorted(np.cumsum(ends - starts), MAX_POSTINGS, side="right")))
        bounds = list(zip(starts[:n_read].tolist(), ends[:n_read].tolist(), strict=True))
        items = np.concatenate([self.contents.items[start:end] for start, end in bounds])
        gains = np.repeat(pieces.weights[:n_read] ** 2, [end - start for start, end in bounds])
        lengths = self.contents.lengths
        total = np.bincount(items, weights=gains, minlength=len(lengths))
        found = np.flatnonzero(total)
        return found, (total[found] / (pieces.length * lengths[found])).astype(np.float32)

    def likeness_of(self, pieces: Pieces, tokens: npt.NDArray[np.int32]) -> FloatArray:
        """Returns the cosine of a text with others, (n,) float32.

        Args:
            pieces: Of the text.
            tokens: The others as `encoder` reads them, (n, n_token_columns).
        """
        shared = np.zeros_like(self._weights)
        shared[pieces.rows] = pieces.weights**2
        lengths = np.sqrt(np.sum(self._weights[tokens] ** 2, axis=1))  # (n,)
        lengths[lengths == 0.0] = 1.0
        cosines: FloatArray = (shared[tokens].sum(axis=1) / (pieces.length * lengths)).astype(np.float32)
        return cosines

    def direction(self, pieces: Pieces) -> FloatArray:
        """Returns the query embedding of a text, scaled as `scaled` does, (dim,) float32."""
        return self.scaled(pieces.weights @ self.contents.directions[pieces.rows])

    def scaled(self, embedding: npt.NDArray[np.floating]) -> FloatArray:
        """Returns a query embedding, (dim,), whose scores have a standard deviation of 1 over the items.

        Zeros where all scores are equal: such a query prefers nothing.
        """
        wide = embedding.astype(np.float64)
        variance = float(wide @ self.contents.spread @ wide)
        # Also of a variance that is no number: whatever made it, the text must not spoil an answer.
        if not variance > 0.0:
            return np.zeros(len(embedding), dtype=np.float32)
        scaled: FloatArray = (wide / np.sqrt(variance)).astype(np.float32)
        return scaled


def weights_of(encoder: FeatureEncoder, offsets: IndexArray, n_items: int) -> Float64Array:
    """Returns the weight of each piece, (n_pieces,) float64: log((1 + n_items) / (1 + items that have it)).

    0 for a piece that no item has, or that says nothing: padding, and the row of missing texts.
    """
    counts = np.diff(offsets)
    weights = np.log((1.0 + n_items) / (1.0 + counts))
    weights[counts == 0] = 0.0
    weights[[0, *(block.unknown_row for block in encoder.blocks)]] = 0.0
    return weights
