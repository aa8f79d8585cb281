"""The hours to come, as a worker expects them, and how its paces follow."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.ads.delivery import errors
from marquee.core.arrays import IndexArray
from marquee.errors import EventLogGoneError
from marquee.store.campaigns.campaign import Exclusions
from marquee.store.ledger.traffic import DRAIN_MS, HourCount
from serving.api.ads.traffic import Counted, Traffic
from tests.support.ad_service import AdService
from tests.support.bundles import NOW, publish_tiny
from tests.support.campaigns import campaign

HOUR = NOW // 3600


def by_day(surface: str, noon: int, n_days: int = 20) -> list[HourCount]:
    return [
        HourCount(surface, HOUR - 24 * n_days + hour, noon if hour % 24 == 12 else 10)
        for hour in range(24 * n_days)
    ]


def test_campaign_expects_the_traffic_of_its_surfaces() -> None:
    counts = sorted([*by_day("feed", 100), *by_day("", 1_000)])
    traffic = Traffic(lambda: (HOUR, counts))
    traffic.look(NOW)
    at_noon = (HOUR - 24 + 12) % 168
    feed = traffic.of(campaign(surfaces=("feed",))).weights[at_noon]
    both = traffic.of(campaign()).weights[at_noon]
    assert feed == pytest.approx(100 / (330 / 24))
    assert both == pytest.approx(1_100 / (1_560 / 24))
    # Decisions without a name are those of the surface by default.
    assert traffic.of(campaign(exclusions=Exclusions(surfaces=("default",)))).weights[at_noon] == feed
    assert traffic.of(campaign(surfaces=("elsewhere",))).weights.tolist() == [1.0] * 168


def test_traffic_of_a_zone_is_told_by_its_clocks_before_and_after_they_are_changed() -> None:
    # People come at noon by the clocks of Berlin, which were changed ten days ago.
    changed = 1_774_746_000 // 3600
    hours = range(changed - 20 * 24, changed + 10 * 24)
    counts = [HourCount("", hour, 100 if (hour + 1 + (hour >= changed)) % 24 == 12 else 10) for hour in hours]
    traffic = Traffic(lambda: (hours.stop, counts))
    traffic.look(float(hours.stop * 3600))
    by_clock = traffic.of(campaign(timezone="Europe/Berlin"))
    by_utc = traffic.of(campaign(timezone="UTC"))
    assert by_clock.weights[12::24] == pytest.approx(np.full(7, 100 / (330 / 24)), rel=0.02)
    assert by_utc.weights[10::24].max() < 0.9 * by_clock.weights[12]


def test_store_that_is_gone_leaves_what_was_expected() -> None:
    told: list[Counted | None] = [(HOUR, by_day("feed", 100)), None, (HOUR + 1, [])]

    def counted() -> Counted:
        found = told.pop(0)
        if found is None:
            raise EventLogGoneError("gone")
        return found

    traffic = Traffic(counted)
    traffic.look(NOW)
    before = traffic.of(campaign()).per_hour
    traffic.look(NOW + 1)
    assert len(told) == 2, "the store is asked once a minute"
    traffic.look(NOW + 61)
    assert traffic.of(campaign()).per_hour == before > 0
    traffic.look(NOW + 122)
    assert traffic.of(campaign()).per_hour == 0


def test_service_learns_the_traffic_of_its_log_and_keeps_it_over_a_restart(tmp_path: Path) -> None:
    home = publish_tiny(tmp_path / "bundles")
    service = AdService(home, tmp_path, "{first: 1, every: 2}")
    for _ in range(3):
        service.ask(k=4)
    service.endpoints.close()
    service.now += 3600 + DRAIN_MS / 1000
    service.spending.count_traffic()
    until, counts = service.spending.traffic()
    assert counts == [HourCount("home", NOW // 3600, 3)]
    service.close()
    again = AdService(home, tmp_path, "{first: 1, every: 2}")
    try:
        assert again.spending.traffic() == (until, counts) == (NOW // 3600 + 1, counts)
    finally:
        again.endpoints.close()
        again.close()


def busy_days(n_weeks: int) -> IndexArray:
    rng = np.random.default_rng(0)
    rate = np.tile(np.r_[np.full(8, 0.2), np.full(10, 9.0), np.full(6, 3.0)], 7 * n_weeks)
    hours = np.repeat(np.arange(len(rate)), rng.poisson(rate))
    return np.sort(hours * 3600 + rng.integers(0, 3600, len(hours)))


def test_budget_of_a_week_follows_the_hours_in_which_people_come() -> None:
    found = errors(busy_days(8), n_flights=1)
    assert found.shaped < found.uniform / 2
    assert found.shaped < found.without
