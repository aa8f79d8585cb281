"""Two learners of uplift and the response model beside them, each on rows that it has not seen."""

from collections.abc import Mapping

import numpy as np

from marquee.bundle.traits.columns import Column, NumberColumn, Values, encode
from marquee.bundle.traits.forms.uplift import UpliftModels
from marquee.core.arrays import BoolArray, Float64Array
from marquee.marketing.scoring.encoding import Ages, fit_columns, take_rows
from marquee.marketing.scoring.folds import N_FOLDS, draw_folds
from marquee.marketing.scoring.models import fit_logistic, fit_trees, straight_terms

T_LEARNER, S_LEARNER, RESPONSE = "T-learner", "S-learner", "response"
_ARM = NumberColumn(name="arm", typical=0.0, knots=[], spike=None, has_missing=False)


def fit_learners(
    values: Mapping[str, Values], outcome: BoolArray, treated: BoolArray, ages: Ages, seed: int
) -> UpliftModels:
    """Returns the learners, fitted on all rows given.

    Args:
        values: Column → value per row.
        outcome: (n,) bool.
        treated: (n,) bool.
        ages: Which columns are ages.
        seed: Of the trees.

    Source:
        Künzel et al. 2019, PNAS 116(10), "Metalearners for estimating heterogeneous treatment effects".
    """
    columns = fit_columns(values, ages)
    # Without bends: a difference of two curves would follow the noise of both.
    terms = straight_terms(columns)
    design = encode(columns, values)[:, terms]
    with_arm = np.column_stack([design, treated])
    flat = [*_flat(columns), _ARM]
    return UpliftModels(
        columns,
        terms,
        fit_logistic(design[treated], outcome[treated]),
        fit_logistic(design[~treated], outcome[~treated]),
        fit_trees(with_arm, outcome, flat, seed),
    )


def scores_of(models: UpliftModels, values: Mapping[str, Values]) -> dict[str, Float64Array]:
    """Returns the scores that each learner orders customers by, (n,) each."""
    design = models.design(values)
    return {
        T_LEARNER: models.t_learner(design),
        S_LEARNER: models.s_learner(design),
        RESPONSE: models.response(design),
    }


def cross_scores(
    values: Mapping[str, Values], outcome: BoolArray, treated: BoolArray, ages: Ages, seed: int
) -> dict[str, Float64Array]:
    """Returns the scores of each learner on rows that it has not seen, (n,) each.

    Args:
        values: Column → value per row.
        outcome: (n,) bool.
        treated: (n,) bool.
        ages: Which columns are ages.
        seed: Of the folds.
    """
    # Equal shares of both outcomes and both arms in each fold.
    fold = np.where(treated, draw_folds(outcome, seed), draw_folds(outcome, seed + 1))
    found: dict[str, Float64Array] = {}
    for number in range(N_FOLDS):
        is_held = fold == number
        models = fit_learners(take_rows(values, ~is_held), outcome[~is_held], treated[~is_held], ages, seed)
        for name, score in scores_of(models, take_rows(values, is_held)).items():
            found.setdefault(name, np.zeros(len(outcome)))[is_held] = score
    return found


def _flat(columns: list[Column]) -> list[Column]:
    """Returns one straight column per straight term, as trees need no more."""
    n = len(straight_terms(columns))
    return [
        NumberColumn(name=f"term {place}", typical=0.0, knots=[], spike=None, has_missing=False)
        for place in range(n)
    ]
