"""The paces of all campaigns in one worker, solved in a thread beside the answers."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np

from marquee.ads.campaigns.calendar import day_bounds, local_day
from marquee.ads.campaigns.columns import CampaignColumns
from marquee.ads.pace import CampaignPace, Outlook
from marquee.ads.prices import PriceCurve
from marquee.ads.traffic import WeighedTime, time_of
from marquee.core.arrays import Float64Array, IndexArray
from marquee.errors import EventLogError
from marquee.store.campaigns.campaign import (
    NO_CAMPAIGNS,
    BidType,
    Campaign,
    CampaignSet,
    Delivery,
    HeldCampaign,
)
from marquee.store.ledger.rows import FLIGHT, Account
from serving.api.ads.traffic import Traffic
from serving.telemetry.background import Background, Breather, ThreadMetrics
from serving.telemetry.metrics import Metrics

SOLVE_EVERY_S = 0.5
"""A multiplier follows the market after so long; a campaign begins to bid after at most so long."""

_MOST_PRICES = 2_000
# The rate of opportunities of the last day, in weighed seconds: what makes its hours differ is in the
# weights, and a rate of minutes would be chance where few come.
_RATE_WINDOW_S = 86_400.0
_PER_MILLE = 1_000


# Answers whose opportunities wait for the thread: of more it looks at the latest.
_MOST_ANSWERS = 10_000
# Of thousands of campaigns that bid in every answer each is then solved every few seconds.
_BUSY_SHARE = 0.1


class _Noted(NamedTuple):
    """The opportunities of one answer: when it was, numbers of campaigns, and what it is worth to each."""

    time_s: float
    columns: CampaignColumns
    numbers: IndexArray
    values: Float64Array


class _Kept:
    """The pace of one campaign, and when its opportunities were counted."""

    def __init__(self, campaign: Campaign, now_s: float) -> None:
        self.pace = CampaignPace(campaign.delivery)
        self.since_s = now_s
        self.counted = 0
        self.rate = 0.0
        self.seen_s = 0.0
        self.is_broke = False
        self.time = WeighedTime()
        self._timed: tuple[Campaign, int] | None = None

    @property
    def multiplier(self) -> float:
        """The multiplier of the bid; 0 without money."""
        return 0.0 if self.is_broke else self.pace.multiplier

    def weigh(self, campaign: Campaign, traffic: Traffic) -> WeighedTime:
        """Returns the time of the campaign by the traffic of its hours, anew when more is known."""
        if self._timed is None or self._timed[0] is not campaign or self._timed[1] != traffic.until:
            self._timed = (campaign, traffic.until)
            self.time = time_of(campaign, traffic.of(campaign).weights)
        return self.time

    def learn_rate(self, now_s: float) -> float:
        """Returns opportunities per weighed second, those of the last day counting most."""
        seen_s = self.time.seconds(self.since_s, now_s)
        if seen_s > 0:
            fresh = (self.pace.n_noted - self.counted) / seen_s
            # The mean since the beginning until that is a whole window.
            self.seen_s = min(self.seen_s + seen_s, max(_RATE_WINDOW_S, seen_s))
            self.rate += seen_s / self.seen_s * (fresh - self.rate)
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
        traffic: The traffic to come; every hour like the others if left out.
        prepare: Called with each campaign that bids and the money that an impression is worth to it.
    """

    def __init__(
        self,
        accounts: Callable[[str], Sequence[Account]],
        campaigns: Callable[[], CampaignSet],
        n_workers: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
        traffic: Traffic | None = None,
        prepare: Callable[[HeldCampaign, int], None] = lambda _held, _amount: None,
    ) -> None:
        self._accounts = accounts
        self._campaigns = campaigns
        self._n_workers = n_workers
        self._threads = metrics.family(ThreadMetrics)
        self._clock = clock
        self.traffic = traffic or Traffic()
        self.prepare = prepare
        self._kept: dict[str, _Kept] = {}
        self._making = Lock()
        self._prices: deque[int] = deque(maxlen=_MOST_PRICES)
        self._noted: deque[_Noted] = deque(maxlen=_MOST_ANSWERS)
        self._columns = CampaignColumns(NO_CAMPAIGNS)
        self._thread: Background | None = None

    def multiplier(self, campaign: Campaign, value: int) -> float:
        """Notes an opportunity and returns the multiplier of a campaign for it.

        Args:
            campaign: The campaign.
            value: Worth of a thousand impressions to it at its whole bid, millionths, above 0.
        """
        kept = self._of(campaign, self._clock())
        kept.pace.note([float(value)])
        return kept.multiplier

    def multipliers(
        self, columns: CampaignColumns, numbers: IndexArray, values: Float64Array
    ) -> Float64Array:
        """Notes an opportunity of many campaigns, and returns their multipliers for it, (n,).

        Args:
            columns: The campaigns.
            numbers: Of those that bid, (n,).
            values: Worth of a thousand impressions to each at its whole bid, millionths, above 0, (n,).
        """
        self._noted.append(_Noted(self._clock(), columns, numbers, values))
        found: Float64Array = columns.multipliers[numbers]
        return found

    def follow(self, columns: CampaignColumns) -> None:
        """Writes the multipliers into these columns from now on; those of before are not read any more."""
        for campaign_id, kept in list(self._kept.items()):
            self._show(columns, campaign_id, kept)
        self._columns = columns

    def note_sale(self, campaign_id: str, price: int) -> None:
        """Notes the price of a thousand impressions of an ad that is shown, millionths."""
        self._prices.append(price)
        if (kept := self._kept.get(campaign_id)) is not None:
            kept.pace.paid(float(price))

    def note_no_money(self, campaign_id: str) -> None:
        """Notes that a campaign could not pay: it bids nothing until its money was looked at again."""
        if (kept := self._kept.get(campaign_id)) is not None:
            kept.is_broke = True
            self._show(self._columns, campaign_id, kept)

    def open(self, before: Callable[[], None], interval_s: float = SOLVE_EVERY_S) -> None:
        """Begins to solve in a thread of its own.

        Args:
            before: Called before each time.
            interval_s: Seconds between two times.
        """

        def turn() -> None:
            before()
            self.solve(Breather(_BUSY_SHARE).breathe)

        self._thread = Background("paces", turn, interval_s, self._threads, self._clock)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        if self._thread is not None:
            self._thread.close()

    def solve(self, breathe: Callable[[], None] = lambda: None) -> None:
        """Solves the multiplier of every campaign that had an opportunity since the last time.

        Args:
            breathe: Called after each campaign; lets answers go first.
        """
        now_s, campaigns = self._clock(), self._campaigns()
        self.traffic.look(now_s)
        self._take_noted(breathe)
        sold = self._sold_prices()
        for campaign_id, kept in list(self._kept.items()):
            held = campaigns.held.get(campaign_id)
            if held is None or now_s >= held.campaign.ends:
                self._kept.pop(campaign_id, None)
                continue
            if kept.pace.delivery is not held.campaign.delivery:
                kept.pace.delivery = held.campaign.delivery
            if kept.pace.n_noted > kept.counted or kept.is_broke:
                self._solve(kept, held.campaign, now_s, sold)
                self._show(self._columns, campaign_id, kept)
                if kept.multiplier > 0 and (worth := kept.pace.mean_value) > 0:
                    self.prepare(held, math.ceil(worth / _PER_MILLE))
                breathe()

    def _of(self, campaign: Campaign, now_s: float) -> _Kept:
        """Returns the pace of a campaign, kept from its first opportunity on."""
        kept = self._kept.get(campaign.campaign_id)
        if kept is None:
            with self._making:
                kept = self._kept.setdefault(campaign.campaign_id, _Kept(campaign, now_s))
        return kept

    def _show(self, columns: CampaignColumns, campaign_id: str, kept: _Kept) -> None:
        """Writes the multiplier of a campaign where answers read it."""
        number = columns.numbers.get(campaign_id)
        if number is not None:
            columns.multipliers[number] = kept.multiplier

    def _take_noted(self, breathe: Callable[[], None]) -> None:
        """Gives the opportunities of answers to the campaigns that had them."""
        waiting = [self._noted.popleft() for _ in range(len(self._noted))]
        for columns in {id(one.columns): one.columns for one in waiting}.values():
            of_these = [one for one in waiting if one.columns is columns]
            numbers = np.concatenate([one.numbers for one in of_these])
            values = np.concatenate([one.values for one in of_these])
            order = np.argsort(numbers, kind="stable")
            named, starts = np.unique(numbers[order], return_index=True)
            for number, part in zip(named.tolist(), np.split(values[order], starts[1:]), strict=True):
                campaign = columns.eligible.held[number].campaign
                self._of(campaign, of_these[0].time_s).pace.note(part.tolist())
                breathe()

    def _solve(self, kept: _Kept, campaign: Campaign, now_s: float, sold: PriceCurve | None) -> None:
        """Solves the multiplier of one campaign."""
        try:
            accounts = self._accounts(campaign.campaign_id)
        except EventLogError:
            return  # it goes on as it was planned; the wallet has the last word
        weighed = kept.weigh(campaign, self.traffic)
        rate = kept.learn_rate(now_s) * self._n_workers
        outlook = outlook_of(campaign, accounts, now_s, rate, weighed)
        kept.is_broke = outlook.budget <= 0
        kept.pace.solve(sold or _unsold_prices(campaign), outlook)

    def _sold_prices(self) -> PriceCurve | None:
        """Returns the prices of the places that were sold here, None before there are any."""
        paid = np.array([price for price in list(self._prices) if price > 0], dtype=np.int64)
        if not len(paid):
            return None
        distinct, counts = np.unique(paid, return_counts=True)
        return PriceCurve(distinct.tolist(), counts.astype(float).tolist())


