"""All rows of a user are read in pages, from store and files, asked of both stores."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marquee.errors import DataError
from marquee.store.log.closed_days import close_days
from marquee.store.log.decision_ids import decision_id as decision_id_of
from marquee.store.log.event_rows import EventLimits
from marquee.store.people.erasing import held_rows
from marquee.store.people.erasing.held_rows import HeldPage, read_held
from tests.support.erasures import Service, fill
from tests.support.event_stores import Store, decision, event
from tests.support.people import handle


@pytest.fixture
def service(store: Store, tmp_path: Path) -> Iterator[Service]:
    opened = Service(store, tmp_path / "closed")
    yield opened
    opened.close()


def ids(page: HeldPage) -> list[str]:
    return [row["event_id"] for row in page.events] + [row["decision_id"] for row in page.decisions]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_pages_give_every_row_of_the_user_once(service: Service, limit: int) -> None:
    eraser = service.eraser()
    names = fill(eraser)
    places, found, n_pages = eraser.places, list[str](), 0
    cursor: str | None = ""
    assert places.closed is not None
    while cursor is not None:
        page = read_held(places.log, places.closed, names[2], cursor, limit)
        assert len(page) <= limit
        found += ids(page)
        n_pages += 1
        cursor = page.cursor
    # Also those that name a decision of theirs and no user: they go with an erasure, and are held until then.
    rows = ("click", "view", "shown", "d0", "d1", "nobody")
    everything = {"row-2-ahead"} | {f"row-2-{step}-{row}" for step in ("old", "new") for row in rows}
    assert len(found) == len(set(found)) == 13
    assert set(found) == everything
    assert n_pages >= 13 // limit


def test_rows_hold_all_but_sequence_and_user(service: Service) -> None:
    eraser = service.eraser()
    names = fill(eraser)
    assert eraser.places.closed is not None
    page = read_held(eraser.places.log, eraser.places.closed, names[0], "", 100)
    event = next(row for row in page.events if row["event_id"] == "row-0-new-shown")
    assert event["decision_id"] == "row-0-new-d0"
    assert all({"sequence", "user_id"}.isdisjoint(row) for row in (*page.events, *page.decisions))
    assert {tuple(row) for row in page.events} == {
        ("event_id", "kind", "item_id", "timestamp", "received", "decision_id", "value", "text")
    }
    assert len({tuple(row) for row in page.decisions}) == 1  # from store and files in one form
    assert page.decisions[0]["items"] == ["a", "b"]


@pytest.mark.parametrize(("module", "name"), [(held_rows, "read_part"), (held_rows, "_ids_of")])
def test_file_that_an_erasure_replaces_while_it_is_read_costs_no_row(
    service: Service, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    eraser = service.eraser()
    names = fill(eraser)
    places = eraser.places
    assert places.closed is not None
    wanted = ids(read_held(places.log, places.closed, names[0], "", 100))
    erased: list[Path] = []
    read: Callable[..., pl.DataFrame] = getattr(module, name)

    def read_late(path: Path, *whose: Any, **named: Any) -> pl.DataFrame:
        # After the list was read, before the first file is; the pass itself reads files as well.
        if not erased:
            erased.append(path)
            eraser.begin(handle("user-1"), "user-1", 2_000_000_000)
            eraser.run(2_000_000_060)
        return read(path, *whose, **named)

    monkeypatch.setattr(module, name, read_late)
    assert ids(read_held(places.log, places.closed, names[0], "", 100)) == wanted
    assert not erased[0].exists(), "or else this test shows nothing"


def test_page_that_finds_nothing_in_many_files_ends(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_rows, "_FILES_PER_PAGE", 1)
    eraser = service.eraser()
    names = fill(eraser)
    places = eraser.places
    assert places.closed is not None
    first = read_held(places.log, places.closed, names[0], "", 100)
    while first.cursor is not None and not first.cursor.startswith("files:"):
        assert first.cursor.startswith("named:")
        first = read_held(places.log, places.closed, names[0], first.cursor, 100)
    assert first.cursor is not None
    second = read_held(places.log, places.closed, names[0], first.cursor, 100)
    assert len(second) == 2 or second.cursor is not None
    # An erasure of somebody else gives the files other names; the cursor holds.
    eraser.begin(handle("user-1"), "user-1", 2_000_000_000)
    eraser.run(2_000_000_060)
    assert ids(read_held(places.log, places.closed, names[0], first.cursor, 100)) == ids(second)


@pytest.mark.parametrize(
    "cursor", ["x", "events:", "events:-1", "files:1/click/2", "nobody:1:2", "named:1:2"]
)
def test_cursor_of_another_kind_is_refused(service: Service, cursor: str) -> None:
    eraser = service.eraser()
    with pytest.raises(DataError, match="cursor must be that of the page before, got"):
        read_held(eraser.places.log, Path(), "u", cursor, 1)


def test_page_reads_as_many_files_whatever_the_log_holds(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_days, n_files = 12, 3
    monkeypatch.setattr(held_rows, "_FILES_PER_PAGE", n_files)
    eraser = service.eraser()
    log, closed = eraser.places.log, eraser.places.closed
    assert closed is not None
    for day in range(n_days):
        moment = 1_600_000_000 + day * 86_400
        made = [decision_id_of(moment * 1000 + i, bytes([day, i]) * 5) for i in range(2)]
        log.append_decisions(
            [
                decision(one, user_id=user, time_ms=moment * 1000)
                for one, user in zip(made, ("ours", "other"), strict=True)
            ]
        )
        log.append(
            [
                event(f"{day}-{i}", user_id=None, timestamp=moment, decision_id=one)
                for i, one in enumerate(made)
            ]
        )
    close_days(log, closed, 1_700_000_000, (), EventLimits())
    # One that is not closed yet names the oldest answer.
    oldest = decision_id_of(1_600_000_000_000, bytes([0, 0]) * 5)
    log.append([event("late", user_id=None, timestamp=1_700_000_000, decision_id=oldest)])
    n_read, found, most = [0], list[str](), 0
    cursor: str | None = ""
    scan = pl.scan_parquet

    def counted(*arguments: Any, **named: Any) -> pl.LazyFrame:
        n_read[0] += 1
        return scan(*arguments, **named)

    monkeypatch.setattr(pl, "scan_parquet", counted)
    while cursor is not None:
        n_read[0] = 0
        page = read_held(log, closed, "ours", cursor, 100)
        found += ids(page)
        most, cursor = max(most, n_read[0]), page.cursor
    assert len(found) == 2 * n_days + 1
    assert set(found) >= {"late", *(f"{day}-0" for day in range(n_days))}
    # A file, those of nobody in it, and the answers of the day that these name: not those of all days.
    assert most <= 3 * n_files < n_days
