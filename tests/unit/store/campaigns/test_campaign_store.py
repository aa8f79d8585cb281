"""The contract of the store of campaigns, asked of both stores: versions, races, audit, what workers see."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import psycopg
import pytest

from marquee.core.filters import Filters
from marquee.core.targeting.targeting import Targeting as UserTargeting
from marquee.errors import CampaignChangedError
from marquee.store.campaigns.campaign import (
    BidType,
    Campaign,
    CapScope,
    Creative,
    Delivery,
    Exclusions,
    FrequencyCap,
    HourRange,
    Priority,
    State,
    Targeting,
    Weekday,
)
from marquee.store.campaigns.campaign_store import CampaignStore
from marquee.store.campaigns.opening import open_campaign_store
from marquee.store.campaigns.sqlite import CAMPAIGNS_FILE
from tests.support.campaigns import EURO, campaign
from tests.support.event_stores import NOW, Postgres, Store

EVERY_FIELD = Campaign(
    campaign_id="spring",
    advertiser="acme",
    payer="Acme GmbH",
    starts=NOW,
    ends=NOW + 60,
    timezone="Europe/Berlin",
    total_budget=100 * EURO + 1,
    daily_budget=EURO // 10,
    bid_type=BidType.cpa,
    target_cost=3,
    creatives=(
        Creative(
            item_id="ad-1", hours=(HourRange(days=(Weekday.mon, Weekday.fri), from_hour=8, until_hour=20),)
        ),
    ),
    surfaces=("home",),
    targeting=Targeting(
        attributes=Filters.of({"age": {"min": 18}, "plan": {"any_of": ["free", True], "none_of": [1]}}),
        segments=("champions",),
        geography=("DE", "AT-9"),
        devices=("phone",),
        hours=(HourRange(from_hour=0, until_hour=12),),
        users=UserTargeting(where="leaves >= 0.5", audiences=("buyers",)),
    ),
    frequency_caps=(FrequencyCap(per=CapScope.advertiser, limit=3, window_s=3600),),
    exclusions=Exclusions(
        surfaces=("cart",),
        segments=("lost",),
        audiences=("staff",),
        advertisers=("rival",),
        categories=("news",),
    ),
    delivery=Delivery.front_loaded,
    priority=Priority.guaranteed,
    state=State.paused,
    note="the fair",
)
Open = Callable[[], CampaignStore]


@pytest.fixture
def workers(store: Store) -> Iterator[Open]:
    opened: list[CampaignStore] = []

    def open_one() -> CampaignStore:
        opened.append(open_campaign_store(store.where))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def test_campaign_put_by_one_worker_is_read_whole_by_the_other_at_once(workers: Open) -> None:
    one, other = workers(), workers()
    assert other.current() is other.current()
    put = one.put(EVERY_FIELD, 0, "created", "anna", NOW * 1000)
    assert other.current().held == {"spring": put}
    assert (put.campaign, put.version, put.changed_by, put.change) == (EVERY_FIELD, 1, "anna", "created")
    later = one.put(campaign("autumn"), 0, "created", "ben", NOW * 1000)
    assert other.current().held == {"spring": put, "autumn": later}
    assert other.current().sequence == later.sequence


def test_change_of_an_earlier_version_changes_nothing(workers: Open) -> None:
    one, other = workers(), workers()
    one.put(campaign(), 0, "created", "anna", 1)
    one.put(campaign(bid=5), 1, "patched", "anna", 2)
    with pytest.raises(CampaignChangedError, match="is of version 2, got a change of version 1") as error:
        other.put(campaign(bid=7), 1, "patched", "ben", 3)
    assert error.value.version == 2
    with pytest.raises(CampaignChangedError, match="got a change of version 0"):
        other.put(campaign(), 0, "created", "ben", 3)
    found = other.find("spring")
    assert found is not None
    assert found.campaign.bid == 5
    assert other.find("winter") is None


def test_every_version_stays_on_record(workers: Open) -> None:
    store = workers()
    for version in range(4):
        store.put(campaign(bid=version + 1), version, "patched", f"key{version}", version)
    told = [(one.version, one.campaign.bid, one.changed_by) for one in store.history("spring", 3, 2)]
    assert told == [(3, 3, "key2"), (2, 2, "key1")]


def test_of_many_who_change_one_version_one_wins(workers: Open) -> None:
    stores = [workers(), workers()]
    stores[0].put(campaign(), 0, "created", "anna", 1)
    outcomes: list[str] = []

    def change(number: int) -> None:
        try:
            stores[number % 2].put(campaign(bid=number + 1), 1, "patched", str(number), 2)
            outcomes.append("won")
        except CampaignChangedError:
            outcomes.append("lost")

    threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost"] * 7 + ["won"]
    # Two at once of two campaigns do not meet.
    stores[0].put(campaign("other"), 0, "created", "anna", 3)


def test_nobody_changes_the_audit_of_a_file(tmp_path: Path) -> None:
    store = open_campaign_store(str(tmp_path))
    store.put(campaign(), 0, "created", "anna", 1)
    store.close()
    connection = apsw.Connection(str(tmp_path / CAMPAIGNS_FILE))
    for statement in ("DELETE FROM campaign_changes", "UPDATE campaign_changes SET changed_by = 'x'"):
        with pytest.raises(apsw.ConstraintError, match="the audit of campaigns only grows"):
            connection.execute(statement)
    connection.close()


def test_nobody_changes_the_audit_of_a_database(postgres: Postgres) -> None:
    store = open_campaign_store(postgres.empty())
    store.put(campaign(), 0, "created", "anna", 1)
    store.close()
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        for statement in (
            b"DELETE FROM marquee.campaign_changes",
            b"TRUNCATE marquee.campaign_changes",
            b"UPDATE marquee.campaign_changes SET changed_by = 'x'",
        ):
            with pytest.raises(psycopg.errors.RaiseException, match="the audit of campaigns only grows"):
                connection.execute(statement)
