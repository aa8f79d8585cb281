"""Segments by a form: fifths of recency and frequency among those of the run, or the nearest cluster."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec
import numpy as np

from marquee.bundle.traits.columns import Column, NumberColumn, Values, encode
from marquee.bundle.traits.forms.form import FormScores
from marquee.bundle.traits.forms.value import ORDERS, RECENCY
from marquee.core.arrays import Float64Array, IndexArray
from marquee.errors import FormError
from marquee.store.people.consent import Tier

N_FIFTHS = 5


def fifth_bounds(values: Float64Array) -> list[float]:
    """Returns the least value of each fifth but the first, (4,); equal values stand in one fifth.

    Args:
        values: Of the population, (n,).

    Example:
        >>> bounds = fifth_bounds(np.array([1.0, 1.0, 1.0, 2.0, 3.0]))
        >>> fifths_by(bounds, np.array([1.0, 2.0, 3.0, 0.5, 9.0])).tolist()
        [3, 4, 5, 1, 5]
    """
    ordered = np.sort(values)
    return [float(ordered[place * len(ordered) // N_FIFTHS]) for place in range(1, N_FIFTHS)]


def fifths_by(bounds: list[float], values: Float64Array) -> IndexArray:
    """Returns the fifth of each value, 1 to 5, highest 5, (n,).

    Args:
        bounds: Of `fifth_bounds`.
        values: (n,).
    """
    return np.searchsorted(np.array(bounds), values, side="right").astype(np.int64) + 1


class FifthsForm(msgspec.Struct, frozen=True, tag="fifths"):
    """Names the segment of whoever sends a form, by fifths of recency and frequency.

    Attributes:
        name: Of the trait.
        version: Of the fit.
        as_of: Moment up to which it has learned, seconds since 1970.
        recency: Bounds of minus the days since the last order.
        frequency: Bounds of the number of orders.
        names: Fifth of recency, then of frequency -> name, 25 of them.
    """

    name: str
    version: str
    as_of: float | None
    recency: list[float]
    frequency: list[float]
    names: list[str]

    type: ClassVar[str] = "segment"
    tier: ClassVar[Tier] = Tier.segment

    @property
    def fields(self) -> list[Column]:
        """Columns that a form must hold."""
        return [NumberColumn(name, 0.0, [], None, has_missing=False) for name in (RECENCY, ORDERS)]

    def score_forms(self, values: Mapping[str, Values]) -> FormScores:
        """Returns names of segments, with the fifths; see `Form`."""
        days, orders = (np.asarray(values[name], dtype=np.float64) for name in (RECENCY, ORDERS))
        for name, numbers, least in ((RECENCY, days, 0.0), (ORDERS, orders, 1.0)):
            # Written so that a missing number is refused as well.
            if not (numbers >= least).all():
                raise FormError(f"{name} must be a number from {least:g}, got {numbers[0]:g}", name)
        r, f = fifths_by(self.recency, -days), fifths_by(self.frequency, orders)
        said = [self.names[(one - 1) * N_FIFTHS + other - 1] for one, other in zip(r, f, strict=True)]
        return FormScores(said, {"r": r.astype(np.float64), "f": f.astype(np.float64)})

    def warm(self) -> None:
        """Needs nothing."""


class ClustersForm(msgspec.Struct, frozen=True, tag="clusters"):
    """Names the segment of whoever sends a form, by the nearest centre.

    Attributes:
        name: Of the trait.
        version: Of the fit.
        as_of: Moment up to which it has learned, seconds since 1970.
        columns: How a customer becomes a row of the design.
        terms: Of the design that are compared, (n_terms,).
        means: Of these in the fit.
        spreads: Of these, none 0.
        centres: (k, n_terms), in units of the spreads.
        names: (k,).
    """

    name: str
    version: str
    as_of: float | None
    columns: list[Column]
    terms: list[int]
    means: list[float]
    spreads: list[float]
    centres: list[list[float]]
    names: list[str]

    type: ClassVar[str] = "segment"
    tier: ClassVar[Tier] = Tier.segment

    @property
    def fields(self) -> list[Column]:
        """Columns that a form must hold."""
        return self.columns

    def score_forms(self, values: Mapping[str, Values]) -> FormScores:
        """Returns names of segments, with the distance to the centre; see `Form`."""
        design = encode(self.columns, values)[:, self.terms]
        rows = (design - np.array(self.means)) / np.array(self.spreads)
        centres = np.array(self.centres)
        squares = ((rows[:, np.newaxis, :] - centres[np.newaxis]) ** 2).sum(axis=2)  # (n, k)
        nearest = squares.argmin(axis=1)
        distance = np.sqrt(squares[np.arange(len(rows)), nearest])
        return FormScores([self.names[one] for one in nearest.tolist()], {"distance": distance})

    def warm(self) -> None:
        """Needs nothing."""
