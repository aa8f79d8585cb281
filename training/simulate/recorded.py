"""The auctions of a flight from files: streams of real-time bidding, and the event log of a service."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from marquee.ads.campaigns.eligibility import why_not
from marquee.ads.campaigns.recorded import recorded_viewer
from marquee.ads.delivering import cost_of, is_of_slots, probabilities_of
from marquee.errors import DataError
from marquee.store.campaigns.campaign import BidType, Campaign
from marquee.store.log.event_log import Decision
from training.looping.log import opened
from training.simulate.auctions import NOTHING_SOLD, Auctions, Source

BEFORE = 0.1
"""The part of a stream or a log from which a flight is planned; the rest is the flight."""

_COLUMNS = 3
_PAGE = 10_000
_MOST_DECISIONS = 500_000
_SEEN_AFTER_S = 20
_PER_MILLE, _MS = 1_000, 1_000
_DEFAULT_SURFACE = "default"


def on_stream(campaign: Campaign, path: Path, price_unit: int) -> Source:
    """Returns the auctions of a campaign in a stream: whether it was clicked, price, probability.

    A stream has no clock: its auctions are spread over the flight in their order. It says nothing of people,
    so that targeting and caps are not asked.

    Args:
        campaign: Pays by impression or click.
        path: One auction a line; packed with gzip if it ends in `.gz`.
        price_unit: Millionths in one unit of its prices.

    Raises:
        DataError: If the file is no such stream, or the campaign pays by conversion.
    """
    if campaign.bid_type is BidType.cpa:
        raise DataError(
            f"{campaign.campaign_id} pays for conversions, which a stream does not tell; got bid_type "
            "cpa, choose "
            "cpm or cpc"
        )
    table = _read_stream(path)
    n, n_before = len(table), max(1, int(len(table) * BEFORE))
    length = campaign.ends - campaign.starts
    # So that the flight is the rest: what is before it is as dense.
    step = length / (n - n_before)
    second = (campaign.starts + step * (np.arange(n) - n_before)).astype(np.int64)
    is_click = campaign.bid_type is BidType.cpc
    auctions = Auctions(
        second,
        np.maximum(1, (table[:, 1] * price_unit).astype(np.int64)),
        table[:, 2] if is_click else np.ones(n),
        table[:, 0] > 0 if is_click else np.ones(n, dtype=np.bool_),
        np.full(n, _SEEN_AFTER_S),
        np.full(n, -1),
        np.zeros(n, dtype=np.int64),
        np.full(n, "", dtype="U32"),
    )
    return Source(
        campaign,
        auctions.take(np.arange(n_before)),
        auctions.take(np.arange(n_before, n)),
        f"{n:,} auctions of {path.name} in their order, spread over the flight; the first "
        f"{BEFORE:.0%} are what is "
        "known before it. Targeting and caps are not asked.",
    )


def on_log(campaign: Campaign, log: str, closed: str, seed: int) -> Source:
    """Returns the auctions of a campaign in the log of a service, which are held again with it.

    Its flight is the time of the log, less the part that it is planned from.

    Args:
        campaign: The campaign.
        log: Folder or address.
        closed: Folder of the closed days.
        seed: Draws who would click or convert by the probabilities on record.

    Raises:
        ConfigError: If there is no such log.
        DataError: If it holds no auction, or none that tells how probable the event of the campaign is.
    """
    decisions = _read_log(log, closed)
    if not any(is_of_slots(one.auction) for one in decisions):
        raise DataError(
            f"the log holds {len(decisions):,} decisions, none with an auction; a service writes them "
            "where a "
            "surface has slots and a campaign bids"
        )
    second = np.array([one.time_ms // _MS for one in decisions], dtype=np.int64)
    probability = _probability(campaign, decisions)
    flown = replace(campaign, starts=int(second[int(len(second) * BEFORE)]), ends=int(second[-1]) + 1)
    anytime = replace(campaign, starts=0, ends=2**62)
    viewers = [recorded_viewer(one, None, _DEFAULT_SURFACE) for one in decisions]
    numbers: dict[str, int] = {}
    users = [
        -1 if one.user_id is None else numbers.setdefault(one.user_id, len(numbers)) for one in decisions
    ]
    n, rng = len(decisions), np.random.default_rng(seed)
    auctions = Auctions(
        second,
        np.array([_price(one, campaign) for one in decisions], dtype=np.int64),
        np.full(n, probability),
        rng.random(n) < probability,
        np.full(n, _SEEN_AFTER_S),
        np.array(users, dtype=np.int64),
        np.zeros(n, dtype=np.int64),
        np.array([str(why_not(anytime, one) or "") for one in viewers], dtype="U32"),
    )
    is_before = second < flown.starts
    return Source(
        flown,
        auctions.take(is_before),
        auctions.take(~is_before),
        f"{n:,} decisions of the log, their auctions held again beside the campaign. Its event is "
        "drawn with the mean "
        f"probability on record, {probability:.4g}; the first {BEFORE:.0%} are what is known before "
        "the flight.",
    )


def _read_stream(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Returns the lines of a stream, (n, 3)."""
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
            table = np.loadtxt(lines, ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} must hold `clicked price probability` on each line, got {error}; correct it"
        ) from error
    is_wrong = table.shape[1] != _COLUMNS or len(table) < 1 / BEFORE
    if is_wrong or not np.isfinite(table).all() or table.min() < 0 or not 0 < table[:, 2].max() <= 1:
        raise DataError(
            f"{path} must hold {1 / BEFORE:.0f} lines or more of `clicked price probability`, numbers "
            "of 0 or more "
            f"and probabilities up to 1, got {len(table):,} lines of {table.shape[1]} numbers; correct it"
        )
    return table


def _read_log(log: str, closed: str) -> list[Decision]:
    """Returns the latest decisions of the store of a log, ascending by time."""
    with opened(log, closed) as source:
        found = [one.decision for one in source.log.read_last_decisions(_MOST_DECISIONS)]
    return sorted(found, key=lambda one: one.time_ms)


def _price(decision: Decision, campaign: Campaign) -> int:
    """Returns the price of a thousand impressions at any bid; `NOTHING_SOLD` where no place was for sale."""
    highest = replace(campaign, bid_type=BidType.cpm, bid=2**50, target_cost=None)
    cost = cost_of(decision, highest, 1.0, None)
    return NOTHING_SOLD if cost is None else max(1, int(cost) * _PER_MILLE)


def _probability(campaign: Campaign, decisions: Sequence[Decision]) -> float:
    """Returns how probable the event of a campaign is; raises DataError where no offer on record tells."""
    if campaign.bid_type is BidType.cpm:
        return 1.0
    for whose in (campaign.campaign_id, None):
        found = list(_probabilities(decisions, campaign.bid_type, whose))
        if found:
            return float(np.mean(found))
    raise DataError(
        f"{campaign.campaign_id} pays by {campaign.bid_type.value}, and no offer in the log tells how "
        "probable its "
        "event is; got none, choose cpm, or wait until another campaign has offered"
    )


def _probabilities(decisions: Sequence[Decision], bid_type: BidType, whose: str | None) -> Iterator[float]:
    """Yields the probabilities of offers on record."""
    for one in decisions:
        if is_of_slots(one.auction):
            yield from probabilities_of(one.auction, bid_type, whose)
