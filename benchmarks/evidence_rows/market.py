"""Values from the log of the simulated market, whose truth is known: does the interval hold it?"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from benchmarks.rows import Measured, Row
from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.evaluation.off_policy.estimators import Estimator
from marquee.evaluation.off_policy.logged import SlateLog, Spread, read_slates, weigh_candidate
from marquee.evaluation.off_policy.slates import Browsing, SlateValue, estimate_slates
from marquee.world import World, WorldConfig, simulate
from marquee.world.policy import sample_slates
from marquee.world.truth import sigmoid

N_WORLDS = 300
N_USERS, N_LOGGED = 800, 80
"""Users of a market, of whom the truth is; and those of them whose lists are the log."""

N_PLACES = 2
_DRAWS = 10
_EVEN_SHARE = 0.3
_TESTED = (Estimator.self_normalised, Estimator.doubly_robust)


class Judged(NamedTuple):
    """The value of a candidate on one market, and the truth.

    Attributes:
        found: By the log of some users.
        own: The logging policy by its own log.
        truth: Expected clicks per list of the candidate, over all users.
    """

    found: SlateValue
    own: SlateValue
    truth: float


def rows(_root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        f"simulated market, {N_WORLDS} small worlds",
        "truth known",
        "hold the truth in 92 to 98 % by SNIPS and DR, and earn the mean on the own log",
        _coverage,
    )


def _coverage() -> Measured:
    held = dict.fromkeys(_TESTED, 0)
    off, n_silent = 0.0, 0
    for seed in range(N_WORLDS):
        judged = judge_market(seed)
        n_silent += not judged.found.value.support.is_identifiable
        for name in _TESTED:
            estimate = judged.found.value.estimates[name]
            held[name] += estimate.low <= judged.truth <= estimate.high
        own = judged.own.value
        off = max(off, abs(own.estimates[Estimator.self_normalised].mean - own.logged.mean))
    shares = {name: n / N_WORLDS for name, n in held.items()}
    text = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    return Measured(
        f"{text} of {N_WORLDS}; own log off by {off:.1e}; {n_silent} not identifiable",
        all(0.92 <= share <= 0.98 for share in shares.values()) and off < 1e-12,
    )


def judge_market(seed: int) -> Judged:
    """Estimates a candidate by the log of a few users of a market, and works out what it would truly earn."""
    world = simulate(
        WorldConfig(
            seed=seed, n_days=7, n_users=N_USERS, n_content=30, n_ads=5, n_campaigns=5, n_advertisers=5
        )
    )
    rng = np.random.default_rng(seed)
    is_logged = np.zeros(N_USERS, dtype=np.bool_)
    is_logged[rng.permutation(N_USERS)[:N_LOGGED]] = True
    log = _log(world, is_logged, rng)
    requests = np.array([int(name[1:]) - 1 for name in log.request_ids])
    spreads = (
        _spread(weights, shown) for weights, shown in zip(_weights(world, requests), log.item, strict=True)
    )
    was_shown = np.ones(len(world.items), dtype=np.bool_)  # all had a chance
    lists = weigh_candidate(log, spreads, was_shown, rng)
    own = estimate_slates(type(lists)(log.reward, log.propensity, log.propensity, log.user), Browsing.cascade)
    return Judged(estimate_slates(lists, Browsing.cascade), own, _truth(world, rng))


def _log(world: World, is_logged: BoolArray, rng: np.random.Generator) -> SlateLog:
    """Returns the first places of content that some users were shown on the feed."""
    keys = ["request_id", "item_id"]
    users = world.users.filter(pl.Series(is_logged))["user_id"]
    number = pl.col("item_id").replace_strict(
        world.items["item_id"], np.arange(len(world.items)), return_dtype=pl.Int64
    )
    events = world.events.filter(pl.col("user_id").is_in(users.to_list()))
    clicks = events.filter(kind="click").select(*keys, reward=pl.lit(1.0))
    shown = events.filter(
        (pl.col("kind") == "exposure")
        & (pl.col("surface") == "feed")
        & pl.col("item_id").str.starts_with("c")
        & (pl.col("position") <= N_PLACES)
    )
    rows = shown.join(clicks, on=keys, how="left", maintain_order="left").with_columns(
        pl.col("reward").fill_null(0.0), number=number
    )
    return read_slates(rows, len(rows), rng)


def _weights(world: World, requests: IndexArray) -> Float64Array:
    """Returns how much the candidate wants each item at each request, (n, n_items): taste, and some noise.

    It knows tastes as they were, where the logging policy goes by popularity as well: near, not equal.
    """
    market = world.market
    content = ~market.population.is_ad
    is_candidate = market.candidates(requests) & content
    everything = np.arange(len(content))
    users = market.requests.user[requests]
    liking = sigmoid(world.truth.click_logits(users, everything, 0.0)) + 0.02
    wanted = np.where(is_candidate, liking, 0.0)
    even = is_candidate / np.maximum(is_candidate.sum(axis=1, keepdims=True), 1)
    shares = wanted / np.maximum(wanted.sum(axis=1, keepdims=True), 1e-300)
    return np.asarray((1 - _EVEN_SHARE) * shares + _EVEN_SHARE * even)


def _spread(weights: Float64Array, shown: IndexArray) -> Spread:
    """Returns the candidate's chances at the places of a list: in proportion to the weights that are left."""
    left = weights.copy()
    chances = np.zeros((len(shown), len(weights)))
    for place, item in enumerate(shown.tolist()):
        chances[place] = left / left.sum()
        if item >= 0:
            left[item] = 0.0
    return Spread(np.arange(len(weights)), chances)


def _truth(world: World, rng: np.random.Generator) -> float:
    """Returns the clicks that the candidate would truly gain per list of the feed, over all users."""
    market = world.market
    requests = np.flatnonzero(market.requests.surface == 0)
    weights = _weights(world, requests)
    total = 0.0
    for _ in range(_DRAWS):
        chosen, _ = sample_slates(weights, N_PLACES, rng)
        row, place = np.nonzero(chosen >= 0)
        # Chances and not outcomes: only the draw of the lists is left to chance.
        came = market.respond(requests[row], chosen[row, place], place + 1)
        total += float(came.click_probability.sum())
    return total / (_DRAWS * len(requests))
