"""Events in lists, in several files with columns of their own, and both together are one table."""

import json
from pathlib import Path

import polars as pl
import pytest

from marquee.data.config import DataConfig
from marquee.data.reading.tables import Tables, read_tables
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.table_config import SourceType, TableConfig
from marquee.errors import ConfigError, MissingColumnError
from marquee.features import FeatureConfig, FeaturesConfig, FeatureType

AT = 1740787200


def read(
    folder: Path, table: TableConfig, more: dict[str, TableConfig] | None = None, limit: float = 0.01
) -> Tables:
    config = DataConfig(
        name="t", root=str(folder), events=table, more_events=more or {}, max_rejected_fraction=limit
    )
    return read_tables(config, folder / "rejects")


def items_of(tables: Tables) -> list[tuple[str, str]]:
    return list(tables.events.select("user_id", "item_id").iter_rows())


PAIRS = [("u1", "a"), ("u1", "b"), ("u2", "c")]


@pytest.mark.parametrize("name", ["item_id", "basket"], ids=["by the table's name", "by the file's"])
def test_a_text_is_cut_into_events(tmp_path: Path, name: str) -> None:
    (tmp_path / "e.csv").write_text(f"user_id,basket,timestamp\nu1,a| b,{AT}\nu2,c|,{AT}\n", encoding="utf8")
    table = TableConfig(path="e.csv", columns={"item_id": "basket"}, lists={name: "|"})
    tables = read(tmp_path, table)
    assert items_of(tables) == PAIRS
    assert tables.events["event_id"].to_list() == [0, 1, 2]
    assert tables.quality.events.rows_in == 3


