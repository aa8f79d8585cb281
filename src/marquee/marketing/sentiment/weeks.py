"""Sentiment by week, and which weeks are unlike those before them."""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import Float64Array, IndexArray

SECONDS_PER_WEEK = 7 * 86_400
# 1970-01-05 was a Monday: weeks begin on Mondays.
FIRST_MONDAY = 4 * 86_400

# Earlier weeks that a week is held beside; under four, their spread is not known.
MIN_WEEKS = 4
ODD = 3.0


@dataclass(frozen=True)
class SentimentWeek:
    """The texts of one week.

    Attributes:
        start: Its Monday, seconds since 1970, UTC.
        n_texts: How many.
        n_customers: From how many customers.
        mean: Mean probability of praise.
        error: Standard error of the mean; NaN for a single text.
        z: Distance from the weeks before, in what chance and their own spread make; None where too few are
            before it.
    """

    start: int
    n_texts: int
    n_customers: int
    mean: float
    error: float
    z: float | None

    @property
    def is_odd(self) -> bool:
        """Whether it is unlike the weeks before it."""
        return self.z is not None and abs(self.z) > ODD


def sentiment_weeks(
    timestamps: IndexArray, customers: IndexArray, scores: Float64Array
) -> tuple[SentimentWeek, ...]:
    """Returns the weeks with a text, the oldest first.

    Args:
        timestamps: Of the texts, seconds since 1970, UTC, (n_texts,).
        customers: Who wrote each, (n_texts,) int64.
        scores: Probability of praise, (n_texts,).
    """
    week = (timestamps - FIRST_MONDAY) // SECONDS_PER_WEEK
    found: list[SentimentWeek] = []
    for number in np.unique(week):
        rows = week == number
        own = scores[rows]
        mean = float(own.mean())
        error = float(own.std(ddof=1) / np.sqrt(len(own))) if len(own) > 1 else float("nan")
        found.append(
            SentimentWeek(
                int(number) * SECONDS_PER_WEEK + FIRST_MONDAY,
                len(own),
                len(np.unique(customers[rows])),
                mean,
                error,
                _distance(mean, error, [one.mean for one in found]),
            )
        )
    return tuple(found)


def _distance(mean: float, error: float, before: list[float]) -> float | None:
    """How far a week is from those before it; None if it cannot be told."""
    if len(before) < MIN_WEEKS or not np.isfinite(error):
        return None
    # Their spread holds their own chance already, and with theirs the week's own is not counted twice where
    # it is as large as they are: the larger of the two is what a quiet week may show.
    spread = max(float(np.std(before, ddof=1)), error)
    return (mean - float(np.mean(before))) / spread if spread > 0 else None
