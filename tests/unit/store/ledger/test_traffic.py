"""Counts of decisions by surface and hour, asked of both stores."""

from collections.abc import Iterator

import pytest

from marquee.store.ledger.traffic import DRAIN_MS, HOUR_MS, KEPT_HOURS, HourCount
from tests.support.event_stores import NOW, Store, decision
from tests.support.ledgers import Shop, open_test_ledger, shop

HOUR = NOW * 1000 // HOUR_MS


@pytest.fixture
def ads(store: Store) -> Iterator[Shop]:
    with shop(store.where) as opened:
        yield opened


def tell(ads: Shop, name: str, hour: int, surface: str | None = "home", at_ms: int = 0) -> None:
    ads.log.append_decisions([decision(name, time_ms=hour * HOUR_MS + at_ms, surface=surface)])


def test_hours_that_are_over_are_counted_once_by_surface(ads: Shop, store: Store) -> None:
    told = [(HOUR, "home"), (HOUR, "home"), (HOUR, None), (HOUR + 2, "home")]
    for number, (hour, surface) in enumerate(told):
        tell(ads, f"d{number}", hour, surface, at_ms=HOUR_MS - 1 - number)
    over = (HOUR + 1) * HOUR_MS
    ads.ledger.count_traffic(ads.log, over + DRAIN_MS - 1)
    assert not ads.ledger.traffic(), "some may still be on their way"
    assert ads.ledger.count_traffic(ads.log, over + DRAIN_MS)
    assert ads.ledger.traffic() == [HourCount("", HOUR, 1), HourCount("home", HOUR, 2)]
    other = open_test_ledger(store.where)  # another worker, and the same one after a restart
    try:
        assert other.count_traffic(ads.log, over + DRAIN_MS) == 0
        assert other.count_traffic(ads.log, over + 2 * HOUR_MS + DRAIN_MS) == 2
        assert other.traffic()[-1] == HourCount("home", HOUR + 2, 1)
        assert other.traffic_until() == HOUR + 3
    finally:
        other.close()


def test_clock_that_goes_back_counts_nothing_twice(ads: Shop) -> None:
    tell(ads, "d", HOUR)
    ads.ledger.count_traffic(ads.log, (HOUR + 5) * HOUR_MS)
    assert ads.ledger.count_traffic(ads.log, (HOUR - 9) * HOUR_MS) == 0
    assert ads.ledger.count_traffic(ads.log, (HOUR + 5) * HOUR_MS) == 0
    assert ads.ledger.traffic() == [HourCount("home", HOUR, 1)]


def test_counts_of_half_a_year_are_kept(ads: Shop) -> None:
    tell(ads, "d", HOUR)
    ads.ledger.count_traffic(ads.log, (HOUR + 5) * HOUR_MS)
    ads.ledger.expire((HOUR + KEPT_HOURS) * HOUR_MS, 0)
    assert ads.ledger.traffic()
    ads.ledger.expire((HOUR + KEPT_HOURS + 1) * HOUR_MS, 0)
    assert not ads.ledger.traffic()
