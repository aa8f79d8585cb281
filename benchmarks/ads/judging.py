"""Judges what faults have left of a log and its ledger.

The judge reads the log by itself, and knows nothing of how the ledger books: every ad whose event came is
charged once or told as unbilled, no account is above its budget, no user saw more than a cap allows, and the
sums of log and ledger are equal to the millionth.
"""

from collections import defaultdict
from dataclasses import dataclass

from benchmarks.ads.spender import open_ledger_of
from marquee.store.campaigns.campaign import Campaign, CampaignSet, CapScope
from marquee.store.campaigns.opening import open_campaign_store
from marquee.store.ledger.ledger import DRAIN_MS, Ledger
from marquee.store.log.event_log import EventLog
from marquee.store.log.opening import POSTGRES_SCHEMES, open_event_log
from marquee.store.log.sales import Sale

PAGE = 10_000
_MS = 1_000
_PAID_FOR = {"cpm": "exposure", "cpc": "click", "cpa": "conversion"}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The judgement of a log and its ledger. All but the first four must be 0.

    Attributes:
        n_sold: Ads in the log.
        n_charged: Events that were charged.
        used: The part of all budgets that was charged.
        n_unbilled: Events that were not.
        over_budget: Accounts that were charged more than they may be.
        over_cap: Ads that a user was shown above a cap.
        difference: By how many millionths log and ledger differ.
        unsettled: Money that is held beyond what was reserved for ads that may still be paid for.
        held: Money that is held; nothing once every window is over.
        doubled: By how many the charged and unbilled events differ from the ads whose event came.
    """

    n_sold: int
    n_charged: int
    used: float
    n_unbilled: int
    over_budget: int
    over_cap: int
    difference: int
    unsettled: int
    held: int
    doubled: int

    @property
    def faults(self) -> tuple[int, ...]:
        """All that must be 0, whatever fails."""
        return (self.over_budget, self.over_cap, self.difference, self.unsettled, self.doubled)


def settle_at(where: str, later_ms: int) -> None:
    """Books what is left as if it were so much later: every lease is over by then, and drained.

    Args:
        where: The folder or the address of the stores; nobody else may use them.
        later_ms: Milliseconds since 1970 UTC.
    """
    if where.startswith(POSTGRES_SCHEMES):
        from marquee.store.ledger.postgres import PostgresLedger

        ledger: Ledger = PostgresLedger(where, by_own_clock=False)
    else:
        ledger = open_ledger_of(where, DRAIN_MS)
    log, store = open_event_log(where), open_campaign_store(where)
    try:
        ledger.follow(log, store.current(), later_ms)
    finally:
        for one in (ledger, log, store):
            one.close()


def judge(where: str) -> Judged:
    """Judges a log and its ledger, which must be settled."""
    ledger, log, store = open_ledger_of(where, 0), open_event_log(where), open_campaign_store(where)
    try:
        campaigns = store.current()
        shown, came = _read(log)
        accounts = {name: ledger.accounts(name) for name in campaigns.held}
        flat = [one for found in accounts.values() for one in found]
        flights = [found[0] for found in accounts.values() if found]
        paid = {key: sale for key, (sale, _, _) in shown.items() if (*key, _PAID_FOR[sale.bid_type]) in came}
        logged = sum(sale.price for sale in paid.values())
        booked = sum(one.charged + one.unbilled for one in flights)
        open_sales = [sale for key, (sale, _, _) in shown.items() if key not in paid]
        # Less may be held than was reserved: reserves fade, and a sale whose lease was given back has none.
        held, most = sum(one.held for one in flights), sum(sale.reserve for sale in open_sales)
        n_unbilled = sum(one.n_unbilled for one in flights)
        budgets = sum(one.total_budget for one in campaigns.campaigns)
        return Judged(
            n_sold=len(shown),
            n_charged=sum(one.n_charged for one in flights),
            used=sum(one.charged for one in flights) / budgets,
            n_unbilled=n_unbilled,
            over_budget=sum(one.budget is not None and one.charged > one.budget for one in flat),
            over_cap=sum(_over_caps(campaign, campaigns, shown) for campaign in campaigns.campaigns),
            difference=abs(logged - booked),
            unsettled=max(0, held - most),
            held=held,
            doubled=abs(sum(one.n_charged for one in flights) + n_unbilled - len(paid)),
        )
    finally:
        for one in (ledger, log, store):
            one.close()


Shown = dict[tuple[str, str], tuple[Sale, str, int]]
"""Decision and item of each ad → the sale, the user and when, milliseconds since 1970 UTC."""


def _read(log: EventLog) -> tuple[Shown, set[tuple[str, str, str]]]:
    """Returns the ads of a log, and the decision, item and kind of each event."""
    shown: Shown = {}
    after = 0
    while page := log.read_decisions(after, PAGE):
        for one in (logged.decision for logged in page):
            for sale in one.sales:
                shown[one.decision_id, sale.item_id] = (sale, str(one.user_id), one.time_ms)
        after = page[-1].sequence
    came: set[tuple[str, str, str]] = set()
    after = 0
    while events := log.read(after, PAGE):
        came |= {(str(one.event.decision_id), one.event.item_id, one.event.kind) for one in events}
        after = events[-1].sequence
    return shown, came


def _over_caps(campaign: Campaign, campaigns: CampaignSet, shown: Shown) -> int:
    """Returns how many ads were shown to users above the caps of a campaign, in any window."""
    over = 0
    for cap in campaign.frequency_caps:
        names = {campaign.campaign_id}
        if cap.per is CapScope.advertiser:
            names = {one.campaign_id for one in campaigns.campaigns if one.advertiser == campaign.advertiser}
        times: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
        for sale, user_id, time_ms in shown.values():
            if sale.campaign_id in names:
                item_id = sale.item_id if cap.per is CapScope.ad else ""
                times[user_id, item_id].append((time_ms, sale.campaign_id))
        for found in times.values():
            found.sort()
            for place, (time_ms, name) in enumerate(found):
                before = sum(other > time_ms - cap.window_s * _MS for other, _ in found[:place])
                # Only its own ads break its cap: one of another campaign is not asked for it.
                over += name == campaign.campaign_id and before >= cap.limit
    return over
