"""`python -m training.dataset` makes a table of a log, in both stores, and `data=loop` reads it."""

from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from omegaconf import OmegaConf
from rich.console import Console

from marquee.bundle.manifest import KnownUntil
from marquee.data.config import DataConfig
from marquee.data.loop.log_source import last_known
from marquee.data.loop.loop_table import known_of
from marquee.data.reading.tables import read_tables
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError, DataError
from marquee.store.log.event_log import EventLog
from tests.support.event_stores import DAY, NOW, Postgres, Store, decision, event, postgres_server
from tests.support.paths import ROOT
from training.dataset import DatasetConfig, write_dataset
from training.exporting.contents import known_until

CUTOFF = NOW + 2 * DAY


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["folder", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A log of two answers, of which one was clicked twice, and of a view."""
    if request.param == "folder":
        yield _filled(Store(str(tmp_path / "log")))
    else:
        store = _filled(Store(request.getfixturevalue("postgres").empty()))
        yield store
        store.close()


def _filled(store: Store) -> Store:
    log = store.open()
    log.append_decisions([decision("d1"), decision("d2", time_ms=(CUTOFF - 60) * 1000, user_id="u2")])
    about = {"decision_id": "d1", "user_id": None}
    log.append(
        [
            event("e1", timestamp=NOW + 10, **about),
            event("e2", timestamp=NOW + 20, **about),
            event("e3", kind="view", item_id="z", text="said"),
            event("e4", decision_id="nobody knows it"),
            event("e5", received=CUTOFF),
        ]
    )
    return store


def written(store: Store, folder: Path, name: str) -> tuple[dict[str, bytes], str]:
    out = StringIO()
    config = DatasetConfig(
        log=store.where, cutoff=str(CUTOFF), to=str(folder / name), closed=str(folder / "closed")
    )
    write_dataset(config, Console(file=out, width=200))
    files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
    return {str(path.relative_to(folder / name)): path.read_bytes() for path in files}, out.getvalue()


def test_log_becomes_the_same_bytes_twice_and_its_counts_are_said(store: Store, tmp_path: Path) -> None:
    first, said = written(store, tmp_path, "first")
    assert written(store, tmp_path, "second")[0] == first
    assert set(first) == {
        "dataset.json",
        "events/day=2023-11-14.parquet",
        "events/day=2023-11-14.shown-00001.parquet",
        "open/day=2023-11-16.shown-00001.parquet",
    }
    assert "2 exposures: 0 confirmed, 1 clicked, 0 converted; 2 more are open at the cutoff" in said
    assert "4 events: 2 of exposures (1 repeated), 0 late, 1 orphans; 0 rows of nobody" in said


def test_data_loop_reads_the_table_without_what_is_open(store: Store, tmp_path: Path) -> None:
    written(store, tmp_path, "table")
    declared = OmegaConf.load(ROOT / "configs" / "data" / "loop.yaml")
    merged = OmegaConf.merge(OmegaConf.structured(DataConfig), declared, {"root": str(tmp_path / "table")})
    config = OmegaConf.to_object(merged)
    assert isinstance(config, DataConfig)
    events = read_tables(config).events
    found = events.sort("event_id").select("kind", "item_id", "user_id", "request_id").rows()
    assert found == [
        # Of the two files of the day, that of the events comes first.
        ("view", "z", "u1", None),
        ("click", "a", "u1", None),
        ("click", "a", "u1", "d1"),
        ("click", "a", "u1", "d1"),
        ("exposure", "a", "u1", "d1"),
        ("exposure", "b", "u1", "d1"),
    ]
    assert events.filter(pl.col("kind") == "exposure")["propensity"].to_list() == [0.25, 1.0]


def test_last_event_known_at_a_cutoff_comes_before_those_of_its_second(tmp_path: Path) -> None:
    log: EventLog = _filled(Store(str(tmp_path / "log"))).open()
    assert (last_known(log, CUTOFF), last_known(log, CUTOFF + 1)) == (4, 5)
    log.append([event(f"f{n}", received=CUTOFF + 1 + n) for n in range(100)])
    assert [last_known(log, CUTOFF + 1 + n) for n in (0, 1, 50, 99, 100)] == [5, 6, 55, 104, 105]
    assert last_known(log, NOW) == 0
    log.close()


def test_event_of_a_clock_ahead_is_not_known_and_neither_is_what_comes_behind_it(store: Store) -> None:
    log = store.open()
    log.append([event("ahead", timestamp=CUTOFF, received=CUTOFF - 1), event("later", received=CUTOFF - 1)])
    ids = [logged.event.event_id for logged in log.read(last_known(log, CUTOFF), 10)]
    assert ids == ["e5", "ahead", "later"]


def test_each_event_is_in_the_table_or_behind_what_it_knows(store: Store, tmp_path: Path) -> None:
    log = store.open()
    # Two workers write: what was received before may be kept behind what was received after.
    late = [event(f"f{n}", kind="view", received=CUTOFF - 3 + n * 7 % 5) for n in range(20)]
    log.append(late)
    written(store, tmp_path, "table")
    known = known_of(tmp_path / "table")
    assert known is not None
    profile = {logged.event.event_id for logged in log.read(known, 100)}
    table = set(pl.read_parquet(tmp_path / "table" / "events" / "*.parquet")["event_id"])
    everything = {f"e{n}" for n in range(1, 6)} | {one.event_id for one in late}
    assert table & profile == set()
    assert (table | profile) - {"d1:0", "d1:1"} == everything
    assert "e5" in profile


def test_export_of_a_table_of_the_log_knows_it_by_sequence(store: Store, tmp_path: Path) -> None:
    written(store, tmp_path, "table")
    table = DataConfig(name="m", root=str(tmp_path / "table"), events=TableConfig(path="events/*.parquet"))
    beside = DataConfig(
        name="m",
        root=str(tmp_path),
        events=TableConfig(path="older.csv"),
        more_events={"log": TableConfig(path=str(tmp_path / "table" / "events" / "*.parquet"))},
    )
    events = pl.DataFrame({"timestamp": [NOW, NOW + 5]})
    for data in (table, beside):
        assert known_until(data, events, CUTOFF) == KnownUntil(sequence=4)
    alone = replace(beside, more_events={})
    assert known_until(alone, events, CUTOFF) == KnownUntil(timestamp=NOW + 5)
    assert known_until(alone, events, NOW) == KnownUntil(timestamp=NOW)
    (tmp_path / "table" / "dataset.json").write_text("{")
    with pytest.raises(DataError, match=r"dataset\.json must hold the facts of a training table"):
        known_until(table, events, CUTOFF)


def test_event_acknowledged_between_table_and_export_is_in_the_profile_once(
    store: Store, tmp_path: Path
) -> None:
    written(store, tmp_path, "table")
    log = store.open()
    # Of the very second of the last event that the table holds: a bound by time would lose it.
    log.append([event("between", item_id="new", timestamp=NOW + 20, received=CUTOFF - 1)])
    data = DataConfig(name="m", root=str(tmp_path / "table"), events=TableConfig(path="events/*.parquet"))
    events = read_tables(data).events
    until = known_until(data, events, CUTOFF)
    profile = log.read_profile("u1", until.sequence, until.timestamp, 10)
    assert [one.item_id for one in profile] == ["a", "new"]
    assert events.filter(pl.col("item_id") == "new").is_empty()


def test_log_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    config = DatasetConfig(log=str(tmp_path / "lgo"), cutoff="2026-11-30", to=str(tmp_path / "table"))
    with pytest.raises(ConfigError, match=r"log must be the folder .* got '.*lgo', which is no folder"):
        write_dataset(config, Console(quiet=True))
    assert not (tmp_path / "lgo").exists()


def test_address_without_a_folder_of_closed_days_is_refused(tmp_path: Path) -> None:
    config = DatasetConfig(log="postgresql://u:secret@h/d", cutoff="1", to=str(tmp_path / "table"))
    with pytest.raises(ConfigError, match=r"closed must name the folder .* beside log=h/d, got none"):
        write_dataset(config, Console(quiet=True))


@pytest.mark.parametrize(("cutoff", "error"), [("soon", ConfigError), ("5", DataError)])
def test_impossible_cutoff_is_refused(cutoff: str, error: type[Exception], tmp_path: Path) -> None:
    store = _filled(Store(str(tmp_path / "log")))
    config = DatasetConfig(log=store.where, cutoff=cutoff, to=str(tmp_path / "table"))
    with pytest.raises(error, match="cutoff"):
        write_dataset(config, Console(quiet=True))
    store.close()
