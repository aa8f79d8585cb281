import polars as pl
import pytest

from marquee.data.table_config import SourceType, TableConfig, TimestampUnit
from marquee.errors import ConfigError


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({}, "either path or paths, got path='' and paths={}"),
        ({"path": "a.csv", "paths": {"train": "b.csv"}}, "either path or paths, got path='a.csv'"),
        ({"paths": {"test": "a.csv"}}, r"must name train, .* got \['test'\]"),
        ({"paths": {"train": "a.csv", "dev": "b.csv"}}, r"got \['train', 'dev'\]"),
        ({"paths": {"train": "a.csv"}, "optional_paths": ["train"]}, "train cannot be optional"),
        ({"path": "a.csv", "separator": ""}, "separator must not be empty, got ''"),
        ({"path": "a.csv", "quote": "''"}, "quote must be one character or empty, got \"''\""),
        ({"path": "a.csv", "names": ["u"]}, r"names are for a file without header, got \['u'\]"),
        ({"path": "a.csv", "header": False, "names": ["u", "u"]}, r"names must differ, got \['u', 'u'\]"),
        ({"path": "a.csv", "encoding": "latin-99"}, "encoding 'latin-99' is not known"),
        (
            {"path": "a.csv", "columns": {"g": "x"}, "flags": {"g": ["y"]}},
            r"\['g'\] is both in columns and in",
        ),
        ({"path": "a.csv", "exclude": {"blank_row": "x > 1"}}, "cannot use the name 'blank_row'"),
        ({"path": "a.csv", "exclude": {"return": " "}}, "exclude 'return' has no condition"),
        (
            {"path": "a.csv", "deduplicate": True, "unique": True},
            "deduplicate=True is for events, unique=True",
        ),
    ],
)
def test_impossible_table_is_refused(keywords: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TableConfig(**keywords)  # type: ignore[arg-type]  # the point is that the values are wrong


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 1_000), ("us", 1_000_000)])
def test_unit_says_how_many_make_a_second(unit: str, per_second: int) -> None:
    assert TimestampUnit(unit).per_second == per_second


def test_every_source_type_has_a_column_type() -> None:
    assert {str(kind): kind.dtype for kind in SourceType} == {
        "int": pl.Int64(),
        "float": pl.Float64(),
        "str": pl.String(),
        "bool": pl.Boolean(),
        "list": pl.List(pl.String()),
        "vector": pl.List(pl.Float64()),
    }
