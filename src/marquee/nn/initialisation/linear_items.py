"""A linear model of items from items as vectors: the best simple method on small catalogs, as inner products.

Everything is in closed form: no step, no sampling. Does not score anybody (see `nn.towers`, whose vectors
may carry these beside the learned ones) and does not decide how much it counts.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from marquee.core.arrays import FloatArray
from marquee.core.cooccurrence import user_item_matrix
from marquee.core.histories import Interactions

DoubleArray = npt.NDArray[np.float64]

# How much more the errors of popular items count: chosen on validation of a shop's articles.
SCALE_EXPONENT = 0.35
N_EXTRA = 16  # directions that are carried along and dropped: the last ones kept are then sharper
# Of more passes that only turn the basis the vectors came no nearer to the weights.
N_PASSES, N_TURNS = 5, 3
N_USERS = 1000


@dataclass(frozen=True, slots=True)
class LinearItems:
    """Items as vectors whose inner products foretell an item from those that its user had.

    ```
    score of an item = Σ over the user's items i of vector_i · vector_item / √(how many)
    ```

    Attributes:
        vectors: (n_items + 1, rank) float32, the strongest direction first; zeros for padding and for items
            without interactions. Scores of training users spread with a standard deviation of 1.
    """

    vectors: FloatArray

    @classmethod
    def find(
        cls,
        train: Interactions,
        n_items: int,
        *,
        rank: int,
        regularization: float,
        generator: np.random.Generator,
    ) -> "LinearItems":
        """Solves for the weights of items on items, and cuts them to their strongest directions.

        What an item says of itself is free, for items that a user had are left out of the answer: it is
        chosen so that the vectors come as near as they can to the other weights.

        Args:
            train: Interactions to learn from; an item counts once per user.
            n_items: Items of the catalog, without the padding one.
            rank: Length of the vectors; from `n_items` on they hold the weights exactly.
            regularization: Weight of the squared weights.
            generator: Draws the directions to begin with, and users to measure the spread by.

        Raises:
            ConfigError: If scipy is not installed.

        Source:
            Steck 2019, WWW, "Embarrassingly Shallow Autoencoders for Sparse Data", eq. 8. Differs from the
            paper: weights are scaled alike on both sides, so that one vector per item holds them, and are of
            low rank but for what an item says of itself.
        """
        matrix = user_item_matrix(train, n_items)
        weights = _weights((matrix.T @ matrix).toarray(), regularization)
        if rank >= n_items:
            vectors = _whole(weights)
        else:
            vectors = _strongest(weights.astype(np.float32), rank, generator)
        padded = np.zeros((n_items + 1, rank), dtype=np.float32)
        padded[:, : vectors.shape[1]] = vectors[:, :rank]
        # Items that nobody had lean on none.
        padded[np.bincount(matrix.indices, minlength=n_items + 1) == 0] = 0.0
        some = generator.permutation(np.flatnonzero(np.diff(matrix.indptr)))[:N_USERS]
        n_events = np.diff(matrix.indptr)[some]
        scores = (matrix[some] @ padded / np.sqrt(n_events)[:, None]) @ padded[1:].T  # (n_some, n_items)
        spread = float(scores.std()) if scores.size else 0.0
        return cls(padded / np.float32(np.sqrt(spread)) if spread > 0 else padded)


def _weights(gram: FloatArray, regularization: float) -> DoubleArray:
    """Returns the weight of each item on each other, (n_items + 1, n_items + 1) float64; 0 on itself."""
    exact = gram.astype(np.float64)
    exact[np.diag_indices_from(exact)] += regularization
    # Positive definite: Cholesky's factor takes fewer operations than a general inverse.
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(torch.from_numpy(exact))).numpy()
    scale = np.diag(inverse) ** -SCALE_EXPONENT  # (n_items + 1,)
    weights: DoubleArray = -inverse * scale[:, None] * scale
    np.fill_diagonal(weights, 0.0)
    return weights


def _whole(weights: DoubleArray) -> FloatArray:
    """Returns vectors whose inner products are the weights but for the diagonal, strongest first."""
    strengths, axes = np.linalg.eigh(weights)
    # A diagonal that leaves no direction negative, of which a real vector could hold none.
    strengths = strengths - strengths[0]
    return np.asarray((axes * np.sqrt(strengths))[:, ::-1], dtype=np.float32)


def _strongest(weights: FloatArray, rank: int, generator: np.random.Generator) -> FloatArray:
    """Returns vectors of length `rank` whose inner products come near to the weights off the diagonal.

    By subspace iteration, in which the diagonal follows the vectors: what they say of an item itself is
    taken as right.
    """
    n_items = len(weights)
    width = min(rank + N_EXTRA, n_items)
    basis = _orthonormal(generator.standard_normal((n_items, width), dtype=np.float32))
    diagonal = np.zeros((n_items, 1), dtype=np.float32)
    vectors = np.zeros((n_items, rank), dtype=np.float32)
    for number in range(N_PASSES):
        basis = _orthonormal(weights @ basis + diagonal * basis)
        # The first passes only turn the basis: what it holds is not yet worth reading.
        if number < N_PASSES - N_TURNS:
            continue
        small = basis.T @ (weights @ basis + diagonal * basis)  # (width, width)
        strengths, axes = np.linalg.eigh((small + small.T) / 2)
        kept = np.sqrt(np.maximum(strengths[::-1][:rank], 0.0))
        vectors = basis @ (axes[:, ::-1][:, :rank] * kept)
        diagonal = np.square(vectors).sum(axis=1, keepdims=True)
    return vectors


def _orthonormal(directions: FloatArray) -> FloatArray:
    """Returns an orthonormal basis of the span of columns, in their shape."""
    # numpy would compute in double precision, at twice the time.
    basis: FloatArray = torch.linalg.qr(torch.from_numpy(directions))[0].numpy()
    return basis
