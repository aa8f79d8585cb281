"""The auctions that a flight meets, as arrays; where they come from is told by `market` and `recorded`."""

from collections import Counter
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.store.campaigns.campaign import Campaign

NOTHING_SOLD = -1
"""The price of an answer that sold no place."""


@dataclass(frozen=True)
class Auctions:
    """Auctions in the order of time, (n,) each.

    Attributes:
        second: When, since 1970 UTC.
        price: What a thousand impressions had to bring at least, millionths, 1 or more; `NOTHING_SOLD`.
        probability: Of the event that the campaign pays for; 1 for CPM.
        comes: Whether that event would come.
        after_s: Seconds until it does.
        user: Number of the user, -1 for nobody.
        creative: Number of the campaign's ad.
        why_not: The reason for which the campaign may not be shown there, '' where it may.
    """

    second: IndexArray
    price: IndexArray
    probability: Float64Array
    comes: BoolArray
    after_s: IndexArray
    user: IndexArray
    creative: IndexArray
    why_not: npt.NDArray[np.str_]

    def __len__(self) -> int:
        """Returns how many there are."""
        return len(self.second)

    def take(self, rows: npt.NDArray[np.generic]) -> "Auctions":
        """Returns some of them, by number or flag."""
        return Auctions(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})

    @property
    def may_buy(self) -> BoolArray:
        """Where the campaign may be shown and a place is for sale, (n,)."""
        may: BoolArray = (self.why_not == "") & (self.price > 0)
        return may

    def reasons(self) -> Counter[str]:
        """Returns how often each reason stands against the campaign."""
        return Counter(one for one in self.why_not.tolist() if one)


@dataclass(frozen=True)
class Source:
    """The auctions of a flight, and those of before.

    Attributes:
        campaign: As it flies: its flight may lie at another time of the source.
        before: The auctions before the flight, from which it is planned.
        during: Those of the flight.
        note: Where they come from, in a sentence.
    """

    campaign: Campaign
    before: Auctions
    during: Auctions
    note: str
