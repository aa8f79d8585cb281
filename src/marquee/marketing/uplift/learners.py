"""Two learners of uplift and the response model beside them, each on rows that it has not seen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from marquee.bundle.traits.columns import Column, NumberColumn, Values, encode
from marquee.bundle.traits.models import LogisticModel, TreesModel, probabilities
from marquee.core.arrays import BoolArray, Float64Array
from marquee.marketing.scoring.encoding import Ages, fit_columns, take_rows
from marquee.marketing.scoring.folds import N_FOLDS, draw_folds
from marquee.marketing.scoring.models import fit_logistic, fit_trees, straight_terms

T_LEARNER, S_LEARNER, RESPONSE = "T-learner", "S-learner", "response"
_ARM = NumberColumn(name="arm", typical=0.0, knots=[], spike=None, has_missing=False)


@dataclass(frozen=True)
class Learners:
    """The fitted learners.

    Attributes:
        columns: Of the design.
        treated: Chance of the outcome if treated: also the response model.
        control: Chance of the outcome if not.
        both: Trees over both arms, the arm as the last term.
    """

    columns: list[Column]
    treated: LogisticModel
    control: LogisticModel
    both: TreesModel

    @classmethod
    def fit(
        cls, values: Mapping[str, Values], outcome: BoolArray, treated: BoolArray, ages: Ages, seed: int
    ) -> "Learners":
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
        design = encode(columns, values)[:, straight_terms(columns)]
        with_arm = np.column_stack([design, treated])
        flat = [*_flat(columns), _ARM]
        return cls(
            columns,
            fit_logistic(design[treated], outcome[treated]),
            fit_logistic(design[~treated], outcome[~treated]),
            fit_trees(with_arm, outcome, flat, seed),
        )

    def scores(self, values: Mapping[str, Values]) -> dict[str, Float64Array]:
        """Returns the scores that each learner orders customers by, (n,) each."""
        design = encode(self.columns, values)[:, straight_terms(self.columns)]
        if_treated = probabilities(self.treated.logits(design))
        none, some = (np.full((len(design), 1), arm) for arm in (0.0, 1.0))
        by_trees = [
            probabilities(self.both.logits(np.concatenate([design, arm], axis=1))) for arm in (some, none)
        ]
        return {
            T_LEARNER: if_treated - probabilities(self.control.logits(design)),
            S_LEARNER: by_trees[0] - by_trees[1],
            RESPONSE: if_treated,
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
        learners = Learners.fit(take_rows(values, ~is_held), outcome[~is_held], treated[~is_held], ages, seed)
        for name, score in learners.scores(take_rows(values, is_held)).items():
            found.setdefault(name, np.zeros(len(outcome)))[is_held] = score
    return found


def _flat(columns: list[Column]) -> list[Column]:
    """Returns one straight column per straight term, as trees need no more."""
    n = len(straight_terms(columns))
    return [
        NumberColumn(name=f"term {place}", typical=0.0, knots=[], spike=None, has_missing=False)
        for place in range(n)
    ]
