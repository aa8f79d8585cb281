"""Fitted models as plain numbers: a logistic regression and boosted trees, both read by numpy alone.

Neither is pickled, and neither needs the library that fitted it: the service scores a form without it.
"""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from marquee.bundle.traits.columns import Column, owners
from marquee.core.arrays import Float64Array, IndexArray

_ROWS_AT_ONCE = 4096


class LogisticModel(msgspec.Struct, frozen=True, tag="logistic"):
    """ln(p / (1 − p)) is a weighted sum of the terms of the design.

    Attributes:
        weights: One per term, in its unit, (n_terms,).
        intercept: Of the sum.
        means: Of the terms in the fit, (n_terms,): what a contribution is measured from.
    """

    weights: list[float]
    intercept: float
    means: list[float]

    def logits(self, design: Float64Array) -> Float64Array:
        """Returns ln(p / (1 − p)) of each row, (n,)."""
        return np.asarray(design @ np.array(self.weights) + self.intercept)

    def contributions(self, design: Float64Array, columns: Sequence[Column]) -> Float64Array:
        """Returns how far each column moves the logit of each row from that of the mean, (n, n_columns)."""
        moved = (design - np.array(self.means)) * np.array(self.weights)
        return _summed(moved, columns)


class Tree(msgspec.Struct, frozen=True):
    """One tree, its nodes numbered from the root, 0; a leaf leads to itself.

    Attributes:
        term: Of the design that a node asks for.
        threshold: A row goes left where the term is at most this.
        left: Next node on the left.
        right: Next node on the right.
        value: Of a leaf what it adds to the logit, of another node the mean over the rows below it.
        depth: Steps from the root to the farthest leaf.
    """

    term: list[int]
    threshold: list[float]
    left: list[int]
    right: list[int]
    value: list[float]
    depth: int


class TreesModel(msgspec.Struct, frozen=True, tag="trees", dict=True):
    """ln(p / (1 − p)) is a start and the sum of a leaf of each tree.

    Attributes:
        start: Before the first tree.
        trees: In the order of the fit.
    """

    start: float
    trees: list[Tree]

    def logits(self, design: Float64Array) -> Float64Array:
        """Returns ln(p / (1 − p)) of each row, (n,)."""
        nodes = self._nodes()
        total = np.full(len(design), self.start)
        for first in range(0, len(design), _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            total[rows] += nodes.value[nodes.walk(design[rows])[-1]].sum(axis=1)
        return total

    def contributions(self, design: Float64Array, columns: Sequence[Column]) -> Float64Array:
        """Returns how far each column moves the logit of each row from that of the mean, (n, n_columns).

        The step from a node to the next below is the doing of the term that the node asks for.

        Source:
            Palczewska et al. 2013, "Interpreting random forest models using a feature contribution method".
        """
        nodes = self._nodes()
        owner = owners(columns)
        found = np.zeros((len(design), len(columns)))
        for first in range(0, len(design), _ROWS_AT_ONCE):
            block = design[first : first + _ROWS_AT_ONCE]
            path = nodes.walk(block)
            row = np.broadcast_to(np.arange(len(block))[:, None], path[0].shape)
            for before, after in pairwise(path):
                # A leaf leads to itself, and so adds nothing here.
                step = nodes.value[after] - nodes.value[before]
                cell = row * len(columns) + owner[nodes.term[before]]
                sums = np.bincount(cell.ravel(), step.ravel(), minlength=len(block) * len(columns))
                found[first : first + len(block)] += sums.reshape(len(block), len(columns))
        return found

    def _nodes(self) -> "_Nodes":
        """Returns all trees as arrays, made once."""
        if not hasattr(self, "made"):
            # A frozen struct with room for what follows from it: arrays are no JSON.
            self.__dict__["made"] = _Nodes.of(self.trees)
        made: _Nodes = self.__dict__["made"]
        return made


class _Nodes:
    """The nodes of all trees behind each other."""

    def __init__(
        self, term: IndexArray, threshold: Float64Array, below: IndexArray, value: Float64Array
    ) -> None:
        self.term, self.threshold, self.below, self.value = term, threshold, below, value
        self.roots: IndexArray = np.zeros(0, np.int64)
        self.depth = 0

    @classmethod
    def of(cls, trees: Sequence[Tree]) -> "_Nodes":
        """Returns the nodes of trees."""
        starts = np.cumsum([0, *(len(tree.term) for tree in trees)])

        def joined(parts: Sequence[Sequence[int]], shift: bool) -> IndexArray:
            arrays = [
                np.array(part, np.int64) + (start if shift else 0)
                for part, start in zip(parts, starts, strict=False)
            ]
            return np.concatenate([np.zeros(0, np.int64), *arrays])

        left = joined([tree.left for tree in trees], shift=True)
        right = joined([tree.right for tree in trees], shift=True)
        nodes = cls(
            joined([tree.term for tree in trees], shift=False),
            np.array([value for tree in trees for value in tree.threshold], dtype=np.float64),
            np.stack([left, right], axis=1),
            np.array([value for tree in trees for value in tree.value], dtype=np.float64),
        )
        nodes.roots = starts[:-1].astype(np.int64)
        nodes.depth = max((tree.depth for tree in trees), default=0)
        return nodes

    def walk(self, design: Float64Array) -> list[IndexArray]:
        """Returns the nodes on the way from the roots to the leaves, (n, n_trees) each."""
        at = np.broadcast_to(self.roots, (len(design), len(self.roots)))
        rows = np.arange(len(design))[:, None]
        path = [at]
        for _ in range(self.depth):
            goes_right = design[rows, self.term[at]] > self.threshold[at]
            at = self.below[at, goes_right.astype(np.int64)]
            path.append(at)
        return path


Model = LogisticModel | TreesModel


def probabilities(logits: Float64Array) -> Float64Array:
    """Returns 1 / (1 + exp(−logits)), (n,), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


def _summed(terms: Float64Array, columns: Sequence[Column]) -> npt.NDArray[np.float64]:
    """Returns sums over the terms of each column, (n, n_columns)."""
    starts = np.cumsum([0, *(len(column.labels) for column in columns)])[:-1]
    return np.asarray(np.add.reduceat(terms, starts, axis=1))
