"""A reward by action, for the direct and the doubly robust estimate, fitted on other users.

Shrunken means of each action: what a table alone allows. Its mistakes cost the doubly robust estimate only
precision, and the direct one everything: no verdict rests on the latter.
"""

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
    users, number = np.unique(user, return_inverse=True)
    n_folds = min(N_FOLDS, len(users))
    # Whole users go into a fold: their own rewards must not predict them.
    fold = (generator.permutation(len(users)) % max(1, n_folds))[number]
    # (n, n_actions); the overall mean stays where one user alone leaves nobody to fit on.
    predicted = np.full((len(reward), n_actions), float(reward.mean()))
    for judged in range(n_folds if n_folds > 1 else 0):
        others = fold != judged
        overall = float(reward[others].mean())
        sums = np.bincount(action[others], reward[others], minlength=n_actions)
        counts = np.bincount(action[others], minlength=n_actions)
        predicted[~others] = (sums + _PRIOR_ROWS * overall) / (counts + _PRIOR_ROWS)
    return predicted
