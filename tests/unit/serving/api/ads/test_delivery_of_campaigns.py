"""How a campaign gets on, from the log of a service that shows it: plan, forecast and reasons."""

from collections.abc import Iterator

import pytest

from marquee.store.campaigns.campaign import BidType, Creative, HourRange, Targeting
from marquee.store.ledger.traffic import HourCount
from serving.api.ads.traffic import Traffic
from serving.api.campaigns.trying import CampaignTrials
from serving.api.customers.deciding import NOBODY
from serving.recording.users import PlainUsers
from tests.support.ad_service import DAY, EURO, AdService, booking
from tests.support.bundles import NOW, publish_tiny

HOUR = NOW // 3600
N = 12
"""Answers of a service in which two campaigns bid."""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdService]:
    folder = tmp_path_factory.mktemp("ads")
    service = AdService(publish_tiny(folder / "bundles"), folder, "{first: 1, every: 9, floor: 500000}")
    service.book(booking("spring"), booking("rich", bid=3 * EURO, creatives=(Creative(item_id="i016"),)))
    service.warm(k=4)
    for number in range(N - 1):
        if number == 8:
            service.change("rich", targeting=Targeting(devices=("phone",)))
        service.now += 60
        service.ask(k=4)
    service.endpoints.close()
    yield service
    service.close()


def trials(service: AdService, per_hour: int = 60) -> CampaignTrials:
    counts = [HourCount("home", HOUR - hour, per_hour) for hour in range(1, 24 * 20)]
    traffic = Traffic(lambda: (HOUR, counts))
    return CampaignTrials(service.log, NOBODY, PlainUsers(), traffic, service.surfaces.slots_of)


def test_reasons_tell_who_was_better_and_who_was_never_meant(asked: AdService) -> None:
    found = trials(asked).delivery(booking("spring"), (), int(asked.now))
    assert found.looked_at == N
    assert found.shown + sum(found.not_shown.values()) == N
    assert list(found.not_shown) == sorted(found.not_shown, key=lambda one: -found.not_shown[one])
    # The first answer came before any pace was solved; then the richer one won, until it wanted phones.
    assert found.not_shown["outbid"] >= 6
    assert found.shown == 3
    phones = booking("rich", targeting=Targeting(devices=("phone",)))
    rich = trials(asked).delivery(phones, (), int(asked.now))
    # Those that showed it were eligible then, whatever it is for now.
    assert (rich.not_shown["devices"], rich.shown) == (4, N - 4)


def test_forecast_is_what_the_traffic_to_come_can_buy(asked: AdService) -> None:
    spring = booking("spring", ends=int(asked.now) + 10 * DAY)
    few = trials(asked, per_hour=60).delivery(spring, (), int(asked.now)).forecast
    many = trials(asked, per_hour=60_000).delivery(spring, (), int(asked.now)).forecast
    assert few is not None
    assert many is not None
    # 14,400 answers, of which a part is won; second prices are below the bid of 2 euros a thousand.
    assert 0 < few.charged < 14_400 * 0.002
    assert few.shown < 14_400
    assert many.charged == 100
    assert few.low is not None
    assert few.high is not None
    assert few.low <= few.charged <= few.high
    assert "hour of the day" in few.rests_on


def test_hours_of_the_night_are_no_reason_to_expect_nothing_by_day(asked: AdService) -> None:
    hour = (NOW // 3600 + 12) % 24
    elsewhen = Targeting(hours=(HourRange(from_hour=hour, until_hour=hour + 1),))
    one = booking("spring", targeting=elsewhen, ends=int(asked.now) + 10 * DAY)
    found = trials(asked).delivery(one, (), int(asked.now))
    whole = trials(asked).delivery(booking("spring", ends=one.ends), (), int(asked.now))
    assert found.forecast is not None
    assert whole.forecast is not None
    assert found.forecast.charged == pytest.approx(whole.forecast.charged / 24, rel=0.15)


def test_dry_run_holds_the_auctions_again_with_a_campaign_that_is_not_booked(asked: AdService) -> None:
    cheap = trials(asked).try_campaign(booking("new", bid=EURO // 2), 1000, int(asked.now))
    best = trials(asked).try_campaign(booking("new", bid=9 * EURO), 1000, int(asked.now))
    assert (cheap.asked, cheap.eligible) == (best.asked, best.eligible) == (N, N)
    assert cheap.would_win is not None
    assert cheap.would_win <= 1, "others bid more, once they bid"
    assert best.would_win == N
    assert best.forecast is not None
    assert best.forecast.charged > 0
    # Nobody has offered to pay for a click: how probable one is cannot be told.
    click = trials(asked).try_campaign(booking("new", bid_type=BidType.cpc), 1000, int(asked.now))
    assert (click.would_win, click.forecast) == (None, None)


def test_one_that_is_over_has_no_forecast_and_one_that_has_not_begun_no_reasons(asked: AdService) -> None:
    now = int(asked.now)
    over = trials(asked).delivery(booking("spring", ends=now - 1), (), now)
    assert over.forecast is None
    ahead = trials(asked).delivery(booking("spring", starts=now + DAY, ends=now + 2 * DAY), (), now)
    assert (ahead.looked_at, ahead.planned, ahead.pace) == (0, 0, None)
    assert ahead.forecast is not None
