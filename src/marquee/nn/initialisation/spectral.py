"""Item vectors without training: the leading singular vectors of who had what.

The interaction matrix is weighed down where users or items have much, and cut to its strongest directions.
What lies in them is what many users agree on. Does not score anybody and does not learn (see `nn.starts`,
which puts the vectors into a model's tables before its first step).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.cooccurrence import csr_matrix_class, user_item_matrix
from marquee.core.histories import Interactions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

DoubleArray = npt.NDArray[np.float64]

N_EXTRA = 16  # directions that are carried along and dropped: the last ones kept are then sharper
SMALLEST_SHARE = 1e-11  # of the largest squared length, below which a direction is rounding, not data


@dataclass(frozen=True, slots=True)
class SpectralItems:
    """Items in the strongest directions of the interaction matrix.

    Attributes:
        vectors: Right singular vectors, (n_items + 1, dim) float32, strongest direction first; zeros for
            padding, for items without interactions and in directions that the data do not have.
        strengths: Singular values, (dim,) float64, descending.
        n_users: Users of each item, (n_items + 1,) int64.
    """

    vectors: FloatArray
    strengths: DoubleArray
    n_users: IndexArray

    @classmethod
    def find(
        cls,
        train: Interactions,
        n_items: int,
        *,
        dim: int,
        user_exponent: float,
        item_exponent: float,
        n_passes: int,
        generator: np.random.Generator,
    ) -> "SpectralItems":
        """Returns the leading singular vectors of D_u^-user_exponent · R · D_i^-item_exponent.

        R is 1 where a user had an item, D_u and D_i hold how many each has. Products of a sparse matrix with
        `dim` columns, and nothing larger: the cost is `n_passes` × pairs × dim.

        Args:
            train: Interactions to learn from.
            n_items: Items of the catalog, without the padding one.
            dim: Directions to keep.
            user_exponent: How much users of many items count less.
            item_exponent: How much items of many users count less.
            n_passes: Multiplications by RᵀR; more come closer to the exact singular vectors.
            generator: Draws the directions to begin with.

        Raises:
            ConfigError: If scipy is not installed.

        Source:
            Halko, Martinsson and Tropp 2011, SIAM Review 53(2), algorithm 4.4; the weights after Shen et al.
            2021, CIKM, "How Powerful is Graph Convolution for Recommendation?" (GF-CF). Differs from the
            former: bases are made orthogonal through their Gram matrix, which is several times faster for
            few columns of many rows and exact enough where singular values fall slowly.
        """
        matrix, n_users = _weighed(train, n_items, user_exponent, item_exponent)
        # Stored by row as well: products by column are slower.
        transposed = matrix.T.tocsr()
        basis: FloatArray = generator.standard_normal((n_items + 1, dim + N_EXTRA), dtype=np.float32)
        for _ in range(n_passes):
            # Made orthogonal in every pass: else all columns would turn to the strongest direction.
            basis = _orthogonal(transposed @ (matrix @ basis))
        squares, turns = _axes(matrix @ basis)
        vectors = basis @ (turns[:, :dim] * (squares[:dim] > 0)).astype(np.float32)
        return cls(vectors, np.sqrt(squares[:dim]), n_users)


def _weighed(
    train: Interactions, n_items: int, user_exponent: float, item_exponent: float
) -> "tuple[csr_matrix[np.float32], IndexArray]":
    """Returns the weighed matrix, (n_users + 1, n_items + 1), and the users of each item."""
    matrix = user_item_matrix(train, n_items)
    of_user = np.diff(matrix.indptr)
    of_item = np.bincount(matrix.indices, minlength=n_items + 1)
    user_weight = np.maximum(of_user, 1.0) ** -user_exponent
    item_weight = np.maximum(of_item, 1.0) ** -item_exponent
    values = (np.repeat(user_weight, of_user) * item_weight[matrix.indices]).astype(np.float32)
    return csr_matrix_class()((values, matrix.indices, matrix.indptr), shape=matrix.shape), of_item


def _orthogonal(columns: FloatArray) -> FloatArray:
    """Returns columns of length 1 at right angles that span the same; zeros where there are fewer."""
    squares, turns = _axes(columns)
    scale = np.where(squares > 0, 1 / np.sqrt(np.where(squares > 0, squares, 1.0)), 0.0)
    return columns @ (turns * scale).astype(np.float32)


def _axes(columns: FloatArray) -> tuple[DoubleArray, DoubleArray]:
    """Returns the squared lengths along the axes of what `columns` span, largest first, and the axes.

    Lengths that are rounding alone are 0. In float64: a Gram matrix squares what is to be told apart.
    """
    exact = columns.astype(np.float64)
    squares, axes = np.linalg.eigh(exact.T @ exact)
    squares, axes = squares[::-1], axes[:, ::-1]  # eigh gives the smallest first
    return np.where(squares > SMALLEST_SHARE * squares[0], squares, 0.0), axes
