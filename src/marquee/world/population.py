"""Draws who and what there is: users and items, their attributes, and the truth behind them.

Tastes lean on categories, and attributes lean on tastes, so that a learner can find a user's taste from
their clicks, from their attributes, or best from both; an item's place from its tags and title, from who
clicked it, or from both.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from marquee.core.arrays import IndexArray
from marquee.core.catalog import ItemKind
from marquee.world.config import WorldConfig
from marquee.world.truth import AFFINITY_GAIN, DAYPARTS, RealArray, Truth
from marquee.world.words import (
    AD_FORMS,
    ADJECTIVES,
    AGE_BANDS,
    CATEGORIES,
    DEVICES,
    REGIONS,
    STYLES,
    TITLE_FORMS,
)

SECONDS_PER_DAY = 86_400
MAX_TAGS = 3
FOREIGN_TAG_FRACTION = 0.3


@dataclass(frozen=True)
class Population:
    """Users and items as the tables show them, and the truth behind them.

    Attributes:
        users: One row per user.
        items: One row per item, content before ads.
        truth: Tastes and appeal.
        believed_tastes: What the logging policy takes the tastes for, unit length, (n_users, latent_dim).
        main_device: Row of the device that a user mostly holds, (n_users,).
        first_day: Day on which a user arrives, (n_users,).
        requests_per_day: Mean requests of a user on a day, (n_users,).
        available_from: Seconds, (n_items,).
        available_until: Seconds, (n_items,); beyond the end of the world where there is no limit.
        price: (n_items,).
        is_ad: (n_items,) bool.
    """

    users: pl.DataFrame
    items: pl.DataFrame
    truth: Truth
    believed_tastes: RealArray
    main_device: IndexArray
    first_day: IndexArray
    requests_per_day: RealArray
    available_from: IndexArray
    available_until: IndexArray
    price: RealArray
    is_ad: np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True)
class _Users:
    """Users as drawn; see Population and Truth."""

    table: pl.DataFrame
    vectors: RealArray
    turns: RealArray
    segment_vectors: RealArray
    main_device: IndexArray
    first_day: IndexArray
    requests_per_day: RealArray


@dataclass(frozen=True)
class _Items:
    """Items as drawn; see Population and Truth."""

    table: pl.DataFrame
    vectors: RealArray
    appeal: RealArray
    category: IndexArray
    available_from: IndexArray
    available_until: IndexArray
    price: RealArray


def draw_population(config: WorldConfig, rng: np.random.Generator) -> Population:
    """Returns the users and items of a world; all randomness comes from `rng`."""
    category_vectors = _spread_vectors(config.n_categories, config.latent_dim, rng)
    users = _draw_users(config, category_vectors, rng)
    items = _draw_items(config, category_vectors, rng)
    truth = Truth(
        user_vectors=users.vectors,
        user_turns=users.turns,
        segment_vectors=users.segment_vectors,
        item_vectors=items.vectors,
        item_appeal=items.appeal,
        item_category=items.category,
        daypart_effects=_centred(rng.normal(0.0, 0.5, (DAYPARTS, config.n_categories))),
        device_effects=_centred(rng.normal(0.0, 0.4, (len(DEVICES), config.n_categories))),
        drift_per_day=np.deg2rad(config.drift_degrees) / config.n_days,
        affinity_gain=AFFINITY_GAIN * config.taste_strength,
    )
    return Population(
        users=users.table,
        items=items.table,
        truth=truth,
        believed_tastes=_unit(
            (1.0 - config.policy_insight) * users.segment_vectors + config.policy_insight * users.vectors
        ),
        main_device=users.main_device,
        first_day=users.first_day,
        requests_per_day=users.requests_per_day,
        available_from=items.available_from,
        available_until=items.available_until,
        price=items.price,
        is_ad=np.arange(config.n_content + config.n_ads) >= config.n_content,
    )


def _draw_users(config: WorldConfig, category_vectors: RealArray, rng: np.random.Generator) -> _Users:
    """Returns users whose taste is partly that of their age band, region and device, partly their own."""
    n = config.n_users
    age = rng.choice(len(AGE_BANDS), n, p=[0.15, 0.25, 0.2, 0.17, 0.13, 0.1])
    region = rng.integers(len(REGIONS), size=n)
    device = rng.choice(len(DEVICES), n, p=[0.6, 0.3, 0.1])
    segment = _unit(
        _shared_leanings(len(AGE_BANDS), category_vectors, rng)[age]
        + 0.8 * _shared_leanings(len(REGIONS), category_vectors, rng)[region]
        + 0.3 * _shared_leanings(len(DEVICES), category_vectors, rng)[device]
    )
    own = _leanings(n, category_vectors, rng)
    share = config.own_taste_fraction
    # Square roots: shares are of the variance, which adds up, and not of lengths.
    vectors = _unit(np.sqrt(1.0 - share) * segment + np.sqrt(share) * own)
    turns = _leanings(n, category_vectors, rng)
    # At right angles to the taste, so that a turn by some degrees is one by just these.
    turns = _unit(turns - vectors * (turns * vectors).sum(axis=1, keepdims=True))
    is_newcomer = rng.random(n) < config.newcomer_fraction
    first_day = np.where(is_newcomer, rng.integers(config.n_days, size=n), 0)
    activity = rng.gamma(1.5, 1 / 1.5, n)  # mean 1, long tail
    table = pl.DataFrame(
        {
            "user_id": _ids("u", n),
            "age_band": [AGE_BANDS[row] for row in age],
            "region": [REGIONS[row] for row in region],
            "main_device": [DEVICES[row] for row in device],
            "joined_at": config.start + first_day * SECONDS_PER_DAY,
        }
    )
    requests_per_day = activity * config.requests_per_user / config.n_days
    return _Users(table, vectors, turns, segment, device, first_day, requests_per_day)


def _draw_items(config: WorldConfig, category_vectors: RealArray, rng: np.random.Generator) -> _Items:
    """Returns content and ads whose place follows their category and tags, and a little of their own."""
    n = config.n_content + config.n_ads
    # In turn and then shuffled: every campaign has an ad.
    campaign = rng.permutation(np.arange(config.n_ads) % config.n_campaigns)
    campaign_category = rng.integers(config.n_categories, size=config.n_campaigns)
    content_category = rng.integers(config.n_categories, size=config.n_content)
    category = np.concatenate([content_category, campaign_category[campaign]])
    tags, tag_means = _draw_tags(category, category_vectors, rng)
    own = _unit(rng.normal(size=tag_means.shape))
    quality = rng.normal(size=n)
    typical_price = rng.lognormal(2.0, 0.5, config.n_categories)
    price = np.round(typical_price[category] * rng.lognormal(0.0, 0.4, n), 2)
    available_from, available_until = _draw_availability(config, campaign, rng)
    has_limit = available_until < config.start + config.n_days * SECONDS_PER_DAY
    is_ad = np.arange(n) >= config.n_content
    names = list(CATEGORIES)
    table = pl.DataFrame(
        {
            "item_id": _ids("c", config.n_content) + _ids("a", config.n_ads),
            "kind": [str(ItemKind.ad if row else ItemKind.content) for row in is_ad],
            "title": [_draw_title(names[category[row]], tags[row], is_ad[row], rng) for row in range(n)],
            "category": [names[row] for row in category],
            "tags": tags,
            "quality": np.round(np.clip(3.0 + 0.8 * quality, 1.0, 5.0), 1),
            "price": price,
            "available_from": available_from,
            # An end after that of the world says nothing within it: to the table there is none.
            "available_until": pl.Series(available_until).set(pl.Series(~has_limit), None),
        }
    )
    return _Items(
        table=table.hstack(_draw_campaigns(config, campaign, rng)),
        vectors=_unit(0.7 * category_vectors[category] + tag_means + 0.5 * own),
        appeal=0.6 * quality + 0.8 * rng.normal(size=n),
        category=category,
        available_from=available_from,
        available_until=available_until,
        price=price,
    )


def _draw_campaigns(config: WorldConfig, campaign: IndexArray, rng: np.random.Generator) -> pl.DataFrame:
    """Returns campaign, advertiser and bid of each item, null for content; a campaign has one bid."""
    bid = np.round(rng.lognormal(0.0, 0.5, config.n_campaigns), 2)
    content = pl.repeat(None, config.n_content, eager=True)
    ads = pl.DataFrame(
        {
            "campaign_id": [f"campaign{row + 1:03d}" for row in campaign],
            "advertiser_id": [f"advertiser{row % config.n_advertisers + 1:03d}" for row in campaign],
            "bid": bid[campaign],
        }
    )
    return pl.DataFrame({name: content.cast(ads.schema[name]) for name in ads.columns}).vstack(ads)


def _draw_tags(
    category: IndexArray, category_vectors: RealArray, rng: np.random.Generator
) -> tuple[list[list[str]], RealArray]:
    """Returns each item's tags and the mean of their vectors, (n_items, latent_dim)."""
    words = [list(tags) for tags in CATEGORIES.values()][: len(category_vectors)]
    n_per_category = [len(tags) for tags in words]
    all_tags = [tag for tags in words for tag in tags]
    first_tag = np.cumsum([0, *n_per_category])
    # Of the tag's own: tags of one category must not mean the same.
    own = _unit(rng.normal(size=(len(all_tags), category_vectors.shape[1])))
    tag_vectors = _unit(np.repeat(category_vectors, n_per_category, axis=0) + 0.8 * own)
    chosen = []
    for row in category:
        tags = first_tag[row] + rng.permutation(n_per_category[row])[: rng.integers(1, MAX_TAGS)]
        if rng.random() < FOREIGN_TAG_FRACTION:
            # So that tags say more of an item than its category does.
            tags = np.union1d(tags, rng.integers(len(all_tags), size=1))
        chosen.append(tags)
    means = np.array([tag_vectors[tags].mean(axis=0) for tags in chosen])
    return [[all_tags[tag] for tag in tags] for tags in chosen], means