def _unsold_prices(campaign: Campaign) -> PriceCurve:
    """Returns the prices that a campaign expects where nothing was sold yet: half its own bid."""
    # A price far below the bid lets it buy what it can afford, and no more.
    per_thousand = 1 if campaign.bid_type is BidType.cpm else 10
    return PriceCurve([max(1, campaign.price_limit * per_thousand // 2)], [1.0])


def outlook_of(
    campaign: Campaign,
    accounts: Sequence[Account],
    now_s: float,
    auctions_per_s: float,
    weighed: WeighedTime,
) -> Outlook:
    """Returns the rest of a campaign's money and time: of its day where that is less per second.

    Args:
        campaign: The campaign.
        accounts: Its accounts in the ledger; one that is missing is untouched.
        now_s: Seconds since 1970 UTC.
        auctions_per_s: Opportunities that all workers together give it, per weighed second.
        weighed: Its time by the traffic of its hours.
    """
    day = local_day(campaign.timezone, int(now_s))
    spent = {one.day: one.charged + one.held for one in accounts}
    flight = max(0, campaign.total_budget - spent.get(FLIGHT, 0))
    flight_s = max(1.0, weighed.seconds(now_s, campaign.ends))
    whole = Outlook(flight, flight_s, auctions_per_s)
    if campaign.daily_budget is None or campaign.delivery is Delivery.fast:
        return whole
    _, day_ends = day_bounds(campaign.timezone, day)
    left = min(flight, max(0, campaign.daily_budget - spent.get(day, 0)))
    day_s = max(1.0, weighed.seconds(now_s, min(day_ends, campaign.ends)))
    of_day = Outlook(left, day_s, auctions_per_s)
    return min(of_day, whole, key=lambda one: one.budget / one.seconds)
