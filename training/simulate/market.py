"""The auctions of a flight on the simulated market: every request is one, and people react by their truth."""

from dataclasses import replace

import numpy as np

from marquee.ads.campaigns.eligibility import Viewer, why_not
from marquee.core.arrays import IndexArray
from marquee.errors import ConfigError, DataError
from marquee.store.campaigns.campaign import BidType, Campaign
from marquee.store.campaigns.money import PER_UNIT
from marquee.world import World
from marquee.world.responses import Responses
from marquee.world.words import DEVICES, SURFACES
from training.simulate.auctions import Auctions, Source

_DAY_S, _WEEK_S = 86_400, 7 * 86_400
_PER_MILLE = 1_000
_N_RIVALS = 3
_AD_POSITIONS = np.array([4, 3])  # of the feed, of the sidebar
_SEEN_AFTER_S = 20
_SHOWN_IDS = 5


def on_market(campaign: Campaign, world: World, seed: int) -> Source:
    """Returns the auctions of a campaign on a market, and those of before.

    A flight at a time that the market does not have is laid over its last weeks, on the same weekdays.

    Args:
        campaign: Its creatives are ads of the market.
        world: The market.
        seed: Of the rivals' ads.

    Raises:
        ConfigError: If the flight is longer than the market, less the week that it is planned from.
        DataError: If an ad is none of the market.
    """
    flown = _within(campaign, world)
    ads = _ads_of(flown, world)
    auctions = _auctions(flown, ads, world, seed)
    is_before = auctions.second < flown.starts
    is_during = ~is_before & (auctions.second < flown.ends)
    moved = "" if flown is campaign else ", laid over its last weeks"
    return Source(
        flown,
        auctions.take(is_before),
        auctions.take(is_during),
        f"The simulated market of seed {world.config.seed}{moved}. The campaign bids by the true "
        "probabilities, "
        f"the best of {_N_RIVALS} ads of others sets the price, and people click and convert as they would.",
    )


def _within(campaign: Campaign, world: World) -> Campaign:
    """Returns a campaign whose flight lies within the time of the market."""
    begins, ends = world.config.start, world.config.start + world.config.n_days * _DAY_S
    length = campaign.ends - campaign.starts
    if begins + _WEEK_S <= campaign.starts and campaign.ends <= ends:
        return campaign
    if length > ends - begins - 2 * _WEEK_S:
        raise ConfigError(
            f"a flight on this market may last {(ends - begins - 2 * _WEEK_S) // _DAY_S} days, as it "
            "is planned "
            f"from those before, got {length / _DAY_S:.0f} ({campaign.campaign_id}); shorten it, or add "
            "data.world.n_days=…"
        )
    latest = ends - length
    starts = latest - (latest - campaign.starts) % _WEEK_S
    return replace(campaign, starts=starts, ends=starts + length)


def _ads_of(campaign: Campaign, world: World) -> IndexArray:
    """Returns the rows of the items that are the ads of a campaign."""
    ids, kinds = world.items["item_id"].to_list(), world.items["kind"].to_list()
    row_of = {
        item_id: row for row, (item_id, kind) in enumerate(zip(ids, kinds, strict=True)) if kind == "ad"
    }
    unknown = [one.item_id for one in campaign.creatives if one.item_id not in row_of]
    if unknown:
        raise DataError(
            f"creatives of {campaign.campaign_id} must be ads of the market such as "
            f"{list(row_of)[:_SHOWN_IDS]}, got {unknown[:_SHOWN_IDS]}; name some of them"
        )
    return np.array([row_of[one.item_id] for one in campaign.creatives], dtype=np.int64)


def _auctions(campaign: Campaign, ads: IndexArray, world: World, seed: int) -> Auctions:
    """Returns all requests of the market as auctions."""
    requests = world.market.requests
    n = len(requests.user)
    row, place = np.arange(n), _AD_POSITIONS[requests.surface]
    said = [world.market.respond(row, np.full(n, ad), place) for ad in ads.tolist()]
    chances = np.stack([_probability(one, campaign.bid_type) for one in said])
    from_, until = world.market.population.available_from[ads], world.market.population.available_until[ads]
    is_there = (from_[:, None] <= requests.timestamp) & (requests.timestamp < until[:, None])
    # What suits the request best is found first.
    creative = np.where(is_there, chances, -1.0).argmax(axis=0)
    probability = chances[creative, row]
    comes, after = _outcomes(said, campaign.bid_type)
    return Auctions(
        requests.timestamp,
        _prices(world, ads, place, seed),
        probability,
        comes[creative, row],
        after[creative, row],
        requests.user,
        creative,
        np.where(is_there.any(axis=0), _why_not(campaign, world), "not_available"),
    )


def _probability(said: Responses, bid_type: BidType) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Returns the true probability of the event that is paid for."""
    if bid_type is BidType.cpm:
        return np.ones(len(said.click_probability))
    if bid_type is BidType.cpc:
        return said.click_probability
    return np.asarray(said.click_probability * said.conversion_probability)


def _outcomes(
    said: list[Responses], bid_type: BidType
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.bool_]], np.ndarray[tuple[int, int], np.dtype[np.int64]]]:
    """Returns whether the event of each ad and request comes, and after how many seconds."""
    if bid_type is BidType.cpm:
        comes = [np.ones(len(one.is_clicked), dtype=np.bool_) for one in said]
    else:
        is_click = bid_type is BidType.cpc
        comes = [one.is_clicked if is_click else one.converted_after >= 0 for one in said]
    waits = [one.converted_after if bid_type is BidType.cpa else 0 * one.converted_after for one in said]
    return np.stack(comes), np.stack([_SEEN_AFTER_S + np.maximum(one, 0) for one in waits])


def _prices(world: World, own: IndexArray, place: IndexArray, seed: int) -> IndexArray:
    """Returns the worth of the best of some ads of others for each request, of a thousand impressions."""
    rng = np.random.default_rng(seed)
    kinds = world.items["kind"].to_list()
    others = np.array(
        [row for row, kind in enumerate(kinds) if kind == "ad" and row not in set(own.tolist())]
    )
    bids, row = world.items["bid"].to_numpy(), np.arange(len(place))
    price = np.ones(len(place))
    for _ in range(_N_RIVALS if len(others) else 0):
        rival = rng.choice(others, len(place))
        clicked = world.market.respond(row, rival, place).click_probability
        price = np.maximum(price, _PER_MILLE * clicked * bids[rival] * PER_UNIT)
    return np.ceil(price).astype(np.int64)


def _why_not(campaign: Campaign, world: World) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    """Returns why the campaign may not be shown at each request, '' where it may; whatever the flight."""
    anytime = replace(campaign, starts=0, ends=2**62)
    requests = world.market.requests
    columns = ("age_band", "region", "main_device")
    known = list(zip(*(world.users[name].to_list() for name in columns), strict=True))
    reasons = []
    asked = zip(
        requests.user.tolist(),
        requests.timestamp.tolist(),
        requests.device.tolist(),
        requests.surface.tolist(),
        strict=True,
    )
    for user, timestamp, device, surface in asked:
        attributes = dict(zip(columns, known[user], strict=True))
        viewer = Viewer(
            surface=SURFACES[surface],
            timestamp=timestamp,
            attributes={**attributes, "device": DEVICES[device]},
            device=DEVICES[device],
        )
        reasons.append(str(why_not(anytime, viewer) or ""))
    return np.array(reasons)
