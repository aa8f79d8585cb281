"""The delivery of a campaign: what its plan would have spent by now, and what to expect at its end.

What to expect rests on the latest auctions of the log, held again with the campaign at its whole bid: how
often it would have won, and at what price. Times the traffic that is still to come that is all it can buy;
pacing sees to it that the budget is spent if that is enough, so the forecast is the lesser of both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from marquee.ads.auction import Offer
from marquee.ads.campaigns.calendar import day_bounds, local_day
from marquee.ads.filling import Entry, Loss, fill_slots
from marquee.ads.pace import AHEAD
from marquee.ads.slots import SlotConfig
from marquee.ads.trace import entries_of, terms_of
from marquee.ads.traffic import WeighedTime
from marquee.store.campaigns.campaign import BidType, Campaign, Delivery, Priority
from marquee.store.ledger.rows import FLIGHT, Account
from marquee.store.log.event_log import Decision

_PER_MILLE = 1_000
_DAY_S = 86_400


class NotShown(StrEnum):
    """The reasons for which an answer that a campaign was eligible for did not show it, besides `Loss`."""

    no_auction = "no_auction"  # it sold no place
    no_offer = "no_offer"  # paced, capped, out of money, or not relevant enough to be found
    not_sold = "not_sold"  # it won, and money or a cap was gone at the last moment


@dataclass(frozen=True)
class Expected:
    """The money that is expected to be charged by the end of a flight, millionths.

    Attributes:
        total: What is charged already included.
        low: Lower end of the 80 % interval; None where too little of the past is known.
        high: Upper end.
    """

    total: int
    low: int | None
    high: int | None


def why_not_sold(decision: Decision, campaign: Campaign) -> NotShown | Loss | None:
    """Returns why an answer that a campaign was eligible for did not show it; None if it did."""
    if any(sale.campaign_id == campaign.campaign_id for sale in decision.sales):
        return None
    if not is_of_slots(decision.auction):
        return NotShown.no_auction
    entries = entries_of(decision.auction)
    own = next((one for one in entries if one.campaign_id == campaign.campaign_id), None)
    return NotShown.no_offer if own is None else _why_lost(decision.auction, entries, own)


def is_of_slots(auction: Mapping[str, Any]) -> bool:
    """Returns whether an auction sold slots of an answer; those of an exchange are held elsewhere."""
    return "offers" in auction


def _why_lost(auction: Mapping[str, Any], entries: Sequence[Entry], own: Entry) -> NotShown | Loss:
    """Returns why an offer of an auction was not shown."""
    terms = terms_of(auction)
    filled = fill_slots(entries, auction["places"], terms).filled
    if any(one.entry is own for one in filled):
        return NotShown.not_sold
    if any(one.entry.advertiser == own.advertiser or one.entry.item_id == own.item_id for one in filled):
        return Loss.not_apart
    if own.offer is not None and own.value < terms.floor:
        return Loss.below_floor
    reserve = min((terms.reserve(slot, own) for slot in range(len(auction["places"]))), default=0)
    return Loss.below_content if own.value < reserve else Loss.outbid


def probabilities_of(auction: Mapping[str, Any], bid_type: BidType, campaign_id: str | None) -> list[float]:
    """Returns how probable the billable event of offers of an auction was.

    Args:
        auction: As its decision keeps it.
        bid_type: Of the offers.
        campaign_id: Whose; None for everybody's.
    """
    return [
        one.offer.probability
        for one in entries_of(auction)
        if one.offer is not None and one.offer.bid_type is bid_type and campaign_id in (None, one.campaign_id)
    ]


def cost_of(
    decision: Decision, campaign: Campaign, probability: float, slots: SlotConfig | None
) -> float | None:
    """Returns the mean charge of a campaign for an answer at its whole bid, millionths.

    None where it would not have been shown.

    Args:
        decision: The answer.
        campaign: It may be shown there.
        probability: Of the event that it pays for; 1 for CPM.
        slots: The places that the surface sells, for an answer without an auction, in which nobody else bid.
    """
    if is_of_slots(decision.auction):
        entries, terms = entries_of(decision.auction), terms_of(decision.auction)
        places: Sequence[int] = decision.auction["places"]
    elif slots is not None and not {"kind", "like_item", "row"} & set(decision.asked):
        entries, terms = [], terms_of({"floor": slots.floor, "rule": slots.rule})
        places = [one for one in slots.places(len(decision.places)) if one <= len(decision.places)]
    else:
        return None
    own = _whole_entry(campaign, entries, probability)
    others = [one for one in entries if one.campaign_id != campaign.campaign_id]
    filled = fill_slots([*others, own], places, terms).filled
    won = next((one for one in filled if one.entry is own), None)
    return None if won is None else won.due * probability


def planned_by(campaign: Campaign, weighed: WeighedTime, now_s: float) -> int | None:
    """Returns the spend that the plan of a campaign has for it by now, millionths; None without a plan.

    Args:
        campaign: The campaign.
        weighed: Its time by the traffic of its hours.
        now_s: Seconds since 1970 UTC.
    """
    whole_s = weighed.seconds(campaign.starts, campaign.ends)
    if campaign.delivery is Delivery.fast or not campaign.total_budget or not whole_s:
        return None
    left = weighed.seconds(max(now_s, campaign.starts), campaign.ends) / whole_s
    # Whoever plans for a share of the traffic to come spends more now: the rest falls as this power of it.
    ahead = AHEAD if campaign.delivery is Delivery.front_loaded else 1.0
    planned = int(campaign.total_budget * (1.0 - left ** (1.0 / ahead)))
    return min(planned, _most_by_days(campaign, campaign.starts, min(now_s, campaign.ends)))


def expect(
    campaign: Campaign,
    accounts: Sequence[Account],
    can_buy: float,
    bounds: tuple[float | None, float | None],
    now_s: float,
) -> Expected:
    """Returns the money that is expected to be charged by the end of a flight.

    Args:
        campaign: The campaign.
        accounts: Its accounts in the ledger.
        can_buy: What it could buy from now on at its whole bid, millionths.
        bounds: Ends of the 80 % interval of the traffic to come, beside what is expected.
        now_s: Seconds since 1970 UTC.
    """
    charged = {one.day: one.charged for one in accounts}
    done = charged.get(FLIGHT, 0)
    left = max(0, campaign.total_budget - done)
    if campaign.daily_budget is not None:
        begins = max(now_s, campaign.starts)
        today = charged.get(local_day(campaign.timezone, int(begins)), 0)
        left = max(0, min(left, _most_by_days(campaign, begins, campaign.ends, today)))
    low, high = (None if one is None else done + int(min(left, can_buy * one)) for one in bounds)
    return Expected(done + int(min(left, can_buy)), low, high)


def _most_by_days(campaign: Campaign, since_s: float, until_s: float, spent: int = 0) -> int:
    """Returns the most that the budgets of days let a campaign spend, the first of which is spent in part."""
    if campaign.daily_budget is None or until_s <= since_s:
        return campaign.total_budget if campaign.daily_budget is None else 0
    _, day_ends = day_bounds(campaign.timezone, local_day(campaign.timezone, int(since_s)))
    more_days = max(0, -(-int(until_s - day_ends) // _DAY_S))
    return min(campaign.total_budget, campaign.daily_budget * (1 + more_days) - spent)


def _whole_entry(campaign: Campaign, entries: Sequence[Entry], probability: float) -> Entry:
    """Returns the offer of a campaign at its whole bid; where it offered, with what is known of its ad."""
    own = next((one for one in entries if one.campaign_id == campaign.campaign_id), None)
    item_id = own.item_id if own is not None else campaign.creatives[0].item_id if campaign.creatives else ""
    is_paid = bool(campaign.price_limit) and campaign.priority is not Priority.house
    offer = (
        Offer(item_id, campaign.campaign_id, campaign.bid_type, campaign.price_limit, probability)
        if is_paid
        else None
    )
    n_values = len(entries[0].values) if entries else 0
    return Entry(
        offer,
        item_id,
        campaign.campaign_id,
        campaign.advertiser,
        campaign.priority,
        own.worth if own is not None else 0.0,
        own.values if own is not None else (None,) * n_values,
        campaign.exclusions,
        own.categories if own is not None else frozenset(),
    )
