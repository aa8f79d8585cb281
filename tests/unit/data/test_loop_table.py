"""The training table: against a slow, obvious version of the attribution rule, and with its faults."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marquee.core.identity.uuids import time_ms_of, uuid7
from marquee.core.schema import EVENTS
from marquee.data.loop.attribution import AttributionConfig
from marquee.data.loop.counting import count_clicks
from marquee.data.loop.log_source import LogSource
from marquee.data.loop.loop_table import TableCounts, write_loop_table
from marquee.decision.explaining.asked import AskedRow
from marquee.errors import ConfigError, DataError
from marquee.store.files import watching_steps
from marquee.store.log.closed_days import Known, close_days
from marquee.store.log.event_log import Decision, Event, Place
from marquee.store.log.event_rows import EventLimits
from marquee.store.log.sales import Sale
from marquee.store.log.sqlite import SqliteEventLog

DAY, HOUR = 86_400, 3600
START = 19_700 * DAY
CUTOFF = START + 4 * DAY
CONFIG = AttributionConfig(click_window_hours=1, conversion_window_days=1.5, clock_tolerance_seconds=60)


class KilledError(Exception):
    """Stands for the end of the process."""


@dataclass
class Recorded:
    """A log with what was put into it."""

    log: SqliteEventLog
    folder: Path
    decisions: list[Decision]
    events: list[Event]

    @property
    def source(self) -> LogSource:
        return LogSource(self.log, self.folder / "closed")


def shown(number: int, at: int, user: str | None = "u", items: str = "abc") -> Decision:
    return Decision(
        decision_id=uuid7(at * 1000, number.to_bytes(10)),
        time_ms=at * 1000 + number % 1000,
        user_id=user,
        surface="home",
        policy="softmax",
        places=tuple(Place(item, 1.0, 0.5) for item in items),
    )


def told(number: int, kind: str, at: int, about: Decision | None, item: str = "a", **more: object) -> Event:
    fields: dict[str, object] = {
        "event_id": f"e{number}",
        "kind": kind,
        "item_id": item,
        "timestamp": at,
        "sent_timestamp": at,
        "received": at,
        "user_id": None if about else "v",
        "decision_id": about.decision_id if about else None,
    }
    return Event(**{**fields, **more})  # type: ignore[arg-type]


def recorded(folder: Path, decisions: list[Decision], events: list[Event]) -> Recorded:
    log = SqliteEventLog(folder / "log")
    log.append_decisions(decisions)
    log.append(events)
    return Recorded(log, folder, decisions, events)


@pytest.fixture
def random_log(tmp_path: Path) -> Iterator[Recorded]:
    """Five days, the last one beyond the cutoff; some of the clicks are orphans, late, early or repeated."""
    rng = np.random.default_rng(0)
    decisions = [
        shown(n, START + int(rng.integers(0, 5 * DAY)), None if n % 11 == 0 else f"u{n % 7}")
        for n in range(300)
    ]
    events = []
    for n in range(1500):
        about = decisions[int(rng.integers(0, 300))] if n % 6 else None
        base = about.time_ms // 1000 if about else START + int(rng.integers(0, 5 * DAY))
        at = max(START, base + int(rng.choice([-90, -50, 0, 30, 3000, HOUR, HOUR + 1, DAY, 3 * DAY])))
        kind = str(rng.choice(["click", "conversion", "exposure" if about else "view"]))
        unknown = {"decision_id": uuid7(at * 1000, bytes(10))} if about and n % 17 == 0 else {}
        late = {"received": at + int(rng.choice([0, 2 * DAY]))}
        value = {"value": float(n)} if kind == "conversion" else {}
        events.append(told(n, kind, at, about, str(rng.choice(list("abcz"))), **unknown, **late, **value))
    made = recorded(tmp_path, decisions, events)
    yield made
    made.log.close()


def expected_table(made: Recorded) -> tuple[dict[str, tuple[object, ...]], Counter[str]]:
    """Returns the outcome of every exposure by the documented rule, and the counts."""
    known = [e for e in made.events if e.timestamp < CUTOFF and e.received < CUTOFF]
    order = {e.event_id: number for number, e in enumerate(made.events)}
    counts: Counter[str] = Counter()
    rows: dict[str, tuple[object, ...]] = {}
    matched: set[str] = set()
    for one in made.decisions:
        at = one.time_ms // 1000
        if at >= CUTOFF:
            continue
        for position, place in enumerate(one.places):
            mine = [e for e in known if (e.decision_id, e.item_id) == (one.decision_id, place.item_id)]
            mine.sort(key=lambda e: (e.timestamp, order[e.event_id]))
            matched |= {e.event_id for e in mine}
            first: dict[str, Event] = {}
            for e in mine:
                window = 1.5 * DAY if e.kind == "conversion" else HOUR
                if not -60 <= e.timestamp - at <= window:
                    counts["late"] += 1
                    continue
                counts["attributed"] += 1
                counts["repeated"] += e.kind in first
                first.setdefault(e.kind, e)
            click, sale = first.get("click"), first.get("conversion")
            if one.user_id is None:
                counts["without_user"] += 1
            elif at >= CUTOFF - HOUR:
                counts["open"] += 1
            else:
                counts["exposures"] += 1
                counts["confirmed"] += any(e.kind == "exposure" for e in mine)
                counts["clicked"] += click is not None
                counts["converted"] += sale is not None
                rows[f"{one.decision_id}:{position}"] = (
                    click and click.timestamp,
                    sale and sale.timestamp,
                    sale and sale.value,
                    at >= CUTOFF - 1.5 * DAY,
                )
    for e in known:
        if e.decision_id is not None and e.event_id not in matched:
            # Two days hold the longest window: of an older answer nobody looks whether it showed the item.
            is_too_old = (time_ms_of(e.decision_id) or 0) // 1000 // DAY < e.timestamp // DAY - 2
            counts["late" if is_too_old else "orphans"] += 1
    return rows, counts


def read_table(folder: Path, part: str = "events") -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in sorted((folder / part).glob("*.parquet")))


def test_table_is_what_the_rule_says(random_log: Recorded, tmp_path: Path) -> None:
    counts = write_loop_table(random_log.source, CUTOFF, tmp_path / "table", CONFIG)
    rows, expected = expected_table(random_log)
    table = read_table(tmp_path / "table")
    found = table.filter(pl.col("kind") == "exposure")
    columns = ("clicked_at", "converted_at", "conversion_value", "conversion_is_open")
    assert {row[0]: row[1:] for row in found.select("event_id", *columns).iter_rows()} == rows
    events = table.filter(pl.col("kind") != "exposure")
    assert counts.without_user >= expected.pop("without_user") > 0
    assert {name: getattr(counts, name) for name in expected} == dict(expected)
    assert counts.events == len(events)
    assert min(expected[name] for name in ("late", "repeated", "orphans", "open", "converted")) > 5


def test_events_on_their_own_have_the_user_of_their_exposure(random_log: Recorded, tmp_path: Path) -> None:
    write_loop_table(random_log.source, CUTOFF, tmp_path / "table", CONFIG)
    events = read_table(tmp_path / "table").filter(pl.col("kind") != "exposure")
    user_of = {one.decision_id: one.user_id for one in random_log.decisions}
    by_id = {one.event_id: one for one in random_log.events}
    n_attributed = 0
    for event_id, user_id, request_id in events.select("event_id", "user_id", "request_id").iter_rows():
        told_of = by_id[event_id]
        assert user_id == (told_of.user_id or user_of[told_of.decision_id or ""])
        assert request_id in (None, told_of.decision_id)
        n_attributed += request_id is not None
    assert n_attributed > 100


def test_columns_are_those_of_the_events_table(random_log: Recorded, tmp_path: Path) -> None:
    write_loop_table(random_log.source, CUTOFF, tmp_path / "table", CONFIG)
    table = read_table(tmp_path / "table")
    canonical = {name: column.type.dtype for name, column in EVENTS.by_name.items() if name != "campaign_id"}
    assert {name: table.schema[name] for name in canonical} == canonical
    assert table.schema == read_table(tmp_path / "table", "open").schema


def test_same_log_and_cutoff_give_the_same_bytes(random_log: Recorded, tmp_path: Path) -> None:
    def contents(name: str) -> dict[str, bytes]:
        write_loop_table(random_log.source, CUTOFF, tmp_path / name, CONFIG)
        files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        return {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files}

    before = contents("first")
    about = random_log.decisions[0]
    random_log.log.append([told(9999, "click", START + 5, about, received=CUTOFF + 1)])  # late, from offline
    close_days(random_log.log, tmp_path / "closed", CUTOFF + 90 * DAY, [Known(10**9)], EventLimits())
    assert contents("second") == before
    assert any(name.startswith("open/") for name in before)


def test_window_that_is_open_makes_no_negative(tmp_path: Path) -> None:
    closed, still_open = shown(1, CUTOFF - HOUR - 1), shown(2, CUTOFF - HOUR)
    made = recorded(tmp_path, [closed, still_open], [told(1, "click", CUTOFF - 5, still_open)])
    counts = write_loop_table(made.source, CUTOFF, tmp_path / "table", CONFIG)
    assert (counts.exposures, counts.open, counts.clicked) == (3, 3, 0)
    assert set(read_table(tmp_path / "table", "open")["request_id"]) == {still_open.decision_id}
    assert read_table(tmp_path / "table")["conversion_is_open"].drop_nulls().all()
    made.log.close()


def test_click_before_midnight_belongs_to_an_exposure_after_it(tmp_path: Path) -> None:
    about = shown(1, START + DAY + 10)
    made = recorded(tmp_path, [about], [told(1, "click", START + DAY - 20, about)])
    counts = write_loop_table(made.source, CUTOFF, tmp_path / "table", CONFIG)
    assert (counts.clicked, counts.events, counts.orphans) == (1, 1, 0)
    made.log.close()


def test_event_of_an_answer_before_all_windows_is_late_and_no_orphan(tmp_path: Path) -> None:
    about = shown(1, START)
    events = [
        told(1, "click", START + 3 * DAY + 5, about),
        told(2, "click", START + 3 * DAY, None, decision_id="x"),
    ]
    made = recorded(tmp_path, [about], events)
    counts = write_loop_table(made.source, CUTOFF, tmp_path / "table", CONFIG)
    assert (counts.late, counts.orphans) == (1, 1)
    made.log.close()


def test_clicks_are_counted_by_surface_and_item(random_log: Recorded, tmp_path: Path) -> None:
    counts = write_loop_table(random_log.source, CUTOFF, tmp_path / "table", CONFIG)
    rows, _ = expected_table(random_log)
    found = count_clicks(tmp_path / "table")
    n = Counter("abc"[int(row_id[-1])] for row_id in rows)
    clicked = Counter("abc"[int(row_id[-1])] for row_id, row in rows.items() if row[0] is not None)
    assert list(found.iter_rows()) == [("home", item, n[item], clicked[item]) for item in "abc"]
    assert (found["shown"].sum(), found["clicked"].sum()) == (counts.exposures, counts.clicked)


def test_log_without_an_answer_counts_nothing(tmp_path: Path) -> None:
    made = recorded(tmp_path, [], [told(1, "click", START, None, decision_id="x")])
    write_loop_table(made.source, CUTOFF, tmp_path / "table", CONFIG)
    assert count_clicks(tmp_path / "table").rows() == []
    made.log.close()


def test_counts_and_windows_stand_beside_the_table(random_log: Recorded, tmp_path: Path) -> None:
    counts = write_loop_table(random_log.source, CUTOFF, tmp_path / "table", CONFIG)
    said = json.loads((tmp_path / "table" / "dataset.json").read_text())
    facts = {"cutoff": CUTOFF, "known": None, "users": "ids", "attribution": asdict(CONFIG)}
    assert said == facts | {"counts": asdict(counts)}


def test_table_killed_at_any_step_is_not_there_and_can_be_made_again(tmp_path: Path) -> None:
    about = shown(1, START)
    made = recorded(tmp_path, [about, shown(2, CUTOFF - 5)], [told(1, "click", START + 5, about)])
    reference = write_loop_table(made.source, CUTOFF, tmp_path / "reference", CONFIG)
    n, was_killed = 0, True
    while was_killed:
        n, was_killed, to = n + 1, False, tmp_path / f"table{n}"
        steps = iter(range(1, n + 1))

        def watch(step: str, steps: Iterator[int] = steps, last: int = n) -> None:
            if next(steps) == last:
                raise KilledError(step)

        try:
            with watching_steps(watch):
                write_loop_table(made.source, CUTOFF, to, CONFIG)
        except KilledError:
            was_killed = True
        if not to.exists():
            assert write_loop_table(made.source, CUTOFF, to, CONFIG) == reference
        for file in (tmp_path / "reference").rglob("*.*"):
            assert (to / file.relative_to(tmp_path / "reference")).read_bytes() == file.read_bytes()
        if not was_killed:
            break
    assert n > 12
    made.log.close()


def test_table_that_is_there_is_not_written_over(random_log: Recorded, tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    with pytest.raises(DataError, match=r"must get a new folder, got .*table, which is there"):
        write_loop_table(random_log.source, CUTOFF, tmp_path / "table", CONFIG)


def test_log_without_rows_before_the_cutoff_is_refused(random_log: Recorded, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"got none before {START - 5}"):
        write_loop_table(random_log.source, START - 5, tmp_path / "table", CONFIG)
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("click_window_hours", 0.0), ("conversion_window_days", 91.0), ("clock_tolerance_seconds", -1)],
)
def test_impossible_window_is_named(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{key} must be between .* got {value} \(attribution\.{key}\)"):
        AttributionConfig(**{key: value})  # type: ignore[arg-type]


def test_counts_begin_at_nothing() -> None:
    assert set(asdict(TableCounts()).values()) == {0}


def test_arms_of_an_answer_stand_beside_each_of_its_exposures(tmp_path: Path) -> None:
    arms = (("variety", "variety/1/0.5,0.5", "varied"), ("canary", "v2", "control"))
    decisions = [replace(shown(1, START), experiments=arms), shown(2, START + 5)]
    made = recorded(tmp_path, decisions, [told(1, "click", START + 10, decisions[0])])
    write_loop_table(made.source, CUTOFF, tmp_path / "table", CONFIG)
    rows = read_table(tmp_path / "table").filter(pl.col("kind") == "exposure")
    said = dict(rows.select("request_id", "experiments").unique().iter_rows())
    assert said == {
        decisions[0].decision_id: ";variety=varied@variety/1/0.5,0.5;canary=control@v2;",
        decisions[1].decision_id: None,
    }
    made.log.close()


def test_rows_of_a_page_are_one_request_and_parts_of_a_batch_are_not(tmp_path: Path) -> None:
    row = AskedRow("items", None, (), ("i1",))
    asked = [
        ("page.0", {"row": row}),
        ("page.1", {"row": row}),
        ("batch.0", {}),
        ("batch.1", {}),
        ("one", {}),
    ]
    decisions = [
        replace(shown(number, START + number), request_id=name, asked=more)
        for number, (name, more) in enumerate(asked, start=1)
    ]
    made = recorded(tmp_path, decisions, [])
    write_loop_table(made.source, CUTOFF, tmp_path / "table", CONFIG)
    rows = read_table(tmp_path / "table").unique("request_id")
    said = dict(rows.select("request_id", "asked_id").iter_rows())
    units = [said[decision.decision_id] for decision in decisions]
    assert units == ["page", "page", "batch.0", "batch.1", "one"]
    made.log.close()


def test_ad_brings_what_its_campaign_owes_for_what_came_of_it(tmp_path: Path) -> None:
    places = {"a": ("cpm", 2_000), "b": ("cpc", 400_000), "c": ("cpc", 500_000), "d": ("cpa", 3_000_000)}
    sales = tuple(
        Sale(item, f"of {item}", bid_type, price, price, 1, "2023-12-09", (START + DAY) * 1000)
        for item, (bid_type, price) in places.items()
    )
    sold = replace(shown(1, START, items="abcde"), sales=sales)
    made = recorded(
        tmp_path,
        [sold, shown(2, START + 1, items="a")],
        [told(1, "click", START + 5, sold, "b"), told(2, "conversion", START + 9, sold, "d")],
    )
    write_loop_table(made.source, CUTOFF, tmp_path / "table", CONFIG)
    made.log.close()
    frame = pl.read_parquet(tmp_path / "table" / "events" / "*.shown-*.parquet").sort("timestamp", "position")
    found = frame.select("item_id", "campaign_id", "revenue").rows()
    assert found == [
        ("a", "of a", pytest.approx(0.002)),
        ("b", "of b", pytest.approx(0.4)),
        ("c", "of c", 0.0),
        ("d", "of d", pytest.approx(3.0)),
        ("e", None, None),
        ("a", None, None),
    ]
