"""Fits the two models that may say a probability, and writes both as plain numbers.

Balanced class weights are never used: they keep the order and ruin the probabilities.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marquee.bundle.traits.columns import Column
from marquee.bundle.traits.models import LogisticModel, Tree, TreesModel
from marquee.core.arrays import BoolArray, Float64Array
from marquee.errors import ConfigError
from marquee.evaluation.probabilities.calibration import LogisticHead

RIDGE = 1.0
INSTALL = "pip install 'marquee[customers]'"
LEARNING_RATE, N_TREES, N_LEAVES, MIN_LEAF = 0.05, 100, 12, 80


@dataclass(frozen=True)
class FittedLogistic:
    """A logistic regression with what its intervals need.

    Attributes:
        model: Coefficients in the units of the design.
        covariance: Of the weights, (n_terms, n_terms).
    """

    model: LogisticModel
    covariance: Float64Array


def fit_logistic(design: Float64Array, outcome: BoolArray) -> LogisticModel:
    """Returns the logistic regression of an outcome on the design.

    Args:
        design: (n, n_terms).
        outcome: (n,) bool.

    Raises:
        DataError: If both outcomes do not occur.
    """
    head = LogisticHead.fit(design, outcome, ridge=RIDGE)
    weights = head.coefficients[:-1] / head.scales
    intercept = float(head.coefficients[-1] - weights @ head.means)
    return LogisticModel(weights.tolist(), intercept, head.means.tolist())


def with_covariance(model: LogisticModel, design: Float64Array) -> FittedLogistic:
    """Returns a model with the covariance of its weights: the inverse of the penalised curvature.

    Args:
        model: As fitted on the design.
        design: (n, n_terms).

    Source:
        le Cessie and van Houwelingen 1992, Applied Statistics 41(1), equation 6, without its correction
        for the penalty, which would make intervals shorter.
    """
    scales = design.std(axis=0)
    scales = np.where(scales > 0, scales, 1.0)
    standard = np.concatenate([(design - design.mean(axis=0)) / scales, np.ones((len(design), 1))], axis=1)
    probability = 0.5 * (1.0 + np.tanh(0.5 * model.logits(design)))
    penalty = np.full(standard.shape[1], RIDGE)
    penalty[-1] = 0.0
    curvature = (standard.T * (probability * (1 - probability))) @ standard + np.diag(penalty)
    covariance = np.linalg.inv(curvature)[:-1, :-1]
    return FittedLogistic(model, covariance / scales[:, None] / scales[None, :])


def fit_trees(design: Float64Array, outcome: BoolArray, columns: list[Column], seed: int) -> TreesModel:
    """Returns boosted trees of an outcome on the design without its bends, which trees make themselves.

    Args:
        design: (n, n_terms).
        outcome: (n,) bool.
        columns: Whose terms the design holds.
        seed: Of the draw of rows for the bins, where rows are very many.

    Raises:
        ConfigError: If scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ImportError as error:
        raise ConfigError(f"boosted trees need scikit-learn, got {error}; run: {INSTALL}") from error
    straight = straight_terms(columns)
    # Without early stopping, whose held-out rows are drawn at random above 10,000 rows.
    forest = HistGradientBoostingClassifier(
        learning_rate=LEARNING_RATE,
        max_iter=N_TREES,
        max_leaf_nodes=N_LEAVES,
        min_samples_leaf=MIN_LEAF,
        early_stopping=False,
        random_state=seed,
    ).fit(design[:, straight], outcome)
    # The trees themselves are no public attribute; a test holds our copy against `predict_proba`.
    trees = [_tree(stage[0].nodes, straight) for stage in forest._predictors]
    return TreesModel(float(forest._baseline_prediction.ravel()[0]), trees)


def straight_terms(columns: list[Column]) -> list[int]:
    """Returns the terms of a design that are no bends."""
    labels = [label for column in columns for label in column.labels]
    return [place for place, label in enumerate(labels) if not label.startswith("bend ")]


def _tree(nodes: npt.NDArray[np.void], straight: list[int]) -> Tree:
    """Returns a tree as numbers, leaves leading to themselves."""
    here = np.arange(len(nodes))
    is_leaf = nodes["is_leaf"].astype(bool)
    left = np.where(is_leaf, here, nodes["left"].astype(np.int64))
    right = np.where(is_leaf, here, nodes["right"].astype(np.int64))
    value, count = nodes["value"].astype(np.float64), nodes["count"].astype(np.float64)
    # From the last: a node stands before those below it.
    for node in here[~is_leaf][::-1]:
        below = [left[node], right[node]]
        value[node] = float(np.average(value[below], weights=count[below]))
    term = np.where(is_leaf, 0, np.array(straight)[nodes["feature_idx"].astype(np.int64)])
    threshold = np.where(is_leaf, 0.0, nodes["num_threshold"])
    return Tree(
        term.tolist(),
        threshold.tolist(),
        left.tolist(),
        right.tolist(),
        value.tolist(),
        int(nodes["depth"].max()),
    )
