"""Reactions of people to exposures: they look, click what they look at, convert.

Knows no policy: any item at any position of any request has its true chances and, with luck given, its
outcome.
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, IndexArray
from marquee.world.population import SECONDS_PER_DAY, Population
from marquee.world.requests import Requests
from marquee.world.truth import RealArray, look_probability, sigmoid

MEAN_CONVERSION_DELAY = 6 * 3_600


@dataclass(frozen=True)
class Responses:
    """Reactions to exposures, (n_exposures,) each.

    Attributes:
        click_probability: Chance of a click on this exposure, position and context included.
        conversion_probability: Chance that a click on this exposure leads to a conversion.
        is_viewed: Looked at with interest, and not clicked.
        is_clicked: Clicked.
        converted_after: Seconds from the click to the conversion, -1 for none.
    """

    click_probability: RealArray
    conversion_probability: RealArray
    is_viewed: BoolArray
    is_clicked: BoolArray
    converted_after: IndexArray


def respond(
    population: Population,
    requests: Requests,
    item: IndexArray,
    position: IndexArray,
    start: int,
    luck: RealArray,
) -> Responses:
    """Returns the users' reactions to exposures.

    Args:
        population: Whose truth decides.
        requests: The request of each exposure, (n_exposures,).
        item: Row of the item, (n_exposures,).
        position: From 1, (n_exposures,).
        start: First second of the world.
        luck: See `marquee.world.luck`, (n_exposures, N_DRAWS).
    """
    logits = _logits(population, requests, item, start)
    look, liked = look_probability(requests.surface, position), sigmoid(logits)
    is_seen = luck[:, 0] < look
    is_clicked = is_seen & (luck[:, 1] < liked)
    price = population.price[item]
    worth = 0.4 * logits - 0.5 * np.log(price / population.price.mean()) - 2.0
    conversion_probability = sigmoid(worth)
    converts = is_clicked & (luck[:, 3] < conversion_probability)
    delay = 30 + (MEAN_CONVERSION_DELAY * luck[:, 4]).astype(np.int64)
    return Responses(
        # A product, as whether a position is looked at does not depend on what stands there.
        click_probability=look * liked,
        conversion_probability=conversion_probability,
        is_viewed=is_seen & ~is_clicked & (luck[:, 2] < liked),
        is_clicked=is_clicked,
        converted_after=np.where(converts, delay, -1),
    )


def _logits(population: Population, requests: Requests, item: IndexArray, start: int) -> RealArray:
    """Returns the logit of a click on what is looked at, (n_exposures,)."""
    day = (requests.timestamp - start) // SECONDS_PER_DAY
    hour = requests.timestamp % SECONDS_PER_DAY // 3_600
    logits = np.empty(len(item))
    # Tastes turn once a day.
    for today in np.unique(day):
        rows = np.flatnonzero(day == today)
        logits[rows] = population.truth.exposure_logits(
            requests.user[rows], item[rows], int(today), hour[rows], requests.device[rows]
        )
    return logits
