"""The contract of the ledger, asked of both stores: money moves once, one way, and never above a budget."""

import math
from collections.abc import Iterator

import pytest

from marquee.errors import LedgerBehindError
from marquee.store.campaigns.campaign import CampaignSet
from marquee.store.ledger.fading import LEAST_KNOWN, bucket_of, share_to_come
from marquee.store.ledger.rows import Cap, CapClaim, Returned, Unbilled
from tests.support.campaigns import EURO, campaign, held, set_of
from tests.support.event_stores import NOW, Store, decision
from tests.support.ledgers import DAY_OF_NOW, HOUR_MS, LEASE_MS, Shop, open_test_ledger, shop

CENTS = 10_000


@pytest.fixture
def ads(store: Store) -> Iterator[Shop]:
    with shop(store.where) as opened:
        yield opened


def lease_of(ads: Shop, least: int, wanted: int | None = None) -> int:
    lease = ads.ledger.lease(ads.request(least, wanted or least), ads.now_ms)
    assert lease is not None
    return lease.number


def test_click_is_charged_once_however_often_it_comes(ads: Shop) -> None:
    ads.sell("d1", lease_of(ads, 40 * CENTS), 40 * CENTS)
    ads.follow()
    assert (ads.account().held, ads.account().charged, ads.account().n_sold) == (40 * CENTS, 0, 1)
    for name in ("first", "again", "and again"):
        ads.click("d1", name)
    done = ads.follow()
    assert (done.n_charged, done.charged, dict(done.unbilled)) == (1, 40 * CENTS, {})
    assert (ads.account().held, ads.account().charged) == (0, 40 * CENTS)
    assert ads.follow().n_charged == 0


def test_only_the_event_that_is_paid_for_is_charged(ads: Shop) -> None:
    ads.sell("d1", lease_of(ads, EURO), EURO)
    ads.click("d1", kind="exposure")
    ads.click("d1", "another item", item_id="a")
    assert ads.follow().n_charged == 0
    ads.click("d1")
    assert ads.follow().charged == EURO


def test_reservation_whose_time_is_over_is_released_and_its_click_unbilled(ads: Shop) -> None:
    ads.sell("d1", lease_of(ads, EURO), EURO)
    ads.follow()
    ads.now_ms += HOUR_MS + 20_000
    assert ads.follow().n_released == 1
    assert ads.account().held == 0
    ads.click("d1")
    assert dict(ads.follow().unbilled) == {Unbilled.late: 1}
    assert (ads.account().charged, ads.account().n_unbilled, ads.account().unbilled) == (0, 1, EURO)


def test_lease_takes_a_part_of_what_is_free_and_the_rest_to_the_last_affordable_ad(ads: Shop) -> None:
    ads.campaigns = set_of(campaign(total_budget=100))
    first = ads.ledger.lease(ads.request(7, 1000), ads.now_ms)
    assert first is not None
    assert first.amount == 25
    taken = [first.amount]
    while (lease := ads.ledger.lease(ads.request(7, 1000), ads.now_ms)) is not None:
        taken.append(lease.amount)
    assert 100 - 7 < sum(taken) <= 100
    assert ads.account().held == sum(taken)


def test_lease_is_bounded_by_the_day_as_by_the_flight(ads: Shop) -> None:
    ads.campaigns = set_of(campaign(total_budget=100, daily_budget=10))
    assert ads.ledger.lease(ads.request(11, 11), ads.now_ms) is None
    assert lease_of(ads, 10)
    assert ads.ledger.lease(ads.request(1, 1), ads.now_ms) is None
    total, day = ads.ledger.accounts("spring")
    assert (total.day, total.free, day.day, day.free) == ("", 90, DAY_OF_NOW, 0)