def _draw_availability(
    config: WorldConfig, campaign: IndexArray, rng: np.random.Generator
) -> tuple[IndexArray, IndexArray]:
    """Returns from when and until when each item may be shown, seconds, (n_items,) each."""
    n, n_days = config.n_content, config.n_days
    is_new = rng.random(n) < config.new_item_fraction
    content_from = np.where(is_new, rng.uniform(0.02, 0.95, n) * n_days, -rng.uniform(1.0, 300.0, n))
    expires = rng.random(n) < config.expiring_fraction
    shelf_days = np.maximum(content_from, 0.0) + rng.uniform(0.2, 0.8, n) * n_days
    # Twice the length of the world stands for no end.
    content_until = np.where(expires, shelf_days, 2.0 * n_days)
    # Some flights begin before the start, so that the first day has ads.
    flight_from = rng.uniform(-0.2, 0.7, config.n_campaigns) * n_days
    flight_until = flight_from + rng.uniform(0.25, 0.7, config.n_campaigns) * n_days
    days_from = np.concatenate([content_from, flight_from[campaign]])
    days_until = np.concatenate([content_until, flight_until[campaign]])
    to_seconds = SECONDS_PER_DAY
    return (
        config.start + (days_from * to_seconds).astype(np.int64),
        config.start + (days_until * to_seconds).astype(np.int64),
    )


