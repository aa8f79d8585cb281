"""Faults of the ledger, on both stores: races, kills, stops, restores, a full disk, a store that is gone."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ads.judging import judge
from benchmarks.ads.spender import Spend
from benchmarks.ads.spenders import book_campaigns, run_workers, settle, start, stop_for
from marquee.ads.wallet import Wallet
from marquee.errors import EventLogFullError, EventLogGoneError
from marquee.store.ledger.accounts import limits_of
from marquee.store.ledger.ledger import Ledger
from marquee.store.ledger.rows import Books, Cap, CapClaim
from marquee.store.ledger.sqlite import SqliteLedger
from tests.support.event_stores import Postgres, Store
from tests.support.ledgers import DAY_OF_NOW, Shop, open_test_ledger, shop

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
        wallet = Wallet(ads.ledger.lease, "worker")
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
        assert ads.ledger.admit("u1", [CapClaim(("k",))], ads.now_ms) == [True]


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
