"""Everything that a bundle holds so that its items can be asked for by words, and how it becomes files."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from marquee.bundle.user_ids import ReadArray
from marquee.core.arrays import FloatArray, IndexArray
from marquee.errors import DataError
from marquee.features import FeatureEncoder
from marquee.features.config import FeatureType


@dataclass(frozen=True, eq=False, kw_only=True)
class TextContents:
    """The texts of all items by piece: a piece is a word or a character n-gram, hashed into a row.

    Attributes:
        offsets: The items whose text has piece p are `items[offsets[p]:offsets[p + 1]]`, (n_pieces + 1,)
            int64.
        items: item_index, ascending within a piece, (n_postings,) int32.
        lengths: Length of the vector of weights of each text, (n_items + 1,) float32; 0 without a text.
        directions: Part of each piece in the query that looks for it, (n_pieces, dim) float32; the sum over
            the pieces of an item's text comes near the item's embedding.
        spread: Covariance of the item embeddings, (dim, dim) float32: how far scores of a query lie apart.

    Raises:
        DataError: If offsets and items do not fit each other, an item is none, or a number is not finite.
    """

    offsets: IndexArray
    items: npt.NDArray[np.int32]
    lengths: FloatArray
    directions: FloatArray
    spread: FloatArray

    def __post_init__(self) -> None:
        # Once here, so that no request need look whether an index is one of the catalog's.
        bounds = (int(self.offsets[0]), int(self.offsets[-1]))
        if bounds != (0, len(self.items)) or (np.diff(self.offsets) < 0).any():
            raise DataError(
                f"offsets of texts must rise from 0 to {len(self.items)}, got {bounds[0]} to {bounds[1]}; "
                "export the bundle again"
            )
        outside = self.items[(self.items < 1) | (self.items >= len(self.lengths))]
        if outside.size:
            raise DataError(
                f"items of texts must be in 1 … {len(self.lengths) - 1}, got {outside[0]}; export the bundle "
                "again"
            )
        for name in ("lengths", "directions", "spread"):
            if not np.isfinite(getattr(self, name)).all():
                raise DataError(f"{name} of texts must be finite, got numbers that are not; train again")

    @classmethod
    def read(cls, array: ReadArray, n_items: int, dim: int, n_pieces: int) -> "TextContents":
        """Returns the texts of a bundle.

        Args:
            array: Returns the array of a file, of a type and a shape.
            n_items: Of the bundle.
            dim: Of its item vectors.
            n_pieces: Rows of the encoder of its texts.
        """
        return cls(
            offsets=array(text_file("offsets"), np.int64, (n_pieces + 1,)),
            items=array(text_file("items"), np.int32, (None,)),
            lengths=array(text_file("lengths"), np.float32, (n_items + 1,)),
            directions=array(text_file("directions"), np.float32, (n_pieces, dim)),
            spread=array(text_file("spread"), np.float32, (dim, dim)),
        )

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Returns the arrays by the file that holds each."""
        return {text_file(one.name): getattr(self, one.name) for one in fields(self)}


def text_file(name: str) -> str:
    """Returns the file of an array by the field that holds it."""
    return f"text_{name}.npy"


TEXT_FILES = frozenset(text_file(one.name) for one in fields(TextContents))
"""All files of the texts: a bundle has all of them or none."""


def text_encoder(item_features: FeatureEncoder) -> FeatureEncoder:
    """Returns the encoder of the text features alone, whose rows are the pieces."""
    texts = [one for one in item_features.features if one.config.type is FeatureType.text]
    return FeatureEncoder(tuple(texts))
