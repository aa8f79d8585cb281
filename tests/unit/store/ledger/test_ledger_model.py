"""The ledger against a model in memory: any order of decisions, events, changes, erasures and restarts."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from marquee.ads.selling import Buy, NotSold, sell
from marquee.ads.wallet import Moment, Wallet
from marquee.store.campaigns.campaign import CampaignSet, CapScope, FrequencyCap
from marquee.store.ledger.accounts import limits_of
from marquee.store.ledger.booking import RELEASE_AFTER_MS
from marquee.store.ledger.ledger import DRAIN_MS
from marquee.store.ledger.rows import Lease, LeaseRequest, Returned
from marquee.store.log.opening import open_event_log
from marquee.store.log.sales import Sale
from tests.support.campaigns import campaign, held
from tests.support.event_stores import DAY, NOW, Postgres, decision
from tests.support.ledgers import DAY_OF_NOW, HOUR_MS, Shop, open_test_ledger, shop
from tests.support.wallets import EagerWallet

MOST, DAILY = 100, 60
N_WORKERS = 2
USERS = ("u1", "u2", "u3")
WINDOW_S = 600


@dataclass
class Slice:
    """A lease as the model has it."""

    amount: int
    ends_ms: int
    day: str
    used: int = 0
    is_open: bool = True


@dataclass
class Booked:
    """A sale as the model has it."""

    price: int
    lease: int
    day: str
    until_ms: int
    user_id: str
    decided_ms: int
    state: str = "sold"  # not in the log yet


@dataclass
class Model:
    """The ledger of one campaign, in a few dictionaries."""

    budget: int
    limit: int = 3
    shown: dict[str, list[int]] = field(default_factory=dict)
    charged_on: dict[str, int] = field(default_factory=dict)
    n_unbilled: int = 0
    leases: dict[int, Slice] = field(default_factory=dict)
    sales: dict[str, Booked] = field(default_factory=dict)
    early: dict[str, int] = field(default_factory=dict)
    unread_decisions: list[str] = field(default_factory=list)
    unread_clicks: list[tuple[str, int]] = field(default_factory=list)

    @property
    def charged(self) -> int:
        return sum(self.charged_on.values())

    @property
    def held(self) -> int:
        days = {one.day for one in self.leases.values()} | {one.day for one in self.sales.values()}
        return sum(self.held_on(day) for day in days)

    def held_on(self, day: str) -> int:
        rest = sum(one.amount - one.used for one in self.leases.values() if one.day == day)
        return rest + sum(one.price for one in self.sales.values() if (one.state, one.day) == ("open", day))

    def free(self, day: str) -> int:
        of_day = DAILY - self.charged_on.get(day, 0) - self.held_on(day)
        return min(self.budget - self.charged - self.held, of_day)

    def is_capped(self, user_id: str, now_ms: int) -> bool:
        times = self.shown.get(user_id, [])
        return sum(time > now_ms - WINDOW_S * 1000 for time in times) >= self.limit

    def follow(self, now_ms: int) -> None:
        for name in self.unread_decisions:
            sale, lease = self.sales[name], self.leases.get(self.sales[name].lease)
            if lease is not None and lease.used + sale.price <= lease.amount:
                lease.used += sale.price
                sale.state = "open"
            else:
                sale.state = "fenced"
            if name in self.early:
                self.bill(name, self.early.pop(name))
        for name, received_ms in self.unread_clicks:
            if self.sales[name].state == "sold":
                self.early.setdefault(name, received_ms)
            else:
                self.bill(name, received_ms)
        self.unread_decisions, self.unread_clicks = [], []
        for sale in self.sales.values():
            if sale.state == "open" and sale.until_ms < now_ms - RELEASE_AFTER_MS:
                sale.state = "released"
        for number, lease in list(self.leases.items()):
            if lease.ends_ms <= now_ms - DRAIN_MS:
                del self.leases[number]

    def bill(self, name: str, received_ms: int) -> None:
        sale = self.sales[name]
        if sale.state not in ("open", "released", "fenced"):
            return
        of_day = self.charged_on.get(sale.day, 0)
        has_money = self.charged + sale.price <= self.budget and of_day + sale.price <= DAILY
        if sale.state == "open" and received_ms <= sale.until_ms and has_money:
            sale.state = "charged"
            self.charged_on[sale.day] = of_day + sale.price
        else:
            sale.state = "unbilled"
            self.n_unbilled += 1


class Ledgers(RuleBasedStateMachine):
    """Two workers that sell ads of one campaign, beside the model."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where
        self.opening = shop(where)
        self.ads: Shop = self.opening.__enter__()
        self.model = Model(budget=100)
        self.steady_s = 0.0
        self.version = 0
        self.count = 0
        self.waiting: list[tuple[int, str, Sale]] = []
        self.wallets = [self._wallet() for _ in range(N_WORKERS)]
        self._book(MOST, 3)

    def teardown(self) -> None:
        self.opening.__exit__(None, None, None)

    def _wallet(self) -> Wallet:
        return EagerWallet(self._take, "worker")

    def _now(self) -> Moment:
        return Moment(self.steady_s, self.ads.now_ms)

    def _book(self, budget: int, limit: int) -> None:
        self.version += 1
        self.model.budget, self.model.limit = budget, limit
        cap = FrequencyCap(per=CapScope.campaign, limit=limit, window_s=WINDOW_S)
        one = campaign(ends=NOW + 60 * DAY, total_budget=budget, daily_budget=DAILY, frequency_caps=(cap,))
        self.ads.campaigns = CampaignSet().with_changes([held(one, self.version, self.version)])

    def _take(
        self, requests: Sequence[LeaseRequest], now_ms: int, returned: Sequence[Returned], known: int
    ) -> list[Lease | None]:
        """Asks the ledger, holds the model against its answer, and notes it there."""
        # One campaign: one lease at a time.
        request = requests[0] if requests else None
        leases = self.ads.ledger.leases(requests, now_ms, returned, known)
        lease = leases[0] if leases else None
        for number, spent in returned:
            one = self.model.leases.get(number)
            if one is not None and one.is_open:
                one.amount, one.is_open, one.ends_ms = max(one.used, min(spent, one.amount)), False, now_ms
        if request is None:
            return leases
        day = request.limits.day
        assert (lease is not None) == (self.model.free(day) >= request.least)
        if lease is not None:
            assert request.least <= lease.amount <= max(request.least, self.model.free(day) // 4)
            assert lease.number > max(self.model.leases, default=0)
            self.model.leases[lease.number] = Slice(lease.amount, now_ms + request.duration_ms, day)
        return leases

    @rule(
        worker=st.integers(0, N_WORKERS - 1),
        user_id=st.sampled_from(USERS),
        price=st.integers(1, 30),
        is_late=st.booleans(),
    )
    def decide(self, worker: int, user_id: str, price: int, is_late: bool) -> None:
        """Sells an ad; its decision comes to the log at once, or later and in another order."""
        now_ms, one = self.ads.now_ms, self.ads.campaigns.held["spring"]
        buy = Buy(held=one, item_id="ad-1", price=price, reserve=price, window_ms=HOUR_MS)
        wallet, ledger = self.wallets[worker], self.ads.ledger
        (sale,) = sell([buy], user_id, self.ads.campaigns, wallet, ledger.admit, self._now())
        if not isinstance(sale, Sale):
            assert sale in (NotSold.no_money, NotSold.capped)
            assert sale is NotSold.no_money or self.model.is_capped(user_id, now_ms)
            return
        assert not self.model.is_capped(user_id, now_ms)
        self.model.shown.setdefault(user_id, []).append(now_ms)
        self.count += 1
        name = f"d{self.count}"
        self.model.sales[name] = Booked(price, sale.lease, sale.day, sale.until_ms, user_id, now_ms)
        self.waiting.append((worker, name, sale))
        if not is_late:
            self.record(len(self.waiting) - 1)

    @rule(place=st.integers(0, 9))
    def record(self, place: int) -> None:
        """Brings one decision that waits into the log."""
        if self.waiting:
            _worker, name, sale = self.waiting.pop(place % len(self.waiting))
            one = self.model.sales[name]
            made = decision(name, time_ms=one.decided_ms, user_id=one.user_id, sales=(sale,))
            self.ads.log.append_decisions([made])
            self.model.unread_decisions.append(name)

    @rule(place=st.integers(0, 99), is_new=st.booleans())
    def click(self, place: int, is_new: bool) -> None:
        """Clicks an ad that was shown, perhaps before its decision is in the log, perhaps again."""
        names = [name for name, one in self.model.sales.items() if one.state != "erased"]
        if names:
            name = names[place % len(names)]
            self.count += 1
            before = self.ads.log.last_sequence()
            self.ads.click(name, f"click {self.count}" if is_new else f"click {name}")
            if self.ads.log.last_sequence() > before:
                self.model.unread_clicks.append((name, self.ads.now_ms // 1000 * 1000))

    @rule()
    def follow(self) -> None:
        """Reads the log."""
        self.ads.follow()
        self.model.follow(self.ads.now_ms)

    @rule(seconds=st.sampled_from([1, 7, 26, 35, 100, 4_000]))
    def wait(self, seconds: int) -> None:
        """Lets time pass, and workers give back what they do not use."""
        self.ads.now_ms += seconds * 1000
        self.steady_s += seconds
        for wallet in self.wallets:
            wallet.tidy(self._now())

    @rule(seconds=st.sampled_from([1, 40, 700]))
    def set_back(self, seconds: int) -> None:
        """Sets the clock back; what was shown lies ahead then, and counts all the same."""
        self.ads.now_ms -= seconds * 1000

    @rule(budget=st.sampled_from([10, 40, 70, 100]), limit=st.sampled_from([1, 3, 5]))
    def change(self, budget: int, limit: int) -> None:
        """Changes budget and cap; accounts learn of it with the next lease."""
        self._book(budget, limit)
        limits = limits_of(self.ads.campaigns.held["spring"], "spring", DAY_OF_NOW)
        self._take([LeaseRequest("marketer", limits, 10**9, 10**9, 1)], self.ads.now_ms, (), 0)

    @rule(worker=st.integers(0, N_WORKERS - 1))
    def kill(self, worker: int) -> None:
        """Kills a worker: what it held and had not recorded is gone with it."""
        self.wallets[worker] = self._wallet()
        self.waiting = [one for one in self.waiting if one[0] != worker]

    @rule()
    def reopen(self) -> None:
        """Closes log and ledger and opens them again."""
        self.ads.close()
        self.ads.log, self.ads.ledger = open_event_log(self.where), open_test_ledger(self.where)

    @rule(place=st.integers(0, 99))
    def erase(self, place: int) -> None:
        """Erases the user of an ad that was booked: the money stays."""
        names = [name for name, one in self.model.sales.items() if one.state not in ("sold", "erased")]
        if names:
            self.follow()
            sale = self.model.sales[name := names[place % len(names)]]
            self.ads.ledger.forget(sale.user_id, [name])
            self.model.shown.pop(sale.user_id, None)
            sale.state = "erased"

    @invariant()
    def is_the_model(self) -> None:
        """The account says what the model says, and never more than there ever was; so do the caps."""
        found = self.ads.ledger.accounts("spring")
        if found:
            total, *days = found
            said = (total.charged, total.held, total.n_unbilled)
            assert said == (self.model.charged, self.model.held, self.model.n_unbilled)
            assert total.charged <= MOST
            for day in days:
                of_model = (self.model.charged_on.get(day.day, 0), self.model.held_on(day.day))
                assert (day.charged, day.held) == of_model
                assert day.charged <= DAILY
        for user_id in USERS:
            shown = [time for times in self.ads.ledger.shown(user_id, 0).values() for time in times]
            assert sorted(shown) == sorted(self.model.shown.get(user_id, []))


def _run(open_where: Callable[[], str], n_examples: int, n_steps: int) -> None:
    """Runs the machine, each example on a store of its own."""
    run_state_machine_as_test(
        lambda: Ledgers(open_where()),  # type: ignore[arg-type]  # it takes whatever makes a machine
        settings=settings(
            max_examples=n_examples,
            stateful_step_count=n_steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_any_order_of_what_may_happen_in_a_folder_is_that_of_the_model(tmp_path: Path) -> None:
    _run(lambda: tempfile.mkdtemp(prefix="ledger-", dir=tmp_path), 6, 40)
    shutil.rmtree(tmp_path)


def test_any_order_of_what_may_happen_in_a_database_is_that_of_the_model(postgres: Postgres) -> None:
    _run(postgres.empty, 3, 30)
