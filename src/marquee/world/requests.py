"""Who came when, on which device and surface: what every policy of a market answers alike."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from marquee.core.arrays import IndexArray


@dataclass(frozen=True)
class Requests:
    """Requests of one day or of all, (n_requests,) each.

    Attributes:
        user: Row of the user.
        timestamp: Seconds, ascending.
        device: Row of the device.
        surface: 0 for the feed, 1 for the sidebar.
    """

    user: IndexArray
    timestamp: IndexArray
    device: IndexArray
    surface: IndexArray

    def take(self, rows: IndexArray) -> "Requests":
        """Returns the given requests, in that order."""
        return Requests(self.user[rows], self.timestamp[rows], self.device[rows], self.surface[rows])


def join_requests(blocks: Sequence[Requests]) -> Requests:
    """Returns the requests of several blocks, one block after the other."""
    return Requests(
        **{c.name: np.concatenate([getattr(b, c.name) for b in blocks]) for c in fields(Requests)}
    )
