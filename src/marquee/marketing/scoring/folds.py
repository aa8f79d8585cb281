"""Probabilities of rows by models that never saw them, and which of the two models to believe."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from marquee.bundle.traits.columns import Column, Values, encode
from marquee.bundle.traits.models import Model, probabilities
from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.evaluation.probabilities.metrics import auc, log_losses
from marquee.marketing.scoring.encoding import Ages, fit_columns, take_rows
from marquee.marketing.scoring.models import fit_logistic, fit_trees

N_FOLDS = 5
# Of a standard normal: five in a hundred equal models would seem better.
_CLEAR = 1.959963984540054
# A gain that nobody would see does not pay for a model that nobody can read.
MIN_AUC_GAIN = 0.003

# Beyond so many rows both models compete on a draw of them: the others change nothing about who wins.
MAX_COMPETING = 50_000
MIN_DRAWN = 100

LOGISTIC, TREES = "logistic", "trees"


@dataclass(frozen=True)
class OutOfFold:
    """Both models on rows that they were not fitted on.

    Attributes:
        fold: Of each row, (n,).
        probability: Model → probability of each row, (n,).
        chosen: The model to use.
        gain: AUC of the trees over that of the logistic regression.
        z: Of the paired difference of the log losses; above 0 where trees are better.
    """

    fold: IndexArray
    probability: Mapping[str, Float64Array]
    chosen: str
    gain: float
    z: float


def draw_folds(outcome: BoolArray, seed: int, n_folds: int = N_FOLDS) -> IndexArray:
    """Returns a fold per row, with equal shares of the outcome in each, (n,).

    Args:
        outcome: (n,) bool.
        seed: Of the draw.
        n_folds: Number of folds.
    """
    generator = np.random.default_rng(seed)
    fold = np.zeros(len(outcome), np.int64)
    for side in (True, False):
        rows = np.flatnonzero(outcome == side)
        fold[generator.permutation(rows)] = np.arange(len(rows)) % n_folds
    return fold


def draw_rows(outcome: BoolArray, n: int, seed: int) -> IndexArray:
    """Returns the places of `n` rows drawn by lot, ascending, and of more where one outcome is rare.

    Args:
        outcome: (n_rows,) bool.
        n: Number of rows.
        seed: Of the draw.
    """
    order = np.random.default_rng(seed).permutation(len(outcome))
    drawn = order[:n]
    for side in (True, False):
        own = order[outcome[order] == side][:MIN_DRAWN]
        # Of an outcome in ten thousand a draw may hold none, and nothing could be fitted.
        drawn = np.union1d(drawn, own)
    return drawn.astype(np.int64)


def fit_model(
    kind: str, values: Mapping[str, Values], outcome: BoolArray, ages: Ages, seed: int
) -> tuple[list[Column], Model]:
    """Returns how columns are encoded and the model of that name, fitted on all rows given."""
    columns = fit_columns(values, ages)
    design = encode(columns, values)
    if kind == TREES:
        return columns, fit_trees(design, outcome, columns, seed)
    return columns, fit_logistic(design, outcome)


def compete(
    values: Mapping[str, Values], outcome: BoolArray, ages: Ages, seed: int, kinds: tuple[str, ...]
) -> OutOfFold:
    """Returns the out-of-fold probabilities of all rows; of very many rows, of the chosen model alone.

    Args:
        values: Column → value per row.
        outcome: (n,) bool.
        ages: Which columns are ages.
        seed: Of the folds and the draw.
        kinds: Models; the first is used unless another is clearly better.
    """
    if len(outcome) <= MAX_COMPETING or len(kinds) == 1:
        return cross_fit(values, outcome, ages, seed, kinds)
    drawn = draw_rows(outcome, MAX_COMPETING, seed)
    winner = cross_fit(take_rows(values, drawn), outcome[drawn], ages, seed, kinds)
    found = cross_fit(values, outcome, ages, seed, (winner.chosen,))
    return replace(found, gain=winner.gain, z=winner.z)


def cross_fit(
    values: Mapping[str, Values], outcome: BoolArray, ages: Ages, seed: int, kinds: tuple[str, ...]
) -> OutOfFold:
    """Returns the probabilities of each model on rows that it has not seen, and which one is to be used.

    Args:
        values: Column → value per row.
        outcome: (n,) bool.
        ages: Which columns are ages.
        seed: Of the folds.
        kinds: Models to fit; the first is used unless another is clearly better.
    """
    fold = draw_folds(outcome, seed)
    said = {kind: np.zeros(len(outcome)) for kind in kinds}
    for number in range(N_FOLDS):
        is_held = fold == number
        fitted, held = take_rows(values, ~is_held), take_rows(values, is_held)
        # Knots and levels too are learned without the held rows.
        columns = fit_columns(fitted, ages)
        design, own = encode(columns, fitted), encode(columns, held)
        for kind in kinds:
            model = (
                fit_trees(design, outcome[~is_held], columns, seed)
                if kind == TREES
                else fit_logistic(design, outcome[~is_held])
            )
            said[kind][is_held] = probabilities(model.logits(own))
    if TREES not in said or len(said) == 1:
        return OutOfFold(fold, said, kinds[0], 0.0, 0.0)
    gain, z = compare(said[LOGISTIC], said[TREES], outcome)
    is_clear = z > _CLEAR and gain >= MIN_AUC_GAIN
    return OutOfFold(fold, said, TREES if is_clear else LOGISTIC, gain, z)


def compare(first: Float64Array, second: Float64Array, outcome: BoolArray) -> tuple[float, float]:
    """Returns the gain in AUC of the second over the first, and z of their paired log losses.

    Args:
        first: Probability of each row, (n,).
        second: The same by the challenger.
        outcome: (n,) bool.
    """
    difference = log_losses(first, outcome) - log_losses(second, outcome)
    error = float(difference.std(ddof=1)) / len(outcome) ** 0.5
    z = float(difference.mean()) / error if error > 0 else 0.0
    return auc(second, outcome) - auc(first, outcome), z
