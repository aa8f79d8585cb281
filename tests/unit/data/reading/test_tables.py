"""From files to validated tables: what is kept, what is not, and what is said about it."""

import json
from pathlib import Path

import polars as pl
import pytest

from marquee.core.schema import TimeMeaning
from marquee.data.reading.tables import DataConfig, TableConfig, Tables, UnknownItems, read_tables
from marquee.data.splits import SplitConfig, SplitMethod
from marquee.data.table_config import TableFormat
from marquee.errors import ConfigError, DataError, MissingColumnError, RejectedRowsError
from marquee.features import FeatureConfig, FeaturesConfig

EVENTS = "user_id,item_id,timestamp\nu1,i1,30\nu2,i2,10\nu1,i2,20\n"


def read(
    folder: Path,
    events: str = EVENTS,
    items: str = "",
    users: str | TableConfig = "",
    *,
    table: dict[str, object] | None = None,
    rejects: Path | None = None,
    **keywords: object,
) -> Tables:
    others: dict[str, object] = {}
    for name, content in (("events", events), ("items", items), ("users", users)):
        if isinstance(content, str):
            (folder / f"{name}.csv").write_text(content)
        if content and name != "events":
            others[name] = TableConfig(path=f"{name}.csv") if isinstance(content, str) else content
    everything = {
        "name": "mine",
        "root": str(folder),
        "events": TableConfig(path="events.csv", **(table or {})),  # type: ignore[arg-type]  # of several types
        "max_rejected_fraction": 1.0,
        **others,
        **keywords,
    }
    return read_tables(DataConfig(**everything), rejects)  # type: ignore[arg-type]  # keywords of several types


def test_events_come_back_by_time(tmp_path: Path) -> None:
    tables = read(tmp_path)
    assert tables.events.rows() == [
        # Numbered by their places in the file, from 0.
        (1, "u2", "i2", 10, "view", None),
        (2, "u1", "i2", 20, "view", None),
        (0, "u1", "i1", 30, "view", None),
    ]
    assert (tables.items, tables.users) == (None, None)


def test_equal_times_keep_the_order_of_the_file(tmp_path: Path) -> None:
    rows = "".join(f"u,i{n},{5 - n % 2}\n" for n in range(5000))
    events = read(tmp_path, "user_id,item_id,timestamp\n" + rows).events
    assert events["item_id"].to_list() == [f"i{n}" for start in (1, 0) for n in range(start, 5000, 2)]


def test_set_without_time_keeps_the_order_of_the_file(tmp_path: Path) -> None:
    split = SplitConfig(method=SplitMethod.leave_last)
    tables = read(tmp_path, "user_id,item_id\nu2,i\nu1,i\n", time=TimeMeaning.none, split=split)
    assert tables.events["user_id"].to_list() == ["u2", "u1"]


def test_rejected_rows_are_counted_with_an_example(tmp_path: Path) -> None:
    report = read(tmp_path, EVENTS + "u1,,40\nu3,i9,soon\nu4,i9,later\n").quality.events
    assert (report.rows_in, report.kept, report.n_rejected) == (6, 3, 3)
    assert [(r.reason, r.column, r.count, r.example_row, r.example) for r in report.rejects] == [
        ("wrong_type", "timestamp", 2, 5, "timestamp='soon'"),
        ("null_id", "item_id", 1, 4, "item_id=None"),
    ]


def test_rejected_rows_are_written_as_they_stand(tmp_path: Path) -> None:
    quality = read(tmp_path, EVENTS + "u1,,40\nu3,i9,soon\n", rejects=tmp_path / "rejects").quality
    written = pl.read_csv(tmp_path / "rejects" / "events.csv", infer_schema=False)
    file = str(tmp_path / "events.csv")
    assert written.columns[:4] == ["file", "row", "reason", "column"]
    assert written.rows() == [
        (file, "4", "null_id", "item_id", "u1", None, "40"),
        (file, "5", "wrong_type", "timestamp", "u3", "i9", "soon"),
    ]
    assert quality.events.rejects_file == str(tmp_path / "rejects" / "events.csv")


def test_no_rejects_file_without_rejects(tmp_path: Path) -> None:
    assert read(tmp_path, rejects=tmp_path / "rejects").quality.events.rejects_file is None
    assert not (tmp_path / "rejects").exists()


def test_rejects_of_typed_files_are_written_too(tmp_path: Path) -> None:
    rows = {"user_id": ["u", None], "item_id": ["i", "j"], "timestamp": [1, 2], "tags": [["a"], ["b", "c"]]}
    pl.DataFrame(rows).write_parquet(tmp_path / "e.parquet")
    read_tables(
        DataConfig(
            name="m", root=str(tmp_path), events=TableConfig(path="e.parquet"), max_rejected_fraction=1
        ),
        tmp_path,
    )
    written = pl.read_csv(tmp_path / "events.csv")
    assert json.loads(written["source.tags"][0]) == {"tags": ["b", "c"]}


