"""The event loop of a real service with two workers: in the next answer, and kept once through kills."""

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from benchmarks.ads.faults import Killer
from benchmarks.ads.judging import judge
from benchmarks.ads.visitors import Visitors, book_over_http
from marquee.ads.campaigns.calendar import local_day
from marquee.client import (
    CampaignChange,
    CampaignCreativeMessage,
    CampaignMessage,
    CampaignTrialRequest,
    Client,
    EventMessage,
    RecommendRequest,
    RefusedError,
    ServiceError,
)
from marquee.store.ledger.opening import open_ledger
from marquee.store.ledger.rows import LeaseRequest, Limits
from marquee.store.log.opening import open_event_log
from marquee.store.log.sales import Sale
from tests.support.bundles import publish_tiny
from tests.support.event_stores import DAY, NOW, Postgres, decision, event, postgres_server
from tests.support.killing import SteadyLoad, missing_from
from tests.support.service_process import RunningService, eventually, running_service, workers_of

pytestmark = pytest.mark.server

N_CONNECTIONS = 40
N_KILLS = 4
# The log alone writes 64 MB ahead before it starts anew, and a slow machine gives the load longer.
DISK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Service:
    """A running service, and where its event log is.

    Attributes:
        running: The service.
        where: Its event log.
        server: The database, None for a folder.
        small_disk: What the folder lies on, None where it lies on the disk of all else.
    """

    running: RunningService
    where: str
    server: Postgres | None = None
    small_disk: Path | None = None

    def client(self, key: str) -> Client:
        return Client(self.running.url, key=f"{key}-secret", deadline_s=30)

    def answers(self, user_id: str) -> list[Any]:
        """Returns the answers over new connections, of which both workers take some."""
        found = []
        for _ in range(N_CONNECTIONS):
            with httpx.Client(base_url=self.running.url, timeout=10, trust_env=False) as client:
                body = {"user_id": user_id, "k": 5}
                headers = {"authorization": "Bearer shop-secret"}
                found.append(client.post("/v1/recommend", json=body, headers=headers).json())
        return found

    def answered_by(self, request_ids: set[str]) -> set[int]:
        """Returns the processes that answered some requests."""
        lines = self.running.log.read_text(encoding="utf-8").splitlines()
        facts = [json.loads(line) for line in lines if line.startswith('{"time"')]
        return {one["process"] for one in facts if one.get("request_id") in request_ids}


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Gives a folder on a disk of its own, in memory; None where we may not mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False, timeout=20).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=20)


SCOPES = {
    "shop": "recommend",
    "app": "events",
    "watch": "metrics",
    "anna": "campaigns",
    "visitor": "recommend events",
}


def settings(folder: Path, where: str, bundle: Path) -> dict[str, str]:
    keys = [
        {
            "name": name,
            "sha256": hashlib.sha256(f"{name}-secret".encode()).hexdigest(),
            "scopes": scope.split(),
        }
        for name, scope in SCOPES.items()
    ]
    (folder / "keys.json").write_text(json.dumps({"keys": keys}))
    slots = "{first: 1, every: 2, floor: 20000}"
    (folder / "surfaces.yaml").write_text(f"surfaces: {{home: {{bundle: {bundle}, slots: {slots}}}}}")
    return {
        "MARQUEE_BUNDLE": "",  # the file of surfaces names it
        "MARQUEE_SURFACES": str(folder / "surfaces.yaml"),
        "MARQUEE_WORKERS": "2",
        "MARQUEE_KEYS": str(folder / "keys.json"),
        "MARQUEE_EVENTS": where,
        "MARQUEE_CLOSED_DAYS": str(folder / "closed"),
        "MARQUEE_CLOSE_DAYS_EVERY_S": "2",
        "MARQUEE_POLICY": "{name: softmax, share: 0.5, floor: 0.1}",
        "MARQUEE_LOG_REQUESTS": "1",
    }


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("events-http")
    bundle = publish_tiny(folder / "bundles")
    if request.param == "sqlite":
        with small_disk(folder / "disk") as disk:
            where = str((disk or folder) / "events")
            with running_service(bundle, folder, **settings(folder, where, bundle)) as running:
                yield Service(running, where, small_disk=disk)
    else:
        with (
            postgres_server() as server,
            running_service(bundle, folder, **settings(folder, server.url(), bundle)) as running,
        ):
            yield Service(running, server.url(), server)


