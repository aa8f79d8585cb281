"""JSON lines with what Python writes into them, JSON lists, and nested fields by dotted names."""

import json
from pathlib import Path

import pytest

from marquee.data.config import DataConfig
from marquee.data.reading.tables import Tables, read_tables
from marquee.data.table_config import TableConfig
from marquee.errors import DataError, MissingColumnError

EVENTS = [
    {"user_id": f"u{n}", "item_id": f"i{n}", "timestamp": 1740787200 + n, "value": n / 2} for n in range(200)
]


def read(folder: Path, text: str, name: str = "e.jsonl", **keys: object) -> Tables:
    (folder / name).write_text(text, encoding="utf8")
    table = TableConfig(path=name, **keys)  # type: ignore[arg-type]  # keys of several types
    return read_tables(DataConfig(name="t", root=str(folder), events=table))


def lines(events: list[dict[str, object]]) -> str:
    return "\n".join(json.dumps(event) for event in events)


def test_nan_is_a_missing_value(tmp_path: Path) -> None:
    events = [event | ({"value": float("nan")} if n == 7 else {}) for n, event in enumerate(EVENTS)]
    tables = read(tmp_path, lines(events))
    assert tables.events["value"][7] is None
    assert tables.quality.events.kept == 200


def test_nan_is_no_id(tmp_path: Path) -> None:
    events = [event | ({"item_id": float("nan")} if n == 7 else {}) for n, event in enumerate(EVENTS)]
    (reject,) = read(tmp_path, lines(events)).quality.events.rejects
    assert (reject.reason, reject.example_row) == ("null_id", 8)


def test_an_infinite_number_rejects_its_row(tmp_path: Path) -> None:
    events = [event | ({"value": float("-inf")} if n == 7 else {}) for n, event in enumerate(EVENTS)]
    (reject,) = read(tmp_path, lines(events)).quality.events.rejects
    assert (reject.reason, reject.count) == ("non_finite_value", 1)


def test_broken_lines_beside_nan_are_counted(tmp_path: Path) -> None:
    text = lines(EVENTS).split("\n")
    text[3], text[5] = '{"user_id": NaN, "item_id": "i", "timestamp": 1}', "{broken"
    rejects = read(tmp_path, "\n".join(text)).quality.events.rejects
    assert [(reject.reason, reject.example_row) for reject in rejects] == [
        ("unreadable_row", 6),
        ("null_id", 4),
    ]


@pytest.mark.parametrize("indent", [None, 1], ids=["one line", "indented"])
@pytest.mark.parametrize("name", ["e.json", "e.jsonl"])
def test_a_list_of_objects_is_a_table(tmp_path: Path, indent: int | None, name: str) -> None:
    events = [event | ({"value": float("nan")} if n == 7 else {}) for n, event in enumerate(EVENTS)]
    tables = read(tmp_path, json.dumps(events, indent=indent), name)
    assert tables.events["item_id"].to_list() == [event["item_id"] for event in EVENTS]


def test_elements_that_are_no_objects_are_rejected(tmp_path: Path) -> None:
    (reject,) = read(tmp_path, json.dumps([*EVENTS, 17])).quality.events.rejects
    assert (reject.reason, reject.example_row) == ("unreadable_row", 201)


@pytest.mark.parametrize("nested", [{"id": "i7"}, ["i7", "i8"]], ids=["object", "list"])
def test_an_object_or_list_among_ids_rejects_its_row(tmp_path: Path, nested: object) -> None:
    events = [event | ({"item_id": nested} if n == 7 else {}) for n, event in enumerate(EVENTS)]
    (reject,) = read(tmp_path, lines(events)).quality.events.rejects
    assert (reject.reason, reject.column, reject.count, reject.example_row) == ("wrong_type", "item_id", 1, 8)


def test_a_field_of_what_is_an_object_in_some_rows_is_refused_in_words(tmp_path: Path) -> None:
    events = [event | {"props": "none" if n % 3 else {"id": "i1"}} for n, event in enumerate(EVENTS)]
    with pytest.raises(MissingColumnError, match=r"'props\.id'.*anything but objects in some rows is a text"):
        read(tmp_path, lines(events), columns={"item_id": "props.id"})


def test_a_list_that_ends_too_early_is_said_to(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"begins as a JSON list and does not go on as one: .*line 1"):
        read(tmp_path, json.dumps(EVENTS)[:-20])


@pytest.mark.parametrize("has_nan", [False, True])
def test_nested_fields_have_dotted_names(tmp_path: Path, *, has_nan: bool) -> None:
    events = [
        {
            "who": {"id": event["user_id"]},
            "props": {"item": {"id": event["item_id"]}, "worth": float("nan") if has_nan else 1},
            "timestamp": event["timestamp"],
        }
        for event in EVENTS
    ]
    columns = {"user_id": "UPPER(who.id)", "item_id": "props.item.id", "value": "props.worth"}
    tables = read(tmp_path, lines(events), columns=columns)
    assert tables.events["user_id"][3] == "U3"
    assert tables.events["item_id"][3] == "i3"
    assert tables.events["value"][3] == (None if has_nan else 1)


def test_a_nested_attribute_is_kept_as_text(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(
        "\n".join(json.dumps({"item_id": e["item_id"], "size": {"w": 1, "h": 2}}) for e in EVENTS),
        encoding="utf8",
    )
    (tmp_path / "e.jsonl").write_text(lines(EVENTS), encoding="utf8")
    config = DataConfig(
        name="t",
        root=str(tmp_path),
        events=TableConfig(path="e.jsonl"),
        items=TableConfig(path="items.jsonl"),
    )
    tables = read_tables(config)
    assert tables.items is not None
    assert json.loads(tables.items["size"][0]) == {"w": "1", "h": "2"}


def test_a_missing_nested_field_is_named(tmp_path: Path) -> None:
    events = [{**event, "props": {"item": "i"}} for event in EVENTS]
    with pytest.raises(DataError, match=r"props\.name.*\['item'\].*data\.events\.columns\.item_id"):
        read(tmp_path, lines(events), columns={"item_id": "props.name"})


@pytest.mark.parametrize("between", ["", " ", ",", ",\n", "\n\n"])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("before", ["", "\x1e"])
def test_objects_may_stand_one_behind_the_other(
    tmp_path: Path, between: str, indent: int | None, before: str
) -> None:
    text = between.join(before + json.dumps(event, indent=indent) for event in EVENTS) + between
    tables = read(tmp_path, text)
    assert tables.events["item_id"].to_list() == [event["item_id"] for event in EVENTS]
    assert not tables.quality.events.rejects


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("\ufeff\n \n", "the file is empty"),
        ("[]", "the list is empty"),
        ('["u1", "i1", 5]\n["u2", "i2", 6]\n', r"no JSON object, its first line is .*\"u1\""),
    ],
)
def test_a_file_without_an_object_is_said_to_be_one(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as stop:
        read(tmp_path, text)
    assert "header" not in str(stop.value)
    assert "TRY_CAST" not in str(stop.value)
