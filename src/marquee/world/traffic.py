"""Runs the market day by day: who comes, what is shown to them, and what comes of it.

Each morning the logging policy learns yesterday's clicks; within a day all requests are drawn at once.
Does not know tables and ids: everything here is a row number.
"""

from dataclasses import dataclass, fields

import numpy as np

from marquee.core.arrays import BoolArray, IndexArray
from marquee.world.config import FEED_SLOTS, SIDEBAR_SLOTS, WorldConfig
from marquee.world.luck import draw_luck
from marquee.world.policy import EMPTY, believed_liking, sample_slates, slate_weights
from marquee.world.population import SECONDS_PER_DAY, Population
from marquee.world.requests import Requests, join_requests
from marquee.world.responses import respond
from marquee.world.truth import RealArray
from marquee.world.words import DEVICES

AD_POSITIONS = ((4,), (3,))  # of the feed, of the sidebar; content takes the other positions
SIDEBAR_FRACTION = 0.3
MAIN_DEVICE_FRACTION = 0.75
POPULARITY_KEPT_PER_DAY = 0.95
NEWCOMER_CLICKS = 2.0  # what an item that nobody clicked yet counts as
WEEKDAY_TRAFFIC = (1.0, 0.95, 0.95, 1.0, 1.1, 1.3, 1.25)  # Monday first
HOUR_TRAFFIC = (1, 1, 1, 1, 1, 2, 4, 7, 8, 6, 5, 5, 7, 6, 5, 5, 6, 7, 8, 9, 10, 9, 6, 3)
BLOCK_CELLS = 4_000_000  # requests × items that are weighed at once


@dataclass(frozen=True)
class Shown:
    """Exposures, (n_exposures,) each, in the order of requests and positions.

    Attributes:
        request: Row of the request.
        item: Row of the item.
        position: From 1.
        propensity: Of this choice given what the policy put above it.
    """

    request: IndexArray
    item: IndexArray
    position: IndexArray
    propensity: RealArray


@dataclass(frozen=True)
class Traffic:
    """Everything that was shown, and what came of it, (n_exposures,) each.

    Attributes:
        request: Number of the request, from 0.
        user: Row of the user.
        item: Row of the item.
        timestamp: When it was shown, seconds.
        device: Row of the device.
        surface: 0 for the feed, 1 for the sidebar.
        position: From 1.
        propensity: Of this choice given what the policy put above it.
        click_probability: Chance of a click on this exposure, position and context included.
        conversion_probability: Chance that a click on this exposure leads to a conversion.
        is_viewed: Looked at with interest, and not clicked.
        is_clicked: Clicked.
        converted_after: Seconds from the click to the conversion, -1 for none.
        luck: The draws behind the outcome, (n_exposures, N_DRAWS).
    """

    request: IndexArray
    user: IndexArray
    item: IndexArray
    timestamp: IndexArray
    device: IndexArray
    surface: IndexArray
    position: IndexArray
    propensity: RealArray
    click_probability: RealArray
    conversion_probability: RealArray
    is_viewed: BoolArray
    is_clicked: BoolArray
    converted_after: IndexArray
    luck: RealArray


def simulate_traffic(
    config: WorldConfig, population: Population, rng: np.random.Generator
) -> tuple[Requests, Traffic]:
    """Returns all requests of the world, and all exposures with their outcomes.

    Requests come in the order of time, exposures in that of requests and positions.
    """
    n_items = len(population.is_ad)
    recent_clicks = np.full(n_items, NEWCOMER_CLICKS)
    has_clicked = np.zeros((config.n_users, n_items), dtype=np.bool_)
    n_requests = 0
    asked: list[Requests] = []
    blocks: list[Traffic] = []
    for day in range(config.n_days):
        requests = _draw_requests(config, population, day, rng)
        today = []
        # In blocks: the weights of all requests of a busy day and all items need not fit into memory.
        for rows in np.array_split(
            np.arange(len(requests.user)), 1 + len(requests.user) * n_items // BLOCK_CELLS
        ):
            block = requests.take(rows)
            shown = _show(config, population, block, recent_clicks, has_clicked, rng)
            today.append(_expose(config, population, block, shown, n_requests, rng))
            n_requests += len(rows)
        asked.append(requests)
        # Towards the newcomer's count and not to 0: a forgotten item gets the chance that a new one has.
        recent_clicks = NEWCOMER_CLICKS + POPULARITY_KEPT_PER_DAY * (recent_clicks - NEWCOMER_CLICKS)
        # After the day: within it the policy knows what it knew in the morning, so blocks do not matter.
        for traffic in today:
            user, item = traffic.user[traffic.is_clicked], traffic.item[traffic.is_clicked]
            # Trap: `recent_clicks[item] += 1` counts an item once, however often it stands in `item`.
            np.add.at(recent_clicks, item, 1.0)
            has_clicked[user, item] = True
        blocks += today
    traffic = Traffic(
        **{c.name: np.concatenate([getattr(b, c.name) for b in blocks]) for c in fields(Traffic)}
    )
    return join_requests(asked), traffic