def test_click_is_in_the_next_answer_of_every_worker(service: Service) -> None:
    before = service.answers("somebody new")
    assert {answer["source"] for answer in before} == {"popular"}
    clicked = before[0]["items"][0]["item_id"]
    event = EventMessage(
        kind="click",
        item_id=clicked,
        timestamp=int(time.time()),
        user_id="somebody new",
        decision_id=before[0]["decision_id"],
    )
    with service.client("app") as app:
        assert app.send_events([event]).accepted == 1
    # A worker that the system does not let run for 5 ms says that it goes without; here many programs run.
    after = [one for one in service.answers("somebody new") if one.get("profile") != "unavailable"]
    assert {answer["source"] for answer in after} == {"history"}
    assert clicked not in {item["item_id"] for answer in after for item in answer["items"]}
    assert len(service.answered_by({answer["request_id"] for answer in after})) == 2


def test_click_on_an_ad_is_charged_by_whichever_worker_reads_it_first(service: Service) -> None:
    price, now = 400_000, int(time.time())
    booked = CampaignMessage(
        campaign_id="spring",
        advertiser="Acme",
        payer="Acme GmbH",
        starts=now - 60,
        ends=now + DAY,
        total_budget="2.50",
        bid_type="cpc",
        bid=0.4,
        creatives=[CampaignCreativeMessage(item_id="i001")],
    )
    with service.client("anna") as anna, service.client("app") as app:
        made = anna.create_campaign(booked)
        assert (made.version, made.campaign.total_budget) == (1, 2.5)
        ledger, log = open_ledger(service.where), open_event_log(service.where)
        limits = Limits("spring", local_day("UTC", now), 2_500_000, None, 1)
        lease = ledger.lease(LeaseRequest("test", limits, price, price, 30_000), now * 1000)
        assert lease is not None
        sale = Sale("i001", "spring", "cpc", price, price, lease.number, limits.day, (now + 3600) * 1000)
        log.append_decisions([decision("of an ad", time_ms=now * 1000, user_id="u9", sales=(sale,))])
        clicks = [
            EventMessage(kind="click", item_id="i001", timestamp=now, user_id="u9", decision_id="of an ad")
            for _ in range(2)
        ]
        assert app.send_events(clicks).accepted == 2
        ledger.close()
        log.close()

        def charged() -> float | None:
            spent = anna.campaign("spring").spent
            return spent.charged if spent is not None else None

        assert eventually(lambda: charged() == 0.4)
        spent = anna.campaign("spring").spent
        assert spent is not None
        assert (spent.sold, spent.billed, spent.held, spent.unbilled_events) == (1, 1, 0, 0)
        delivery = anna.campaign("spring").delivery
        assert delivery is not None
        assert (delivery.shown, delivery.looked_at) == (1, 1 + sum(delivery.not_shown.values()))
        # Of a day and a minute a minute is over. Nobody has bid for a click: its probability is unknown.
        assert delivery.planned == pytest.approx(2.5 * 60 / (DAY + 60), rel=1.0)
        assert delivery.forecast is None
        by_view = msgspec.structs.replace(booked, campaign_id="by view", bid_type="cpm", bid=1)
        tried = anna.try_campaign(CampaignTrialRequest(campaign=by_view))
        assert tried.forecast is not None
        assert 0 <= tried.forecast.charged <= 2.5, (
            "by what the answers so far could have sold, and its budget"
        )
        assert anna.pause_campaign("spring", 1).state == "paused"
        with pytest.raises(RefusedError) as refused:
            anna.patch_campaign("spring", CampaignChange(bid=1), 1)
        assert refused.value.status == 409


