"""Flies one campaign: paced auction by auction, with a budget that is held, charged and given back.

The pacer and the forecast are those of the service. Money is accounted for in memory by the rules of the
ledger: what is expected is held when an ad is shown, charged once when its event comes, and given back when
its time is over; nothing is charged above a budget.
"""

import heapq
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

from marquee.ads.campaigns.calendar import day_bounds, local_day
from marquee.ads.delivering import Expected, NotShown, expect, planned_by
from marquee.ads.pace import CampaignPace, Outlook
from marquee.ads.prices import PriceCurve
from marquee.ads.traffic import WeighedTime, time_of
from marquee.marketing.forecast.series import SECONDS_PER_HOUR, sum_by_step, wall_clock
from marquee.marketing.forecast.traffic import TrafficForecast, even_traffic, forecast_traffic
from marquee.store.campaigns.campaign import BidType, Campaign, CampaignSet, Delivery, HeldCampaign
from marquee.store.ledger.caps import claim_of
from marquee.store.ledger.rows import CapClaim, is_capped
from training.simulate.auctions import Auctions, Source

_PER_MILLE = 1_000
_SOLVE_EVERY_S = 600
_WINDOW_S = {BidType.cpm: 86_400, BidType.cpc: 86_400, BidType.cpa: 7 * 86_400}
"""How long an event is paid for, as a surface has it where nothing else is said."""


@dataclass(frozen=True)
class Hour:
    """One hour of a flight, all sums since it began; money is millionths.

    Attributes:
        hour: From the beginning of the flight.
        charged: Until its end.
        planned: By the plan; None for delivery without one.
    """

    hour: int
    charged: int
    planned: int | None


@dataclass(frozen=True)
class Flown:
    """The outcome of a flight. Money is millionths.

    Attributes:
        campaign: As it flew.
        note: Where the auctions came from.
        n_auctions: All of them.
        n_shown: Ads that were shown.
        n_billed: Events that were charged.
        charged: What they cost.
        n_unbilled: Events that came and were not charged.
        unbilled: What these would have cost.
        reasons: Why auctions did not show it.
        hours: Pace against plan.
        traffic: The forecast of the traffic before the flight.
        expected: What was expected to be charged before it began.
    """

    campaign: Campaign
    note: str
    n_auctions: int
    n_shown: int
    n_billed: int
    charged: int
    n_unbilled: int
    unbilled: int
    reasons: Counter[str]
    hours: tuple[Hour, ...]
    traffic: TrafficForecast
    expected: Expected


def fly(source: Source) -> Flown:
    """Returns the outcome of the flight of a campaign."""
    campaign = source.campaign
    traffic = traffic_before(source)
    weighed = time_of(campaign, traffic.weights)
    flight = _Flight(campaign, source.during, weighed, _curve(source.before))
    flight.run()
    return Flown(
        campaign,
        source.note,
        len(source.during),
        flight.n_shown,
        flight.n_billed,
        flight.charged,
        flight.n_unbilled,
        flight.unbilled,
        source.during.reasons() + flight.reasons,
        tuple(flight.hours()),
        traffic,
        expected_before(source, traffic, weighed),
    )


def traffic_before(source: Source) -> TrafficForecast:
    """Returns the traffic to expect in a flight from what was before it, by the clocks of its zone."""
    zone = source.campaign.timezone
    second = wall_clock(source.before.second, zone)
    starts = int(wall_clock(np.array([source.campaign.starts]), zone)[0])
    if starts // SECONDS_PER_HOUR <= int(second.min()) // SECONDS_PER_HOUR:
        hours = max(1, starts - int(second.min())) / SECONDS_PER_HOUR
        return even_traffic(len(second) / hours, "Less than an hour of traffic is known: the plan is even.")
    return forecast_traffic(sum_by_step(second, None, SECONDS_PER_HOUR, starts))


