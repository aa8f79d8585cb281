"""An error says key, expression, column, value and count, and the advice that fits its reason."""

from pathlib import Path

import polars as pl
import pytest

from marquee.core.reasons import Reason
from marquee.core.schema import EVENTS, ITEMS, USERS
from marquee.data.config import DataConfig
from marquee.data.reading.advice import advice_for
from marquee.data.reading.tables import Tables, read_tables
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.splits import split_events
from marquee.data.table_config import SourceType, TableConfig, TableFormat
from marquee.errors import ConfigError, DataError, LeakageError, MissingColumnError, RejectedRowsError

AT = 1740787200


def read(folder: Path, text: str, name: str = "e.csv", **keys: object) -> Tables:
    (folder / name).write_text(text, encoding="utf8")
    table = TableConfig(path=name, **keys)  # type: ignore[arg-type]  # keys of several types
    return read_tables(DataConfig(name="t", root=str(folder), events=table))


WORDS = ["user", "order", "group", "from", "end", "limit", "values", "select", "offset", "interval"]
WORDS += ["current_date", "case", "when", "table", "now", "join", "left", "date", "session_user", "where"]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_sql_is_a_column_where_the_file_has_one(tmp_path: Path, word: str) -> None:
    text = f"{word},item,at\nAda,i,{AT}\nBob,j,{AT}\n"
    columns = {"user_id": f"LOWER({word})", "item_id": "item", "timestamp": "at"}
    assert read(tmp_path, text, columns=columns).events["user_id"].to_list() == ["ada", "bob"]
    columns["user_id"] = f"CASE WHEN {word} = 'Ada' THEN 'a' ELSE {word} END"
    assert read(tmp_path, text, columns=columns).events["user_id"].to_list() == ["a", "Bob"]
    exclude = {"test": f"{word} = 'Bob'"}
    columns["user_id"] = word
    assert read(tmp_path, text, columns=columns, exclude=exclude).events["user_id"].to_list() == ["Ada"]


def test_a_column_called_end_leaves_sql_its_word(tmp_path: Path) -> None:
    text = f"user_id,item_id,end\nu,i,{AT}\n"
    columns = {"timestamp": "end", "kind": "case when user_id = 'u' then 'click' else 'view' end"}
    assert read(tmp_path, text, columns=columns).events["kind"].to_list() == ["click"]


@pytest.mark.parametrize(
    ("name", "header", "keys"),
    [
        ("e.csv", "user;item;at", {}),
        ("e.csv", "user\titem\tat", {}),
        ("e.txt", "user\titem\tat", {"format": TableFormat.csv}),
        ("e.csv", "user|item|at", {}),
    ],
)
def test_a_wrong_separator_is_asked_about(
    tmp_path: Path, name: str, header: str, keys: dict[str, object]
) -> None:
    columns = {"user_id": "user", "item_id": "item", "timestamp": "at"}
    with pytest.raises(MissingColumnError, match=r"no column 'user'.*is the separator right\?"):
        read(tmp_path, f"{header}\n", name, columns=columns, **keys)
    with pytest.raises(MissingColumnError, match=r"no column 'user_id'.*is the separator right\?"):
        read(tmp_path, f"{header}\n", name, **keys)


@pytest.mark.parametrize("name", ["E.TSV", "e.tsv"])
def test_a_name_in_capitals_is_a_format_too(tmp_path: Path, name: str) -> None:
    assert len(read(tmp_path, f"user_id\titem_id\ttimestamp\nu\ti\t{AT}\n", name).events) == 1


def test_a_tab_may_be_written_as_two_characters(tmp_path: Path) -> None:
    text = f"user_id\titem_id\ttimestamp\nu\ti\t{AT}\n"
    assert len(read(tmp_path, text, separator="\\t").events) == 1


TEXT = f"user_id,item_id,timestamp,stars\nu,i,{AT},3\nv,j,{AT},4\n"


