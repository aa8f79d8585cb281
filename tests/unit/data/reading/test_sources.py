import gzip
from pathlib import Path

import polars as pl
import pytest

from marquee.data.reading.files.columns import FAULT, ROW
from marquee.data.reading.sources import Source, open_sources
from marquee.data.table_config import SourceType, TableConfig, TableFormat
from marquee.errors import ConfigError, DataError
from tests.support.workbooks import row, write_workbook

CSV = "user,item\nu1,i1\nu2,i2\n"
ROWS = [("u1", "i1"), ("u2", "i2")]


def open_one(folder: Path, name: str, content: bytes | str, config: TableConfig | None = None) -> Source:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    (source,) = open_sources(config or TableConfig(path=name), folder, "events")
    return source


def rows_of(source: Source) -> list[tuple[object, ...]]:
    return source.frame.select(list(source.columns)).collect().rows()


def faults_of(source: Source) -> list[str | None]:
    return source.frame.collect()[FAULT].to_list()


NAMED = {"header": False, "names": ["user", "item"]}
JSON = '{"user":"u1","item":"i1"}\n\n{"item":"i2","user":"u2"}'


@pytest.mark.parametrize(
    ("name", "content", "keywords"),
    [
        ("e.csv", CSV, {}),
        ("e.csv.gz", gzip.compress(CSV.encode()), {}),
        ("e.tsv", CSV.replace(",", "\t"), {}),
        ("bom.csv", b"\xef\xbb\xbf" + CSV.encode(), {}),
        ("windows.csv", CSV.replace("\n", "\r\n"), {}),
        ("quoted.csv", 'user,item\n"u1","i1"\nu2,"i2"\n', {}),
        ("e.data", CSV, {"format": TableFormat.csv}),
        ("headless.csv", "u1,i1\nu2,i2\n", NAMED),
        ("e.dat", "u1::i1\r\nu2::i2\r\n", {"format": TableFormat.csv, "separator": "::", **NAMED}),
        ("wide.csv", CSV.replace(",", "::"), {"separator": "::"}),
        ("e.jsonl", JSON, {}),
        ("e.ndjson.gz", gzip.compress(JSON.encode()), {}),
        ("e.txt", "u1 i1\nu2 i2\n", {"format": TableFormat.adjacency}),
    ],
    ids=lambda value: value if isinstance(value, str) and value.find(".") > 0 else "",
)
def test_every_way_to_write_gives_the_same_rows(
    tmp_path: Path, name: str, content: bytes | str, keywords: dict[str, object]
) -> None:
    config = TableConfig(path=name, **keywords)  # type: ignore[arg-type]  # keywords of several types
    source = open_one(tmp_path, name, content, config)
    assert rows_of(source) == ROWS
    assert source.frame.collect()[ROW].to_list() == [1, 2]
    assert faults_of(source) == [None, None]


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    pl.DataFrame({"user": [1, 2], "genres": [["a"], []]}).write_parquet(tmp_path / "e.parquet")
    (source,) = open_sources(TableConfig(path="e.parquet"), tmp_path, "events")
    assert source.columns == {"user": pl.Int64(), "genres": pl.List(pl.String())}
    assert rows_of(source) == [(1, ["a"]), (2, [])]


def test_other_encoding_is_read_as_declared(tmp_path: Path) -> None:
    content = "user,item\nZoë,i1\n".encode("latin-1")
    source = open_one(tmp_path, "e.csv", content, TableConfig(path="e.csv", encoding="latin-1"))
    assert rows_of(source) == [("Zoë", "i1")]


def test_wrong_encoding_is_named(tmp_path: Path) -> None:
    source = open_one(tmp_path, "e.csv", "user,item\nZoë,i1\n".encode("latin-1"))
    with pytest.raises(pl.exceptions.ComputeError, match="invalid utf-8"):
        source.frame.collect()


def test_unquoted_file_may_hold_quotes(tmp_path: Path) -> None:
    source = open_one(tmp_path, "e.csv", 'user,item\nu1,5" disc\n', TableConfig(path="e.csv", quote=""))
    assert rows_of(source) == [("u1", '5" disc')]


def test_row_with_too_many_values_has_a_fault(tmp_path: Path) -> None:
    source = open_one(tmp_path, "e.csv", "user,item\nu1,i1,x\nu2,i2\n")
    assert faults_of(source) == ["more than 2 values", None]


