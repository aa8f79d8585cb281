"""Preparation in parts: days are added, users erased, results lost, files wrong."""

from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import polars as pl
import pytest

from marquee.data.config import DataConfig
from marquee.data.prepared.erasing import find_buckets
from marquee.data.prepared.folder import PreparedFolder
from marquee.data.prepared.manifest import MANIFEST
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError, DataError, RejectedRowsError, TaskError
from tests.support.preparing import prepare_here
from training.distributed.cluster import Cluster
from training.distributed.erasing import erase
from training.distributed.preparing import Sizes, prepare_in_parts

DAYS = {
    "1": [("u1", "a", 10), ("u2", "b", 20), ("u3", "a", 30)],
    "2": [("u1", "b", 110), ("u2", "c", 120), ("u3", "b", 130), ("u4", "a", 140)],
}
SCHEMA = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}


def write_day(folder: Path, day: str, rows: list[tuple[str, str, int]] | None = None) -> None:
    folder.mkdir(exist_ok=True)
    pl.DataFrame(rows or DAYS[day], SCHEMA, orient="row").write_parquet(folder / f"{day}.parquet")


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    for day in DAYS:
        write_day(tmp_path / "events", day)
    return DataConfig(
        name="days",
        root=str(tmp_path),
        events=TableConfig(path="events"),
        split=SplitConfig(method=SplitMethod.leave_last),
    )


def read_parts(to: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (to / "parts").glob("[!.]*")}


def test_a_new_day_leaves_the_others_as_they_were_read(config: DataConfig, tmp_path: Path) -> None:
    prepare_here(config, tmp_path / "to")
    before = read_parts(tmp_path / "to")
    write_day(tmp_path / "events", "3", [("u1", "c", 210)])
    grown = prepare_here(config, tmp_path / "to")

    after = read_parts(tmp_path / "to")
    assert len(after) == 3
    assert before.items() <= after.items()
    assert grown.manifest.n_events == 8


def test_a_day_that_is_gone_takes_its_rows_along(config: DataConfig, tmp_path: Path) -> None:
    prepare_here(config, tmp_path / "to")
    (tmp_path / "events" / "2.parquet").unlink()

    assert prepare_here(config, tmp_path / "to").manifest.n_events == 3
    assert len(read_parts(tmp_path / "to")) == 1


def test_lost_results_are_made_again_byte_for_byte(config: DataConfig, tmp_path: Path) -> None:
    prepare_here(config, tmp_path / "to")
    before = (tmp_path / "to" / MANIFEST).read_bytes()
    for lost in ("buckets/00001", "splits/00002", "users", "items", "indices/00000"):
        rmtree(tmp_path / "to" / lost)

    again = prepare_here(config, tmp_path / "to")
    assert (tmp_path / "to" / MANIFEST).read_bytes() == before
    again.manifest.require_whole(tmp_path / "to", is_read=True)


def test_an_erased_user_leaves_what_a_table_without_leaves(config: DataConfig, tmp_path: Path) -> None:
    prepare_here(config, tmp_path / "to")
    assert len(find_buckets(tmp_path / "to", ["u2", "nobody"])) == 1
    erase(tmp_path / "to", ["u2"])
    erased = prepare_here(config, tmp_path / "to")
    for day, rows in DAYS.items():
        write_day(tmp_path / "without", day, [row for row in rows if row[0] != "u2"])
    without = prepare_here(replace(config, events=TableConfig(path="without")), tmp_path / "other")

    names = ["event_id", "user_id", "item_id", "timestamp"]
    assert erased.split().events.select(names).equals(without.split().events.select(names))
    assert list(erased.user_ids().ids) == list(without.user_ids().ids)
    assert find_buckets(tmp_path / "to", ["u2"]) == []
    assert not [path for path in (tmp_path / "to").rglob("*.arrow") if b"u2" in path.read_bytes()]


def test_a_file_that_changed_is_named(config: DataConfig, tmp_path: Path) -> None:
    prepare_here(config, tmp_path / "to")
    write_day(tmp_path / "events", "1", [("u1", "a", 10)])

    with pytest.raises(TaskError, match=r"1\.parquet, which has changed since"):
        prepare_here(config, tmp_path / "to")
    # Half of it may be old and half new: it counts as not prepared.
    with pytest.raises(DataError, match=f"got no {MANIFEST}"):
        PreparedFolder(tmp_path / "to")


def test_a_file_that_is_no_parquet_is_named(config: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "events" / "2.parquet").write_bytes(b"PAR1 cut off")

    with pytest.raises(DataError, match=r"2\.parquet cannot be read"):
        prepare_here(config, tmp_path / "to")


def test_a_damaged_array_is_named_when_it_is_read(config: DataConfig, tmp_path: Path) -> None:
    prepare_here(config, tmp_path / "to")
    path = tmp_path / "to" / "indices" / "00001" / "item_index.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")

    with pytest.raises(DataError, match=r"indices/00001/item_index\.npy is damaged"):
        PreparedFolder(tmp_path / "to")


def test_rejected_rows_of_all_files_are_counted_together(config: DataConfig, tmp_path: Path) -> None:
    write_day(tmp_path / "events", "3", [("u1", "c", 210), ("", "a", 5), ("u2", "", 6)])

    with pytest.raises(RejectedRowsError, match="2 of 10 rows"):
        prepare_here(config, tmp_path / "to")


def test_repeated_ids_of_events_are_rejected_over_files(config: DataConfig, tmp_path: Path) -> None:
    for day in DAYS:
        path = tmp_path / "events" / f"{day}.parquet"
        rows = pl.read_parquet(path).with_columns(event_id=pl.format("e{}", pl.int_range(pl.len())))
        rows.write_parquet(path)

    folder = prepare_here(replace(config, max_rejected_fraction=0.5), tmp_path / "to")
    (reject,) = folder.tables().quality.events.rejects
    assert (reject.reason, reject.count, reject.example_row) == ("duplicate_id", 3, 1)
    assert reject.example == "event_id='e0'"
    assert folder.manifest.n_events == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": SplitConfig(method=SplitMethod.random)}, "drawn at random"),
        ({"session_gap_minutes": 30.0}, "session_gap_minutes=30"),
    ],
    ids=["random", "sessions"],
)
def test_a_declaration_that_needs_all_events_is_refused(
    config: DataConfig, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        prepare_here(replace(config, **change), tmp_path / "to")  # type: ignore[arg-type]  # of any field


def test_another_declaration_than_the_prepared_one_is_named(config: DataConfig, tmp_path: Path) -> None:
    folder = prepare_here(config, tmp_path / "to")
    folder.manifest.require_declared(replace(config, history_length=7, root="elsewhere"), folder.path)
    other = replace(config, split=SplitConfig(method=SplitMethod.leave_last, n=2))

    with pytest.raises(ConfigError, match=r"data\.split\.n is 2, but .* was prepared with 1"):
        folder.manifest.require_declared(other, folder.path)


def test_ray_prepares_the_bytes_of_local_processes(
    config: DataConfig, tmp_path: Path, ray_cluster: Cluster, local_cluster: Cluster
) -> None:
    for name, cluster in (("ray", ray_cluster), ("local", local_cluster)):
        prepare_in_parts(config, tmp_path / name, Sizes(n_buckets=2, rows_per_part=2), cluster)

    assert (tmp_path / "ray" / MANIFEST).read_bytes() == (tmp_path / "local" / MANIFEST).read_bytes()
    PreparedFolder(tmp_path / "ray").manifest.require_whole(tmp_path / "local", is_read=True)