def test_returned_lease_frees_what_was_not_spent(ads: Shop) -> None:
    number = lease_of(ads, 100)
    ads.sell("d1", number, 30)
    # Before the log was read: the 30 stay held until it tells of them.
    ads.ledger.lease(None, ads.now_ms, [Returned(number, 30)])
    assert ads.account().held == 30
    ads.follow()
    assert ads.account().held == 30
    ads.click("d1")
    ads.follow()
    assert (ads.account().held, ads.account().charged) == (0, 30)
    # Again, as after a reply that was lost.
    ads.ledger.lease(None, ads.now_ms, [Returned(number, 30)])
    assert ads.account().held == 0


def test_lease_of_a_dead_worker_returns_only_after_its_part_of_the_log_was_read(ads: Shop) -> None:
    ads.campaigns = set_of(campaign(total_budget=100))
    number = lease_of(ads, 100)
    ads.sell("d1", number, 60)
    ads.now_ms += LEASE_MS + 1
    ads.follow()
    # It is over, but decisions of its worker may still be on their way into the log.
    assert ads.account().free == 0
    ads.sell("d2", number, 30)
    ads.end_leases()
    assert (ads.account().held, ads.account().free) == (90, 10)
    ads.click("d1")
    ads.click("d2")
    assert ads.follow().charged == 90


def test_decision_with_a_lease_that_was_given_away_is_fenced(ads: Shop) -> None:
    ads.campaigns = set_of(campaign(total_budget=100))
    number = lease_of(ads, 100)
    ads.end_leases()
    assert ads.account().free == 100
    other = lease_of(ads, 100)
    # The first worker was stopped for a while, and goes on as if nothing had been.
    ads.sell("late", number, 100)
    ads.sell("good", other, 100)
    ads.click("late")
    ads.click("good")
    done = ads.follow()
    assert (done.charged, dict(done.unbilled)) == (100, {Unbilled.fenced: 1})
    assert (ads.account().charged, ads.account().held) == (100, 0)


def test_nothing_is_reserved_beyond_what_a_lease_holds(ads: Shop) -> None:
    number = lease_of(ads, 100)
    ads.sell("d1", number, 100)
    ads.sell("d2", number, 1)
    ads.click("d2")
    assert dict(ads.follow().unbilled) == {Unbilled.fenced: 1}


def test_nothing_is_charged_above_a_budget_that_was_lowered(ads: Shop) -> None:
    ads.campaigns = set_of(campaign(total_budget=100))
    number = lease_of(ads, 100)
    ads.sell("d1", number, 50)
    ads.sell("d2", number, 50)
    ads.follow()
    ads.campaigns = CampaignSet().with_changes([held(campaign(total_budget=60), version=2)])
    assert ads.ledger.lease(ads.request(1, 1), ads.now_ms) is None
    ads.click("d1")
    ads.click("d2")
    done = ads.follow()
    assert (done.charged, dict(done.unbilled)) == (50, {Unbilled.no_money: 1})


def test_earlier_version_of_a_campaign_never_brings_its_budget_back(ads: Shop) -> None:
    new, old = held(campaign(total_budget=10), version=2), held(campaign(total_budget=100))
    ads.campaigns = CampaignSet().with_changes([new])
    lease_of(ads, 10)
    ads.campaigns = CampaignSet().with_changes([old])
    assert ads.ledger.lease(ads.request(1, 1), ads.now_ms) is None
    assert ads.account().budget == 10


def test_click_that_comes_before_its_decision_is_charged_with_it(ads: Shop) -> None:
    number = lease_of(ads, EURO)
    ads.click("d1")
    assert ads.follow().n_charged == 0
    ads.sell("d1", number, EURO)
    assert ads.follow().charged == EURO
    assert ads.follow().charged == 0


def test_decisions_of_content_and_their_clicks_cost_nothing(ads: Shop) -> None:
    ads.log.append_decisions([decision("content", sales=())])
    ads.click("content")
    done = ads.follow()
    assert (done.n_decisions, done.n_events, done.n_charged) == (0, 1, 0)
    assert ads.ledger.accounts("spring") == []


