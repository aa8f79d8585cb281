from pathlib import Path

import polars as pl
import pytest

from marquee.core.reasons import Reason
from marquee.core.schema import EVENTS, ITEMS, TableSchema, TimeMeaning
from marquee.data.reading.mapping import EXCLUDED, REJECTED, MappedSource, TableMapping
from marquee.data.reading.sources import open_sources
from marquee.data.table_config import SourceType, TableConfig
from marquee.errors import ConfigError, MissingColumnError

IDS = {"user_id": "who", "item_id": "what", "timestamp": "when"}


def map_text(
    folder: Path,
    text: str,
    schema: TableSchema = EVENTS,
    time: TimeMeaning = TimeMeaning.absolute,
    **keywords: object,
) -> MappedSource:
    (folder / "t.csv").write_text(text)
    config = TableConfig(path="t.csv", **keywords)  # type: ignore[arg-type]  # keywords of several types
    (source,) = open_sources(config, folder, schema.name)
    return TableMapping(schema=schema, config=config, time=time).apply(source)


def rows_of(mapped: MappedSource, *columns: str) -> list[tuple[object, ...]]:
    return mapped.frame.select(columns).collect().rows()


def reasons_of(mapped: MappedSource) -> list[tuple[Reason, tuple[str, ...]] | None]:
    broken = mapped.frame.collect()[REJECTED].to_list()
    return [None if i is None else (mapped.rules[i].reason, mapped.rule_columns[i]) for i in broken]


def test_names_and_expressions_are_mapped(tmp_path: Path) -> None:
    columns = {**IDS, "kind": "LOWER(act)", "value": "2 * TRY_CAST(n AS DOUBLE)"}
    mapped = map_text(tmp_path, "who,what,when,act,n\nu,i,5,CLICK,3\n", columns=columns)
    assert rows_of(mapped, "user_id", "item_id", "timestamp", "kind", "value") == [
        ("u", "i", 5, "click", 6.0)
    ]


def test_canonical_names_need_no_entry(tmp_path: Path) -> None:
    mapped = map_text(tmp_path, "user_id,item_id,timestamp,surface\nu,i,5,feed\n")
    assert rows_of(mapped, "user_id", "item_id", "timestamp", "surface") == [("u", "i", 5, "feed")]


def test_absent_columns_have_their_defaults(tmp_path: Path) -> None:
    mapped = map_text(tmp_path, "user_id,item_id,timestamp\nu,i,5\nv,i,6\n")
    assert rows_of(mapped, "event_id", "kind", "value") == [("1", "view", None), ("2", "view", None)]
    assert "position" not in mapped.file_columns