def test_answers_are_on_record_and_drawn_from_many(service: Service) -> None:
    answers = service.answers("u1")
    assert all(answer["recorded"] and answer["policy"] == "softmax" for answer in answers)
    assert len({answer["items"][0]["item_id"] for answer in answers}) > 1
    wanted = {answer["decision_id"] for answer in answers}
    assert len(wanted) == N_CONNECTIONS
    log = open_event_log(service.where)
    assert eventually(lambda: all(log.find_decision(one) is not None for one in wanted))
    log.close()


def load_on(service: Service, name: str) -> SteadyLoad:
    return SteadyLoad(name, service.running, lambda: service.client("app"), lambda: service.client("shop"))


def test_kill_costs_no_campaign_its_budget_its_caps_or_anything_twice(service: Service) -> None:
    """The same as `benchmarks.ads`, which does it with 50 clients, 10,000 requests and 20 kills."""
    with service.client("anna") as anna:
        names = book_over_http(anna, budget=0.1)
        visitors = Visitors(
            [service.running.url], "visitor-secret", n_clients=8, n_requests=200, n_users=6, pause_s=0.02
        )
        assert eventually(lambda: len(workers_of(service.running)) == 2)
        # Leases are taken beside the answers: the first ones may have to go without ads.
        assert eventually(lambda: any("ads" in one for one in service.answers("u1")))
        visitors.start()
        killer = Killer([service.running], visitors, n_kills=1)
        killer.run()
        visitors.join()
        for name in names:
            anna.end_campaign(name, 1)
    assert (killer.n_killed, visitors.lost) == (1, 0)

    def is_booked() -> bool:
        """Returns whether the last click is booked: log and ledger are read one after the other."""
        judged = judge(service.where)
        return (judged.difference, judged.doubled) == (0, 0) and judged.n_charged > 20

    # Leases are held for longer, and the benchmark waits for their end.
    assert eventually(is_booked)
    judged = judge(service.where)
    assert (judged.over_budget, judged.over_cap, judged.difference, judged.doubled) == (0, 0, 0, 0)


def test_kills_cost_no_acknowledged_event_and_the_latest_decisions_alone(service: Service) -> None:
    load = load_on(service, "killed")
    with load.going_on():
        load.kill(N_KILLS)
    missing = missing_from(service.where, load)
    assert (missing.events, missing.doubles) == (0, 0)
    # How long exactly is for the benchmark to say: here many programs run beside.
    assert all(before_kill_s < 2 for before_kill_s in missing.decisions_s)


def told_with_retries(app: Client, rows: list[EventMessage]) -> int:
    """Returns how many tries it took until the service kept some rows."""
    for tries in range(1, 600):
        try:
            told = app.send_events(rows)
        except ServiceError:
            time.sleep(0.1)
            continue
        # New, though they were sent before: nothing that was refused was remembered as seen.
        assert (told.accepted, told.repeated) == (len(rows), 0)
        return tries
    raise AssertionError("the service does not keep events again")


def refused(service: Service, rows: list[dict[str, Any]], status: int) -> httpx.Response:
    """Returns the first answer to rows with a status of refusal; what went before it was kept.

    A machine that is busy may refuse some with 503 before a disk is full.
    """
    headers = {"authorization": "Bearer app-secret"}
    with httpx.Client(base_url=service.running.url, timeout=20, trust_env=False) as client:
        for number in range(600):
            named = [{**row, "event_id": f"{row['event_id']}-{number}"} for row in rows]
            response = client.post("/v1/events", json={"events": named}, headers=headers)
            if response.status_code == status:
                return response
    raise AssertionError(f"none was refused with {status}, the last answer is {response.status_code}")


