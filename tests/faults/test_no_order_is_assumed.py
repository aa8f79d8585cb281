"""Data without time can be split at random, and a file that is sorted by a column is cautioned about."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.reading.tables import Tables, read_tables
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.splits import split_events
from marquee.data.table_config import TableConfig

RANDOM = SplitConfig(method=SplitMethod.random, test_fraction=0.2, validation_fraction=0.1, seed=3)


def table(n_users: int = 40, n: int = 10) -> pl.DataFrame:
    draw = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in range(n_users) for _ in range(n)],
            "item_id": [f"i{draw.integers(1000):03d}" for _ in range(n_users * n)],
            "hours": draw.random(n_users * n).round(3),
            "title": [f"t{draw.integers(1000):03d}" for _ in range(n_users * n)],
        }
    )


def read(folder: Path, frame: pl.DataFrame, split: SplitConfig, **columns: str) -> Tables:
    frame.write_csv(folder / "e.csv")
    return read_tables(
        DataConfig(
            name="t",
            root=str(folder),
            events=TableConfig(path="e.csv", columns=columns),
            time=TimeMeaning.none,
            split=split,
        )
    )


def test_a_random_split_holds_shares_of_each_user_whatever_the_order(tmp_path: Path) -> None:
    events = read(tmp_path, table().sort("hours", descending=True), RANDOM, value="hours").events
    split = split_events(events, RANDOM, TimeMeaning.none)
    for part, size in ((split.train, 7), (split.validation, 1), (split.test, 2)):
        assert set(part.group_by("user_id").len()["len"]) == {size}
    means = split.train["value"].mean(), split.test["value"].mean()
    assert means == pytest.approx((0.5, 0.5), abs=0.1)
    assert "at random with seed 3" in split.description


def test_a_random_split_is_that_of_its_seed(tmp_path: Path) -> None:
    events = read(tmp_path, table(), RANDOM).events
    again, other = (
        split_events(events, SplitConfig(method=SplitMethod.random, seed=seed), TimeMeaning.none).test[
            "event_id"
        ]
        for seed in (3, 4)
    )
    first = split_events(events, SplitConfig(method=SplitMethod.random, seed=3), TimeMeaning.none).test
    assert first["event_id"].to_list() == again.to_list()
    assert first["event_id"].to_list() != other.to_list()


def test_a_random_split_needs_no_time_and_minds_none(tmp_path: Path) -> None:
    frame = table().with_columns(timestamp=pl.int_range(pl.len()) + 1740787200)
    frame.write_csv(tmp_path / "e.csv")
    config = DataConfig(name="t", root=str(tmp_path), events=TableConfig(path="e.csv"), split=RANDOM)
    assert len(split_events(read_tables(config).events, config.split).test) == 80


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("column", ["hours", "item_id", "title"])
@pytest.mark.parametrize("by_user", [False, True])
@pytest.mark.parametrize("method", [SplitMethod.leave_last, SplitMethod.last_fraction])
def test_a_sorted_file_is_cautioned_about(
    tmp_path: Path, column: str, method: SplitMethod, *, descending: bool, by_user: bool
) -> None:
    order = ["user_id", column] if by_user else [column]
    frame = table().sort(order, descending=[False, descending] if by_user else descending)
    notes = read(tmp_path, frame, SplitConfig(method=method)).quality.notes
    word = "descend" if descending else "ascend"
    (note,) = [note for note in notes if f"rows {word} in {column}" in note]
    assert "split.method=random" in note


@pytest.mark.parametrize("split", [SplitConfig(method=SplitMethod.leave_last), RANDOM])
def test_a_file_in_no_order_is_not_cautioned_about(tmp_path: Path, split: SplitConfig) -> None:
    assert read(tmp_path, table(), split).quality.notes == ()


def test_a_random_split_of_a_sorted_file_needs_no_caution(tmp_path: Path) -> None:
    assert read(tmp_path, table().sort("hours"), RANDOM).quality.notes == ()
