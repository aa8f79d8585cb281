"""Frequency caps of a service that starts without what it had counted: the log tells it before it sells."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from marquee.errors import EventLogGoneError
from marquee.store.campaigns.campaign import CapScope, FrequencyCap
from marquee.store.ledger.ledger import Ledger
from marquee.store.ledger.sqlite import SHOWN_FILE
from tests.support.ad_service import AdService, booking
from tests.support.bundles import publish_tiny

CAPPED = booking(frequency_caps=(FrequencyCap(per=CapScope.campaign, limit=2, window_s=3600),))
Open = Callable[[], AdService]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    home, made = publish_tiny(tmp_path / "bundles"), list[AdService]()

    def open_service() -> AdService:
        made.append(AdService(home, tmp_path, "{first: 1, every: 2}"))
        made[-1].spending.open(interval_s=3600)
        return made[-1]

    yield open_service
    made[-1].endpoints.close()
    made[-1].close()


def shows_an_ad(service: AdService, user_id: str) -> bool:
    return "ads" in service.ask(k=4, user_id=user_id)


def test_service_counts_what_users_were_shown_before_it_sells(opened: Open, tmp_path: Path) -> None:
    first = opened()
    first.book(CAPPED)
    first.warm(k=4, user_id="somebody")
    assert [shows_an_ad(first, "u1") for _ in range(3)] == [True, True, False]
    first.written()
    for file in (tmp_path / "events").glob(f"{SHOWN_FILE}*"):
        file.unlink()
    again = opened()
    again.warm(k=4, user_id="somebody")
    assert not shows_an_ad(again, "u1")
    assert shows_an_ad(again, "u2")


def test_service_that_could_not_count_sells_nothing_that_is_capped(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_given: object) -> None:
        raise EventLogGoneError("the store of the test cannot be reached, got nothing; start it")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "follow", gone)
        service = opened()
    service.book(CAPPED)
    service.warm(k=4, user_id="somebody")
    assert not shows_an_ad(service, "u1")
    assert service.lost("cut_off") == 1
    service.spending.follow()
    service.paces.solve()
    assert shows_an_ad(service, "u1")
