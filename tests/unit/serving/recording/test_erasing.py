"""Erasing users of a service: what holds on every worker at once, and the passes that follow."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from marquee.decision.recommender import Recommender
from marquee.errors import ConfigError, EventLogError
from marquee.store.log.event_log import Decision
from marquee.store.people.erasing.eraser import SETTLE_S, PassReport, Retention
from marquee.store.people.erasing.receipts import SignedReceipt
from marquee.store.signing import TrustedKeys, write_key_pair
from serving.api.releases import ReleaseRoutes
from serving.config import Settings
from serving.http.exchange import Call
from serving.recording.erasing import ErasingThread, Erasures
from serving.recording.erasing_process import RESTS_PER_WORK, Rests
from serving.recording.erasing_terms import Terms, validate_terms
from serving.recording.recorder import Recorder
from serving.releases.answering import overdue
from serving.releases.surface_file import SurfaceFile
from tests.support.bundles import CREATED, NOW, publish_tiny
from tests.support.people_service import TERMS, Worker, click
from tests.support.service_process import eventually

Workers = Callable[..., Worker]
DAY = 86_400


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_tiny(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def workers(release: Path, tmp_path: Path) -> Iterator[Workers]:
    made: list[Worker] = []
    recommender = Recommender.load(release)

    def make(**options: Any) -> Worker:
        made.append(Worker(recommender, tmp_path / "events", **options))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


def rows_in_store(worker: Worker) -> int:
    log = worker.log.get()
    return len(log.read(0, 1000)) + len(log.read_decisions(0, 1000))


def test_erased_user_is_unknown_to_every_worker_at_the_next_answer(workers: Workers) -> None:
    first, second = workers(), workers()
    # The release knows u1 by this very id: an older bundle must not bring them back.
    assert (second.ask(user_id="u1")["tier"], second.ask(user_id="u1")["source"]) == ("personal", "personal")
    assert second.post(click("e1"), click("e2", user_id="u2"))["accepted"] == 2
    response = first.user("DELETE", "u1")
    assert response.status == 202
    assert response.json()["receipt"]["events"] == 1
    answer = second.ask(user_id="u1")
    assert (answer["tier"], answer["source"]) == ("none", "popular")
    assert second.ask(user_id="u2")["tier"] == "personal"
    refused = second.post(click("e3"))
    assert refused["rejected"] == {"erased": 1}
    assert first.counted('marquee_erasures_total{stage="asked"}') == 1
    assert second.written()[-2].user_id is None


def test_new_consent_makes_somebody_new_whom_no_old_release_knows(workers: Workers) -> None:
    worker = workers()
    worker.post(click("e1"))
    worker.user("DELETE", "u1")
    assert worker.consent("u1", "personal").status == 200
    answer = worker.ask(user_id="u1")
    assert (answer["tier"], answer["source"]) == ("personal", "popular")
    assert worker.post(click("e2"))["accepted"] == 1
    names = [one.event.user_id for one in worker.log.get().read(0, 9)]
    assert len(names) == 1
    held = worker.user("GET", "u1").json()
    assert [event["event_id"] for event in held["events"]] == ["e2"]
    assert (held["tier"], len(held["receipts"]), held["erased"]) == ("personal", 1, NOW)


def test_repetition_and_strangers_get_receipts_that_stay(workers: Workers) -> None:
    worker = workers()
    worker.post(click("e1"))
    first = worker.user("DELETE", "u1")
    again = worker.user("DELETE", "u1")
    assert again.status == 202
    assert again.json()["receipt"] == first.json()["receipt"]
    stranger = worker.user("DELETE", "never%2Fseen")
    assert stranger.status == 200
    receipt = stranger.json()["receipt"]
    assert (receipt["events"], receipt["decisions"], receipt["finished"]) == (0, 0, NOW)
    assert worker.user("GET", "never%2Fseen/receipt").json()["receipt"] == receipt
    assert worker.user("GET", "another").json()["events"] == []
    assert worker.user("GET", "another/receipt").status == 404


def test_all_that_is_held_comes_in_pages(workers: Workers) -> None:
    worker = workers()
    worker.consent("u1", "none")
    worker.consent("u1", "personal")
    worker.post(*(click(f"e{i}") for i in range(5)), click("other", user_id="u2"))
    worker.ask(user_id="u1")
    worker.written()
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = worker.user("GET", f"u1?limit=2{cursor and '&cursor=' + cursor}").json()
        found += [row["event_id"] for row in page["events"]]
        found += [row["release"] for row in page["decisions"]]
        assert [one["tier"] for one in page["consents"]] == ["none", "personal"]
        cursor = page["cursor"]
    assert found[:5] == [f"e{i}" for i in range(5)]
    assert len(found) == 6


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("cursor=x", "cursor")],
)
def test_page_that_cannot_be_is_refused(workers: Workers, query: str, field: str) -> None:
    worker = workers()
    worker.post(click("e1"))
    response = worker.user("GET", f"u1?{query}")
    assert (response.status, response.json()["error"]["field"]) == (422, field)


@pytest.mark.parametrize(("method", "path"), [("DELETE", "u1"), ("GET", "u1"), ("GET", "u1/receipt")])
def test_nobody_without_the_right_or_a_key_for_users_is_served(
    workers: Workers, method: str, path: str
) -> None:
    assert workers().user(method, path, secret="app").status == 403
    response = workers(has_key=False).user(method, path)
    assert (response.status, response.json()["error"]["code"]) == (501, "not_configured")


def made_thread(worker: Worker, now: float, overdue: tuple[str, ...] = ()) -> ErasingThread:
    assert worker.erasures is not None
    return ErasingThread(worker.erasures, lambda _now: overdue, worker.metrics, lambda: now)


def test_thread_says_once_that_bytes_could_not_be_overwritten(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    thread = made_thread(workers(), NOW)
    reports = [PassReport(0, 0, is_wiped=False)] * 3 + [PassReport(2, 0, is_wiped=True)]
    told = iter([*reports, *reports[:1]])
    monkeypatch.setattr(
        "serving.recording.orders.OrderedProcess.run", lambda *_: msgspec.json.encode(next(told))
    )
    with caplog.at_level("INFO", "serving.recording.erasing"):
        for _ in range(5):
            thread.look()
    said = [record.message for record in caplog.records]
    assert [one.split(" ")[2] for one in said] == ["could", "has", "could"], said
    assert said[1] == "a pass has finished 2 erasures and 0 old rows"


def test_thread_has_a_pass_run_when_it_is_due(workers: Workers, release: Path, tmp_path: Path) -> None:
    private, public = write_key_pair(tmp_path / "keys" / "receipts")
    channels = (str(release.parent),)
    terms = Terms(
        receipt_key=str(private), hours=2, retention=Retention(), channels=channels, max_release_age_s=DAY
    )
    worker = workers(terms=terms)
    worker.post(click("e1"))
    receipt = worker.user("DELETE", "u1").json()["receipt"]
    held = [{"version": release.name, "until": CREATED + DAY}]
    assert receipt["releases"] == held
    assert made_thread(worker, NOW + SETTLE_S - 1).look() == PassReport(0, 0, is_wiped=True)
    assert made_thread(worker, NOW + 1800).look() is None
    assert worker.counted("marquee_waiting_erasure_share") == 0.25
    report = made_thread(worker, NOW + 3600, (release.name,)).look()
    assert report == PassReport(finished=1, expired=0, is_wiped=True)
    assert worker.counted('marquee_erasures_total{stage="finished"}') == 1
    assert worker.counted("marquee_waiting_erasure_share") == 0
    assert worker.counted("marquee_overdue_erased_users") == 1
    final = worker.user("GET", "u1/receipt")
    assert final.json()["receipt"] == {**receipt, "finished": NOW + 3600}
    # What an operator has saved of the answer is what the public key verifies.
    msgspec.json.decode(final.body, type=SignedReceipt).verify(TrustedKeys.read(public))
    assert worker.erasures is not None
    assert worker.erasures.held_by_releases() == {release.name: 1}


def test_releases_say_whom_they_still_know(workers: Workers, release: Path) -> None:
    terms = msgspec.structs.replace(TERMS, channels=(str(release.parent),), max_release_age_s=30 * DAY)
    worker = workers(terms=terms)
    worker.user("DELETE", "u1")
    worker.user("DELETE", "u2")
    worker.user("DELETE", "whom no release knows")
    surfaces = SurfaceFile.read(Settings(bundle=str(release.parent))).open(worker.metrics, None)
    surfaces.load()

    def listed(now: float, erasures: Erasures | None = worker.erasures) -> list[tuple[int, bool]]:
        routes = ReleaseRoutes(surfaces, erasures, 30, lambda: now)
        answer = asyncio.run(routes.listed(Call("r", 0.0)))
        return [(one.erased_users, one.is_overdue) for one in answer.releases]

    answering = [channel.answering for channel in surfaces.channels]
    assert listed(CREATED + 30 * DAY) == [(2, False)]
    assert list(overdue(answering, CREATED + 30 * DAY, 30)) == []
    assert listed(CREATED + 30 * DAY + 1) == [(2, True)]
    assert list(overdue(answering, CREATED + 30 * DAY + 1, 30)) == [release.name]
    assert listed(CREATED + 30 * DAY + 1, None) == [(0, False)]
    surfaces.close()


def test_pass_that_fails_is_told_and_tried_again(workers: Workers, tmp_path: Path) -> None:
    worker = workers(terms=msgspec.structs.replace(TERMS, receipt_key=str(tmp_path / "none")))
    assert worker.user("DELETE", "u1").status == 503
    with pytest.raises(ConfigError, match="the signing key must be an Ed25519 private key"):
        made_thread(worker, NOW).look()
    worker = workers()
    assert worker.erasures is not None
    worker.erasures.order = msgspec.structs.replace(
        worker.erasures.order, where="postgresql://nobody@127.0.0.1:1/x"
    )
    with pytest.raises(EventLogError, match=r"the pass of erasures ended with 1 .*it is tried again"):
        made_thread(worker, NOW).look()


def test_key_for_receipts_is_looked_at_before_the_service_starts(tmp_path: Path) -> None:
    validate_terms(Settings())
    with pytest.raises(ConfigError, match="MARQUEE_RECEIPT_KEY needs MARQUEE_USER_KEY, without which nobody"):
        validate_terms(Settings(receipt_key="keys/receipts"))
    with pytest.raises(ConfigError, match="the signing key must be an Ed25519 private key in PEM"):
        validate_terms(Settings(receipt_key=str(tmp_path / "none"), user_key="keys/users"))


def test_no_pass_begins_after_the_end(workers: Workers) -> None:
    thread = made_thread(workers(), NOW)
    thread.close()
    assert thread.look() is None


def test_decision_that_waited_for_the_store_names_nobody_who_was_erased_meanwhile(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, now, refused = workers(), [float(NOW)], threading.Event()
    assert worker.keyed is not None
    names = worker.keyed.names_of(["u1", "u2"])
    recorder = Recorder(worker.log, worker.metrics, clock=lambda: now[0], users=worker.keyed)

    def gone(*_: object) -> None:
        refused.set()
        raise EventLogError("no disk")

    with monkeypatch.context() as sick:
        sick.setattr(worker.log.get(), "append_decision_rows", gone)
        for user_id, name in names.items():
            recorder.record(Decision(decision_id=user_id, time_ms=NOW * 1000, user_id=str(name)))
        assert refused.wait(20)
        worker.user("DELETE", "u1")
        now[0] += SETTLE_S
    assert eventually(lambda: len(worker.log.get().read_decisions(0, 9)) == 2)
    kept = {one.decision.decision_id: one.decision.user_id for one in worker.log.get().read_decisions(0, 9)}
    assert kept == {"u1": None, "u2": names["u2"]}
    recorder.close()


def test_pass_rests_as_its_work_says_and_not_for_ever() -> None:
    worked, slept = [0.0], list[float]()
    rest = Rests(lambda: worked[0], slept.append)
    rest()
    worked[0] = 2.0
    rest()
    # Nothing was worked since.
    rest()
    worked[0] = 1_000.0
    rest()
    worked[0] = 2_000.0
    rest()
    assert slept[:3] == [0.0, 2 * RESTS_PER_WORK, 0.0]
    assert sum(slept) == 180.0
