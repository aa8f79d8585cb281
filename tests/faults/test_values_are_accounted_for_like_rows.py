"""Unreadable feature values are counted, shown and limited; repeated events and dominant ids are noted."""

from pathlib import Path

import polars as pl
import pytest

from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.reading.tables import Tables, read_tables
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError, DataError
from marquee.features import FeatureConfig, FeaturesConfig, FeatureType

N = 100


def read(
    folder: Path, values: list[object], feature: FeatureConfig, limit: float = 0.05, where: str = "item"
) -> Tables:
    ids = [f"{n}" for n in range(len(values))]
    pl.DataFrame({"id": ids, "x": values}, strict=False).write_parquet(folder / "t.parquet")
    pl.DataFrame(
        {"user_id": ids, "item_id": ids, "timestamp": range(1740787200, 1740787200 + len(ids))}
    ).join(pl.DataFrame({"user_id": ids, "x": values}, strict=False), on="user_id").write_parquet(
        folder / "e.parquet"
    )
    return read_tables(
        DataConfig(
            name="t",
            root=str(folder),
            events=TableConfig(path="e.parquet"),
            items=TableConfig(path="t.parquet", columns={"item_id": "id"}),
            users=TableConfig(path="t.parquet", columns={"user_id": "id"}),
            features=FeaturesConfig(**{where: {"x": feature}}),
            max_unreadable_fraction=limit,
        )
    )


NUMERIC = FeatureConfig(type=FeatureType.numeric)
CASES = [
    (NUMERIC, "9.50", "1,210.50"),
    (NUMERIC, "9.50", "#N/A"),
    (NUMERIC, 9.5, float("inf")),
    (FeatureConfig(type=FeatureType.timestamp), "2020-01-01", "01.02.2020"),
    (FeatureConfig(type=FeatureType.timestamp), 1577836800, 10**14),
    (FeatureConfig(type=FeatureType.vector, dim=2), [1.0, 2.0], [1.0]),
    (FeatureConfig(type=FeatureType.vector, dim=2), "[1, 2]", "[1, 2"),
]


@pytest.mark.parametrize("where", ["item", "user", "context"])
@pytest.mark.parametrize(("feature", "good", "bad"), CASES[:1] + CASES[3:6])
def test_unreadable_values_are_counted_with_an_example(
    tmp_path: Path, feature: FeatureConfig, good: object, bad: object, where: str
) -> None:
    tables = read(tmp_path, [good] * (N - 5) + [bad] * 3 + [None] * 2, feature, where=where)
    table = {"item": tables.quality.items, "user": tables.quality.users, "context": tables.quality.events}[
        where
    ]
    assert table is not None
    (found,) = table.features
    assert (found.n_values, found.n_unreadable) == (N - 2, 3)
    assert str(bad)[:8] in found.example
    (line,) = [line for line in tables.quality.summary_lines() if "feature x" in line]
    assert "3 unreadable (3.06%" in line
    assert '"n_unreadable": 3' in str(tables.quality.to_json_dict()).replace("'", '"')


@pytest.mark.parametrize(("feature", "good", "bad"), CASES)
def test_too_many_unreadable_values_stop_the_run(
    tmp_path: Path, feature: FeatureConfig, good: object, bad: object
) -> None:
    if feature.type is FeatureType.vector and isinstance(good, str):
        good = None  # a text is no list without `types`, so that every text is unreadable
    message = (
        r"feature 'x' \(column 'x' of items\).*29 of its (29|30) values cannot be read.*correct its type"
    )
    with pytest.raises(DataError, match=message):
        read(tmp_path, [bad] * 29 + [good], feature)
    assert read(tmp_path, [good] * 29 + [bad], feature, limit=1.0).quality.items is not None


def test_readable_values_of_any_type_are_no_fault(tmp_path: Path) -> None:
    cases: list[tuple[FeatureConfig, list[object]]] = [
        (NUMERIC, [1, 2, None]),
        (NUMERIC, ["1e3", " 2 ", ""]),
        (FeatureConfig(), ["a", "", None]),
        (FeatureConfig(type=FeatureType.multi), [["a"], [], None]),
        (FeatureConfig(type=FeatureType.text), ["some words", None, ""]),
        (FeatureConfig(type=FeatureType.timestamp), ["2020-01-01T10:00:00Z", "2020-02", None]),
    ]
    for feature, values in cases:
        tables = read(tmp_path, values, feature, limit=0)
        assert tables.quality.items is not None
        assert tables.quality.items.features[0].n_unreadable == 0


@pytest.mark.parametrize("value", [1577836800000, 20200101])
def test_a_feature_of_dates_as_numbers_stops_the_run(tmp_path: Path, value: int) -> None:
    feature = FeatureConfig(type=FeatureType.timestamp)
    with pytest.raises(DataError, match=rf"feature 'x'.*numbers such as {value}"):
        read(tmp_path, [value] * N, feature)


def test_the_limit_is_a_share() -> None:
    with pytest.raises(ConfigError, match="max_unreadable_fraction must be between 0 and 1, got 2"):
        DataConfig(name="t", events=TableConfig(path="e.csv"), max_unreadable_fraction=2)


def events(rows: list[tuple[str, str, int]], folder: Path, **keys: object) -> tuple[str, ...]:
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    frame.write_csv(folder / "e.csv")
    table = TableConfig(path="e.csv", **keys)  # type: ignore[arg-type]  # keys of several types
    return read_tables(DataConfig(name="t", root=str(folder), events=table)).quality.notes


DISTINCT = [(f"u{n % 50}", f"i{n % 60}", 1740787200 + n) for n in range(600)]


def test_events_that_stand_twice_are_noted(tmp_path: Path) -> None:
    (note,) = events(DISTINCT * 3, tmp_path)
    assert "1,200 of 1,800 events repeat another" in note
    assert "deduplicate=true" in note
    assert events(DISTINCT * 3, tmp_path, deduplicate=True) == ()
    assert events(DISTINCT, tmp_path) == ()


def test_copies_are_noted_where_there_is_no_time(tmp_path: Path) -> None:
    pl.DataFrame(DISTINCT * 3, schema=["user_id", "item_id", "at"], orient="row").write_csv(
        tmp_path / "e.csv"
    )
    config = DataConfig(
        name="t",
        root=str(tmp_path),
        events=TableConfig(path="e.csv"),
        time=TimeMeaning.none,
        split=SplitConfig(method=SplitMethod.random),
    )
    assert any(
        "events repeat another (user, item and kind)" in note for note in read_tables(config).quality.notes
    )


@pytest.mark.parametrize(("place", "who"), [(0, "user"), (1, "item")])
def test_an_id_that_has_a_large_share_is_noted(tmp_path: Path, place: int, who: str) -> None:
    rows = []
    for n, row in enumerate(DISTINCT):
        cells = list(row)
        cells[place] = "guest" if n % 3 == 0 else cells[place]
        rows.append((str(cells[0]), str(cells[1]), row[2]))
    (note,) = events(rows, tmp_path)
    assert f"{who} 'guest' has 33% of all events" in note
