"""Changes from one set of campaigns to the next: columns are filled in there alone.

Of ten thousand campaigns with a hundred thousand ads, to look at each takes a quarter of a second, in which
the interpreter does little else; a marketer changes one at a time.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from marquee.store.campaigns.campaign import HeldCampaign

Scalar = TypeVar("Scalar", bound=np.generic)


class Changed(NamedTuple):
    """The campaigns of a set that are not what they were in an earlier one.

    Attributes:
        n: How many campaigns there are now.
        numbers: Of those that changed or are new, ascending; of all where there is nothing to compare with.
    """

    n: int
    numbers: list[int]

    @classmethod
    def since(cls, before: Sequence[HeldCampaign], held: Sequence[HeldCampaign]) -> "Changed":
        """Returns the changes from one set to another that `succeeds` it, by number."""
        pairs = zip(before, held, strict=False)
        changed = [number for number, (was, now) in enumerate(pairs) if was is not now]
        return cls(len(held), [*changed, *range(len(before), len(held))])

    def column(
        self, before: npt.NDArray[Scalar] | None, values: Sequence[object], dtype: type[Scalar]
    ) -> npt.NDArray[Scalar]:
        """Returns a column with new values for the campaigns that changed, (n,).

        Args:
            before: The column of the earlier set; None for the first, or where all others are 0.
            values: Of the campaigns that changed.
            dtype: Of the column.
        """
        column = np.zeros(self.n, dtype=dtype)
        if before is not None:
            column[: len(before)] = before
        column[self.numbers] = np.array(values, dtype=dtype)
        return column


def succeeds(before: Sequence[HeldCampaign], held: Sequence[HeldCampaign]) -> bool:
    """Returns whether every campaign of a set has the same number in another one.

    So it is but for a store that was restored: a campaign is ended, and never taken away.
    """
    return len(held) >= len(before) and all(
        was is now or was.campaign.campaign_id == now.campaign.campaign_id
        for was, now in zip(before, held, strict=False)
    )
