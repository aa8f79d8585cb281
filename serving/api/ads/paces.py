"""The paces of all campaigns in one worker, solved in a thread beside the answers."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np

from marquee.ads.campaigns.calendar import day_bounds, local_day
from marquee.ads.pace import CampaignPace, Outlook
from marquee.ads.prices import PriceCurve
from marquee.errors import EventLogError
from marquee.store.campaigns.campaign import BidType, Campaign, CampaignSet, Delivery
from marquee.store.ledger.rows import FLIGHT, Account
from serving.telemetry.background import Background, ThreadMetrics
from serving.telemetry.metrics import Metrics

SOLVE_EVERY_S = 0.5
"""A multiplier follows the market after so long; a campaign begins to bid after at most so long."""

_MOST_PRICES = 2_000
# The rate of opportunities of the last minutes: traffic of an hour ago says little about the next.
_RATE_WINDOW_S = 600.0


class _Kept:
    """The pace of one campaign, and when its opportunities were counted."""

    def __init__(self, campaign: Campaign, now_s: float) -> None:
        self.pace = CampaignPace(campaign.delivery)
        self.since_s = now_s
        self.counted = 0
        self.rate = 0.0
        self.is_broke = False

    def learn_rate(self, now_s: float) -> float:
        """Returns opportunities per second, those of the last minutes counting most."""
        seen_s = now_s - self.since_s
        if seen_s > 0:
            fresh = (self.pace.n_noted - self.counted) / seen_s
            weight = min(1.0, seen_s / _RATE_WINDOW_S) if self.rate else 1.0
            self.rate += weight * (fresh - self.rate)
            self.since_s, self.counted = now_s, self.pace.n_noted
        return self.rate


class Paces:
    """The paces of one worker. `multiplier` may be called from several threads.

    Args:
        accounts: Returns the accounts of a campaign; raises EventLogError.
        campaigns: Returns all campaigns.
        n_workers: How many workers see the same traffic.
        metrics: What counts.
        clock: Returns the time, seconds since 1970 UTC.
    """

    def __init__(
        self,
        accounts: Callable[[str], Sequence[Account]],
        campaigns: Callable[[], CampaignSet],
        n_workers: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = accounts
        self._campaigns = campaigns
        self._n_workers = n_workers
        self._threads = metrics.family(ThreadMetrics)
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._making = Lock()
        self._prices: deque[int] = deque(maxlen=_MOST_PRICES)
        self._thread: Background | None = None

    def multiplier(self, campaign: Campaign, value: int) -> float:
        """Notes an opportunity and returns the multiplier of a campaign for it.

        Args:
            campaign: The campaign.
            value: Worth of a thousand impressions to it at its whole bid, millionths, above 0.
        """
        kept = self._kept.get(campaign.campaign_id)
        if kept is None:
            with self._making:
                fresh = _Kept(campaign, self._clock())
                kept = self._kept.setdefault(campaign.campaign_id, fresh)
        kept.pace.note(float(value))
        return 0.0 if kept.is_broke else kept.pace.multiplier

    def note_sale(self, campaign_id: str, price: int) -> None:
        """Notes the price of a thousand impressions of an ad that is shown, millionths."""
        self._prices.append(price)
        if (kept := self._kept.get(campaign_id)) is not None:
            kept.pace.paid(float(price))

    def note_no_money(self, campaign_id: str) -> None:
        """Notes that a campaign could not pay: it bids nothing until its money was looked at again."""
        if (kept := self._kept.get(campaign_id)) is not None:
            kept.is_broke = True

    def open(self, before: Callable[[], None], interval_s: float = SOLVE_EVERY_S) -> None:
        """Begins to solve in a thread of its own.

        Args:
            before: Called before each time.
            interval_s: Seconds between two times.
        """

        def turn() -> None:
            before()
            self.solve()

        self._thread = Background("paces", turn, interval_s, self._threads, self._clock)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        if self._thread is not None:
            self._thread.close()

    def solve(self) -> None:
        """Solves the multiplier of every campaign that had an opportunity since the last time."""
        now_s, campaigns = self._clock(), self._campaigns()
        for campaign_id, kept in list(self._kept.items()):
            held = campaigns.held.get(campaign_id)
            if held is None or now_s >= held.campaign.ends:
                self._kept.pop(campaign_id, None)
                continue
            if kept.pace.delivery is not held.campaign.delivery:
                kept.pace.delivery = held.campaign.delivery
            if kept.pace.n_noted > kept.counted or kept.is_broke:
                self._solve(kept, held.campaign, now_s)

    def _solve(self, kept: _Kept, campaign: Campaign, now_s: float) -> None:
        """Solves the multiplier of one campaign."""
        try:
            accounts = self._accounts(campaign.campaign_id)
        except EventLogError:
            return  # it goes on as it was planned; the wallet has the last word
        outlook = outlook_of(campaign, accounts, now_s, kept.learn_rate(now_s) * self._n_workers)
        kept.is_broke = outlook.budget <= 0
        kept.pace.solve(self._curve(campaign), outlook)

    def _curve(self, campaign: Campaign) -> PriceCurve:
        """Returns the prices of the places that were sold here, or the own bid before there are any."""
        prices = list(self._prices)
        paid = np.array([price for price in prices if price > 0], dtype=np.int64)
        if not len(paid):
            # Nobody has bid yet: a price far below the bid lets it buy what it can afford, and no more.
            per_thousand = 1 if campaign.bid_type is BidType.cpm else 10
            return PriceCurve([max(1, campaign.price_limit * per_thousand // 2)], [1.0])
        distinct, counts = np.unique(paid, return_counts=True)
        return PriceCurve(distinct.tolist(), counts.astype(float).tolist())


def outlook_of(
    campaign: Campaign, accounts: Sequence[Account], now_s: float, auctions_per_s: float
) -> Outlook:
    """Returns the rest of a campaign's money and time: of its day where that is less per second.

    Args:
        campaign: The campaign.
        accounts: Its accounts in the ledger; one that is missing is untouched.
        now_s: Seconds since 1970 UTC.
        auctions_per_s: Opportunities that all workers together give it.
    """
    day = local_day(campaign.timezone, int(now_s))
    spent = {one.day: one.charged + one.held for one in accounts}
    flight = max(0, campaign.total_budget - spent.get(FLIGHT, 0))
    flight_s = max(1.0, campaign.ends - now_s)
    whole = Outlook(flight, flight_s, auctions_per_s)
    if campaign.daily_budget is None or campaign.delivery is Delivery.fast:
        return whole
    _, day_ends = day_bounds(campaign.timezone, day)
    left = min(flight, max(0, campaign.daily_budget - spent.get(day, 0)))
    of_day = Outlook(left, max(1.0, min(day_ends, campaign.ends) - now_s), auctions_per_s)
    return min(of_day, whole, key=lambda one: one.budget / one.seconds)
