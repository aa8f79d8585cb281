"""Encoded features as arrays: all that models and the runtime see of a feature."""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import FloatArray, IndexArray, TokenArray
from marquee.errors import ShapeError


@dataclass(frozen=True, slots=True)
class FeatureArrays:
    """Features of many rows.

    Attributes:
        tokens: Rows of the token table, (rows, n_token_columns) int32; 0 is padding.
        numeric: (rows, n_numeric) float32, always finite.

    Raises:
        ShapeError: If the two differ in rows.
    """

    tokens: TokenArray
    numeric: FloatArray

    def __post_init__(self) -> None:
        if self.tokens.ndim != 2 or self.numeric.ndim != 2 or len(self.tokens) != len(self.numeric):
            raise ShapeError(
                "tokens and numeric must be two-dimensional with equal rows, got "
                f"{self.tokens.shape} and {self.numeric.shape}"
            )

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: IndexArray) -> "FeatureArrays":
        """Returns the given rows, (n,) int64, in that order."""
        return FeatureArrays(tokens=self.tokens[rows], numeric=self.numeric[rows])

    def with_padding_row(self) -> "FeatureArrays":
        """Returns the arrays with a row of zeros in front, so that index i describes row i - 1."""
        # Token 0 is padding and the number 0 adds nothing: a row of zeros says nothing.
        return FeatureArrays(
            tokens=np.pad(self.tokens, ((1, 0), (0, 0))), numeric=np.pad(self.numeric, ((1, 0), (0, 0)))
        )
