"""Faults that users of ad servers report, of budgets, caps, zones and hours, each with where it was told."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from marquee.ads.campaigns.calendar import local_day
from marquee.ads.campaigns.eligibility import Viewer, WhyNot, showable, why_not
from marquee.ads.selling import Buy, NotSold, sell
from marquee.store.campaigns.campaign import (
    BidType,
    Campaign,
    CapScope,
    Creative,
    FrequencyCap,
    HourRange,
    Targeting,
)
from marquee.store.ledger.ledger import Ledger
from marquee.store.ledger.rows import FLIGHT, Account
from marquee.store.log.sales import Sale
from serving.api.ads.paces import Paces
from serving.telemetry.metrics import Metrics
from tests.support.campaigns import campaign, set_of
from tests.support.event_stores import DAY, NOW, decision
from tests.support.ledgers import HOUR_MS, Shop, open_test_ledger, shop
from tests.support.wallets import EagerWallet

PRICE = 2_000


@pytest.fixture
def ads(tmp_path: Path) -> Iterator[Shop]:
    with shop(str(tmp_path)) as opened:
        yield opened


class Worker:
    """A worker that shows ads for a price an impression, and records what it shows."""

    def __init__(self, ads: Shop) -> None:
        self.ads = ads
        self.wallet = EagerWallet(ads.ledger.leases, "worker")
        self.shown = 0

    def show(self, user_id: str = "u1", price: int = PRICE) -> Sale | NotSold:
        held = self.ads.campaigns.held["spring"]
        buy = Buy(held=held, item_id="ad-1", price=price, reserve=price, window_ms=HOUR_MS)
        moment = self.ads.moment()
        sale = sell([buy], user_id, self.ads.campaigns, self.wallet, self.ads.ledger.admit, moment)[0]
        if isinstance(sale, Sale):
            self.shown += 1
            name = f"{id(self)} {self.shown}"
            self.ads.log.append_decisions([decision(name, time_ms=self.ads.now_ms, sales=(sale,))])
            self.ads.click(name, kind="exposure")
        return sale


def at(text: str) -> int:
    """Returns a moment of UTC, milliseconds since 1970."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def test_ten_that_were_booked_are_ten_that_are_shown(ads: Shop) -> None:
    """revive-adserver#306: ten impressions were booked, and sixty more were shown."""
    ads.campaigns = set_of(campaign(bid_type=BidType.cpm, bid=1000 * PRICE, total_budget=10 * PRICE))
    workers = [Worker(ads) for _ in range(3)]
    for number in range(400):
        workers[number % 3].show(f"u{number}")
        ads.now_ms += 700
        if number % 10 == 0:
            ads.follow()
            workers[number % 3].wallet.tidy(ads.moment())
    ads.follow()
    assert sum(one.shown for one in workers) == 10
    assert (ads.account().charged, ads.account().n_unbilled) == (10 * PRICE, 0)


def test_last_hours_of_a_flight_find_the_money_that_idle_workers_held(ads: Shop) -> None:
    """revive-adserver#319: campaigns ran short in their last hours."""
    ads.campaigns = set_of(campaign(bid_type=BidType.cpm, bid=1000 * PRICE, total_budget=100 * PRICE))
    idle, busy = Worker(ads), Worker(ads)
    idle.show()
    while isinstance(busy.show(), Sale):
        pass
    assert busy.shown < 99
    ads.now_ms += 6_000
    idle.wallet.tidy(ads.moment())
    while isinstance(busy.show(), Sale):
        pass
    assert idle.shown + busy.shown == 100


@pytest.mark.parametrize(
    ("timezone", "last", "first"),
    [
        ("Asia/Kathmandu", "2026-03-10T18:14:59", "2026-03-10T18:15:00"),
        ("America/New_York", "2026-03-09T03:59:59", "2026-03-09T04:00:00"),
        ("America/New_York", "2026-03-08T04:59:59", "2026-03-08T05:00:00"),  # the day before has 24 hours
    ],
)
def test_day_of_a_budget_is_a_day_of_the_campaign(ads: Shop, timezone: str, last: str, first: str) -> None:
    """revive-adserver#497: the days of a budget were those of another zone."""
    ads.campaigns = set_of(
        campaign(
            starts=0,
            ends=2 * 10**9,
            timezone=timezone,
            bid_type=BidType.cpm,
            bid=1000 * PRICE,
            total_budget=10 * PRICE,
            daily_budget=PRICE,
        )
    )
    worker, days = Worker(ads), []
    for moment in (last, first):
        ads.now_ms = at(moment)
        sale = worker.show()
        assert isinstance(sale, Sale)
        days.append(sale.day)
        ads.now_ms += 999
        assert worker.show() is NotSold.no_money
    assert days[0] < days[1]
    ads.follow()
    assert [one.charged for one in ads.ledger.accounts("spring")] == [2 * PRICE, PRICE, PRICE]


