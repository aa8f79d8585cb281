"""Puts the market together: who is there, what happens, and the tables that an app would have logged."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from marquee.core.arrays import IndexArray
from marquee.core.event_kinds import EventKind
from marquee.world.config import WorldConfig
from marquee.world.luck import Luck
from marquee.world.market import Market, first_click_days
from marquee.world.policy import POLICY
from marquee.world.population import SECONDS_PER_DAY, Population, draw_population
from marquee.world.requests import Requests
from marquee.world.traffic import Traffic, simulate_traffic
from marquee.world.truth import RealArray, Truth, sigmoid
from marquee.world.words import DEVICES, SURFACES

EVENTS_FILE, ITEMS_FILE, USERS_FILE = "events.parquet", "items.parquet", "users.parquet"
SECONDS_PER_POSITION = 4


@dataclass(frozen=True)
class World:
    """A simulated market.

    An exposure leads to at most one of *view* (looked at with interest, not opened) and *click*; a click
    may lead to a *conversion* hours later. All of them carry the exposure's request, surface, position,
    device and campaign; only the exposure carries policy and propensity.

    Attributes:
        config: What it was made from.
        events: Canonical columns and `device`, in the order of time.
        items: `item_id`, `kind`, `title`, `category`, `tags`, `quality`, `price`, `available_from`,
            `available_until`, and for ads `campaign_id`, `advertiser_id`, `bid`.
        users: `user_id`, `age_band`, `region`, `main_device`, `joined_at`.
        truth: Tastes and appeal behind them; its rows are those of `users` and `items`.
        exposure_click_probability: The true chance of a click on each exposure, position and context
            included, (n_exposures,), in the order of the exposures in `events`.
        exposure_conversion_probability: The true chance that a click on each exposure leads to a conversion,
            (n_exposures,), in the same order.
        market: Answers any other slate to the same requests.
    """

    config: WorldConfig
    events: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame
    truth: Truth
    exposure_click_probability: RealArray
    exposure_conversion_probability: RealArray
    market: Market

    def expected_click_probability(
        self, user_rows: IndexArray, item_rows: IndexArray, day: float | None = None
    ) -> RealArray:
        """Returns the true chance that a user clicks an item they look at, in a neutral context.

        Args:
            user_rows: Rows of `users`, (n,).
            item_rows: Rows of `items`, (m,).
            day: Days since the start; None for the end of the world.

        Returns:
            (n, m) in (0, 1). Sorting by it ranks best.
        """
        return sigmoid(
            self.truth.click_logits(user_rows, item_rows, self.config.n_days if day is None else day)
        )


def simulate(config: WorldConfig) -> World:
    """Returns the world of a config: the same config gives the same frames, value by value."""
    # Two streams: a change in how traffic is drawn leaves users and items as they are.
    population_seed, traffic_seed = np.random.SeedSequence(config.seed).spawn(2)
    population = draw_population(config, np.random.default_rng(population_seed))
    requests, traffic = simulate_traffic(config, population, np.random.default_rng(traffic_seed))
    return World(
        config=config,
        events=_events(config, population, traffic),
        items=population.items,
        users=population.users,
        truth=population.truth,
        exposure_click_probability=traffic.click_probability,
        exposure_conversion_probability=traffic.conversion_probability,
        market=_market(config, population, requests, traffic),
    )


def _market(config: WorldConfig, population: Population, requests: Requests, traffic: Traffic) -> Market:
    """Returns the market whose own policy caused this traffic."""
    n_items, clicked = len(population.is_ad), traffic.is_clicked
    day = (traffic.timestamp - config.start) // SECONDS_PER_DAY
    return Market(
        population=population,
        requests=requests,
        start=config.start,
        luck=Luck.recorded(config.seed, n_items, traffic.request, traffic.item, traffic.luck),
        first_click_day=first_click_days(
            config.n_users, n_items, traffic.user[clicked], traffic.item[clicked], day[clicked]
        ),
    )


def tiny_world(seed: int = 0) -> World:
    """Returns a world of 50 users, 30 contents and 10 ads in two weeks, for tests."""
    return simulate(
        WorldConfig(
            seed=seed,
            n_days=14,
            n_users=50,
            n_content=30,
            n_ads=10,
            n_campaigns=4,
            n_advertisers=2,
            n_categories=4,
        )
    )


def write_world(world: World, folder: Path) -> None:
    """Writes events, items and users as Parquet files into `folder`, which may exist.

    The events come last: a folder that holds them is complete, also if the writer was killed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder, as `os.replace` cannot lead to another file system.
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for frame, name in (
            (world.items, ITEMS_FILE),
            (world.users, USERS_FILE),
            (world.events, EVENTS_FILE),
        ):
            frame.write_parquet(aside / name)
        folder.mkdir(exist_ok=True)
        # A market counts as written where its events are: they go first and come last.
        (folder / EVENTS_FILE).unlink(missing_ok=True)
        for name in (ITEMS_FILE, USERS_FILE, EVENTS_FILE):
            os.replace(aside / name, folder / name)
    # Also after an error: a hidden folder beside the data would stay for ever.
    finally:
        shutil.rmtree(aside)