def test_more_rejects_than_allowed_stop_the_run(tmp_path: Path) -> None:
    message = (
        r"events: 2 of 5 rows of .*events\.csv were rejected \(40\.00%\), but data\.max_rejected_fraction is "
        r"39\.00%\. Most often wrong_type, column 'timestamp': 1 rows, for example row 4 of .* with "
        r"timestamp='x'\. Then 1 null_id in 'user_id'\. All of them: .*events\.csv\. Correct the file"
    )
    with pytest.raises(RejectedRowsError, match=message):
        read(tmp_path, EVENTS + "u,i,x\n,i,1\n", max_rejected_fraction=0.39, rejects=tmp_path / "rejects")
    assert (tmp_path / "rejects" / "events.csv").exists()


def test_most_frequent_reason_is_named_first(tmp_path: Path) -> None:
    message = r"Most often null_id, column 'item_id': 2 rows.* Then 1 wrong_type"
    with pytest.raises(RejectedRowsError, match=message):
        read(tmp_path, EVENTS + "u,i,x\nu,,1\nu,,2\n", max_rejected_fraction=0.0)


def test_as_many_rejects_as_allowed_pass(tmp_path: Path) -> None:
    assert read(tmp_path, EVENTS + "u,i,x\n,i,1\n", max_rejected_fraction=0.4).events.height == 3


def test_excluded_rows_are_no_rejects(tmp_path: Path) -> None:
    table: dict[str, object] = {"exclude": {"nobody": "user_id IS NULL", "trial": "item_id LIKE 'test%'"}}
    quality = read(
        tmp_path, EVENTS + ",i1,40\nu1,test7,x\n", table=table, max_rejected_fraction=0.0
    ).quality.events
    assert quality.excluded == {"nobody": 1, "trial": 1}
    assert (quality.rows_in, quality.kept, quality.n_excluded, quality.n_rejected) == (5, 3, 2, 0)


def test_fraction_is_of_rows_that_are_not_excluded(tmp_path: Path) -> None:
    events = EVENTS + ",i1,40\n" * 95 + "u1,i1,x\n"
    with pytest.raises(RejectedRowsError, match=r"1 of 4 rows .*\(25\.00%\)"):
        read(tmp_path, events, table={"exclude": {"nobody": "user_id IS NULL"}}, max_rejected_fraction=0.1)


def test_first_of_two_equal_event_ids_is_kept(tmp_path: Path) -> None:
    text = "event_id,user_id,item_id,timestamp\na,,i,1\na,u,i,2\nb,u,i,3\na,u,i,4\n"
    tables = read(tmp_path, text)
    assert tables.events["timestamp"].to_list() == [2, 3]
    assert [r.reason for r in tables.quality.events.rejects] == ["null_id", "duplicate_id"]


def test_row_of_an_unknown_item_does_not_take_an_id(tmp_path: Path) -> None:
    text = "event_id,user_id,item_id,timestamp\na,u,gone,1\na,u,i1,2\n"
    assert read(tmp_path, text, items="item_id\ni1\n").events["timestamp"].to_list() == [2]