def test_null_says_that_a_column_is_something_else(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,value\nu,i,5,not a number\n"
    mapped = map_text(tmp_path, text, columns={"value": "NULL"})
    assert rows_of(mapped, "value") == [(None,)]
    assert reasons_of(mapped) == [None]


def test_name_with_blanks_is_a_column(tmp_path: Path) -> None:
    columns = {"user_id": "Customer No", "item_id": "\"Item No\" || 'x'", "timestamp": "when"}
    mapped = map_text(tmp_path, "Customer No,Item No,when\nu,i,5\n", columns=columns)
    assert rows_of(mapped, "user_id", "item_id") == [("u", "ix")]


def test_rest_of_items_is_kept_under_its_names(tmp_path: Path) -> None:
    mapped = map_text(
        tmp_path, "sku,title,brand\ni,T,B\n", ITEMS, columns={"item_id": "sku", "name": "title"}
    )
    assert rows_of(mapped, "item_id", "name", "brand") == [("i", "T", "B")]
    assert not {"sku", "title"} & mapped.file_columns.keys()


def test_rest_of_items_can_be_dropped(tmp_path: Path) -> None:
    mapped = map_text(tmp_path, "item_id,title\ni,T\n", ITEMS, keep_rest=False)
    assert "title" not in mapped.file_columns


def test_flags_become_a_list_of_names(tmp_path: Path) -> None:
    mapped = map_text(
        tmp_path, "item_id,Drama,War\ni,1,0\nj,1,1\nk,0,\n", ITEMS, flags={"genres": ["Drama", "War"]}
    )
    assert rows_of(mapped, "genres") == [(["Drama"],), (["Drama", "War"],), ([],)]
    assert "Drama" not in mapped.file_columns
    assert reasons_of(mapped) == [None, None, None]


def test_flag_that_is_none_is_a_wrong_type(tmp_path: Path) -> None:
    mapped = map_text(tmp_path, "item_id,Drama\ni,2\nj,x\nk,1\n", ITEMS, flags={"genres": ["Drama"]})
    assert reasons_of(mapped) == [(Reason.wrong_type, ("Drama",))] * 2 + [None]


def test_text_is_cut_into_a_list(tmp_path: Path) -> None:
    mapped = map_text(tmp_path, "item_id,genres\ni,Drama|War|\nj,\n", ITEMS, lists={"genres": "|"})
    assert rows_of(mapped, "genres") == [(["Drama", "War"],), (None,)]


def test_missing_kind_of_an_item_is_content(tmp_path: Path) -> None:
    mapped = map_text(tmp_path, "item_id,kind\ni,\nj,ad\n", ITEMS)
    assert rows_of(mapped, "kind") == [("content",), ("ad",)]


def test_declared_types_allow_arithmetic(tmp_path: Path) -> None:
    types = {"n": SourceType.int, "price": SourceType.float}
    text = "user_id,item_id,timestamp,n,price\nu,i,5,2,1.5\nu,i,5,two,1\n"
    mapped = map_text(tmp_path, text, types=types, columns={"value": "n * price"})
    assert rows_of(mapped, "value") == [(3.0,), (None,)]
    assert reasons_of(mapped) == [None, (Reason.wrong_type, ("n",))]


def test_missing_value_is_no_wrong_type(tmp_path: Path) -> None:
    mapped = map_text(tmp_path, "item_id,n,bid\ni,,\nj,1,2\n", ITEMS, types={"n": SourceType.int})
    assert reasons_of(mapped) == [None, None]


def test_rest_of_events_is_dropped(tmp_path: Path) -> None:
    mapped = map_text(tmp_path, "user_id,item_id,timestamp,noise\nu,i,5,x\n")
    assert "noise" not in mapped.file_columns


def test_wrong_type_names_the_columns_of_the_file(tmp_path: Path) -> None:
    columns = {**IDS, "value": "a || b"}
    mapped = map_text(tmp_path, "who,what,when,a,b\nu,i,5,x,y\nu,i,soon,1,2\nu,i,6,1,2\n", columns=columns)
    assert reasons_of(mapped) == [(Reason.wrong_type, ("a", "b")), (Reason.wrong_type, ("when",)), None]


def test_excluded_rows_tell_the_first_reason(tmp_path: Path) -> None:
    exclude = {"no_user": "user_id IS NULL", "old": "timestamp < 5"}
    text = "user_id,item_id,timestamp\n,i,1\nu,i,1\n,i,9\nu,i,9\n\nu,i,\n"
    mapped = map_text(tmp_path, text, types={"timestamp": SourceType.int}, exclude=exclude)
    assert mapped.exclusions == ("blank_row", "no_user", "old")
    assert mapped.frame.collect()[EXCLUDED].to_list() == [1, 2, 1, None, 0, None]


def test_time_none_needs_no_timestamp(tmp_path: Path) -> None:
    mapped = map_text(tmp_path, "user_id,item_id\nu,i\n", time=TimeMeaning.none)
    assert rows_of(mapped, "timestamp") == [(0,)]


@pytest.mark.parametrize(
    ("text", "keywords", "message"),
    [
        (
            "user,item_id,timestamp\n",
            {},
            r"no column 'user_id', it has \['user', 'item_id', 'timestamp'\]; say which",
        ),
        ("u1,i1,5\n", {}, "set header=false and names if its first line names no columns"),
        ("user_id,item_id\n", {}, "no column 'timestamp'.* or set data.time=none"),
        (
            "who,what,when\n",
            {"columns": {**IDS, "item_id": "waht"}},
            "'waht'.*columns.item_id; did you mean 'what'",
        ),
        (
            "who,what,when\n",
            {"columns": {**IDS, "value": "a + 1"}},
            "no column 'a'.*correct data.events.columns.value",
        ),
        (
            "who,what,when\n",
            {"columns": IDS, "types": {"n": SourceType.int}},
            "no column 'n'.*data.events.types",
        ),
        ("who,what,when\n", {"columns": IDS, "flags": {"g": ["x"]}}, "no column 'x'.*data.events.flags.g"),
        (
            "who,what,when\n",
            {"columns": IDS, "exclude": {"r": "q > 1"}},
            "no column 'q'.*data.events.exclude.r",
        ),
    ],
    ids=["required", "no-header", "no-time", "misspelt", "in-sql", "in-types", "in-flags", "in-exclude"],
)
def test_missing_column_is_named(
    tmp_path: Path, text: str, keywords: dict[str, object], message: str
) -> None:
    with pytest.raises(MissingColumnError, match=message):
        map_text(tmp_path, text + "a,b,c\n", **keywords)  # type: ignore[arg-type]  # keywords of several types


@pytest.mark.parametrize("expression", ["when +", "NO_SUCH(when)", ""])
def test_expression_that_is_no_sql_is_refused(tmp_path: Path, expression: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.events\.columns\.value is neither a column of .* nor SQL"):
        map_text(tmp_path, "who,what,when\nu,i,5\n", columns={**IDS, "value": expression})


def test_condition_must_be_true_or_false(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"exclude\.odd must be true or false, got 'who', which is String"):
        map_text(tmp_path, "who,what,when\nu,i,5\n", columns=IDS, exclude={"odd": "who"})


def test_list_must_be_cut_from_a_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.items\.lists\.n must be a text to be cut, got Int64"):
        map_text(tmp_path, "item_id,n\ni,1\n", ITEMS, types={"n": SourceType.int}, lists={"n": "|"})


def test_list_of_no_attribute_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        MissingColumnError, match=r"data\.items\.lists names 'genre', the table has .*'genres'"
    ):
        map_text(tmp_path, "item_id,genres\ni,a|b\n", ITEMS, lists={"genre": "|"})


def test_mapping_reads_nothing(tmp_path: Path) -> None:
    mapped = map_text(tmp_path, "user_id,item_id,timestamp\nu,i,5\n")
    assert isinstance(mapped.frame, pl.LazyFrame)
