"""The objective of the operator in a report: what exposures brought, on the one scale of its worths."""

from dataclasses import asdict, dataclass
from typing import Any  # of JSON

import numpy as np

from marquee.ads.objective import Objective
from marquee.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
from marquee.evaluation.intervals import Estimate, resample_counts

_THOUSAND = 1000.0
_TAILS = (0.025, 0.975)


@dataclass(frozen=True)
class JudgedObjective:
    """The worth of a thousand exposures of a part.

    Attributes:
        objective: The worths.
        part: Name of the part.
        n: Exposures.
        worth: Of a thousand of them, with its interval: whole users are drawn.
        clicks: Of a thousand.
        conversions: Of a thousand.
        variety: Answers of a thousand, each counted by how unlike its items are, from 0 to 1; None where
            nobody knows what items are like.
        revenue: Money owed for a thousand, units of the currency; None where the table has none.
        said: Worth that the click head of the run says of a thousand; None without one.
    """

    objective: Objective
    part: str
    n: int
    worth: Estimate
    clicks: float
    conversions: float
    variety: float | None = None
    revenue: float | None = None
    said: float | None = None

    @property
    def sentence(self) -> str:
        """The line of a report."""
        said = "" if self.said is None else f"; the click head says {self.said:.4g} of clicks and conversions"
        variety = ""
        if self.variety is not None:
            variety = f" + {self.variety:.4g} answers by how varied they are x {self.objective.diversity:g}"
        money = "; money for places is not in these data"
        if self.revenue is not None:
            money = f" + {self.revenue:.4g} of revenue x {self.objective.revenue:g}"
        return (
            f"Objective ({self.objective.verbatim}): a thousand exposures of the {self.part} part were worth "
            f"{self.worth.mean:.4g} ({self.worth.low:.4g} to {self.worth.high:.4g}){said}. Parts: "
            f"{self.clicks:.4g} clicks x {self.objective.click:g} + {self.conversions:.4g} conversions x "
            f"{self.objective.conversion:g}{variety}{money}."
        )

    def to_json_dict(self) -> dict[str, Any]:
        """Returns everything as numbers."""
        return {
            "worths": asdict(self.objective),
            "verbatim": self.objective.verbatim,
            "part": self.part,
            "exposures": self.n,
            "per_thousand": {"mean": self.worth.mean, "low": self.worth.low, "high": self.worth.high},
            "clicks_per_thousand": self.clicks,
            "conversions_per_thousand": self.conversions,
            "variety_per_thousand": self.variety,
            "revenue_per_thousand": self.revenue,
            "said_per_thousand": self.said,
        }


@dataclass(frozen=True)
class Brought:
    """All that exposures brought, (n,) each.

    Attributes:
        is_clicked: Whether a click came of it.
        is_converted: Whether a conversion did.
        variety: Its share in how varied its answer is: see `variety_of`; None for unknown.
        revenue: Money that a campaign owes for it, units of the currency; None for unknown.
    """

    is_clicked: BoolArray
    is_converted: BoolArray
    variety: Float64Array | None = None
    revenue: Float64Array | None = None

    def worth(self, objective: Objective) -> Float64Array:
        """Returns the worth of each, (n,)."""
        worth = objective.click * self.is_clicked + objective.conversion * self.is_converted
        for of_one, amount in ((objective.diversity, self.variety), (objective.revenue, self.revenue)):
            if amount is not None:
                worth = worth + of_one * amount
        return worth


def judge_objective(
    objective: Objective,
    part: str,
    brought: Brought,
    user: IndexArray,
    generator: np.random.Generator,
    said: Float64Array | None = None,
) -> JudgedObjective:
    """Returns the worth of exposures by their outcomes.

    Args:
        objective: The worths.
        part: Name of the part that they are of.
        brought: By exposures.
        user: Number of the user of each, (n,): intervals draw whole users.
        generator: Draws them.
        said: Worth of each as a click head says, (n,); None without one.

    Source:
        Efron 1979, Annals of Statistics 7(1), method 2, of a ratio of two sums over users.
    """
    worth = brought.worth(objective)
    _, place = np.unique(user, return_inverse=True)
    sums, n_shown = np.bincount(place, worth), np.bincount(place).astype(np.float64)
    ratios = np.concatenate(
        [counts @ sums / (counts @ n_shown) for counts in resample_counts(len(sums), generator)]
    )
    low, high = np.quantile(_THOUSAND * ratios, _TAILS)
    return JudgedObjective(
        objective,
        part,
        len(worth),
        Estimate(_THOUSAND * float(worth.mean()), float(low), float(high)),
        _THOUSAND * float(brought.is_clicked.mean()),
        _THOUSAND * float(brought.is_converted.mean()),
        None if brought.variety is None else _THOUSAND * float(brought.variety.mean()),
        None if brought.revenue is None else _THOUSAND * float(brought.revenue.mean()),
        None if said is None else _THOUSAND * float(said.mean()),
    )


def variety_of(answer: IndexArray, directions: FloatArray) -> Float64Array:
    """Returns the share of each exposure in how varied its answer is, (n,); those of an answer are equal.

    An answer is varied by 1 less the mean cosine of two of its items, from 0 to 1; one of a single item by 0.

    Args:
        answer: Number of the answer of each exposure, (n,).
        directions: What the item of each is like, (n, dim), of any length; zeros are like nothing.

    Example:
        >>> unlike_and_alike = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 1.0], [0.0, 3.0]])
        >>> variety_of(np.array([0, 0, 1, 1]), unlike_and_alike).tolist()
        [0.5, 0.5, 0.0, 0.0]
    """
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    units = np.divide(directions, lengths, out=np.zeros(directions.shape), where=lengths > 0)
    _, place = np.unique(answer, return_inverse=True)
    sums = np.zeros((int(place.max(initial=-1)) + 1, directions.shape[1]))
    np.add.at(sums, place, units)
    n = np.bincount(place, minlength=len(sums)).astype(np.float64)
    own = np.bincount(place, (units * units).sum(axis=1), minlength=len(sums))
    # Of all pairs of an answer: the square of a sum, less each item with itself.
    cosine = ((sums * sums).sum(axis=1) - own) / np.maximum(1.0, n * (n - 1.0))
    varied = np.where(n > 1, np.clip(1.0 - cosine, 0.0, 1.0), 0.0)
    shares: Float64Array = (varied / np.maximum(1.0, n))[place]
    return shares