def test_creatives_with_different_hours_take_turns(ads: Shop) -> None:
    """revive-adserver#692: different hours for each creative stopped the whole campaign."""
    morning, evening = HourRange(from_hour=0, until_hour=12), HourRange(from_hour=12, until_hour=20)
    one = campaign(
        starts=0,
        ends=2 * 10**9,
        creatives=(Creative(item_id="a", hours=(morning,)), Creative(item_id="b", hours=(evening,))),
    )
    shown = []
    for hour in range(24):
        seconds = at("2026-03-10T00:00:00") // 1000 + hour * 3600
        reason = why_not(one, Viewer(surface="home", timestamp=seconds))
        shown.append("".join(creative.item_id for creative in showable(one, seconds)))
        assert (reason is None) == bool(shown[-1])
        assert reason in (None, WhyNot.hours)
    assert shown == ["a"] * 12 + ["b"] * 8 + [""] * 4
    # The hours of the campaign hold besides.
    narrow = replace(one, targeting=Targeting(hours=(HourRange(from_hour=13, until_hour=14),)))
    assert (
        why_not(narrow, Viewer(surface="home", timestamp=at("2026-03-10T01:00:00") // 1000)) is WhyNot.hours
    )
    assert why_not(narrow, Viewer(surface="home", timestamp=at("2026-03-10T13:00:00") // 1000)) is None
    assert ads.ledger.accounts("spring") == []


def test_cap_of_one_holds_at_every_reload(ads: Shop) -> None:
    """revive-adserver#1148: an ad with a cap of one was shown at every reload."""
    cap = FrequencyCap(per=CapScope.campaign, limit=1, window_s=DAY)
    ads.campaigns = set_of(campaign(frequency_caps=(cap,)))
    workers = [Worker(ads), Worker(ads)]
    outcomes = [workers[number % 2].show("u1") for number in range(20)]
    assert isinstance(outcomes[0], Sale)
    assert outcomes[1:] == [NotSold.capped] * 19
    assert isinstance(workers[1].show("u2"), Sale)
    ads.now_ms += DAY * 1000
    assert isinstance(workers[0].show("u1"), Sale)


def test_spike_of_clicks_costs_what_was_reserved_and_no_more(ads: Shop) -> None:
    """code_fund_ads#594: budgets were overspent in spikes."""
    ads.campaigns = set_of(campaign(total_budget=50 * PRICE, bid=PRICE))
    number = ads.ledger.lease(ads.request(50 * PRICE, 50 * PRICE), ads.now_ms)
    assert number is not None
    for one in range(50):
        ads.sell(f"d{one}", number.number, PRICE)
    for one in range(80):  # more than were shown, and each of them twice
        ads.click(f"d{one}", f"first {one}")
        ads.click(f"d{one}", f"second {one}")
    ads.follow()
    assert (ads.account().charged, ads.account().n_charged, ads.account().free) == (50 * PRICE, 50, 0)


def test_clicks_for_which_less_was_held_are_unbilled_beyond_the_budget(ads: Shop) -> None:
    """An ad for clicks may hold what it is expected to cost: the budget bounds what is charged."""
    ads.campaigns = set_of(campaign(total_budget=5 * PRICE, bid=PRICE))
    lease = ads.ledger.lease(ads.request(5 * PRICE, 5 * PRICE), ads.now_ms)
    assert lease is not None
    until_ms = ads.now_ms + HOUR_MS
    for one in range(20):
        sale = Sale("ad-1", "spring", "cpc", PRICE, PRICE // 4, lease.number, "2023-11-14", until_ms)
        ads.log.append_decisions([decision(f"d{one}", time_ms=ads.now_ms, sales=(sale,))])
        if one < 8:
            ads.click(f"d{one}")
    done = ads.follow()
    assert (done.n_charged, sum(done.unbilled.values())) == (5, 3)
    assert (ads.account().charged, ads.account().held) == (5 * PRICE, 12 * PRICE // 4)
    assert ads.ledger.lease(ads.request(1, 1), ads.now_ms) is None


def test_workers_that_begin_together_add_the_money_that_was_spent_once(ads: Shop, tmp_path: Path) -> None:
    """litellm#28247: each worker that began with an empty counter added the sum of the store to it."""
    ads.campaigns = set_of(campaign(bid_type=BidType.cpm, bid=1000 * PRICE, total_budget=20 * PRICE))
    first = Worker(ads)
    for _ in range(8):
        assert isinstance(first.show(), Sale)
    ads.follow()
    assert ads.account().charged == 8 * PRICE
    for name in ("accounts", "leases", "reservations", "early", "marks"):
        ads.ledger._money(lambda books, name=name: books.run(f"DELETE FROM ledger_{name}"))  # type: ignore[misc]
    started = [open_test_ledger(str(tmp_path)) for _ in range(5)]
    ready = threading.Barrier(len(started))

    def seed(ledger: Ledger) -> None:
        ready.wait()
        ledger.follow(ads.log, ads.campaigns, ads.now_ms)

    threads = [threading.Thread(target=seed, args=(one,)) for one in started]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in started:
        one.close()
    assert (ads.account().charged, ads.account().n_charged) == (8 * PRICE, 8)
    later = Worker(ads)
    outcomes = [later.show() for _ in range(20)]
    assert sum(isinstance(one, Sale) for one in outcomes) == 12


def test_budget_of_a_day_is_not_gone_in_the_afternoon() -> None:
    """brave-browser#11057: the budget of a day was gone by 15 h."""
    budget, rng = 4_000_000, np.random.default_rng(0)
    now = SimpleNamespace(s=float(NOW // DAY * DAY))
    one = campaign(
        starts=NOW - DAY,
        ends=NOW + 6 * DAY,
        total_budget=100 * budget,
        daily_budget=budget,
        bid_type=BidType.cpm,
        bid=4_000_000,
    )
    spent = SimpleNamespace(money=0)
    day = local_day("UTC", int(now.s))

    def accounts(_campaign_id: str) -> list[Account]:
        return [Account("spring", which, None, spent.money, 0, 0, 0, 0, 0) for which in (FLIGHT, day)]

    paces = Paces(accounts, lambda: set_of(one), 1, Metrics(), lambda: now.s)
    by_hour = []
    for _hour in range(24):
        for _turn in range(30):
            for value in rng.lognormal(np.log(4_000_000), 0.5, 12).tolist():
                # Prices beside: of ten ads a morning could buy all.
                price = int(rng.lognormal(np.log(2_000_000), 0.6))
                offered = value * paces.multiplier(one, int(value))
                if offered >= price and spent.money + price // 1000 <= budget:
                    spent.money += price // 1000
                    paces.note_sale("spring", price)
            now.s += 120
            paces.solve()
        by_hour.append(spent.money / budget)
    assert by_hour[14] < 0.75
    assert 0.97 < by_hour[-1] <= 1.0
    # No hour takes more than twice its part.
    assert max(np.diff([0.0, *by_hour])) < 2 / 24


def test_campaigns_are_paced_each_by_itself() -> None:
    """promovolve#8: one controller for all campaigns let one of them set the pace of the others."""

    def multiplier_of_spring(*others: Campaign) -> float:
        spring = campaign(bid_type=BidType.cpm, bid=4_000_000, total_budget=20_000_000)
        spent = {one.campaign_id: 0 for one in (spring, *others)}
        now = SimpleNamespace(s=float(NOW))
        paces = Paces(
            lambda name: [Account(name, FLIGHT, None, spent[name], 0, 0, 0, 0, 0)],
            lambda: set_of(spring, *others),
            1,
            Metrics(),
            lambda: now.s,
        )
        for _turn in range(20):
            for one in (spring, *others):
                for _ in range(10):
                    paces.multiplier(one, one.price_limit)
                # The others overspend, as far as they can.
                spent[one.campaign_id] += 0 if one is spring else one.total_budget // 10
            now.s += 60
            paces.solve()
        return paces.multiplier(spring, spring.price_limit)

    alone = multiplier_of_spring()
    assert 0 < alone < 1
    beside = multiplier_of_spring(
        campaign("broke", bid_type=BidType.cpm, bid=9_000_000, total_budget=1_000_000),
        campaign("rich", bid_type=BidType.cpm, bid=100_000, total_budget=10**12),
    )
    assert beside == alone