@pytest.mark.parametrize("name", ["e.parquet", "e.jsonl"])
def test_lists_of_a_file_are_taken_apart(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame(
        {"user_id": ["u1", "u2"], "shown": [["a", "b"], ["c"]], "timestamp": [AT, AT], "kind": "exposure"}
    )
    frame.write_parquet(tmp_path / name) if name.endswith("parquet") else frame.write_ndjson(tmp_path / name)
    columns = {"item_id": "shown", "position": "list_position"}
    tables = read(tmp_path, TableConfig(path=name, columns=columns, lists={"item_id": ""}))
    assert items_of(tables) == PAIRS
    assert tables.events["position"].to_list() == [0, 1, 0]


def test_numbers_and_json_in_a_csv_are_lists_too(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(
        f'user_id;item_id;timestamp\nu1;[1, 2];{AT}\nu2;["c"];{AT}\n', encoding="utf8"
    )
    types = {"item_id": SourceType.list}
    table = TableConfig(path="e.csv", separator=";", types=types, lists={"item_id": ""})
    assert items_of(read(tmp_path, table)) == [("u1", "1"), ("u1", "2"), ("u2", "c")]


@pytest.mark.parametrize("name", ["e.parquet", "e.jsonl"])
def test_lists_of_objects_have_dotted_fields(tmp_path: Path, name: str) -> None:
    rows = [
        {"user_id": "u1", "timestamp": AT, "lines": [{"sku": "a", "price": 1.5}, {"sku": "b", "price": 2.0}]},
        {"user_id": "u2", "timestamp": AT, "lines": [{"sku": "c", "price": 3.0}]},
    ]
    if name.endswith("parquet"):
        pl.DataFrame(rows).write_parquet(tmp_path / name)
    else:
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf8")
    columns = {"item_id": "lines.sku", "value": "lines.price", "kind": "'conversion'"}
    tables = read(tmp_path, TableConfig(path=name, columns=columns, lists={"lines": ""}))
    assert items_of(tables) == PAIRS
    assert tables.events["value"].to_list() == [1.5, 2.0, 3.0]


def test_lists_side_by_side_must_be_of_one_length(tmp_path: Path) -> None:
    text = f"user_id,item_id,value,timestamp\nu1,a|b,1|2,{AT}\nu2,c,3,{AT}\nu3,d|e,4,{AT}\n"
    (tmp_path / "e.csv").write_text(text, encoding="utf8")
    tables = read(tmp_path, TableConfig(path="e.csv", lists={"item_id": "|", "value": "|"}), limit=1)
    assert items_of(tables) == PAIRS
    assert tables.events["value"].to_list() == [1, 2, 3]
    (reject,) = tables.quality.events.rejects
    assert (reject.reason, reject.count) == ("unreadable_row", 1)
    assert "lists of different lengths in item_id, value" in reject.example


def test_an_empty_list_is_counted_and_is_no_fault(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": ["u1", "u2", "u3"], "item_id": [["a", None], [], None], "timestamp": AT})
    frame.write_parquet(tmp_path / "e.parquet")
    tables = read(tmp_path, TableConfig(path="e.parquet", lists={"item_id": ""}), limit=1)
    assert tables.quality.events.excluded == {"empty_list": 2}
    (reject,) = tables.quality.events.rejects
    assert (reject.reason, reject.count) == ("null_id", 1)
    assert "source.item_id" in pl.read_csv(tmp_path / "rejects" / "events.csv").columns


def test_broken_lines_among_lists_stay_rejects(tmp_path: Path) -> None:
    lines = [json.dumps({"user_id": "u1", "item_id": ["a", "b"], "timestamp": AT}), "{broken"]
    (tmp_path / "e.jsonl").write_text("\n".join(lines), encoding="utf8")
    tables = read(tmp_path, TableConfig(path="e.jsonl", lists={"item_id": ""}), limit=1)
    assert (tables.quality.events.kept, tables.quality.events.n_rejected) == (2, 1)


def test_what_holds_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(f"user_id,item_id,timestamp\nu1,a,{AT}\n", encoding="utf8")
    with pytest.raises(ConfigError, match=r"data\.events\.lists\.item_id must be a list, or a text with the"):
        read(tmp_path, TableConfig(path="e.csv", lists={"item_id": ""}))
    with pytest.raises(MissingColumnError, match=r"data\.events\.lists names 'basket'"):
        read(tmp_path, TableConfig(path="e.csv", lists={"basket": "|"}))


def write_two(folder: Path) -> dict[str, TableConfig]:
    (folder / "views.csv").write_text(f"who,what,at\nu1,a,{AT}\nu2,b,{AT + 20}\n", encoding="utf8")
    orders = pl.DataFrame({"buyer": ["u1"], "skus": [["a", "c"]], "day": [AT + 10], "worth": [2.5]})
    orders.write_parquet(folder / "orders.parquet")
    return {
        "orders": TableConfig(
            path="orders.parquet",
            columns={
                "user_id": "buyer",
                "item_id": "skus",
                "timestamp": "day",
                "value": "worth",
                "kind": "'conversion'",
            },
            lists={"skus": ""},
        )
    }


VIEWS = {"user_id": "who", "item_id": "what", "timestamp": "at", "kind": "'view'"}


def test_files_with_columns_of_their_own_are_one_table(tmp_path: Path) -> None:
    more = write_two(tmp_path)
    tables = read(tmp_path, TableConfig(path="views.csv", columns=VIEWS), more)
    assert tables.events.select("user_id", "item_id", "kind").rows() == [
        ("u1", "a", "view"),
        ("u1", "a", "conversion"),
        ("u1", "c", "conversion"),
        ("u2", "b", "view"),
    ]
    assert tables.events["event_id"].n_unique() == 4
    assert tables.events["value"].to_list() == [None, 2.5, 2.5, None]
    assert tables.quality.kinds == {"view": 2, "conversion": 2}
    assert [Path(file).name for file in tables.quality.events.files] == ["views.csv", "orders.parquet"]
    assert tables.quality.events.rows_in == 4


def test_a_fault_in_a_further_file_names_its_key(tmp_path: Path) -> None:
    more = write_two(tmp_path)
    more["orders"].columns["user_id"] = "customer"
    with pytest.raises(MissingColumnError, match=r"data\.more_events\.orders\.columns\.user_id"):
        read(tmp_path, TableConfig(path="views.csv", columns=VIEWS), more)


def test_options_of_all_events_stand_in_events(tmp_path: Path) -> None:
    more = write_two(tmp_path)
    views = TableConfig(path="views.csv", columns=VIEWS, deduplicate=True)
    copies = more | {"again": TableConfig(path="views.csv", columns=VIEWS)}
    assert read(tmp_path, views, copies).quality.events.excluded == {"duplicate_row": 2}
    with pytest.raises(
        ConfigError, match=r"data\.more_events\.b must have a path, and no paths, deduplicate"
    ):
        read(tmp_path, views, {"b": views})
    given = TableConfig(paths={"train": "views.csv"}, columns=VIEWS)
    with pytest.raises(ConfigError, match=r"events\.paths=\{'train': 'views\.csv'\}"):
        DataConfig(name="t", events=given, more_events=more, split=SplitConfig(method=SplitMethod.given))


def test_a_list_that_a_feature_reads_stays_one(tmp_path: Path) -> None:
    text = f"user_id,item_id,timestamp,tags\nu1,a|b,{AT},x|y\n"
    (tmp_path / "e.csv").write_text(text, encoding="utf8")
    config = DataConfig(
        name="t",
        root=str(tmp_path),
        events=TableConfig(path="e.csv", lists={"item_id": "|", "tags": "|"}),
        features=FeaturesConfig(context={"tags": FeatureConfig(type=FeatureType.multi)}),
    )
    tables = read_tables(config)
    assert tables.events["tags"].to_list() == [["x", "y"], ["x", "y"]]
    assert items_of(tables) == [("u1", "a"), ("u1", "b")]


def test_a_text_that_is_no_list_is_rejected_and_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    rows = [json.dumps(["a", "b"]), "[]", "", "nonsense", "a|b"]
    cells = ['"' + text.replace('"', '""') + '"' for text in rows]
    lines = [f"u{n},{cell},{AT}" for n, cell in enumerate(cells)]
    (tmp_path / "e.csv").write_text("\n".join(["user_id,basket,timestamp", *lines]), encoding="utf8")
    table = TableConfig(
        path="e.csv",
        columns={"item_id": "basket"},
        types={"basket": SourceType.list},
        lists={"basket": ""},
    )
    quality = read(tmp_path, table, limit=1.0).quality.events
    assert quality.excluded == {"empty_list": 2}
    (reject,) = quality.rejects
    assert (reject.count, reject.reason) == (2, "unreadable_row")
    assert "no list in basket: nonsense" in reject.example