def _draw_title(category: str, tags: list[str], is_ad: bool, rng: np.random.Generator) -> str:
    """Returns a title made from the words of a category and of tags."""
    first, second = rng.permutation(ADJECTIVES)[:2]
    forms = AD_FORMS if is_ad else TITLE_FORMS
    title = forms[rng.integers(len(forms))].format(
        category=category,
        tag=tags[0],
        other=tags[-1] if len(tags) > 1 else category,
        adjective=first,
        adjective2=second,
        style=STYLES[rng.integers(len(STYLES))],
    )
    return title[0].upper() + title[1:]


def _spread_vectors(n: int, dim: int, rng: np.random.Generator) -> RealArray:
    """Returns unit vectors far apart, (n, dim): at right angles, then their opposites, then any."""
    # Left to chance, a few categories would lie close together and be everybody's favourites.
    axes = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    others = _unit(rng.normal(size=(max(0, n - 2 * dim), dim)))
    return np.concatenate([axes, -axes, others])[:n]


def _shared_leanings(n: int, category_vectors: RealArray, rng: np.random.Generator) -> RealArray:
    """Returns n unit vectors, each leaning on two categories, all categories in turn, (n, latent_dim)."""
    # In turn: drawn at random, a category might be one that no segment leans on.
    order = np.resize(rng.permutation(len(category_vectors)), 2 * n)
    return _unit(category_vectors[order[::2]] + 0.6 * category_vectors[order[1::2]])


def _leanings(n: int, category_vectors: RealArray, rng: np.random.Generator) -> RealArray:
    """Returns n unit vectors, each leaning on few categories, (n, latent_dim)."""
    # Far below 1: a few categories take nearly all of each user's share.
    shares = rng.dirichlet(np.full(len(category_vectors), 0.15), n)
    return _unit(shares @ category_vectors + 0.15 * _unit(rng.normal(size=(n, category_vectors.shape[1]))))


def _unit(vectors: RealArray) -> RealArray:
    """Returns the vectors at length 1; same shape."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def _centred(effects: RealArray) -> RealArray:
    """Returns effects whose mean over the rows is 0, so that no context is better throughout."""
    return np.asarray(effects - effects.mean(axis=0))


def _ids(prefix: str, n: int) -> list[str]:
    """Returns n ids whose text order is their order."""
    return [f"{prefix}{number:0{len(str(n))}d}" for number in range(1, n + 1)]
