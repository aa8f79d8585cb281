"""One day of a campaign on the simulated market, spent by its plan to the last affordable impression.

Everybody who comes is an auction. What others would pay for the place is what their ads are worth there, by
the true probability of a click, which only a made-up market can tell.
"""

from dataclasses import dataclass

import numpy as np
from rich.console import Console

from marquee.ads.pace import CampaignPace, Outlook
from marquee.ads.prices import PriceCurve
from marquee.core.arrays import Float64Array, IndexArray
from marquee.store.campaigns.campaign import Delivery
from marquee.store.campaigns.money import PER_UNIT
from marquee.world import World

DAY_S, HOURS = 86_400, 24
BID = 400 * PER_UNIT
"""The most that the campaign pays for a thousand impressions, millionths; above what others pay."""

SHARE = 0.3
"""Its budget, as a share of what all places of the day would cost."""

_N_RIVALS = 3
_PLACE = 2
_SOLVE_EVERY = 5
_PER_MILLE = 1_000
_WIDTH = 40


@dataclass(frozen=True)
class Traffic:
    """The auctions of one day, in the order of time, (n,) each.

    Attributes:
        second: Of the day.
        price: Of a thousand impressions, which a bid must reach, millionths, above 0.
    """

    second: IndexArray
    price: IndexArray


@dataclass(frozen=True)
class Day:
    """A day that was paced. Money is millionths.

    Attributes:
        budget: Of the day.
        planned: Its share by hour, as the day before would have it, (24,).
        spent: By hour, (24,).
        n_shown: Impressions by hour, (24,).
        cheapest_after: The least that an impression cost after the last one that was bought; None where the
            day ended with it.
    """

    budget: int
    planned: Float64Array
    spent: IndexArray
    n_shown: IndexArray
    cheapest_after: int | None

    @property
    def left(self) -> int:
        """The rest of the budget."""
        return self.budget - int(self.spent.sum())


def traffic_of(world: World, which: int) -> Traffic:
    """Returns half of the market's requests as one day: every second one, from the first or the second.

    All days are laid over each other: a day of the market alone has some hundred requests.

    Args:
        world: The market.
        which: 0 for the day that is known, 1 for the next one.
    """
    market = world.market
    row = np.arange(which, len(market.requests.user), 2)
    row = row[np.argsort(market.requests.timestamp[row] % DAY_S, kind="stable")]
    ads = np.flatnonzero((world.items["kind"] == "ad").to_numpy())
    bids = world.items["bid"].to_numpy()
    rng = np.random.default_rng(which)
    worth = np.zeros(len(row))
    for _ in range(_N_RIVALS):
        rival = rng.choice(ads, len(row))
        said = market.respond(row, rival, np.full(len(row), _PLACE))
        worth = np.maximum(worth, _PER_MILLE * said.click_probability * bids[rival] * PER_UNIT)
    second = market.requests.timestamp[row] % DAY_S
    return Traffic(second, np.maximum(1, np.ceil(worth)).astype(np.int64))


def pace_a_day(known: Traffic, today: Traffic, bid: int, budget: int) -> Day:
    """Returns a day of a campaign that pays by impression.

    Args:
        known: The day before: what it forecasts of traffic and prices.
        today: What comes.
        bid: For a thousand impressions, millionths.
        budget: Of the day.
    """
    pace = CampaignPace(Delivery.even)
    curve = _curve(known.price)
    left, spent, n_shown = budget, np.zeros(HOURS, dtype=np.int64), np.zeros(HOURS, dtype=np.int64)
    last = -1
    for number, (second, price) in enumerate(zip(today.second.tolist(), today.price.tolist(), strict=True)):
        pace.note([float(bid)])
        if number % _SOLVE_EVERY == 0:
            to_come = int(np.count_nonzero(known.second >= second))
            seconds = max(1.0, float(DAY_S - second))
            pace.solve(curve, Outlook(left, seconds, to_come / seconds))
        cost = -(-price // _PER_MILLE)
        # The wallet has the last word: what it cannot pay is not shown.
        if bid * pace.multiplier < price or cost > left:
            continue
        pace.paid(float(price))
        left, last = left - cost, number
        spent[second // (DAY_S // HOURS)] += cost
        n_shown[second // (DAY_S // HOURS)] += 1
    after = today.price[last + 1 :]
    cheapest = -(-int(after.min()) // _PER_MILLE) if len(after) else None
    return Day(budget, _planned(known, budget), spent, n_shown, cheapest)


def show_pacing(console: Console, world: World) -> list[str]:
    """Paces a day of the market and prints it against its plan.

    Returns:
        Reasons why the day makes no sense; none if it does.
    """
    known, today = traffic_of(world, 0), traffic_of(world, 1)
    budget = int(known.price.sum() / _PER_MILLE * SHARE)
    day = pace_a_day(known, today, BID, budget)
    console.print(
        f"\n[bold]a day's pacing against its plan[/]: {len(today.second):,} auctions, a budget of "
        f"{budget / PER_UNIT:.2f}",
        highlight=False,
    )
    scale = max(int(day.spent.max()), float(day.planned.max())) / _WIDTH or 1.0
    for hour in range(HOURS):
        plan, done = round(day.planned[hour] / scale), round(day.spent[hour] / scale)
        bar = "".join("█" if n < done else " " for n in range(_WIDTH + 1))
        bar = bar[:plan] + "│" + bar[plan + 1 :]
        console.print(
            f"{hour:02d} h {bar} {day.spent[hour] / PER_UNIT:7.2f} of {day.planned[hour] / PER_UNIT:7.2f}",
            highlight=False,
        )
    console.print(
        f"{day.n_shown.sum():,} impressions for {day.spent.sum() / PER_UNIT:.6f}; "
        f"{day.left / PER_UNIT:.6f} is left{_why_left(day)}",
        highlight=False,
    )
    return wrong_day(day)


def wrong_day(day: Day) -> list[str]:
    """Returns the faults of a day."""
    if day.left < 0:
        return [f"the day spent {-day.left} millionths above its budget of {day.budget}"]
    if day.left > day.budget * 0.02:
        return [f"the day left {day.left} millionths of its budget of {day.budget}, more than 2 %"]
    return []


def _why_left(day: Day) -> str:
    """Returns why no more was bought, in words."""
    if day.cheapest_after is None:
        return ", and the day is over"
    return f", and the cheapest place that still came cost {day.cheapest_after / PER_UNIT:.6f}"


def _planned(known: Traffic, budget: int) -> Float64Array:
    """Returns the plan by hour: as much of the budget as of the traffic of the day before."""
    by_hour = np.bincount(known.second // (DAY_S // HOURS), minlength=HOURS)
    plan: Float64Array = budget * by_hour / by_hour.sum()
    return plan


def _curve(price: IndexArray) -> PriceCurve:
    """Returns the distribution of prices."""
    distinct, counts = np.unique(price, return_counts=True)
    return PriceCurve(distinct.tolist(), counts.astype(float).tolist())
