"""Erasing users, asked of both stores: all their rows go, nobody else's do, and the receipt says how many."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from marquee.errors import SignatureError
from marquee.store.campaigns.opening import open_campaign_store
from marquee.store.files import watching_steps
from marquee.store.ledger.rows import CapClaim
from marquee.store.log.closed_days import close_days
from marquee.store.log.event_rows import EventLimits
from marquee.store.log.sales import Sale
from marquee.store.people.erasing.eraser import SETTLE_S, Eraser, PassReport, Retention
from marquee.store.people.erasing.receipts import ErasureReceipt, HoldingRelease
from marquee.store.signing import SigningKey, TrustedKeys, write_key_pair
from tests.support.campaigns import campaign
from tests.support.erasures import ASKED, EARLIER, Service, consent, fill, rows_of
from tests.support.event_stores import DAY, NOW, Store, decision, event
from tests.support.ledgers import open_test_ledger
from tests.support.people import handle, pseudonym

LATER = ASKED + SETTLE_S


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def service(store: Store, tmp_path: Path) -> Iterator[Service]:
    opened = Service(store, tmp_path / "closed")
    yield opened
    opened.close()


def erase(eraser: Eraser, user: str, now: int = ASKED) -> ErasureReceipt:
    return eraser.begin(handle(user), user, now).receipt


def final(eraser: Eraser, user: str) -> ErasureReceipt:
    found = eraser.latest(handle(user))
    assert found is not None
    return found.receipt


def test_pass_leaves_no_row_of_the_erased_and_all_of_the_others(service: Service) -> None:
    eraser = service.eraser()
    fill(eraser)
    others = {user: rows_of(eraser, user) for user in ("user-0", "user-3")}
    assert [len(rows) for rows in others.values()] == [13, 13]
    first = erase(eraser, "user-1")
    erase(eraser, "user-2")
    assert (first.events, first.decisions, first.finished) == (5, 2, None)
    assert eraser.run(LATER) == PassReport(finished=2, expired=0, is_wiped=True)
    assert rows_of(eraser, "user-1") == rows_of(eraser, "user-2") == []
    assert {user: rows_of(eraser, user) for user in others} == others
    receipt = final(service.eraser(), "user-1")
    assert receipt == replace(first, finished=LATER, events_in_files=4, decisions_in_files=2)
    assert receipt.due == ASKED + 24 * 3600
    counts = {part.file: part.n_rows for part in eraser.places.log.closed_parts()}
    assert counts == {file: len(pl.read_parquet(service.closed / file)) for file in counts}


def test_files_keep_their_order_and_schema(service: Service) -> None:
    eraser = service.eraser()
    fill(eraser, 30)
    before = {part.kind: pl.read_parquet(service.closed / part.file) for part in _parts(eraser)}
    erase(eraser, "user-7")
    eraser.run(LATER)
    for part in _parts(eraser):
        after, gone = pl.read_parquet(service.closed / part.file), pseudonym(107)
        key = "decision_id" if part.kind == "decision" else "event_id"
        kept = before[part.kind].filter(~pl.col(key).str.starts_with("row-7-"))
        assert after.equals(kept)
        assert after.schema == before[part.kind].schema
        assert gone not in after["user_id"].to_list()


def _parts(eraser: Eraser) -> list:  # type: ignore[type-arg]
    return eraser.places.log.closed_parts()


def test_repeated_erasure_changes_nothing(service: Service) -> None:
    eraser = service.eraser()
    fill(eraser)
    first = eraser.begin(handle("user-1"), "user-1", ASKED)
    assert service.eraser().begin(handle("user-1"), "user-1", ASKED + 50) == first
    eraser.run(LATER)
    done = eraser.latest(handle("user-1"))
    assert eraser.begin(handle("user-1"), "user-1", LATER + 50) == done
    assert eraser.run(LATER + 100) == PassReport(0, 0, is_wiped=True)
    assert eraser.latest(handle("user-1")) == done


def test_nothing_is_finished_before_the_bytes_are_overwritten(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    eraser = service.eraser()
    fill(eraser)
    erase(eraser, "user-1")
    with monkeypatch.context() as patched:
        patched.setattr(eraser.places.log.removal, "wipe", lambda: False)
        assert eraser.run(LATER) == PassReport(0, 0, is_wiped=False)
    assert final(eraser, "user-1").finished is None
    answers = iter([False, True])
    monkeypatch.setattr(eraser.places.log.removal, "wipe", lambda: next(answers))
    assert eraser.run(LATER) == PassReport(1, 0, is_wiped=True)
    assert final(eraser, "user-1").finished == LATER


def test_pass_that_cannot_overwrite_the_bytes_of_people_is_due_again_at_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    eraser = service.eraser()
    fill(eraser)
    assert eraser.run(ASKED) == PassReport(0, 0, is_wiped=True)
    erase(eraser, "user-1")
    with monkeypatch.context() as patched:
        patched.setattr(eraser.places.users, "wipe", lambda: False)
        assert eraser.run(LATER) == PassReport(0, 0, is_wiped=False)
        assert final(eraser, "user-1").finished is None
    with monkeypatch.context() as patched:
        patched.setattr(eraser.places.receipts, "wipe", lambda: False)
        assert eraser.run(LATER) == PassReport(1, 0, is_wiped=False)
    assert eraser.is_due(LATER + 1)
    assert eraser.run(LATER + 1) == PassReport(0, 0, is_wiped=True)
    assert not eraser.is_due(LATER + 2)


def test_pass_killed_before_it_overwrites_bytes_is_due_again_at_once(service: Service) -> None:
    eraser = service.eraser()
    fill(eraser)
    eraser.run(ASKED)
    erase(eraser, "user-1")

    def killed(step: str) -> None:
        if step == "overwrote bytes":
            raise KilledError

    with watching_steps(killed), pytest.raises(KilledError):
        eraser.run(LATER)
    assert eraser.is_due(LATER + 1)


def test_receipts_that_are_dropped_leave_no_bytes_behind(store: Store, tmp_path: Path) -> None:
    service = Service(store, tmp_path / "closed", retention=Retention(tombstones=5))
    eraser = service.eraser()
    for number in range(40):
        erase(eraser, f"user-{number}")
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name.startswith("receipts")]
    # The handle of a user, as the table and the text of a receipt hold it.
    traces = [form for n in range(40) for form in (handle(f"user-{n}"), handle(f"user-{n}").hex().encode())]
    if not store.where.startswith("postgresql"):
        assert any(trace in path.read_bytes() for path in files for trace in traces)
    assert eraser.run(ASKED + 6 * DAY) == PassReport(0, 0, is_wiped=True)
    assert eraser.latest(handle("user-1")) is None
    assert [path for path in files if any(trace in path.read_bytes() for trace in traces)] == []
    service.close()


def test_counts_go_once_a_receipt_holds_them(service: Service) -> None:
    eraser = service.eraser()
    fill(eraser)
    removal = eraser.places.log.removal
    first = erase(eraser, "user-1")
    erase(eraser, "user-2", LATER)
    assert len(removal.counted()) == 2
    eraser.run(LATER)
    assert first.erasure_id not in removal.counted()
    assert len(removal.counted()) == 1, "the other one waits"
    assert final(eraser, "user-1").events == 5
    eraser.run(LATER + SETTLE_S)
    assert removal.counted() == set()
    assert final(eraser, "user-2").events == 5
    assert erase(eraser, "user-2") == final(eraser, "user-2")


def test_receipt_that_is_final_stays_where_a_request_comes_late_with_one_that_is_not(
    service: Service,
) -> None:
    eraser, other = service.eraser(), service.eraser()
    fill(eraser)

    def passes(step: str) -> None:
        if step == "erased from the store":
            other.run(LATER)

    with watching_steps(passes):
        told = erase(eraser, "user-1")
    assert told == final(eraser, "user-1")
    assert told.finished == LATER


def test_erasure_goes_on_where_a_pass_drops_the_old_tombstone_meanwhile(service: Service) -> None:
    eraser, other = service.eraser(), service.eraser()
    fill(eraser)
    erase(eraser, "user-1", ASKED)
    eraser.run(LATER)
    later = ASKED + 30 * DAY
    n_dropped: list[int] = []

    def drops(step: str) -> None:
        if step == "forgotten" and not n_dropped:
            other.places.receipts.drop(later - DAY)
            n_dropped.append(other.places.users.drop_tombstones(later - DAY))

    with watching_steps(drops):
        receipt = erase(eraser, "user-1", later)
    assert n_dropped == [1]
    assert (receipt.asked, receipt.finished, receipt.events) == (later, later, 0)


def test_stranger_gets_a_receipt_of_no_rows_and_a_tombstone(service: Service) -> None:
    eraser = service.eraser()
    receipt = erase(eraser, "nobody")
    assert (receipt.finished, receipt.events, receipt.decisions) == (ASKED, 0, 0)
    assert eraser.places.users.find(handle("nobody")).is_erased
    assert erase(eraser, "nobody", ASKED + 9) == receipt
    assert eraser.latest(handle("another")) is None


def test_who_comes_back_within_a_second_is_erased_again_at_once(service: Service) -> None:
    eraser = service.eraser()
    assert erase(eraser, "user-1").finished == ASKED
    again = consent(eraser, "user-1", ASKED)
    eraser.places.log.append([event("again", user_id=again, timestamp=ASKED)])
    receipt = erase(eraser, "user-1")
    assert (receipt.events, receipt.finished) == (1, None)
    assert eraser.places.log.read_events_of(str(again), 0, 10) == []


def test_rows_acknowledged_while_it_ran_go_with_the_pass(service: Service) -> None:
    eraser = service.eraser()
    names = fill(eraser)
    erase(eraser, "user-1")
    # A worker had looked the pseudonym up before it was dropped, and its day was closed since.
    log = eraser.places.log
    log.append(
        [
            event("row-1-late", user_id=names[1]),
            event("row-1-ahead-late", user_id=names[1], timestamp=NOW + 299),
        ]
    )
    log.append([event("row-1-closed", user_id=names[1], timestamp=EARLIER + 3)])
    close_days(log, service.closed, NOW, (), EventLimits())
    assert eraser.run(ASKED + SETTLE_S - 1) == PassReport(0, 0, is_wiped=True)
    assert len(rows_of(eraser, "user-1")) == 9
    eraser.run(LATER)
    assert rows_of(eraser, "user-1") == []
    assert (final(eraser, "user-1").events, final(eraser, "user-1").events_in_files) == (7, 5)


def test_new_consent_gives_a_new_pseudonym_that_the_pass_leaves_alone(service: Service) -> None:
    eraser = service.eraser()
    names = fill(eraser)
    first = erase(eraser, "user-1")
    again = consent(eraser, "user-1", ASKED + 5)
    assert again not in (None, names[1])
    eraser.places.log.append([event("row-1-again", user_id=again)])
    eraser.run(LATER)
    assert rows_of(eraser, "user-1") == ["row-1-again"]
    second = erase(eraser, "user-1", LATER + 9)
    assert second.erasure_id != first.erasure_id
    eraser.run(LATER + 9 + SETTLE_S)
    assert rows_of(eraser, "user-1") == []
    assert final(eraser, "user-1").events == 1
    receipts = eraser.places.receipts.find(handle("user-1"))
    assert [one.receipt.erasure_id for one in receipts] == [second.erasure_id, first.erasure_id]


def killed_at(service: Service, n: int) -> bool:
    """Erases two users and runs the pass, and ends at the n-th step; returns whether there was one."""
    n_steps = 0

    def watch(_step: str) -> None:
        nonlocal n_steps
        n_steps += 1
        if n_steps == n:
            raise KilledError

    try:
        with watching_steps(watch):
            eraser = service.eraser()
            erase(eraser, "user-1")
            erase(eraser, "user-2")
            eraser.run(LATER)
    except KilledError:
        return True
    return False


def test_erasure_killed_at_any_step_goes_on(
    store: Store, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    is_postgres, n, was_killed = store.where.startswith("postgresql"), 1, True
    while was_killed:
        where = request.getfixturevalue("postgres").empty() if is_postgres else str(tmp_path / f"log-{n}")
        service = Service(Store(where), tmp_path / f"closed-{n}")
        fill(service.eraser())
        others = rows_of(service.eraser(), "user-3")
        was_killed = killed_at(service, n)
        service.close()
        validate_goes_on(service, others)
        service.close()
        n += 11  # the benchmark takes every step
    assert n > 30


def validate_goes_on(service: Service, others: list[str]) -> None:
    """Goes on as a new process does, and looks whether all is done and counted."""
    eraser = service.eraser()
    for user in ("user-1", "user-2"):
        erase(eraser, user)
    assert eraser.run(LATER + 5) is not None
    assert rows_of(eraser, "user-1") == rows_of(eraser, "user-2") == []
    assert rows_of(eraser, "user-3") == others
    for receipt in (final(eraser, "user-1"), final(eraser, "user-2")):
        assert receipt.events + receipt.events_in_files == 9
        assert receipt.decisions + receipt.decisions_in_files == 4
        assert receipt.finished is not None
    assert eraser.places.users.forgotten() == []
    assert not list(service.closed.rglob("*.new"))


def test_old_rows_tombstones_and_receipts_go_by_age(service: Service) -> None:
    service.retention = Retention(events=10, decisions=15, tombstones=5)
    eraser = service.eraser()
    fill(eraser)
    erase(eraser, "user-1")
    assert eraser.run(LATER) == PassReport(finished=1, expired=18, is_wiped=True)  # what was in files
    assert len(rows_of(eraser, "user-0")) == 7
    assert list(service.closed.rglob("*.parquet")) == []
    report = eraser.run(NOW + 12 * DAY)
    assert report == PassReport(finished=0, expired=15, is_wiped=True)
    assert rows_of(eraser, "user-0") == ["row-0-new-d0", "row-0-new-d1"]
    assert not eraser.places.users.find(handle("user-1")).is_erased
    assert eraser.latest(handle("user-1")) is None
    eraser.run(NOW + 17 * DAY)
    assert rows_of(eraser, "user-0") == []


def test_pass_is_due_daily_and_when_half_the_time_is_over(service: Service) -> None:
    eraser = service.eraser()
    fill(eraser)
    assert eraser.is_due(ASKED)
    eraser.run(ASKED)
    assert not eraser.is_due(ASKED + DAY - 1)
    assert eraser.is_due(ASKED + DAY)
    erase(eraser, "user-1", ASKED)
    assert not eraser.is_due(ASKED + DAY // 2 - 1)
    assert eraser.is_due(ASKED + DAY // 2)


def test_only_one_runs_a_pass_at_a_time(service: Service) -> None:
    eraser, other = service.eraser(), service.eraser()
    with other.places.log.only_closer():
        assert eraser.run(LATER) is None


def test_unlisted_files_are_deleted_and_those_of_others_stay(service: Service) -> None:
    eraser = service.eraser()
    fill(eraser)
    folder = service.closed / "kind=click"
    for name in ("day=2023-11-14.7.parquet", ".day=2023-11-14.9.parquet.new", "mine.parquet"):
        (folder / name).write_bytes(b"left")
    eraser.run(LATER)
    left = {path.name for path in folder.iterdir()}
    assert left == {"mine.parquet", *(Path(one.file).name for one in _parts(eraser) if one.kind == "click")}


def test_receipt_is_verified_by_the_public_key_and_nothing_else(service: Service, tmp_path: Path) -> None:
    private, public = write_key_pair(tmp_path / "keys" / "receipts")
    _, other = write_key_pair(tmp_path / "keys" / "other")
    service.key = SigningKey.read(private)
    eraser = service.eraser()
    fill(eraser)
    receipt = eraser.begin(handle("user-1"), "user-1", ASKED)
    receipt.verify(TrustedKeys.read(public))
    with pytest.raises(SignatureError, match="expected ed25519 and one of"):
        receipt.verify(TrustedKeys.read(other))
    forged = replace(receipt, receipt=replace(receipt.receipt, events=0))
    with pytest.raises(SignatureError, match="is not that of its content"):
        forged.verify(TrustedKeys.read(public))
    with pytest.raises(SignatureError, match="is not signed, expected a signature; start the service with"):
        replace(receipt, signature=None).verify(TrustedKeys.read(public))
    found = eraser.latest(handle("user-1"))
    assert found == receipt


def test_receipt_names_the_releases_that_hold_the_person(service: Service) -> None:
    held = {
        "user-1": [HoldingRelease("v1", ASKED)],
        pseudonym(101): [HoldingRelease("v2", ASKED + 9)],
        "nobody": [HoldingRelease("v1", ASKED)],
    }
    eraser = replace(service.eraser(), find_releases=lambda name: held.get(name, []))
    fill(eraser)
    assert [one.version for one in erase(eraser, "user-1").releases] == ["v1", "v2"]
    erase(eraser, "nobody")
    # By another age that the operator has set meanwhile.
    held[pseudonym(101)] = [HoldingRelease("v2", ASKED + 50), HoldingRelease("v3", ASKED + 99)]
    eraser.run(LATER)
    told = [("v1", ASKED), ("v2", ASKED + 9), ("v3", ASKED + 99)]
    assert [(one.version, one.until) for one in final(eraser, "user-1").releases] == told
    assert eraser.places.receipts.held() == {"v1": 2, "v2": 1, "v3": 1}


def test_ledger_forgets_whom_ads_were_shown_to_and_keeps_the_money(service: Service) -> None:
    eraser = service.eraser()
    names = fill(eraser)
    where, log = service.store.where, eraser.places.log
    ledger, campaigns = open_test_ledger(where), open_campaign_store(where)
    campaigns.put(campaign(), 0, "created", "anna", NOW)
    for name in names[:2]:
        assert ledger.admit(name, [CapClaim((f"campaign of {name}",))], NOW * 1000) == [True]
        sale = Sale("ad-1", "spring", "cpc", 400_000, 400_000, 0, "2023-11-14", (NOW + 3600) * 1000)
        log.append_decisions([decision(f"ad of {name}", user_id=name, sales=(sale,))])
        clicked = {"decision_id": f"ad of {name}", "user_id": name, "item_id": "ad-1"}
        log.append([event(f"click of {name}", **clicked)])
    erase(eraser, "user-1")
    assert eraser.run(LATER) == PassReport(finished=1, expired=0, is_wiped=True)
    # The click was not booked yet as its user was erased: what it cost is charged all the same.
    assert ledger.accounts("spring")[0].charged == 800_000
    assert ledger.shown(names[1], 0) == {}
    assert ledger.shown(names[0], 0) == {f"campaign of {names[0]}": [NOW * 1000]}
    ledger.close()
    campaigns.close()
    folder = Path(where)
    if folder.is_dir():  # a database is vacuumed, and its files are not ours to read
        bytes_left = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
        assert names[0].encode() in bytes_left
        assert names[1].encode() not in bytes_left
        assert f"ad of {names[1]}".encode() not in bytes_left
