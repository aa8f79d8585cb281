"""A market that answers any slate: for each of its requests, what people would do with any item anywhere.

The requests are those that came, and the same for every policy. So a policy can be run on them, its true
worth read off, and what its log says of other policies held against the truth.
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, IndexArray
from marquee.errors import DataError, ShapeError
from marquee.world.luck import Luck
from marquee.world.population import SECONDS_PER_DAY, Population
from marquee.world.requests import Requests
from marquee.world.responses import Responses, respond


@dataclass(frozen=True)
class Market:
    """The requests of a world, and people who react to whatever they are shown.

    Attributes:
        population: Users, items and their truth; rows are those of `World.users` and `World.items`.
        requests: All requests, in the order of time; row n is request `r{n + 1:07d}` of the events.
        start: First second of the world.
        luck: Of every request with every item.
        first_click_day: Day on which the world's own policy first gained a click, (n_users, n_items) int64;
            beyond the end where it never did.
    """

    population: Population
    requests: Requests
    start: int
    luck: Luck
    first_click_day: IndexArray

    def respond(self, request: IndexArray, item: IndexArray, position: IndexArray) -> Responses:
        """Returns the true chances and the outcome of exposures, element by element.

        What the world's own policy has shown, where it has shown it, gets what its events tell.

        Args:
            request: Rows of `requests`, (n,).
            item: Rows of items, (n,): any, available or not.
            position: From 1, (n,).

        Raises:
            ShapeError: If the three differ in shape.
            DataError: If a row or a position is none of this market.
        """
        self._validate(request, item, position)
        requests = self.requests.take(request)
        luck = self.luck.of(request, item)
        return respond(self.population, requests, item, position, self.start, luck)

    def candidates(self, request: IndexArray) -> BoolArray:
        """Returns which items the world's own policy could have shown, (n, n_items).

        These are the items that were available at that second, less what the user had clicked before that
        day. Content and ads alike: each stands at positions of its own.

        Args:
            request: Rows of `requests`, (n,).
        """
        asked = self.requests.take(request)
        at = asked.timestamp[:, None]
        day = (at - self.start) // SECONDS_PER_DAY
        is_available = (self.population.available_from <= at) & (at < self.population.available_until)
        is_new: BoolArray = self.first_click_day[asked.user] >= day
        return is_available & is_new

    def _validate(self, request: IndexArray, item: IndexArray, position: IndexArray) -> None:
        """Raises ShapeError or DataError unless these are exposures of this market."""
        if not request.shape == item.shape == position.shape:
            raise ShapeError(
                "request, item and position must have one value per exposure, got shapes "
                f"{request.shape}, {item.shape} and {position.shape}"
            )
        n_requests, n_items = len(self.requests.user), self.luck.n_items
        # A negative row would silently mean one from the end.
        n_wrong = np.count_nonzero(
            (request < 0) | (request >= n_requests) | (item < 0) | (item >= n_items) | (position < 1)
        )
        if n_wrong:
            raise DataError(
                f"{n_wrong:,} of {len(request):,} exposures are not of this market: requests go to "
                f"{n_requests - 1:,}, items to {n_items - 1:,}, positions start at 1; correct them"
            )


def first_click_days(
    n_users: int, n_items: int, user: IndexArray, item: IndexArray, day: IndexArray
) -> IndexArray:
    """Returns the day of each pair's first click, (n_users, n_items) int64; the largest number for none."""
    first = np.full((n_users, n_items), np.iinfo(np.int64).max)
    # Trap: `first[user, item] = day` would keep any of several clicks of one pair.
    np.minimum.at(first, (user, item), day)
    return first