@pytest.mark.parametrize(
    "expression",
    ["SUM(stars)", "stars / MAX(stars)", "COUNT(*)", "avg(stars)", "COALESCE(MIN(stars), 1)", "FIRST(stars)"],
)
def test_a_total_of_all_rows_is_refused(tmp_path: Path, expression: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.events\.columns\.value must say something of its own row"):
        read(tmp_path, TEXT, columns={"value": expression}, types={"stars": SourceType.float})


def test_a_word_within_quotes_is_no_function(tmp_path: Path) -> None:
    tables = read(tmp_path, TEXT, columns={"surface": "CONCAT('SUM(', user_id, ') now')"})
    assert tables.events["surface"].to_list() == ["SUM(u) now", "SUM(v) now"]


@pytest.mark.parametrize("expression", ["current_date", "CURRENT_TIMESTAMP", "NOW()", "RANDOM()"])
def test_the_clock_and_chance_are_refused(tmp_path: Path, expression: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.events\.columns\.surface must give the same table"):
        read(tmp_path, TEXT, columns={"surface": f"CAST({expression} AS VARCHAR)"})
    with pytest.raises(ConfigError, match=r"data\.events\.exclude\.old must give the same table"):
        read(tmp_path, TEXT, exclude={"old": f"timestamp < {expression}"})


def test_a_misspelt_function_names_key_and_expression(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.events\.columns\.value .*'LOWR\(stars\)'"):
        read(tmp_path, TEXT, columns={"value": "LOWR(stars)"})


def test_an_expression_that_fails_while_reading_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"columns\.value: CAST\(user_id AS INT\) fails: events: .*e\.csv"):
        read(tmp_path, TEXT, columns={"value": "CAST(user_id AS INT)"})


@pytest.mark.parametrize(
    ("row", "columns", "advice"),
    [
        (
            "u,i,01/03/2025,3",
            {"timestamp": "timestamp"},
            r"data\.events\.columns\.timestamp.*timestamp_format",
        ),
        (f"u,i,{AT},3", {"kind": "'buy'"}, r"exposure, view, click, conversion, rating, feedback.*CASE"),
        (f"u,i,{AT},many", {"value": "stars"}, r"data\.events\.columns\.value: stars.*TRY_CAST"),
        (f",i,{AT},3", {}, r"without id under exclude"),
        (f"u,i,{AT},3,4,5", {}, r"separator, quote and skip_rows"),
    ],
)
def test_rejected_rows_come_with_the_advice_that_fits(
    tmp_path: Path, row: str, columns: dict[str, str], advice: str
) -> None:
    with pytest.raises(RejectedRowsError, match=advice):
        read(tmp_path, f"user_id,item_id,timestamp,stars\n{row}\n", columns=columns)


def test_there_is_advice_for_every_reason_and_column() -> None:
    for schema in (EVENTS, ITEMS, USERS):
        for reason in Reason:
            for column in [*schema.by_name, "of the file"]:
                assert len(advice_for(reason, column, schema)) > 20


def test_events_of_one_day_are_not_told_to_lower_fractions(tmp_path: Path) -> None:
    events = read(tmp_path, "user_id,item_id,timestamp\n" + "u,i,2025-03-01\n" * 30).events
    with pytest.raises(DataError, match=r"all events lie at 1 moments.*leave_last or random"):
        split_events(events, SplitConfig())


def test_cutoffs_before_all_events_are_told_where_these_lie(tmp_path: Path) -> None:
    events = read(tmp_path, TEXT).events
    with pytest.raises(DataError, match="the events lie from 2025-03-01 00:00:00 to 2025-03-01"):
        split_events(events, SplitConfig(validation_from="1999-01-01", test_from="2000-01-01"))


def test_a_published_split_that_repeats_rows_is_told_of_deduplicate() -> None:
    rows = [(f"u{u}", f"i{i % 5}", 0) for u in range(9) for i in range(10)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    events = frame.with_row_index("event_id").with_columns(kind=pl.lit("view"), split=pl.lit("train"))
    with pytest.raises(LeakageError, match=r"data\.events\.deduplicate=true"):
        split_events(events, SplitConfig(method=SplitMethod.given, validation_fraction=0.3))


@pytest.mark.parametrize("word", ["all", "DISTINCT", "Top"])
def test_a_word_that_functions_know_is_a_column_inside_them(tmp_path: Path, word: str) -> None:
    columns = {"user_id": f"CONCAT({word}, '-', {word})"}
    text = f"{word},item_id,timestamp\nAda,i,{AT}\n"
    assert read(tmp_path, text, columns=columns).events["user_id"].to_list() == ["Ada-Ada"]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("MODE(user)", "unsupported function 'mode'"),
        ("STRUCT(user)", "expression Struct … is not"),
        ("COLUMNS('u.*')", "must be one column"),
        ('"SUM"(stars)', "own row.*SUM sums up"),
        ("SUM(stars) + over", "own row.*SUM sums up"),
        ("stars + 1", r"data\.events\.columns\.user_id: stars \+ 1 fails"),
    ],
)
def test_an_expression_that_fails_is_named_in_our_words(tmp_path: Path, expression: str, words: str) -> None:
    text = f"user,stars,over,item_id,timestamp\nu,5,1,i,{AT}\n"
    with pytest.raises((ConfigError, DataError), match=words) as stop:
        read(tmp_path, text, columns={"user_id": expression})
    for inside in ("Ident", "__mapped", "word of SQL too: write"):
        assert inside not in str(stop.value)


def test_a_condition_that_fails_is_named(tmp_path: Path) -> None:
    text = f"user_id,item_id,timestamp\nu,i,{AT}\n"
    with pytest.raises(DataError, match=r"data\.events\.exclude\.test: user_id \+ 1 > 2 fails"):
        read(tmp_path, text, exclude={"test": "user_id + 1 > 2"})


def test_a_column_of_almost_the_name_is_asked_about(tmp_path: Path) -> None:
    with pytest.raises(MissingColumnError, match=r"is it 'User_ID'\?"):
        read(tmp_path, f"User_ID,item_id,timestamp\nu,i,{AT}\n")


@pytest.mark.parametrize(
    ("name", "words"), [("e.ods", r"as \.xlsx or CSV"), ("e.csv.zst", "unpack it"), ("e.csv.gz", "whole")]
)
def test_a_file_of_another_format_has_advice_of_its_own(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises((ConfigError, DataError), match=words):
        read(tmp_path, f"user_id,item_id,timestamp\nu,i,{AT}\n", name)