def test_ledger_that_was_lost_reads_the_log_and_says_the_same(ads: Shop, store: Store) -> None:
    number = lease_of(ads, 100, 100)
    for name, price in (("d1", 60), ("d2", 30), ("d3", 10)):
        ads.sell(name, number, price)
    ads.click("d1")
    ads.follow()
    before = ads.account()
    _lose(ads)
    # Who knows the lease is told; who does not would not be.
    with pytest.raises(LedgerBehindError, match=f"knows leases up to 0, got a caller who knows {number}"):
        ads.ledger.lease(ads.request(1, 1), ads.now_ms, known=number)
    other = open_test_ledger(store.where)
    # Two who fill an empty ledger together fill it once.
    ads.follow()
    other.follow(ads.log, ads.campaigns, ads.now_ms)
    other.close()
    assert ads.account() == before
    ads.click("d2")
    assert ads.follow().charged == 30
    assert lease_of(ads, 1) > number


def test_log_that_went_back_is_read_anew_and_charges_nothing_twice(ads: Shop) -> None:
    ads.sell("d1", lease_of(ads, EURO), EURO)
    ads.click("d1")
    ads.follow()
    for name in ("decisions", "events"):
        _set_mark(ads, name, 10_000)
    done = ads.follow()
    assert (done.n_decisions, done.n_events, done.n_charged) == (1, 1, 0)
    assert ads.account().charged == EURO


def test_clock_that_was_set_back_gives_no_lease_away(ads: Shop) -> None:
    ads.campaigns = set_of(campaign(total_budget=100))
    lease_of(ads, 100)
    ads.now_ms -= HOUR_MS
    ads.follow()
    assert ads.ledger.lease(ads.request(1, 1), ads.now_ms) is None
    ads.now_ms += HOUR_MS
    ads.end_leases()
    assert lease_of(ads, 100)


CAP = CapClaim(("k",), (Cap("k", 2, 60_000),))


def test_cap_holds_in_every_window_of_its_length(ads: Shop) -> None:
    start = ads.now_ms
    moments = range(0, 200_000, 7_000)
    shown = [at for at in moments if ads.ledger.admit("u1", [CAP], start + at) == [True]]
    assert shown == [0, 7_000, 63_000, 70_000, 126_000, 133_000, 189_000, 196_000]
    assert all(sum(one <= at < one + 60_000 for at in shown) <= 2 for one in shown)
    assert ads.ledger.admit("u2", [CAP], start) == [True]


def test_ads_of_one_answer_count_for_each_other(ads: Shop) -> None:
    assert ads.ledger.admit("u1", [CAP, CAP, CAP, CapClaim()], NOW) == [True, True, False, True]
    assert sorted(ads.ledger.shown("u1", 0)) == ["k"]
    assert len(ads.ledger.shown("u1", 0)["k"]) == 2


def test_cap_counts_what_seems_to_lie_ahead(ads: Shop) -> None:
    assert ads.ledger.admit("u1", [CAP, CAP], ads.now_ms) == [True, True]
    assert ads.ledger.admit("u1", [CAP], ads.now_ms - HOUR_MS) == [False]


def test_erased_user_leaves_no_trace_and_the_money_stays(ads: Shop) -> None:
    number = lease_of(ads, 100, 100)
    ads.ledger.admit("u1", [CAP], ads.now_ms)
    ads.sell("paid", number, 60)
    ads.sell("open", number, 30)
    ads.sell("of another", number, 10)
    ads.click("paid")
    ads.follow()
    ads.ledger.forget("u1", ["paid", "open"])
    assert ads.ledger.shown("u1", 0) == {}
    assert (ads.account().charged, ads.account().held) == (60, 10)
    ads.click("open")
    assert ads.follow().n_charged == 0
    ads.click("of another")
    assert ads.follow().charged == 10


def test_old_rows_go_and_open_reservations_stay(ads: Shop) -> None:
    ads.ledger.admit("u1", [CAP], 1_000)
    ads.sell("d1", lease_of(ads, EURO), EURO)
    ads.follow()
    ads.ledger.expire(ads.now_ms + 100 * 86_400_000, shown_before_ms=2_000)
    assert ads.ledger.shown("u1", 0) == {}
    ads.click("d1")
    assert ads.follow().charged == EURO