def test_row_of_another_width_has_a_fault(tmp_path: Path) -> None:
    content = "user::item\nu1\nu2::i2\nu3::i3::x\n\n"
    source = open_one(tmp_path, "e.csv", content, TableConfig(path="e.csv", separator="::"))
    assert faults_of(source) == [
        "1 values where 2 were expected",
        None,
        "3 values where 2 were expected",
        None,
    ]


def test_line_that_is_no_json_object_has_a_fault(tmp_path: Path) -> None:
    source = open_one(tmp_path, "e.jsonl", '{"user": "u1"}\n{"user": \n[1]\n{"user": "u2"}\n')
    assert faults_of(source) == [None, 'no JSON object: {"user":', "no JSON object: [1]", None]
    assert rows_of(source) == [("u1",), (None,), (None,), ("u2",)]


def test_json_values_are_texts_and_lists_are_marked(tmp_path: Path) -> None:
    source = open_one(tmp_path, "e.jsonl", '{"n": 1, "t": ["a"], "v": [0.5]}\n{"n": "x", "late": true}\n')
    assert source.types == {"t": SourceType.list, "v": SourceType.vector}
    assert rows_of(source) == [("1", '["a"]', "[0.5]", None), ("x", None, None, "true")]


def test_adjacency_pairs_are_rows(tmp_path: Path) -> None:
    config = TableConfig(path="a.txt", format=TableFormat.adjacency)
    source = open_one(tmp_path, "a.txt", "0 5 7\n1\n\n2  5 \n", config)
    assert source.frame.collect().select(ROW, "user_id", "item_id").rows() == [
        (1, "0", "5"),
        (2, "0", "7"),
        (3, "2", "5"),
    ]


def test_pattern_opens_files_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.csv").write_text(CSV)
    sources = open_sources(TableConfig(path="*.csv"), tmp_path, "events")
    assert [(source.path.name, source.prefix) for source in sources] == [("a.csv", "1-"), ("b.csv", "2-")]


def test_parts_are_opened_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    config = TableConfig(paths={"train": "a.csv", "validation": "b.csv"}, optional_paths=["validation"])
    (source,) = open_sources(config, tmp_path, "events")
    assert (source.part, source.prefix) == ("train", "")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"events: there is no file .*e\.csv; set data\.root"):
        open_sources(TableConfig(path="e.csv"), tmp_path, "events")


def test_missing_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    with pytest.raises(DataError, match=r"there is no file .*b\.csv"):
        open_sources(TableConfig(paths={"train": "a.csv", "test": "b.csv"}), tmp_path, "events")


def test_unknown_ending_asks_for_the_format(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the format of u\.data cannot be told .* data\.events\.format"):
        open_one(tmp_path, "u.data", CSV)


@pytest.mark.parametrize("separator", [",", "::"])
def test_empty_file_is_refused(tmp_path: Path, separator: str) -> None:
    with pytest.raises(DataError, match=r"e\.csv cannot be read: .*empty"):
        open_one(tmp_path, "e.csv", "", TableConfig(path="e.csv", separator=separator))


@pytest.mark.parametrize(
    ("name", "content"), [("e.parquet", b"no parquet"), ("e.csv.gz", b"\x1f\x8bno gzip")]
)
def test_broken_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(DataError, match=rf"events: .*{name} cannot be read"):
        open_one(tmp_path, name, content)


@pytest.mark.parametrize("separator", [",", "::"])
def test_names_must_fit_the_width(tmp_path: Path, separator: str) -> None:
    config = TableConfig(path="e.csv", separator=separator, header=False, names=["user"])
    with pytest.raises(ConfigError, match=r"names must name every column of .*, got 1 names and 2 columns"):
        open_one(tmp_path, "e.csv", CSV.replace(",", separator), config)


def test_workbook_is_read_as_texts(tmp_path: Path) -> None:
    write_workbook(tmp_path / "e.xlsx", {"S": row(1, ["user", "item"]) + row(2, ["u1", "i1"])})
    (source,) = open_sources(TableConfig(path="e.xlsx"), tmp_path, "events")
    assert rows_of(source) == ROWS[:1]
    assert source.frame.collect().select(ROW, FAULT).rows() == [(1, None)]
