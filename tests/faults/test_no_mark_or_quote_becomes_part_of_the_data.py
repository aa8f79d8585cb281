"""A byte order mark is never part of a value, one quote never spoils a file, lines before a header can go."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.reading.tables import Tables, read_tables
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.table_config import TableConfig, TableFormat
from marquee.errors import DataError

MARK = b"\xef\xbb\xbf"
NAMES = ["user_id", "item_id", "timestamp", "value"]
CELLS = [(f"u{n}", f"i{n}", str(1740787200 + n), str(n)) for n in range(300)]


def read(folder: Path, name: str, content: bytes | str, **keys: object) -> Tables:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    table = TableConfig(path=name, **keys)  # type: ignore[arg-type]  # keys of several types
    if table.format is TableFormat.adjacency:
        split = SplitConfig(method=SplitMethod.leave_last)
        return read_tables(
            DataConfig(name="t", root=str(folder), events=table, time=TimeMeaning.none, split=split)
        )
    return read_tables(DataConfig(name="t", root=str(folder), events=table))


def written(
    separator: str = ",", cells: Sequence[tuple[str, ...]] = CELLS, names: Sequence[str] = NAMES
) -> str:
    return "".join(separator.join(row) + "\n" for row in [tuple(names), *cells])


def lines() -> str:
    return "\n".join(json.dumps(dict(zip(NAMES, row, strict=True))) for row in CELLS)


@pytest.mark.parametrize(
    ("name", "text", "keys"),
    [
        ("e.csv", written(), {}),
        ("e.csv", written().partition("\n")[2], {"header": False, "names": NAMES}),
        ("e.tsv", written("\t"), {}),
        ("e.dat", written("::"), {"format": TableFormat.csv, "separator": "::"}),
        ("e.jsonl", lines(), {}),
        ("e.json", f"[{lines().replace(chr(10), ',')}]", {}),
        ("e.txt", "".join(f"{u} {i}\n" for u, i, *_ in CELLS), {"format": TableFormat.adjacency}),
    ],
    ids=["csv", "headless", "tsv", "separated", "lines", "list", "adjacency"],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_mark_is_dropped_from_every_text_format(
    tmp_path: Path, name: str, text: str, keys: dict[str, object], encoding: str, *, is_compressed: bool
) -> None:
    content = text.encode(encoding)
    if is_compressed:
        name, content = f"{name}.gz", gzip.compress(content)
    tables = read(tmp_path, name, content, **keys)
    assert tables.events["user_id"].to_list() == [row[0] for row in CELLS]
    assert tables.quality.events.n_rejected == 0


def test_a_mark_that_the_declared_encoding_leaves_is_dropped(tmp_path: Path) -> None:
    text = "".join(f"{u} {i}\n" for u, i, *_ in CELLS)
    content = ("\ufeff" + text).encode("utf-16-le")
    tables = read(tmp_path, "e.txt", content, format=TableFormat.adjacency, encoding="utf-16-le")
    assert tables.events["user_id"][0] == "u0"


@pytest.mark.parametrize(
    "title",
    ['"TV', 'TV"', '5" TV', '"12" TV', '"12" and "3" TV"', 'a "b" c"', '"a" "b'],
)
@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_quote_that_is_a_character_spoils_no_row(tmp_path: Path, title: str, separator: str) -> None:
    cells = [(*row[:3], title if n in (7, 250) else "t") for n, row in enumerate(CELLS)]
    text = written(separator, cells, ["user_id", "item_id", "timestamp", "surface"])
    tables = read(tmp_path, "e.csv", text, separator=separator)
    assert tables.quality.events.kept == 300
    assert tables.events["surface"][7] == title
    assert tables.events["surface"][250] == title


def test_quoted_values_stay_whole_beside_a_stray_quote(tmp_path: Path) -> None:
    titles = {3: '"two\nlines, and a comma"', 5: '"say ""hi"""', 9: '5" TV'}
    cells = [(*row[:3], titles.get(n, "t")) for n, row in enumerate(CELLS)]
    tables = read(tmp_path, "e.csv", written(",", cells, ["user_id", "item_id", "timestamp", "surface"]))
    shown = tables.events["surface"]
    assert [shown[3], shown[5], shown[9]] == ["two\nlines, and a comma", 'say "hi"', '5" TV']
    assert len(shown) == 300


def test_a_stray_quote_in_a_row_that_is_too_long_rejects_that_row(tmp_path: Path) -> None:
    cells = [(*row[:3], '"a, b' if n == 7 else "t") for n, row in enumerate(CELLS)]
    tables = read(tmp_path, "e.csv", written(",", cells, ["user_id", "item_id", "timestamp", "surface"]))
    (reject,) = tables.quality.events.rejects
    assert (reject.reason, reject.count, reject.example_row) == ("unreadable_row", 1, 8)
    assert tables.quality.events.kept == 299


@pytest.mark.parametrize(("separator", "format_"), [(",", "csv"), ("::", "csv")])
def test_lines_before_the_header_can_be_left_out(tmp_path: Path, separator: str, format_: str) -> None:
    text = 'Report of "March\nmade, by us\n' + written(separator)
    tables = read(tmp_path, "e.dat", text, format=TableFormat(format_), separator=separator, skip_rows=2)
    assert tables.events["item_id"].to_list() == [row[1] for row in CELLS]


def test_rejected_rows_of_a_file_with_stray_quotes_are_written(tmp_path: Path) -> None:
    cells = [(*row[:3], '5" TV' if n == 7 else "t") for n, row in enumerate(CELLS)]
    cells[9] = ("u9", "i9", "soon", '6" TV')
    text = written(",", cells, ["user_id", "item_id", "timestamp", "surface"])
    (tmp_path / "e.csv").write_text(text, encoding="utf8")
    read_tables(DataConfig(name="t", root=str(tmp_path), events=TableConfig(path="e.csv")), tmp_path)
    assert pl.read_csv(tmp_path / "events.csv")["source.surface"].to_list() == ['6" TV']


@pytest.mark.parametrize("quote", ["", '"'])
def test_bytes_of_another_encoding_are_never_replaced(tmp_path: Path, quote: str) -> None:
    text = f"user_id,item_id,timestamp\n{quote}ué,i1,1740787200\nuè,i2,1740787200\n"
    (tmp_path / "e.csv").write_bytes(text.encode("latin-1"))
    config = DataConfig(name="t", root=str(tmp_path), events=TableConfig(path="e.csv"))
    with pytest.raises(DataError, match=r"data\.events\.encoding.*latin-1") as stop:
        read_tables(config)
    assert "separator" not in str(stop.value)
    config.events.encoding = "latin-1"
    assert read_tables(config).events["user_id"].to_list() == [f"{quote}ué", "uè"]