def test_store_that_goes_and_comes_costs_no_answer_and_no_event(service: Service) -> None:
    if service.server is None:
        pytest.skip("a folder does not stop and start")
    now = int(time.time())
    row: dict[str, Any] = {"kind": "view", "item_id": "i001", "timestamp": now, "user_id": "u9"}
    load = load_on(service, "gone")
    with load.going_on():
        load.await_work()
        service.server.stop()
        load.ended_at.append(time.time())
        response = refused(service, [{**row, "event_id": "refused"}], 503)
        assert int(response.headers["retry-after"]) >= 1
        # The writer finds out with its next group; then nothing is drawn that would not be on record.
        assert eventually(lambda: not any(one["recorded"] for one in service.answers("u1")))
        answers = service.answers("u1")
        assert {answer["policy"] for answer in answers} == {"greedy"}
        assert all(answer["items"] and answer["profile"] == "unavailable" for answer in answers)
        service.server.start()
        again = EventMessage(event_id="refused-0", **row)  # as it was refused
        with service.client("app") as app:
            told_with_retries(app, [again])
        load.await_work()
    missing = missing_from(service.where, load)
    assert (missing.events, missing.doubles) == (0, 0)
    # Decisions are not flushed one by one: a database that ends as if it were killed loses the latest.
    assert all(before_stop_s < 2 for before_stop_s in missing.decisions_s)


def test_full_disk_is_told_and_nothing_is_kept_until_there_is_room(service: Service) -> None:
    if service.small_disk is None:
        pytest.skip("needs a folder on a small disk of its own, which only root can mount")
    now, filler = int(time.time()), service.small_disk / "filler"
    row = {"kind": "feedback", "item_id": "i001", "timestamp": now, "user_id": "u9", "text": "x" * 9_000}
    with service.client("anna") as anna:
        names = book_over_http(anna, "full-")
    assert eventually(lambda: any("ads" in one for one in service.answers("u1")))
    # Written and not reserved by what is said to be free: the service writes meanwhile.
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(2**16))
    response = refused(service, [{**row, "event_id": f"full-{number}"} for number in range(50)], 507)
    assert "full" in response.json()["error"]["message"]
    # Whoever is shown an ad can be charged for it, and everybody is shown something.
    answers = service.answers("u1")
    assert all(one["items"] and (one["recorded"] or "ads" not in one) for one in answers)
    filler.unlink()
    rows = [EventMessage(event_id="room", kind="view", item_id="i001", timestamp=now, user_id="u9")]
    with service.client("app") as app:
        told_with_retries(app, rows)
    assert eventually(lambda: all(one["recorded"] for one in service.answers("u1")))
    with service.client("anna") as anna:
        for name in names:
            anna.end_campaign(name, 1)
    judged = judge(service.where)
    assert (judged.over_budget, judged.over_cap, judged.difference, judged.doubled) == (0, 0, 0, 0)


def test_acknowledged_click_is_asked_for_by_the_client_as_well(service: Service) -> None:
    with service.client("app") as app, service.client("shop") as shop:
        answer = shop.recommend(RecommendRequest(user_id="another one", k=3))
        assert answer.decision_id is not None
        rows = [
            EventMessage(
                kind="exposure",
                item_id=item.item_id,
                timestamp=int(time.time()),
                decision_id=answer.decision_id,
            )
            for item in answer.items
        ]
        assert app.send_events(rows).accepted == 3
        assert app.send_events([EventMessage(kind="view", item_id="x", timestamp=1, user_id="u")]).rejected


def test_day_that_is_over_leaves_the_log_and_others_stay(service: Service) -> None:
    log = open_event_log(service.where)
    # Nobody can send an event of that day any more: it was kept then.
    log.append([event("of long ago", timestamp=NOW - 400 * DAY), event("of the future", timestamp=2 * NOW)])
    assert eventually(lambda: [(part.kind, part.n_rows) for part in log.closed_parts()] == [("click", 1)])
    kept = {logged.event.event_id for logged in log.read(0, 1_000_000)}
    log.close()
    assert "of the future" in kept
    assert "of long ago" not in kept

    def page() -> str:
        return service.running.client.get("/metrics", headers={"authorization": "Bearer watch-secret"}).text

    assert 'marquee_heartbeat_seconds{thread="closing"}' in page()
    assert eventually(lambda: 'marquee_closed_rows_total{kind="click"} 1.0' in page())
