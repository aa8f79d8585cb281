"""Small heads that say how likely a click is: from a model's score, from where an item stood, or from both.

Those that do not know the model stand beside it: a model whose score adds nothing to the place is worth
nothing for this question.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import BoolArray, Float64Array
from marquee.evaluation.probabilities.calibration import IsotonicHead, LogisticHead
from marquee.evaluation.probabilities.intervals import MIN_OUTCOMES

MAX_PLACES = 50  # a column of more values says no place: each would be known from a handful of exposures


@dataclass(frozen=True)
class ScoredExposures:
    """Exposures with a model's score and their outcome, to fit heads on or to judge them by.

    Attributes:
        score: Of the model, (n,).
        is_clicked: (n,) bool.
        place: Surface and position of each in one text, (n,) str; None where neither is known.
    """

    score: Float64Array
    is_clicked: BoolArray
    place: npt.NDArray[np.str_] | None = None

    @property
    def can_teach(self) -> bool:
        """Whether a head can be fitted on them."""
        n_clicked = int(self.is_clicked.sum())
        return min(n_clicked, len(self.is_clicked) - n_clicked) >= MIN_OUTCOMES


def head_probabilities(fitted: ScoredExposures, judged: ScoredExposures) -> dict[str, Float64Array]:
    """Fits heads and returns head → its probability of a click on each judged exposure, (n,).

    The head that knows most stands first, the mean rate last.

    Args:
        fitted: Exposures of before the judged ones; see `can_teach`.
        judged: The exposures to be said something of.
    """
    score, own = fitted.score[:, None], judged.score[:, None]
    place, own_place = place_indicators(fitted.place, judged.place)
    heads = {}
    if place is not None and own_place is not None:
        everything = LogisticHead.fit(np.concatenate([score, place], axis=1), fitted.is_clicked)
        heads["score and place"] = everything.probabilities(np.concatenate([own, own_place], axis=1))
    heads["score, logistic"] = LogisticHead.fit(score, fitted.is_clicked).probabilities(own)
    heads["score, isotonic"] = IsotonicHead.fit(fitted.score, fitted.is_clicked).probabilities(judged.score)
    if place is not None and own_place is not None:
        heads["place alone"] = LogisticHead.fit(place, fitted.is_clicked).probabilities(own_place)
    heads["mean rate"] = np.full(len(own), fitted.is_clicked.mean())
    return heads


def place_indicators(
    fitted: npt.NDArray[np.str_] | None, judged: npt.NDArray[np.str_] | None
) -> tuple[Float64Array | None, Float64Array | None]:
    """Returns 1 where an exposure stood at each place of the fitted ones, else 0, (n, n_places) each.

    None for both where no place is known, all stood at one, or there are more than `MAX_PLACES`.

    Example:
        >>> found, _ = place_indicators(np.array(["feed 1", "feed 2"]), np.array(["feed 3"]))
        >>> found.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    if fitted is None or judged is None:
        return None, None
    known = np.unique(fitted)
    if not 1 < len(known) <= MAX_PLACES:
        return None, None
    # By the places of the fit: one that it did not hold is 0 in all columns.
    return (fitted[:, None] == known).astype(np.float64), (judged[:, None] == known).astype(np.float64)
