"""A name is a name and no pattern, and a folder of parts is one table, whatever lies beside them."""

from pathlib import Path

import polars as pl
import pytest

from marquee.data.config import DataConfig
from marquee.data.reading.tables import Tables, read_tables
from marquee.data.table_config import TableConfig
from marquee.errors import DataError

CSV = "user_id,item_id,timestamp\nu1,i1,1740787200\n"


def read(root: Path, path: str, **keys: object) -> Tables:
    table = TableConfig(path=path, **keys)  # type: ignore[arg-type]  # keys of several types
    return read_tables(DataConfig(name="t", root=str(root), events=table))


@pytest.mark.parametrize("folder", ["my [shop]", "a*b", "what?"])
def test_the_root_is_no_pattern(tmp_path: Path, folder: str) -> None:
    root = tmp_path / folder
    root.mkdir()
    for name in ("e1.csv", "e2.csv"):
        (root / name).write_text(CSV, encoding="utf8")
    assert len(read(root, "e*.csv").events) == 2


def test_a_file_of_exactly_this_name_is_no_pattern(tmp_path: Path) -> None:
    for name in ("e[1].csv", "e1.csv"):
        (tmp_path / name).write_text(CSV, encoding="utf8")
    (file,) = read(tmp_path, "e[1].csv").quality.events.files
    assert file.endswith("e[1].csv")


def spark(folder: Path) -> None:
    for day in (1, 2):
        part = folder / f"day=2025-03-0{day}"
        part.mkdir(parents=True)
        frame = pl.DataFrame({"user_id": [f"u{day}"], "item_id": ["i"], "timestamp": [1740787200]})
        frame.write_parquet(part / "part-00000-c000.snappy.parquet")
        (part / ".part-00000-c000.snappy.parquet.crc").write_bytes(b"crc")
    for name in ("_SUCCESS", "_metadata", "_common_metadata", ".hidden"):
        (folder / name).write_bytes(b"" if name == "_SUCCESS" else b"PAR1")


@pytest.mark.parametrize("path", ["events", "events/*", "events/day=*/*.parquet"])
def test_a_folder_of_spark_is_a_table(tmp_path: Path, path: str) -> None:
    spark(tmp_path / "events")
    tables = read(tmp_path, path, columns={"surface": "day"})
    assert tables.events["user_id"].to_list() == ["u1", "u2"]
    assert tables.events["surface"].to_list() == ["2025-03-01", "2025-03-02"]


def test_a_folder_of_texts_may_hold_empty_parts(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    for n, text in enumerate((CSV, "", CSV)):
        (tmp_path / "events" / f"part-{n}.csv").write_text(text, encoding="utf8")
    assert len(read(tmp_path, "events").events) == 2


def test_a_folder_without_data_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "_SUCCESS").touch()
    with pytest.raises(DataError, match=r"there is no file .*events; set data\.root"):
        read(tmp_path, "events")


@pytest.mark.parametrize(
    ("ids", "expected"),
    [([b"u1", b"u2"], ["u1", "u2"]), ([b"\xff\x00", b"u2"], ["ff00", "7532"])],
    ids=["text", "bytes"],
)
def test_ids_in_bytes_are_read_and_their_rejects_written(
    tmp_path: Path, ids: list[bytes], expected: list[str]
) -> None:
    frame = pl.DataFrame({"user_id": [*ids, None], "item_id": ["i", "j", "k"], "timestamp": [1, 2, 3]})
    frame.write_parquet(tmp_path / "e.parquet")
    config = DataConfig(
        name="t", root=str(tmp_path), events=TableConfig(path="e.parquet"), max_rejected_fraction=1
    )
    tables = read_tables(config, tmp_path / "rejects")
    assert tables.events["user_id"].to_list() == expected
    assert pl.read_csv(tmp_path / "rejects" / "events.csv")["reason"].to_list() == ["null_id"]
