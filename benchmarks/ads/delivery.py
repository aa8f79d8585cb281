"""Budgets of a week, paced by the forecast of the hours of a week, beside a plan that is the same every hour.

The auctions come as the orders of a shop came, or as the people of the simulated market do; their prices are
drawn. Even delivery is "as the traffic comes": the error of an hour is by how much its spend differs from the
budget's share that the auctions of the hour have in all of the flight. The uniform plan spends a 168th of the
budget in each hour; the pacer without a forecast is told beside it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.customers.forecasts import shop_orders
from benchmarks.rows import Measured, Row
from marquee.core.arrays import Float64Array, IndexArray
from marquee.marketing.forecast.backtest import run_backtest
from marquee.marketing.forecast.forecasting import forecast_series
from marquee.marketing.forecast.series import SECONDS_PER_DAY, SECONDS_PER_HOUR, Series, sum_by_step
from marquee.store.campaigns.campaign import BidType, Campaign, CampaignSet, Creative, HeldCampaign
from marquee.store.ledger.rows import FLIGHT, Account
from marquee.store.ledger.traffic import HourCount
from marquee.world import WorldConfig, simulate
from serving.api.ads.paces import Paces
from serving.api.ads.traffic import Traffic, nothing_counted
from serving.telemetry.metrics import Metrics

MOST_OF_UNIFORM, COVERS = 0.5, (0.70, 0.90)
WEEK_S, N_FLIGHTS = 7 * SECONDS_PER_DAY, 6
SHARE = 0.3
"""The budget, as a share of what all auctions of the flight cost."""

_PER_MILLE, _UNIT = 1_000, 1_000_000
_SOLVE_EVERY_S = 600
PER_MOMENT = 40

_HELD = "flight"
_HOURS = WEEK_S // SECONDS_PER_HOUR


def rows(root: Path) -> Iterator[Row]:
    """Yields a row per source of traffic."""
    for name, times, reference in (
        ("online-retail orders", partial(shop_times, root), "0.30 of the even plan's error, as a plan"),
        ("simulated market", market_times, "-"),
    ):
        yield Row(
            f"delivery by the hour: {name}",
            reference,
            f"be at most {MOST_OF_UNIFORM:g} of the uniform plan's error, and below that without a forecast; "
            f"the interval hold {COVERS[0]:.0%} to {COVERS[1]:.0%} of days",
            partial(measure, times),
        )
    yield Row(
        "delivery by the hour: ml-100k",
        "1.02 of the even plan's error, as a plan",
        "say that there is no pattern, and plan evenly",
        partial(measure_without_pattern, root),
    )


def shop_times(root: Path) -> IndexArray:
    """Returns when the orders of a shop came, ascending."""
    return np.sort(shop_orders(root))


@cache
def market_times() -> IndexArray:
    """Returns when people came to a market that runs for a year, ascending."""
    config = WorldConfig(
        n_days=364, n_users=300, n_content=20, n_ads=10, n_campaigns=2, n_advertisers=2, requests_per_user=150
    )
    return simulate(config).market.requests.timestamp


def measure(times: Callable[[], IndexArray]) -> Measured:
    """Runs flights of the last weeks with and without the forecast."""
    came = times()
    found = errors(came)
    covered = coverage(came)
    is_within = (
        found.shaped <= MOST_OF_UNIFORM * found.uniform
        and found.shaped < found.without
        and COVERS[0] <= covered <= COVERS[1]
    )
    text = (
        f"{found.shaped / found.uniform:.2f} of the uniform plan's ({found.shaped:.3f} and "
        f"{found.uniform:.3f} of the budget, without a forecast {found.without:.3f}; {N_FLIGHTS} flights of "
        f"a week); the interval holds {covered:.1%} of days"
    )
    return Measured(text, is_within)


def measure_without_pattern(root: Path) -> Measured:
    """Asks for a forecast where nobody comes by the hour of the week."""
    table = pl.read_csv(root / "ml-100k" / "u.data", separator="\t", has_header=False)
    series = sum_by_step(table.to_series(3).to_numpy(), None, SECONDS_PER_HOUR)
    found = forecast_series(series, 7)
    return Measured(found.verdict, not found.has_pattern and float(np.ptp(found.expected)) == 0.0)


def coverage(times: IndexArray) -> float:
    """Returns the share of days within the intervals of forecasts of a week, drawn from earlier errors."""
    series = sum_by_step(times, None, SECONDS_PER_DAY)
    found = run_backtest(series.values, 7, series.period).coverage
    assert found is not None, "a year has enough past forecasts"
    return found


@dataclass(frozen=True)
class Errors:
    """Mean hourly errors of flights, as shares of their budgets.

    Attributes:
        shaped: Paced by the forecast.
        without: Paced as if all hours were alike.
        uniform: Of a plan that spends the same in every hour.
    """

    shaped: float
    without: float
    uniform: float


def errors(times: IndexArray, n_flights: int = N_FLIGHTS) -> Errors:
    """Returns the mean hourly errors of flights of the last weeks."""
    hourly = sum_by_step(times, None, SECONDS_PER_HOUR)
    end = int(times[-1]) // SECONDS_PER_DAY * SECONDS_PER_DAY
    shaped, without, uniform = [], [], []
    for week in range(n_flights, 0, -1):
        starts = end - week * WEEK_S
        flight = Flight.of(times, starts)
        shaped.append(flight.error(Traffic(lambda starts=starts: counted(hourly, starts))))  # type: ignore[misc]
        without.append(flight.error(Traffic(nothing_counted)))
        uniform.append(flight.error_of(np.full(_HOURS, 1 / _HOURS)))
    return Errors(float(np.mean(shaped)), float(np.mean(without)), float(np.mean(uniform)))


def counted(hourly: Series, until_s: int) -> tuple[int, list[HourCount]]:
    """Returns the counts of hours before a moment, as the ledger has them."""
    first, until = hourly.start // SECONDS_PER_HOUR, until_s // SECONDS_PER_HOUR
    counts = enumerate(hourly.values[: until - first].astype(int).tolist(), first)
    return until, [HourCount("home", hour, n) for hour, n in counts if n]


@dataclass(frozen=True)
class Flight:
    """A flight of a week, and its auctions in the order of time, (n,) each.

    Attributes:
        starts: Seconds since 1970 UTC.
        second: Of each auction, likewise.
        price: Of a thousand impressions, millionths.
        value: Worth of a thousand impressions to the campaign, millionths.
    """

    starts: int
    second: IndexArray
    price: IndexArray
    value: IndexArray

    @classmethod
    def of(cls, times: IndexArray, starts: int) -> "Flight":
        """Returns a flight; every moment stands for some auctions."""
        second = np.repeat(times[(times >= starts) & (times < starts + WEEK_S)], PER_MOMENT)
        rng = np.random.default_rng(starts % 2**32)
        # Within the minute: a shop's clock has no seconds, and auctions come one after the other.
        second = np.sort(second + rng.integers(0, 60, len(second)))
        price = rng.lognormal(np.log(2 * _UNIT), 0.6, len(second)).astype(np.int64)
        value = rng.lognormal(np.log(8 * _UNIT), 0.5, len(second)).astype(np.int64)
        return cls(starts, second, price, value)

    def error(self, traffic: Traffic) -> float:
        """Returns the error of all hours of the flight, as a share of its budget."""
        budget = int(self.price.sum() / _PER_MILLE * SHARE)
        return self.error_of(self._spend(traffic, budget) / budget)

    def error_of(self, spent: Float64Array) -> float:
        """Returns the error of shares of the budget by hour, (168,)."""
        hour = np.minimum((self.second - self.starts) // SECONDS_PER_HOUR, _HOURS - 1)
        came = np.bincount(hour, minlength=_HOURS)
        return float(np.abs(spent - came / came.sum()).sum())

    def _spend(self, traffic: Traffic, budget: int) -> Float64Array:
        """Returns the spend of each hour."""
        campaign = self._campaign(budget)
        held = CampaignSet().with_changes([HeldCampaign(campaign, 1, 0, "b", "created", 1)])
        now, spent, left = float(self.starts), np.zeros(_HOURS), budget
        paces = Paces(
            lambda _name: [Account(_HELD, FLIGHT, budget, budget - left, 0, 0, 0, 0, 0)],
            lambda: held,
            1,
            Metrics(),
            lambda: now,
            traffic,
        )
        solve_at = float(self.starts)
        for second, price, value in zip(
            self.second.tolist(), self.price.tolist(), self.value.tolist(), strict=True
        ):
            now = second
            multiplier = paces.multiplier(campaign, value)
            if second >= solve_at:
                paces.solve()
                solve_at = second + _SOLVE_EVERY_S
            cost = price // _PER_MILLE
            if value * multiplier < price or cost > left:
                continue
            paces.note_sale(_HELD, price)
            left -= cost
            spent[min((second - self.starts) // SECONDS_PER_HOUR, _HOURS - 1)] += cost
        return spent

    def _campaign(self, budget: int) -> Campaign:
        """Returns the campaign of the flight."""
        return Campaign(
            campaign_id=_HELD,
            advertiser="a",
            payer="a",
            starts=self.starts,
            ends=self.starts + WEEK_S,
            total_budget=budget,
            bid_type=BidType.cpm,
            bid=8 * _UNIT,
            creatives=(Creative(item_id="ad"),),
        )
