"""Whom to contact first: how many of the wins stand among the first, with intervals."""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array
from marquee.evaluation.intervals import Estimate, wilson

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class LiftRow:
    """The first customers by a probability.

    Attributes:
        share: Of all customers.
        n: Contacts made.
        expected: Wins by the probabilities.
        wins: Wins that came.
        rate: Wins per contact, with its 95 % interval.
        lift: Of the rate over that of all, with its interval.
        gain: Share of all wins, with its interval.
    """

    share: float
    n: int
    expected: float
    wins: int
    rate: Estimate
    lift: Estimate
    gain: Estimate


def measure_lift(probability: Float64Array, outcome: BoolArray) -> tuple[LiftRow, ...]:
    """Returns the first of the customers by probability, in growing shares.

    Args:
        probability: (n,), of rows that were not learned from.
        outcome: (n,) bool.

    Source:
        Wilson 1927, JASA 22(158), for both intervals: of wins among contacts, of contacted among wins.
    """
    # Stable, so that ties keep the order of the file.
    order = np.argsort(-probability, kind="stable")
    wins = np.cumsum(outcome[order])
    said = np.cumsum(probability[order])
    n_all, n_wins = len(outcome), int(outcome.sum())
    rows = []
    for share in SHARES:
        n = round(share * n_all)
        if not n:
            continue
        found = int(wins[n - 1])
        low, high = (float(end[0]) for end in wilson(np.array([float(found)]), np.array([float(n)])))
        gain_low, gain_high = (
            float(end[0]) for end in wilson(np.array([float(found)]), np.array([float(n_wins)]))
        )
        rate = n_wins / n_all
        rows.append(
            LiftRow(
                share=share,
                n=n,
                expected=float(said[n - 1]),
                wins=found,
                rate=Estimate(found / n, low, high),
                lift=Estimate(found / n / rate, low / rate, high / rate),
                gain=Estimate(found / n_wins, gain_low, gain_high),
            )
        )
    return tuple(rows)