def _draw_requests(
    config: WorldConfig, population: Population, day: int, rng: np.random.Generator
) -> Requests:
    """Returns the requests of one day: more on weekends and in the evening."""
    weekday = (config.start // SECONDS_PER_DAY + 3 + day) % 7  # 1 January 1970 was a Thursday
    rate = population.requests_per_day * WEEKDAY_TRAFFIC[weekday] * (population.first_day <= day)
    user = np.repeat(np.arange(config.n_users), rng.poisson(rate))
    n = len(user)
    hour_share = np.array(HOUR_TRAFFIC) / sum(HOUR_TRAFFIC)
    second = rng.choice(24, n, p=hour_share) * 3_600 + rng.integers(3_600, size=n)
    is_main = rng.random(n) < MAIN_DEVICE_FRACTION
    requests = Requests(
        user=user,
        timestamp=config.start + day * SECONDS_PER_DAY + second,
        device=np.where(is_main, population.main_device[user], rng.integers(len(DEVICES), size=n)),
        surface=(rng.random(n) < SIDEBAR_FRACTION).astype(np.int64),
    )
    # Stable, so that requests of one second keep the order in which the seed drew them.
    return requests.take(np.argsort(requests.timestamp, kind="stable"))


def _show(
    config: WorldConfig,
    population: Population,
    requests: Requests,
    recent_clicks: RealArray,
    has_clicked: BoolArray,
    rng: np.random.Generator,
) -> Shown:
    """Draws what the policy shows: content and ads apart, each for its own positions.

    What is not available at that second is no candidate, nor what the user has clicked before today.
    """
    parts = []
    for items, positions in _slots(population):
        is_candidate = (
            (population.available_from[items] <= requests.timestamp[:, None])
            & (requests.timestamp[:, None] < population.available_until[items])
            & ~has_clicked[requests.user][:, items]
        )
        liking = believed_liking(
            population.believed_tastes[requests.user], population.truth.item_vectors[items]
        )
        weights = slate_weights(recent_clicks[items], liking, is_candidate, config.exploration)
        chosen, propensity = sample_slates(weights, positions.shape[1], rng)
        position = positions[requests.surface, : chosen.shape[1]]  # (requests, n_positions)
        row, column = np.nonzero((chosen != EMPTY) & (position > 0))
        parts.append(Shown(row, items[chosen[row, column]], position[row, column], propensity[row, column]))
    columns = {c.name: np.concatenate([getattr(p, c.name) for p in parts]) for c in fields(Shown)}
    order = np.lexsort((columns["position"], columns["request"]))
    return Shown(**{name: column[order] for name, column in columns.items()})


def _slots(population: Population) -> list[tuple[IndexArray, IndexArray]]:
    """Returns rows of items and their positions, (n_surfaces, n_positions), for content and for ads.

    Positions are filled from the left; 0 stands where a surface has fewer than the other.
    """
    slots = []
    for is_ad in (False, True):
        taken = [
            [position for position in range(1, n_slots + 1) if (position in ad_positions) is is_ad]
            for n_slots, ad_positions in zip((FEED_SLOTS, SIDEBAR_SLOTS), AD_POSITIONS, strict=True)
        ]
        length = max(map(len, taken))
        positions = np.array([row + [0] * (length - len(row)) for row in taken], dtype=np.int64)
        slots.append((np.flatnonzero(population.is_ad == is_ad), positions))
    return slots


def _expose(
    config: WorldConfig,
    population: Population,
    requests: Requests,
    shown: Shown,
    first_request: int,
    rng: np.random.Generator,
) -> Traffic:
    """Draws the users' reactions to what the policy shows."""
    exposed = requests.take(shown.request)
    luck = draw_luck(len(shown.item), rng)
    came = respond(population, exposed, shown.item, shown.position, config.start, luck)
    return Traffic(
        request=first_request + shown.request,
        user=exposed.user,
        item=shown.item,
        timestamp=exposed.timestamp,
        device=exposed.device,
        surface=exposed.surface,
        position=shown.position,
        propensity=shown.propensity,
        click_probability=came.click_probability,
        conversion_probability=came.conversion_probability,
        is_viewed=came.is_viewed,
        is_clicked=came.is_clicked,
        converted_after=came.converted_after,
        luck=luck,
    )