def test_deduplicate_keeps_the_first_equal_event(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,value\nu,i,1,7\nu,i,1,8\nu,i,2,9\n"
    tables = read(tmp_path, text, table={"deduplicate": True})
    assert tables.events["value"].to_list() == [7, 9]
    assert tables.quality.events.excluded == {"duplicate_row": 1}


def test_equal_events_are_kept_unless_asked_otherwise(tmp_path: Path) -> None:
    assert read(tmp_path, "user_id,item_id,timestamp\nu,i,1\nu,i,1\n").events.height == 2


def test_event_of_an_unknown_item_is_rejected(tmp_path: Path) -> None:
    tables = read(tmp_path, items="item_id\ni1\n,\n")
    assert tables.events["item_id"].to_list() == ["i1"]
    assert [(r.reason, r.count, r.example) for r in tables.quality.events.rejects] == [
        ("unknown_item", 2, "item_id='i2'")
    ]


def test_event_of_an_unknown_item_can_be_kept(tmp_path: Path) -> None:
    tables = read(tmp_path, items="item_id\ni1\ni3\n", unknown_items=UnknownItems.keep)
    assert tables.events.height == 3
    assert (tables.quality.items_without_row, tables.quality.items_without_event) == (1, 1)


def test_second_row_of_an_item_is_rejected(tmp_path: Path) -> None:
    tables = read(tmp_path, items="item_id,title\ni1,first\ni2,x\ni1,second\n")
    assert tables.items is not None
    assert tables.items.select("item_id", "title").rows() == [("i1", "first"), ("i2", "x")]
    assert tables.quality.items is not None
    assert [r.reason for r in tables.quality.items.rejects] == ["duplicate_id"]


def test_unique_takes_the_first_row_of_each_id(tmp_path: Path) -> None:
    (tmp_path / "unique.csv").write_text("user_id,age\nu1,30\nu2,x\nu1,31\n")
    tables = read(tmp_path, users=TableConfig(path="unique.csv", unique=True))
    assert tables.quality.users is not None
    assert tables.quality.users.excluded == {"repeated_id": 1}
    assert tables.users is not None
    assert tables.users["age"].to_list() == ["30", "x"]


def test_items_have_every_canonical_column(tmp_path: Path) -> None:
    items = read(tmp_path, items="item_id,title\ni1,a\ni2,b\n").items
    assert items is not None
    own = ["available_from", "available_until", "campaign_id", "advertiser_id", "bid"]
    assert items.columns == ["item_id", "kind", *own, "title"]
    assert items["kind"].to_list() == ["content", "content"]


def test_users_keep_their_attributes(tmp_path: Path) -> None:
    tables = read(tmp_path, users="user_id,age\nu1,30\n")
    assert tables.users is not None
    assert tables.users.rows() == [("u1", "30")]
    assert tables.quality.users_without_row == 1


def test_context_columns_are_kept(tmp_path: Path) -> None:
    features = FeaturesConfig(context={"device": FeatureConfig(), "place": FeatureConfig(column="city")})
    text = "user_id,item_id,timestamp,device,city,noise\nu,i,1,phone,Rome,x\n"
    events = read(tmp_path, text, table={"columns": {"page": "noise"}}, features=features).events
    assert events.columns[6:] == ["device", "city", "page"]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            FeaturesConfig(context={"device": FeatureConfig()}),
            "feature 'device' needs the column 'device', but the events",
        ),
        (
            FeaturesConfig(item={"t": FeatureConfig(column="titel")}),
            "feature 't' needs the column 'titel', but the items",
        ),
        (
            FeaturesConfig(user={"age": FeatureConfig()}),
            "feature 'age' needs the column 'age', but the users",
        ),
    ],
    ids=["context", "item", "user"],
)
def test_feature_without_its_column_is_named(tmp_path: Path, features: FeaturesConfig, message: str) -> None:
    with pytest.raises(MissingColumnError, match=message):
        read(tmp_path, items="item_id,title\ni1,a\ni2,b\n", users="user_id\nu1\n", features=features)


def test_parts_are_marked(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 1 2\n")
    (tmp_path / "b.txt").write_text("0 3\n")
    table = TableConfig(paths={"train": "a.txt", "test": "b.txt"}, format=TableFormat.adjacency)
    split = SplitConfig(method=SplitMethod.given)
    config = DataConfig(name="m", root=str(tmp_path), events=table, time=TimeMeaning.none, split=split)
    events = read_tables(config).events
    assert events.select("event_id", "item_id", "split").rows() == [
        (0, "1", "train"),
        (1, "2", "train"),
        (2, "3", "test"),
    ]


def test_files_of_a_pattern_are_one_table(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"part-{name}.csv").write_text("user_id,item_id,timestamp\nu,i,1\n,i,2\n")
    config = DataConfig(
        name="m", root=str(tmp_path), events=TableConfig(path="part-*.csv"), max_rejected_fraction=1.0
    )
    tables = read_tables(config, tmp_path / "rejects")
    assert tables.events["event_id"].to_list() == [0, 1]
    assert tables.quality.events.rejects[0].count == 2
    assert pl.read_csv(tmp_path / "rejects" / "events.csv")["row"].to_list() == [2, 2]


@pytest.mark.parametrize("events", ["user_id,item_id,timestamp\n", "user_id,item_id,timestamp\n,i,1\n"])
def test_table_with_nothing_left_is_refused(tmp_path: Path, events: str) -> None:
    with pytest.raises(DataError, match=r"events: none of the \d rows of .*events\.csv is left"):
        read(tmp_path, events)


def test_arithmetic_on_texts_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="arithmetic on a text file needs types"):
        read(tmp_path, table={"columns": {"value": "timestamp * item_id"}})


def test_failing_cast_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"conversion from `str` to `f64` failed.*TRY_CAST makes a wrong value null"
    ):
        read(tmp_path, table={"columns": {"value": "CAST(item_id AS DOUBLE)"}})


def test_wrong_expression_names_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.events\.columns\.value is neither a column"):
        read(tmp_path, table={"columns": {"value": "1 +"}})
