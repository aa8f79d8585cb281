"""Faults of the ledger, on both stores: races, kills, stops, restores, a full disk, a store that is gone."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ads.judging import judge, settle_at
from benchmarks.ads.spender import WINDOW_MS, Spend
from benchmarks.ads.spenders import book_campaigns, run_workers, settle, start, stop_for
from marquee.errors import EventLogError, EventLogFullError, EventLogGoneError, LedgerBehindError
from marquee.store.campaigns.campaign import CapScope, FrequencyCap
from marquee.store.ledger.accounts import limits_of
from marquee.store.ledger.caps import claim_of
from marquee.store.ledger.ledger import DRAIN_MS, Ledger
from marquee.store.ledger.recounting import SETTLED_MS
from marquee.store.ledger.rows import Books, Cap, CapClaim
from marquee.store.ledger.sqlite import SqliteLedger
from marquee.store.log.sales import Sale
from tests.support.campaigns import campaign, set_of
from tests.support.event_stores import Postgres, Store, decision
from tests.support.ledgers import DAY_OF_NOW, Shop, open_test_ledger, shop
from tests.support.wallets import EagerWallet

TABLES = ("accounts", "leases", "reservations", "early", "marks")


@pytest.fixture
def ads(store: Store) -> Iterator[Shop]:
    with shop(store.where) as opened:
        yield opened


def spend_of(where: str) -> Spend:
    return Spend(where=where, n_threads=4, n_requests=30, lease_s=0.5, drain_ms=300, click=0.8, n_users=8)


def test_workers_that_are_killed_spend_no_budget_and_no_cap_twice(store: Store) -> None:
    """The same as `benchmarks.ads`, which does it thousands of times."""
    book_campaigns(store.where, 6, 4_000_000)
    spend = spend_of(store.where)
    run_workers([replace(spend, seed=1), replace(spend, seed=2)], n_kills=2, between_s=0.6)
    settle(spend)
    judged = judge(store.where)
    assert judged.n_sold > 20
    assert judged.n_charged > 10
    assert judged.faults == (0, 0, 0, 0, 0)
    assert judged.n_unbilled == 0
    settle_at(store.where, time.time_ns() // 1_000_000 + WINDOW_MS + 2 * DRAIN_MS)
    later = judge(store.where)
    assert (later.held, later.n_charged, later.faults) == (0, judged.n_charged, (0, 0, 0, 0, 0))


def test_worker_that_was_stopped_past_its_lease_costs_nobody_anything(tmp_path: Path) -> None:
    where = str(tmp_path)
    book_campaigns(where, 2, 40_000_000)
    spend = replace(spend_of(where), n_requests=50, pause_s=0.01)
    stopped, other = start(replace(spend, seed=1)), start(replace(spend, seed=2))
    time.sleep(0.8)
    stop_for(stopped, spend.lease_s + spend.drain_ms / 1000 + 0.3)
    assert [one.wait(60) for one in (stopped, other)] == [0, 0]
    settle(spend)
    judged = judge(where)
    assert judged.n_sold > 0
    assert judged.faults == (0, 0, 0, 0, 0)


def test_threads_of_two_workers_take_no_more_than_there_is(ads: Shop, store: Store) -> None:
    other = open_test_ledger(store.where)
    taken: list[int] = []

    def take(ledger: Ledger) -> None:
        while (lease := ledger.lease(ads.request(700_000, 9_000_000), ads.now_ms)) is not None:
            taken.append(lease.amount)

    _together([lambda n=n: take((ads.ledger, other)[n % 2]) for n in range(4)])
    other.close()
    assert 100_000_000 - 700_000 < sum(taken) <= 100_000_000


def test_cap_holds_for_threads_of_two_workers(ads: Shop, store: Store) -> None:
    other = open_test_ledger(store.where)
    claim = CapClaim(("k",), (Cap("k", 5, 60_000),))
    admitted: list[bool] = []

    def ask(number: int) -> None:
        for _ in range(5):
            admitted.extend((ads.ledger, other)[number % 2].admit("u1", [claim], ads.now_ms))

    _together([lambda n=n: ask(n) for n in range(6)])
    other.close()
    assert admitted.count(True) == 5
    assert len(ads.ledger.shown("u1", 0)["k"]) == 5


def test_workers_that_fill_a_cold_ledger_together_fill_it_once(ads: Shop, store: Store) -> None:
    lease = ads.ledger.lease(ads.request(1_000, 1_000), ads.now_ms)
    assert lease is not None
    for number in range(20):
        ads.sell(f"d{number}", lease.number, 10)
        if number % 2:
            ads.click(f"d{number}")
    workers = [open_test_ledger(store.where) for _ in range(3)]
    _together([lambda one=one: one.follow(ads.log, ads.campaigns, ads.now_ms) for one in workers])
    for one in workers:
        one.close()
    assert (ads.account().charged, ads.account().n_sold, ads.account().held) == (100, 20, 900)


def test_ledger_that_was_restored_from_an_older_copy_reads_what_it_lacks(ads: Shop) -> None:
    before = ads.ledger.lease(ads.request(100, 100), ads.now_ms)
    assert before is not None
    ads.sell("d1", before.number, 60)
    ads.click("d1")
    ads.follow()
    copy = _tables(ads.ledger)
    after = ads.ledger.lease(ads.request(100, 100), ads.now_ms)
    assert after is not None
    ads.sell("d2", before.number, 40)
    ads.sell("d3", after.number, 50)
    ads.click("d2")
    ads.follow()
    told = ads.account()
    _restore(ads.ledger, copy)
    ads.follow()
    # But for what the lost lease still held: nobody can tell, and its decisions are accepted as they come.
    assert ads.account().charged == told.charged == 100
    assert ads.account().held == 50
    ads.click("d3")
    assert ads.follow().charged == 50
    assert ads.ledger.lease(ads.request(1, 1), ads.now_ms, known=after.number) is not None


def test_full_disk_changes_no_money_and_counts_nobody(tmp_path: Path) -> None:
    with shop(str(tmp_path)) as ads:
        ledger = ads.ledger
        assert isinstance(ledger, SqliteLedger)
        assert ledger.lease(ads.request(10, 10), ads.now_ms) is not None
        for file in (ledger._file, ledger._shown_file):
            assert file._writer is not None
            file._writer.execute("PRAGMA max_page_count = 1").fetchall()
        held, claims = ads.account().held, [CapClaim((f"k{n}" * 50,), ()) for n in range(200)]
        with pytest.raises(EventLogFullError):
            ledger.admit("u1", claims, ads.now_ms)
        assert ledger.shown("u1", 0) == {}
        with pytest.raises(EventLogFullError):
            ads.ledger.lease(ads.request(1, 1)._replace(holder="x" * 50_000), ads.now_ms)
        assert ads.account().held == held
        # There is room again.
        assert ledger.admit("u1", claims, ads.now_ms) == [True] * 200


def test_database_that_is_gone_leaves_workers_what_they_hold(postgres: Postgres) -> None:
    with shop(postgres.empty()) as ads:
        wallet = EagerWallet(ads.ledger.leases, "worker")
        limits = limits_of(ads.campaigns.held["spring"], "spring", DAY_OF_NOW)
        assert wallet.reserve(limits, 1_000_000, ads.moment()) is not None
        postgres.stop()
        try:
            sold = [wallet.reserve(limits, 1_000_000, ads.moment()) is not None for _ in range(12)]
            assert sold == [True] * 7 + [False] * 5
            assert wallet.is_cut_off
            with pytest.raises(EventLogGoneError):
                ads.ledger.admit("u1", [CapClaim(("k",))], ads.now_ms)
        finally:
            postgres.start()
        ads.now_ms += 1_000
        assert wallet.reserve(limits, 1_000_000, ads.moment()) is not None
        assert not wallet.is_cut_off


def test_database_that_lost_what_it_had_counted_admits_nobody_before_it_is_counted_again(
    postgres: Postgres,
) -> None:
    """As after a crash: what was shown is written without a flush, and its last rows are gone."""
    with shop(postgres.empty()) as ads:
        ads.campaigns = CAPPED
        assert [show(ads, f"d{number}") for number in range(3)] == [True] * 3
        ads.follow()
        assert show(ads, "d3")
        claim = claim_of(CAPPED.held["spring"].campaign, "ad-1", CAPPED)
        postgres.stop("fast")
        postgres.start()
        # Each connection finds out by itself that the database was started anew.
        for lost in (
            lambda: ads.ledger.admit("u1", [claim], ads.now_ms),
            lambda: ads.ledger.follow(ads.log, CAPPED, ads.now_ms),
            lambda: ads.log.append_decisions([decision("of content")]),
        ):
            with pytest.raises(EventLogGoneError):
                lost()
        ads.ledger._caps("", lambda books: books.run("DELETE FROM ledger_shown WHERE user_id = 'u1'"))
        with pytest.raises(LedgerBehindError, match="counted again"):
            ads.ledger.admit("u1", [claim], ads.now_ms)
        ads.ledger._caps("", lambda books: books.run("UPDATE ledger_shown_marks SET value = 0"))
        ads.follow()
        assert counted(ads) == 4
        # Another worker may still hold a decision that it has answered with.
        with pytest.raises(LedgerBehindError, match="counted again"):
            ads.ledger.admit("u1", [claim], ads.now_ms)
        ads.now_ms += SETTLED_MS
        ads.follow()
        assert [show(ads, f"later {number}") for number in range(2)] == [True, False]


def _tables(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    """Returns the rows of all tables of money, as a backup holds them."""

    def work(books: Books) -> dict[str, list[tuple[Any, ...]]]:
        return {name: books.run(f"SELECT * FROM ledger_{name}") for name in TABLES}

    return ledger._money(work)


def _restore(ledger: Ledger, copy: dict[str, list[tuple[Any, ...]]]) -> None:
    """Puts a backup in the place of the tables."""

    def work(books: Books) -> None:
        for name, rows in copy.items():
            books.run(f"DELETE FROM ledger_{name}")
            if rows:
                books.run_many(f"INSERT INTO ledger_{name} VALUES ({', '.join('?' * len(rows[0]))})", rows)

    ledger._money(work)


def _together(works: list[object]) -> None:
    """Runs works in threads at once; raises the first error that one of them met."""
    errors: list[BaseException] = []

    def run(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


CAPPED = set_of(
    campaign(frequency_caps=(FrequencyCap(per=CapScope.campaign, limit=5, window_s=3_600),)),
    campaign("other", advertiser="other"),
)


def show(ads: Shop, name: str, user_id: str = "u1") -> bool:
    """Shows an ad and records its decision; returns whether its cap let it."""
    claim = claim_of(CAPPED.held["spring"].campaign, "ad-1", CAPPED)
    if ads.ledger.admit(user_id, [claim], ads.now_ms) != [True]:
        return False
    until_ms = ads.now_ms + 60_000
    sale = Sale("ad-1", "spring", "cpc", 10, 10, 0, DAY_OF_NOW, until_ms)
    ads.log.append_decisions([decision(name, time_ms=ads.now_ms, user_id=user_id, sales=(sale,))])
    ads.now_ms += 1_000
    return True


def counted(ads: Shop, user_id: str = "u1") -> int:
    return sum(map(len, ads.ledger.shown(user_id, 0).values()))


def test_caps_of_a_store_that_was_lost_are_counted_again_once(ads: Shop, store: Store) -> None:
    ads.campaigns = CAPPED
    assert [show(ads, f"d{number}") for number in range(3)] == [True] * 3
    assert show(ads, "of another", "u2")
    ads.follow()
    for table in ("shown", "shown_marks"):
        ads.ledger._caps("", lambda books, table=table: books.run(f"DELETE FROM ledger_{table}"))  # type: ignore[misc]
    assert counted(ads) == 0
    # Workers that start together each read the log to its end.
    workers = [open_test_ledger(store.where) for _ in range(4)]
    _together([lambda one=one: one.follow(ads.log, ads.campaigns, ads.now_ms) for one in workers])
    for one in workers:
        one.close()
    assert (counted(ads), counted(ads, "u2")) == (3, 1)
    assert [show(ads, f"later {number}") for number in range(4)] == [True, True, False, False]


def test_caps_of_an_older_copy_are_counted_by_a_worker_that_runs(ads: Shop) -> None:
    ads.campaigns = CAPPED
    show(ads, "d1")
    ads.follow()
    copy = ads.ledger._caps(
        "",
        lambda books: (
            books.run("SELECT * FROM ledger_shown"),
            books.run("SELECT * FROM ledger_shown_marks"),
        ),
    )
    assert [show(ads, f"since {number}") for number in range(3)] == [True] * 3
    ads.follow()

    def restore(books: Books) -> None:
        for table, rows in zip(("shown", "shown_marks"), copy, strict=True):
            books.run(f"DELETE FROM ledger_{table}")
            books.run_many(f"INSERT INTO ledger_{table} VALUES ({', '.join('?' * len(rows[0]))})", rows)

    ads.ledger._caps("", restore)
    assert counted(ads) == 1
    ads.follow()
    assert counted(ads) == 4
    # An ad that was counted and whose worker died before its decision was on record stays counted.
    claim = claim_of(CAPPED.held["spring"].campaign, "ad-1", CAPPED)
    assert ads.ledger.admit("u1", [claim], ads.now_ms) == [True]
    for _ in range(3):
        ads.follow()
    assert counted(ads) == 5
    assert not show(ads, "one too many")


def test_log_that_went_back_counts_nobody_twice(ads: Shop) -> None:
    ads.campaigns = CAPPED
    for number in range(4):
        show(ads, f"d{number}")
    ads.follow()
    ads.ledger._caps("", lambda books: books.run("UPDATE ledger_shown_marks SET value = value + 100"))
    ads.follow()
    assert counted(ads) == 4
    ads.follow()
    assert counted(ads) == 4


def test_ledger_that_is_lost_while_workers_run_charges_no_more_than_the_budget(
    ads: Shop, store: Store
) -> None:
    price, n_affordable = 10, 60
    ads.campaigns = set_of(campaign(total_budget=price * n_affordable, bid=price))
    limits = limits_of(ads.campaigns.held["spring"], "spring", DAY_OF_NOW)
    ledgers = [open_test_ledger(store.where) for _ in range(3)]
    wallets = [EagerWallet(one.leases, f"worker {number}") for number, one in enumerate(ledgers)]
    n_shown = n_refused = 0
    for number in range(200):
        if number == 30:
            _restore(ads.ledger, {name: [] for name in TABLES})
        try:
            lease = wallets[number % 3].reserve(limits, price, ads.moment())
        except EventLogError:
            lease = None
        if lease is None:
            n_refused += 1
        else:
            n_shown += 1
            ads.sell(f"d{number}", lease, price)
            ads.click(f"d{number}")
        ads.now_ms += 200
        if number % 10 == 9:
            ledgers[number % 3].follow(ads.log, ads.campaigns, ads.now_ms)
    for one in ledgers:
        one.close()
    ads.end_leases()
    account = ads.account()
    assert account.charged <= price * n_affordable
    # Every click is charged once or told as unbilled, to the millionth.
    assert account.n_charged + account.n_unbilled == n_shown
    assert account.charged + account.unbilled == n_shown * price
    assert account.held == 0
    assert account.n_charged > n_affordable * 0.9
    assert n_refused > 0