def expected_before(source: Source, traffic: TrafficForecast, weighed: WeighedTime) -> Expected:
    """Returns the charges to expect, as a dry run would say before the flight."""
    campaign, before = source.campaign, source.before
    rows = before.may_buy | ((before.why_not == "hours") & (before.price > 0))
    wins = rows & (_values(campaign, before) >= before.price)
    per_auction = float(before.price[wins].sum()) / _PER_MILLE / max(1, len(before))
    n_to_come = weighed.seconds(campaign.starts, campaign.ends) / SECONDS_PER_HOUR * traffic.per_hour
    return expect(campaign, (), n_to_come * per_auction, (traffic.low, traffic.high), campaign.starts)


def _values(campaign: Campaign, auctions: Auctions) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Returns the worth of a thousand impressions of each auction at the whole bid, millionths."""
    per_thousand = 1 if campaign.bid_type is BidType.cpm else _PER_MILLE
    return np.floor(campaign.price_limit * per_thousand * auctions.probability).astype(np.int64)


def _curve(before: Auctions) -> PriceCurve:
    """Returns the prices of places before the flight."""
    distinct, counts = np.unique(before.price[before.price > 0], return_counts=True)
    if not len(distinct):
        return PriceCurve([1], [1.0])
    return PriceCurve(distinct.tolist(), counts.astype(float).tolist())


@dataclass
class _Flight:
    """A flight while it goes on."""

    campaign: Campaign
    auctions: Auctions
    weighed: WeighedTime
    curve: PriceCurve
    n_shown: int = 0
    n_billed: int = 0
    charged: int = 0
    n_unbilled: int = 0
    unbilled: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    _held: int = 0
    _by_day: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    # When, number, price, held, day of the ad, whether its event comes then or its time is over.
    _due: list[tuple[int, int, int, int, str, bool]] = field(default_factory=list)
    _charges: list[tuple[int, int]] = field(default_factory=list)
    _shown: dict[int, dict[str, list[int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._pace = CampaignPace(self.campaign.delivery)
        held = HeldCampaign(self.campaign, 1, 0, "simulation", "created", 1)
        self._campaigns = CampaignSet().with_changes([held])

    def run(self) -> None:
        """Holds every auction, and waits until the last window is over."""
        rows = self.auctions
        values, may_buy = _values(self.campaign, rows).tolist(), rows.may_buy.tolist()
        solve_at = self.campaign.starts
        columns = [one.tolist() for one in (rows.second, rows.price, rows.user, rows.creative)]
        for number, (second, price, user, creative) in enumerate(zip(*columns, strict=True)):
            self._settle(second)
            if not may_buy[number]:
                if not rows.why_not[number]:
                    self.reasons[NotShown.no_auction] += 1
                continue
            self._pace.note([float(values[number])] if values[number] else [])
            if second >= solve_at:
                self._solve(second)
                solve_at = second + _SOLVE_EVERY_S
            reason = self._try(number, second, price, values[number], user, creative)
            if reason:
                self.reasons[reason] += 1
        self._settle(self.campaign.ends + _WINDOW_S[self.campaign.bid_type] + 1)

    def hours(self) -> list[Hour]:
        """Returns charges beside the plan, by hour."""
        begins, ends = self.campaign.starts, self.campaign.ends
        told, charged, at = [], 0, 0
        for hour in range(-(-(ends - begins) // SECONDS_PER_HOUR)):
            until = min(ends, begins + (hour + 1) * SECONDS_PER_HOUR)
            while at < len(self._charges) and self._charges[at][0] < until:
                charged, at = charged + self._charges[at][1], at + 1
            told.append(Hour(hour, charged, planned_by(self.campaign, self.weighed, until)))
        return told

    def _try(self, number: int, second: int, price: int, value: int, user: int, creative: int) -> str:
        """Offers for one place; returns the reason for which the campaign is not shown there, '' if it is."""
        if value < price:
            return "outbid"
        if int(value * self._pace.multiplier) < price:
            return "paced"
        if self._is_capped(second, user, creative):
            return "capped" if user >= 0 else "cap_needs_user"
        probability = float(self.auctions.probability[number])
        # One impression, one click or one conversion, rounded up: the price is for a thousand impressions.
        due = (
            -(-price // _PER_MILLE)
            if self.campaign.bid_type is BidType.cpm
            else int(min(self.campaign.price_limit, price / _PER_MILLE / probability))
        )
        reserve = min(due, max(1, -int(-due * probability // 1)))
        day = local_day(self.campaign.timezone, second)
        if reserve > self._left(day):
            return "no_money"
        self._hold(reserve, day)
        self._pace.paid(float(price))
        self.n_shown += 1
        self._count(second, user, creative)
        wait = int(self.auctions.after_s[number])
        is_coming = bool(self.auctions.comes[number]) and wait <= _WINDOW_S[self.campaign.bid_type]
        at = second + (wait if is_coming else _WINDOW_S[self.campaign.bid_type])
        heapq.heappush(self._due, (at, number, due, reserve, day, is_coming))
        return ""

    def _settle(self, now: int) -> None:
        """Charges events that have come, and gives back what is held for those that did not."""
        while self._due and self._due[0][0] <= now:
            at, _, due, reserve, day, is_coming = heapq.heappop(self._due)
            self._hold(-reserve, day)
            if not is_coming:
                continue
            if due > self._left(day, is_held=False):
                self.n_unbilled += 1
                self.unbilled += due
                continue
            self.n_billed += 1
            self.charged += due
            self._by_day[f"charged {day}"] += due
            self._charges.append((at, due))

    def _left(self, day: str, *, is_held: bool = True) -> int:
        """Returns the money that may still be spent today; what is held is not free to be promised."""
        left = self.campaign.total_budget - self.charged - (self._held if is_held else 0)
        if self.campaign.daily_budget is None:
            return left
        of_day = self.campaign.daily_budget - self._by_day[f"charged {day}"]
        return min(left, of_day - (self._by_day[f"held {day}"] if is_held else 0))

    def _hold(self, amount: int, day: str) -> None:
        """Holds money, or gives it back."""
        self._held += amount
        self._by_day[f"held {day}"] += amount

    def _solve(self, now: int) -> None:
        """Solves the multiplier, as a worker does beside its answers."""
        campaign = self.campaign
        day = local_day(campaign.timezone, now)
        seen_s = max(1.0, self.weighed.seconds(campaign.starts, now))
        rate = self._pace.n_noted / seen_s
        whole = Outlook(self._left(day), max(1.0, self.weighed.seconds(now, campaign.ends)), rate)
        outlook = whole
        if campaign.daily_budget is not None and campaign.delivery is not Delivery.fast:
            _, day_ends = day_bounds(campaign.timezone, day)
            today_s = max(1.0, self.weighed.seconds(now, min(day_ends, campaign.ends)))
            flight = campaign.total_budget - self.charged - self._held
            outlook = min(
                Outlook(self._left(day), today_s, rate),
                whole._replace(budget=max(0, flight)),
                key=lambda one: one.budget / one.seconds,
            )
        self._pace.solve(self.curve, outlook)

    def _is_capped(self, second: int, user: int, creative: int) -> bool:
        """Returns whether a cap forbids an ad to a user; to nobody where there is one."""
        if not self.campaign.frequency_caps:
            return False
        return user < 0 or is_capped(self._claim(creative), self._shown.get(user, {}), second * 1000)

    def _count(self, second: int, user: int, creative: int) -> None:
        """Notes that a user was shown an ad."""
        if self.campaign.frequency_caps:
            shown = self._shown.setdefault(user, {})
            for key in self._claim(creative).counted:
                shown.setdefault(key, []).append(second * 1000)

    def _claim(self, creative: int) -> CapClaim:
        """Returns the caps of an ad."""
        return claim_of(self.campaign, self.campaign.creatives[creative].item_id, self._campaigns)