def _lose(ads: Shop) -> None:
    """Empties the tables of money, as an operator does who restores nothing."""
    for name in ("accounts", "leases", "reservations", "early", "marks"):
        ads.ledger._money(lambda books, name=name: books.run(f"DELETE FROM ledger_{name}"))  # type: ignore[misc]


def _set_mark(ads: Shop, name: str, value: int) -> None:
    """Moves a mark of the ledger."""
    ads.ledger._money(
        lambda books: books.run("UPDATE ledger_marks SET value = ? WHERE name = ?", (value, name))
    )


def test_log_of_a_service_without_campaigns_is_passed_over(ads: Shop) -> None:
    known, ads.campaigns = ads.campaigns, CampaignSet()
    ads.log.append_decisions([decision(f"old {one}", sales=()) for one in range(5)])
    ads.click("old 1")
    assert ads.follow().n_decisions == 0
    ads.campaigns = known
    ads.sell("d1", lease_of(ads, EURO), EURO)
    ads.click("d1")
    done = ads.follow()
    assert (done.n_decisions, done.n_events, done.charged) == (1, 1, EURO)
    # Where there was a campaign once, whose store is lost, what was sold is still told.
    ads.campaigns = CampaignSet()
    ads.click("old 2")
    assert ads.follow().n_events == 1


def learn_delays(ads: Shop, n: int) -> None:
    """Sells ads that are clicked after half a minute."""
    for number in range(n):
        ads.sell(f"known {number}", lease_of(ads, 1_000), 1_000)
    ads.now_ms += 30_000
    for number in range(n):
        ads.click(f"known {number}")
    ads.follow()


def test_reserve_fades_as_its_event_is_expected_less(ads: Shop) -> None:
    learn_delays(ads, LEAST_KNOWN)
    ads.sell("late", lease_of(ads, EURO), EURO)
    ads.follow()
    held = []
    for _ in range(10):
        held.append(ads.account().held)
        ads.now_ms += 10_000
        ads.follow()
    assert held[0] == EURO
    assert held == sorted(held, reverse=True)
    # One more than were seen may come so late.
    assert held[-1] == math.ceil(EURO / (LEAST_KNOWN + 1))
    ads.click("late")
    assert ads.follow().charged == EURO
    assert ads.account().held == 0


def test_reserve_stands_until_enough_is_known_of_delays(ads: Shop) -> None:
    learn_delays(ads, LEAST_KNOWN - 1)
    ads.sell("late", lease_of(ads, EURO), EURO)
    for _ in range(5):
        ads.now_ms += 500_000
        ads.follow()
    assert ads.account().held == EURO


def test_faded_reserve_goes_back_whole_at_the_end_and_by_erasure(ads: Shop) -> None:
    learn_delays(ads, LEAST_KNOWN)
    for name in ("ends", "erased"):
        ads.sell(name, lease_of(ads, EURO), EURO)
    ads.now_ms += 600_000
    ads.follow()
    ads.ledger.forget("u1", ["erased"])
    assert 0 < ads.account().held < EURO
    ads.now_ms += HOUR_MS
    ads.follow()
    assert ads.account().held == 0


def test_delays_are_of_one_campaign(ads: Shop) -> None:
    ads.campaigns = set_of(campaign(), campaign("autumn"))
    learn_delays(ads, LEAST_KNOWN)
    lease = ads.ledger.lease(ads.request(EURO, EURO, "autumn"), ads.now_ms)
    assert lease is not None
    ads.sell("of another", lease.number, EURO, "autumn")
    ads.now_ms += 600_000
    ads.follow()
    assert ads.account("autumn").held == EURO


@pytest.mark.parametrize(("age_s", "share"), [(1, 1.0), (64, 0.5), (10**6, 1 / 101)])
def test_share_to_come_is_that_of_later_events(age_s: int, share: float) -> None:
    delays = {bucket_of(8_000): 50, bucket_of(512_000): 50}
    assert share_to_come(delays, age_s * 1000) == pytest.approx(share, abs=0.01)
