"""The wallet of a worker: it spends what it holds, gives it up before the ledger does, and asks seldom."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from marquee.ads.selling import Buy, NotSold, sell
from marquee.ads.wallet import Moment, Wallet, WalletConfig
from marquee.errors import EventLogGoneError
from marquee.store.campaigns.campaign import CapScope, FrequencyCap
from marquee.store.ledger.accounts import limits_of
from marquee.store.ledger.rows import Lease, LeaseRequest, Limits, Returned
from marquee.store.log.sales import Sale
from tests.support.campaigns import campaign, set_of
from tests.support.ledgers import DAY_OF_NOW, HOUR_MS, Shop, shop
from tests.support.wallets import EagerWallet

CONFIG = WalletConfig()


class Till:
    """A ledger with a wallet before it, which can be cut off, and counts how often it is asked."""

    def __init__(self, ads: Shop) -> None:
        self.ads = ads
        self.asked = 0
        self.is_gone = False
        self.wallet: Wallet = EagerWallet(self.take, "worker")

    def take(
        self, requests: Sequence[LeaseRequest], now_ms: int, returned: Sequence[Returned], known: int
    ) -> list[Lease | None]:
        self.asked += 1
        if self.is_gone:
            raise EventLogGoneError("gone")
        return self.ads.ledger.leases(requests, now_ms, returned, known)

    def limits(self) -> Limits:
        return limits_of(self.ads.campaigns.held["spring"], "spring", DAY_OF_NOW)

    def reserve(self, amount: int) -> int | None:
        return self.wallet.reserve(self.limits(), amount, self.ads.moment())


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    with shop(str(tmp_path)) as opened:
        opened.campaigns = set_of(campaign(total_budget=1_000))
        yield Till(opened)


def test_budget_is_spent_to_the_last_affordable_ad(till: Till) -> None:
    prices = [7, 3, 11, 2]
    spent, asked = 0, 0
    for number in range(2_000):
        price = prices[number % 4]
        if till.reserve(price) is not None:
            spent, asked = spent + price, till.asked
        till.ads.now_ms += 600
    # What is left buys not even the cheapest.
    assert 1_000 - min(prices) < spent <= 1_000
    assert asked < 60


def test_two_workers_share_a_budget_to_its_end(till: Till) -> None:
    other = Till(till.ads)
    spent = 0
    for number in range(1_000):
        one = (till, other)[number % 2]
        spent += 10 if one.reserve(10) is not None else 0
        till.ads.now_ms += 600
        if number % 20 == 0:
            one.wallet.tidy(till.ads.moment())
    assert spent == 1_000


def test_busy_campaign_asks_for_larger_leases(till: Till) -> None:
    till.ads.campaigns = set_of(campaign(total_budget=1_000_000))
    for _ in range(1_000):
        assert till.reserve(10) is not None
    assert till.asked <= 8


def test_lease_ends_here_before_the_ledger_gives_it_away(till: Till) -> None:
    first = till.reserve(10)
    till.ads.now_ms += int(CONFIG.spend_s * 1000) - 1
    assert till.reserve(10) == first
    till.ads.now_ms += 1
    assert CONFIG.spend_s < CONFIG.duration_s
    second = till.reserve(10)
    assert second is not None
    assert first is not None
    assert second > first


def test_clock_of_people_set_back_lengthens_no_lease(till: Till) -> None:
    first = till.reserve(10)
    moment = till.ads.moment()
    later = Moment(moment.steady_s + CONFIG.spend_s, moment.time_ms - HOUR_MS)
    assert till.wallet.reserve(till.limits(), 10, later) not in (first, None)


def test_worker_that_is_cut_off_spends_what_it_holds_and_then_nothing(till: Till) -> None:
    assert till.reserve(10) is not None
    till.is_gone = True
    sold = [till.reserve(10) is not None for _ in range(20)]
    # A first lease is for eight ads, as long as a quarter of what is free allows it.
    assert sold == [True] * 7 + [False] * 13
    assert till.wallet.is_cut_off
    assert till.wallet.lack(till.limits()) == "cut_off"
    # Not asked for every ad that it cannot sell.
    assert till.asked == 2
    till.is_gone = False
    till.ads.now_ms += 600
    assert till.reserve(10) is not None
    assert not till.wallet.is_cut_off


def test_campaign_without_money_is_not_asked_for_again_at_once(till: Till) -> None:
    assert till.reserve(1_001) is None
    assert till.reserve(1_001) is None
    assert till.asked == 1
    assert not till.wallet.is_cut_off
    assert till.wallet.lack(till.limits()) == "no_money"


def test_idle_lease_is_given_back_and_what_was_cancelled_is_free(till: Till) -> None:
    number = till.reserve(10)
    assert number is not None
    till.wallet.cancel(till.limits(), number, 10)
    till.ads.now_ms += int(CONFIG.idle_s * 1000)
    till.wallet.tidy(till.ads.moment())
    assert till.ads.account().free == 1_000
    assert till.reserve(10) is not None
    till.wallet.tidy(till.ads.moment(), everything=True)
    assert till.ads.account().held == 10


class Slow(Till):
    """A till whose wallet waits for a thread beside the answers, and counts how often it wakes that."""

    def __init__(self, ads: Shop) -> None:
        super().__init__(ads)
        self.woken = 0
        self.wallet = Wallet(self.take, "worker", wake=self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def refill(self) -> None:
        self.wallet.refill(self.ads.moment())


@pytest.fixture
def slow(till: Till) -> Slow:
    till.ads.campaigns = set_of(campaign(total_budget=100_000))
    return Slow(till.ads)


def test_answer_without_a_lease_asks_nobody_and_wakes_who_does(slow: Slow) -> None:
    assert slow.reserve(10) is None
    assert (slow.asked, slow.woken, slow.wallet.lack(slow.limits())) == (0, 1, "no_lease")
    slow.refill()
    assert slow.asked == 1
    assert slow.reserve(10) is not None


def test_lease_is_renewed_before_it_is_spent_or_ends(slow: Slow) -> None:
    slow.reserve(10)
    slow.refill()
    for _ in range(1_000):
        assert slow.reserve(10) is not None
        slow.refill()
        slow.ads.now_ms += 100
        if slow.asked % 10 == 0:
            slow.wallet.tidy(slow.ads.moment())
    # A hundred seconds of leases that last 25, the first of which were too small.
    assert slow.asked <= 20


def test_campaign_that_wins_seldom_comes_to_hold_a_lease_from_ad_to_ad(slow: Slow) -> None:
    sold = []
    for _ in range(8):
        sold.append(slow.reserve(10) is not None)
        slow.refill()
        for _ in range(40):
            slow.ads.now_ms += 1_000
            slow.wallet.tidy(slow.ads.moment())
    assert sold == [False, False, *[True] * 6]


def test_budget_that_is_nearly_spent_is_not_held_by_who_does_not_spend_it(slow: Slow) -> None:
    slow.ads.campaigns = set_of(campaign(total_budget=100))
    slow.reserve(10)
    slow.refill()
    assert slow.ads.account().free == 75
    slow.ads.now_ms += int(CONFIG.idle_s * 1000)
    slow.wallet.expect(slow.limits(), 10, slow.ads.moment())
    slow.wallet.tidy(slow.ads.moment())
    assert slow.ads.account().free == 100


def test_expected_ad_finds_its_money(slow: Slow) -> None:
    slow.wallet.expect(slow.limits(), 10, slow.ads.moment())
    slow.refill()
    assert slow.reserve(10) is not None
    asked = slow.asked
    slow.wallet.expect(slow.limits(), 10, slow.ads.moment())
    slow.refill()
    assert slow.asked == asked


def test_leases_of_many_campaigns_are_taken_in_one_step(slow: Slow) -> None:
    slow.ads.campaigns = set_of(*(campaign(f"c{number}", total_budget=1_000) for number in range(150)))
    limits = [limits_of(held, name, DAY_OF_NOW) for name, held in slow.ads.campaigns.held.items()]
    for one in limits:
        assert slow.wallet.reserve(one, 10, slow.ads.moment()) is None
    slow.refill()
    assert slow.asked == 2
    assert all(slow.wallet.reserve(one, 10, slow.ads.moment()) is not None for one in limits)


CAPPED = campaign(
    "spring", total_budget=1_000, frequency_caps=(FrequencyCap(per=CapScope.campaign, limit=1, window_s=60),)
)
OPEN = campaign("autumn", total_budget=1_000)


def buys(till: Till, *names: str) -> list[Buy]:
    held = till.ads.campaigns.held
    return [Buy(held=held[name], item_id="ad-1", price=10, reserve=10, window_ms=HOUR_MS) for name in names]


def sold(till: Till, user_id: str | None, *names: str) -> list[Sale | NotSold]:
    ledger = till.ads.ledger
    return sell(buys(till, *names), user_id, till.ads.campaigns, till.wallet, ledger.admit, till.ads.moment())


def test_ad_that_a_cap_forbids_gives_its_money_back(till: Till) -> None:
    till.ads.campaigns = set_of(CAPPED, OPEN)
    first = sold(till, "u1", "spring", "autumn")
    assert [one.campaign_id for one in first if isinstance(one, Sale)] == ["spring", "autumn"]
    again = sold(till, "u1", "spring", "autumn")
    assert again[0] is NotSold.capped
    assert isinstance(again[1], Sale)
    till.wallet.tidy(till.ads.moment(), everything=True)
    assert till.ads.account("spring").held == 10
    assert till.ads.account("autumn").held == 20


def test_ad_with_caps_is_shown_to_nobody_who_cannot_be_counted(till: Till) -> None:
    till.ads.campaigns = set_of(CAPPED, OPEN)
    outcomes = sold(till, None, "spring", "autumn")
    assert outcomes[0] is NotSold.cap_needs_user
    assert isinstance(outcomes[1], Sale)


def test_ad_with_caps_is_not_shown_where_nobody_counts(till: Till) -> None:
    till.ads.campaigns = set_of(CAPPED, OPEN)

    def gone(*_: object) -> list[bool]:
        raise EventLogGoneError("gone")

    moment = till.ads.moment()
    outcomes = sell(buys(till, "spring", "autumn"), "u1", till.ads.campaigns, till.wallet, gone, moment)
    assert outcomes[0] is NotSold.cut_off
    assert isinstance(outcomes[1], Sale)


def test_ad_counts_for_the_cap_of_another_campaign_of_its_advertiser(till: Till) -> None:
    cap = FrequencyCap(per=CapScope.advertiser, limit=2, window_s=60)
    till.ads.campaigns = set_of(campaign("spring", total_budget=1_000, frequency_caps=(cap,)), OPEN)
    assert all(isinstance(one, Sale) for one in sold(till, "u1", "autumn", "autumn"))
    assert sold(till, "u1", "spring") == [NotSold.capped]
    # Nobody to count is no reason against one that caps nothing itself.
    assert isinstance(sold(till, None, "autumn")[0], Sale)


def test_ad_of_the_house_costs_nothing_and_needs_no_ledger(till: Till) -> None:
    till.is_gone = True
    house = Buy(held=till.ads.campaigns.held["spring"], item_id="ad-1", price=0, reserve=0, window_ms=1)
    sale = sell([house], None, till.ads.campaigns, till.wallet, till.ads.ledger.admit, till.ads.moment())[0]
    assert isinstance(sale, Sale)
    assert (sale.lease, sale.day, sale.until_ms) == (0, DAY_OF_NOW, till.ads.now_ms + 1)
