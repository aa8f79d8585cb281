import json
from pathlib import Path

import polars as pl
import pytest

from marquee.core.schema import TimeMeaning
from marquee.data.reading.quality import QualityReport, TableQuality, measure_columns
from marquee.data.reading.tables import DataConfig, TableConfig, read_tables
from marquee.data.splits import SplitConfig, SplitMethod

EVENTS = """user_id,item_id,timestamp,kind
u1,i1,1000000000,view
u1,i2,1000086400,click
u2,i1,1000172800,view
u2,,1000172800,view
"""


def report_of(folder: Path, events: str = EVENTS, **keywords: object) -> QualityReport:
    (folder / "e.csv").write_text(events)
    (folder / "i.csv").write_text("item_id,title\ni1,a\ni2,\ni3,a\n")
    config = {
        "name": "mine",
        "root": str(folder),
        "events": TableConfig(path="e.csv", exclude={"robot": "user_id = 'bot'"}),
        "items": TableConfig(path="i.csv"),
        "max_rejected_fraction": 1.0,
        **keywords,
    }
    return read_tables(DataConfig(**config)).quality  # type: ignore[arg-type]  # keywords of several types


def test_report_counts_what_is_kept(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    assert (report.n_users, report.n_items, report.kinds) == (2, 2, {"view": 2, "click": 1})
    assert (report.first_timestamp, report.last_timestamp) == (1000000000, 1000172800)
    assert (report.users_without_row, report.items_without_row, report.items_without_event) == (None, 0, 1)


def test_json_holds_the_whole_report(tmp_path: Path) -> None:
    loaded = json.loads(json.dumps(report_of(tmp_path).to_json_dict()))
    assert loaded["events"]["rejects"][0]["reason"] == "null_id"
    assert (loaded["events"]["rows_in"], loaded["events"]["kept"], loaded["events"]["rejected"]) == (4, 3, 1)
    assert loaded["items"]["columns"][-1] == {"name": "title", "type": "String", "nulls": 1, "distinct": 1}
    assert (loaded["users"], loaded["time"], loaded["notes"]) == (None, "absolute", [])


def test_summary_is_readable(tmp_path: Path) -> None:
    lines = report_of(tmp_path, EVENTS + "bot,i1,5,view\n").summary_lines()
    file = tmp_path / "e.csv"
    assert lines[:5] == [
        "mine: 3 events of 2 users and 2 items, 2001-09-09 to 2001-09-11",
        "kinds: view 2, click 1",
        f"events: 5 rows in = 3 kept + 1 rejected + 1 excluded ({file})",
        "  rejected 1 null_id in item_id (e.g. row 4: item_id=None)",
        "  excluded 1 robot",
    ]
    assert "1 items of the items table without an event" in lines
    assert "  nothing in value" in lines


def test_summary_names_the_rejects_file(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(EVENTS)
    config = DataConfig(
        name="m", root=str(tmp_path), events=TableConfig(path="e.csv"), max_rejected_fraction=1.0
    )
    lines = read_tables(config, tmp_path).quality.summary_lines()
    assert f"  every rejected row: {tmp_path / 'events.csv'}" in lines


def test_one_time_in_milliseconds_is_rejected(tmp_path: Path) -> None:
    report = report_of(tmp_path, "user_id,item_id,timestamp\nu,i1,5\nu,i1,1700000000000\n")
    assert [reject.reason for reject in report.events.rejects] == ["timestamp_out_of_range"]


def test_equal_timestamps_are_noted(tmp_path: Path) -> None:
    report = report_of(tmp_path, "user_id,item_id,timestamp\nu,i1,5\nu,i2,5\n")
    assert report.notes == ("all timestamps are 5: if they say nothing, set data.time=none",)


def test_order_is_no_period(tmp_path: Path) -> None:
    split = SplitConfig(method=SplitMethod.leave_last)
    report = report_of(tmp_path, time=TimeMeaning.order, split=split)
    assert report.summary_lines()[0] == "mine: 3 events of 2 users and 2 items, time is order"
    assert report.notes == ()


def test_columns_are_measured() -> None:
    frame = pl.DataFrame({"id": ["a", "b", "c"], "n": [1, 1, None], "tags": [["x"], None, []]})
    measured = {column.name: (column.nulls, column.distinct) for column in measure_columns(frame, "id")}
    assert measured == {"id": (0, 3), "n": (1, 1), "tags": (1, None)}


@pytest.mark.parametrize(
    ("rows_in", "excluded", "fraction"), [(10, {}, 0.0), (0, {}, 0.0), (5, {"x": 5}, 0.0)]
)
def test_fraction_is_defined_without_rows(rows_in: int, excluded: dict[str, int], fraction: float) -> None:
    quality = TableQuality("events", (), rows_in, 0, excluded, (), (), None)
    assert quality.rejected_fraction == fraction
