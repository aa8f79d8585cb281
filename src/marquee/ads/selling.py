"""Sells places of one answer: money and caps of each ad in one go, before anybody is shown anything.

The money comes from the worker's wallet, and the caps from the ledger in one step; an ad that a cap forbids
gives its money back. Where the ledger cannot be asked, an ad with caps is not sold: nobody could count it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from marquee.ads.campaigns.calendar import local_day
from marquee.ads.wallet import Moment, Wallet
from marquee.errors import EventLogError
from marquee.store.campaigns.campaign import CampaignSet, HeldCampaign
from marquee.store.ledger.accounts import limits_of
from marquee.store.ledger.caps import claim_of
from marquee.store.ledger.rows import CapClaim, Limits
from marquee.store.log.sales import Sale

Admit = Callable[[str, Sequence[CapClaim], int], Sequence[bool]]
"""`Ledger.admit`, or what asks it in a thread of its own and waits for it only so long."""


class NotSold(StrEnum):
    """The reasons for which an ad is not sold at the last moment."""

    no_money = "no_money"  # the budget is spent, or others hold the rest
    no_lease = "no_lease"  # the worker holds none of its money yet, and has asked for some
    capped = "capped"  # the user has seen it often enough
    cap_needs_user = "cap_needs_user"  # nobody may be counted
    cut_off = "cut_off"  # the ledger cannot be asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Buy:
    """One ad that won a place. Money is millionths.

    Attributes:
        held: Its campaign.
        item_id: The creative.
        price: What its billable event costs; for CPM one impression.
        reserve: What is held until that event comes or its time is over.
        window_ms: How long that is.
    """

    held: HeldCampaign
    item_id: str
    price: int
    reserve: int
    window_ms: int


def sell(
    buys: Sequence[Buy],
    user_id: str | None,
    campaigns: CampaignSet,
    wallet: Wallet,
    admit: Admit,
    now: Moment,
) -> list[Sale | NotSold]:
    """Returns the sale of each ad, or why it is not sold; a sale must be recorded with its decision.

    Args:
        buys: In the order of the places.
        user_id: Pseudonym by which ads may be counted; None where consent forbids it or nobody is named.
        campaigns: All of them.
        wallet: The worker's money.
        admit: Checks and counts caps.
        now: The moment.
    """
    outcomes = [_reserve(buy, wallet, now) for buy in buys]
    claims = [claim_of(buy.held.campaign, buy.item_id, campaigns) for buy in buys]
    asked = [
        place
        for place, claim in enumerate(claims)
        if isinstance(outcomes[place], Sale) and (claim.caps or (claim.counted and user_id is not None))
    ]
    if not asked:
        return outcomes
    refused = _refused([claims[place] for place in asked], user_id, admit, now)
    for place, reason in zip(asked, refused, strict=True):
        sale = outcomes[place]
        if reason is not None and isinstance(sale, Sale):
            if sale.lease:
                wallet.cancel(limits_now(buys[place].held, now), sale.lease, sale.reserve)
            outcomes[place] = reason
    return outcomes


def _reserve(buy: Buy, wallet: Wallet, now: Moment) -> Sale | NotSold:
    """Returns the sale of an ad as far as its money goes."""
    campaign, limits = buy.held.campaign, limits_now(buy.held, now)
    lease = 0
    if buy.reserve:
        found = wallet.reserve(limits, buy.reserve, now)
        if found is None:
            return NotSold(wallet.lack(limits).value)
        lease = found
    until_ms = now.time_ms + buy.window_ms
    kind = campaign.bid_type.value
    return Sale(buy.item_id, campaign.campaign_id, kind, buy.price, buy.reserve, lease, limits.day, until_ms)


def _refused(
    claims: Sequence[CapClaim], user_id: str | None, admit: Admit, now: Moment
) -> list[NotSold | None]:
    """Returns why caps forbid each of some ads, None where they do not."""
    if user_id is None:
        return [NotSold.cap_needs_user] * len(claims)
    try:
        admitted = admit(user_id, claims, now.time_ms)
    except EventLogError:
        # One that is only counted, for the caps of others, goes as well: they would be told too little.
        return [NotSold.cut_off] * len(claims)
    return [None if passes else NotSold.capped for passes in admitted]


def limits_now(held: HeldCampaign, now: Moment) -> Limits:
    """Returns the limits of a campaign today."""
    campaign = held.campaign
    day = local_day(campaign.timezone, now.time_ms // 1000)
    return limits_of(held, campaign.campaign_id, day)