def _events(config: WorldConfig, population: Population, traffic: Traffic) -> pl.DataFrame:
    """Returns the table of events, in the order of time; causes stand before what they cause."""
    # Lower positions are reached later: the events of one request have an order.
    seen_at = traffic.timestamp + 2 + SECONDS_PER_POSITION * traffic.position
    everything, converts = np.arange(len(traffic.item)), traffic.converted_after >= 0
    parts = (
        (EventKind.exposure, everything, traffic.timestamp),
        (EventKind.view, np.flatnonzero(traffic.is_viewed), seen_at),
        (EventKind.click, np.flatnonzero(traffic.is_clicked), seen_at),
        (EventKind.conversion, np.flatnonzero(converts), seen_at + traffic.converted_after),
    )
    rows = np.concatenate([part for _, part, _ in parts])
    kind = np.repeat(np.arange(len(parts)), [len(part) for _, part, _ in parts])
    timestamp = np.concatenate([times[part] for _, part, times in parts])
    # By time, then kind: a click may share its second with the view that it follows.
    order = np.lexsort((rows, kind, timestamp))
    # A conversion hours after its click may fall behind the end, where nothing is logged.
    order = order[timestamp[order] < config.start + config.n_days * SECONDS_PER_DAY]
    rows, kind, timestamp = rows[order], kind[order], timestamp[order]
    is_exposure, is_conversion = pl.Series(kind == 0), pl.Series(kind == 3)
    item = traffic.item[rows]
    # Leading zeros, so that the order of texts is the order of events.
    width = len(str(max(1, len(rows))))
    return pl.DataFrame(
        {
            "event_id": [f"e{number:0{width}d}" for number in range(1, len(rows) + 1)],
            "user_id": population.users["user_id"].gather(traffic.user[rows]),
            "item_id": population.items["item_id"].gather(item),
            "timestamp": timestamp,
            "kind": pl.Series([str(name) for name, _, _ in parts]).gather(kind),
            "value": pl.Series(population.price[item]).set(~is_conversion, None),
            "request_id": [f"r{number:07d}" for number in (traffic.request[rows] + 1).tolist()],
            "surface": pl.Series(SURFACES).gather(traffic.surface[rows]),
            "position": traffic.position[rows],
            "policy": pl.repeat(POLICY, len(rows), eager=True).set(~is_exposure, None),
            "propensity": pl.Series(traffic.propensity[rows]).set(~is_exposure, None),
            "campaign_id": population.items["campaign_id"].gather(item),
            "device": pl.Series(DEVICES).gather(traffic.device[rows]),
        }
    )
