"""A reward by action, or by item and place, for direct and doubly robust estimates, fitted on other users.

Shrunken means of each: what a table alone allows. Its mistakes cost the doubly robust estimate only
precision, and the direct one everything: no verdict rests on the latter.
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import Float64Array, IndexArray

N_FOLDS = 5
_PRIOR_ROWS = 10.0  # rows of the overall mean that each action is shrunk by


def predict_rewards(
    action: IndexArray,
    reward: Float64Array,
    user: IndexArray,
    n_actions: int,
    generator: np.random.Generator,
) -> Float64Array:
    """Returns the expected reward of every action for every decision, (n, n_actions), cross-fitted by user.

    Args:
        action: Number of the action that was taken, (n,).
        reward: That came of it, (n,).
        user: Number of the user of each decision, (n,).
        n_actions: Actions that there are.
        generator: Draws the folds.

    Source:
        Chernozhukov et al. 2018, Econometrics Journal 21(1), for cross-fitting.
    """
    fold, n_folds = user_folds(user, generator)
    # (n, n_actions); the overall mean stays where one user alone leaves nobody to fit on.
    predicted = np.full((len(reward), n_actions), float(reward.mean()))
    for judged in range(n_folds if n_folds > 1 else 0):
        others = fold != judged
        overall = float(reward[others].mean())
        sums = np.bincount(action[others], reward[others], minlength=n_actions)
        counts = np.bincount(action[others], minlength=n_actions)
        predicted[~others] = (sums + _PRIOR_ROWS * overall) / (counts + _PRIOR_ROWS)
    return predicted


def user_folds(user: IndexArray, generator: np.random.Generator) -> tuple[IndexArray, int]:
    """Returns the fold of each row, (n,) int64, all rows of a user in one, and how many folds there are."""
    users, number = np.unique(user, return_inverse=True)
    n_folds = min(N_FOLDS, len(users))
    # Whole users go into a fold: their own rewards must not predict them.
    fold: IndexArray = (generator.permutation(len(users)) % max(1, n_folds))[number]
    return fold, n_folds


@dataclass(frozen=True)
class PlaceModel:
    """The expected reward of any item at any place, fitted for each list on the lists of other users.

    A reward is that of the place times what the item earns beside others at the same places.

    Attributes:
        fold: Fold of each list, (n,) int64.
        rates: Mean reward of each place, without the lists of a fold, (n_folds, k).
        lifts: Factor of each item, without those lists, (n_folds, n_items).
    """

    fold: IndexArray
    rates: Float64Array
    lifts: Float64Array

    def predict(self, row: int, place: int, items: IndexArray) -> Float64Array:
        """Returns the reward expected of items at a place of a list, (n,).

        Args:
            row: Of the list.
            place: From 0.
            items: Number of each item, (n,); below 0 for one that the log does not know: it earns what the
                place does.
        """
        lifts = self.lifts[self.fold[row]]
        known: Float64Array = np.where(items >= 0, lifts[items], 1.0)
        return np.asarray(self.rates[self.fold[row], place] * known)


def fit_place_model(
    item: IndexArray, reward: Float64Array, user: IndexArray, n_items: int, generator: np.random.Generator
) -> PlaceModel:
    """Fits the reward of items at places, cross-fitted by user.

    Args:
        item: Number of the item at each place of each list, (n, k); below 0 for an item of no number.
        reward: That came of it, (n, k); NaN where a list has no such place.
        user: Number of the user of each list, (n,).
        n_items: Numbers that there are.
        generator: Draws the folds.

    Source:
        Zhang and Jones 2007, WWW, "Comparing Click Logs and Editorial Labels for Training Query Rewriting",
        for clicks over expected clicks. Differs from the paper: shrunk by rows of the overall mean.
    """
    fold, n_folds = user_folds(user, generator)
    there = ~np.isnan(reward)
    filled = np.where(there, reward, 0.0)
    overall = filled.sum() / max(1, there.sum())
    rates, lifts = np.zeros((max(1, n_folds), reward.shape[1])), np.ones((max(1, n_folds), n_items))
    for judged in range(max(1, n_folds)):
        # One user alone leaves nobody else to fit on: the places' means of all, and no item stands out.
        rows = fold != judged if n_folds > 1 else np.ones(len(fold), dtype=np.bool_)
        rates[judged] = (filled[rows].sum(axis=0) + _PRIOR_ROWS * overall) / (
            there[rows].sum(axis=0) + _PRIOR_ROWS
        )
        # A log without any reward has no item that stands out.
        if n_folds > 1 and overall > 0:
            counts = there[rows] & (item[rows] >= 0)
            number = item[rows][counts]
            came = np.bincount(number, filled[rows][counts], minlength=n_items)
            usual = np.bincount(
                number, np.broadcast_to(rates[judged], counts.shape)[counts], minlength=n_items
            )
            lifts[judged] = (came + _PRIOR_ROWS * overall) / (usual + _PRIOR_ROWS * overall)
    return PlaceModel(fold, rates, lifts)
