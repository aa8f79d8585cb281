from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from marquee.core.schema import TimeMeaning
from marquee.data.splits import Split, SplitConfig, SplitMethod, split_events
from marquee.errors import LeakageError
from marquee.world import World
from tests.support.small_data import Prepared, write_tiny_world
from training.judging.cautions import (
    availability_cautions,
    count_reading,
    data_cautions,
    leakage_checks,
    reading_cautions,
    split_cautions,
)


def _part(**times: list[int]) -> pl.DataFrame:
    rows = [(user, time) for user, of_user in times.items() for time in of_user]
    return pl.DataFrame(rows, schema={"user_id": pl.String, "timestamp": pl.Int64}, orient="row")


def _split(train: pl.DataFrame, test: pl.DataFrame) -> Split:
    return Split(train, train.clear(), test, "by hand", None)


def test_a_random_split_with_timestamps_at_hand_is_named() -> None:
    split = _split(_part(a=[1, 9], b=[2]), _part(a=[5], b=[7]))
    (caution,) = split_cautions(split, TimeMeaning.absolute, "test")
    assert caution.startswith("50% of the users have training events later than their first test event")
    assert split_cautions(split, TimeMeaning.order, "test") == (caution,)


def test_a_split_in_order_for_each_user_alone_is_named() -> None:
    split = _split(_part(a=[1, 2], b=[8, 9]), _part(a=[3, 4], b=[10]))
    (caution,) = split_cautions(split, TimeMeaning.absolute, "test")
    assert caution.startswith("50% of the training events are later than half of the test events")
    assert not split_cautions(split, TimeMeaning.order, "test")


@pytest.mark.parametrize("time", TimeMeaning)
def test_a_split_by_time_needs_no_caution(time: TimeMeaning) -> None:
    assert not split_cautions(_split(_part(a=[1, 2], b=[3]), _part(a=[4], b=[5])), time, "test")


def test_without_time_nothing_can_be_said() -> None:
    split = _split(_part(a=[9]), _part(a=[5]))
    assert not split_cautions(split, TimeMeaning.none, "test")
    assert not split_cautions(split, TimeMeaning.absolute, "validation")


def test_windows_of_availability_beside_times_that_are_no_moments_are_named(
    tiny_world: World, tmp_path: Path
) -> None:
    dataset = Prepared.read(write_tiny_world(tiny_world, tmp_path / "world")).dataset
    assert not availability_cautions(dataset)
    (caution,) = availability_cautions(replace(dataset, time=TimeMeaning.order))
    assert caution.startswith("The items table says when items are available, and timestamps mean order")


def test_data_that_are_not_those_of_the_first_report_are_named(tmp_path: Path) -> None:
    assert not data_cautions(tmp_path, "sha256:1", "by hand")
    assert not data_cautions(tmp_path, "sha256:1", "by hand")
    (caution,) = data_cautions(tmp_path, "sha256:2", "by hand")
    assert caution.startswith(
        "The data have changed since this model was trained (fingerprint sha256:1, now sha256:2): what"
    )
    (caution,) = data_cautions(tmp_path, "sha256:1", "from noon")
    assert "(split by hand, now from noon)" in caution


def test_the_leakage_check_says_what_it_looked_at_and_found() -> None:
    events = pl.DataFrame(
        {
            "event_id": list("abcd"),
            "user_id": ["u"] * 4,
            "item_id": list("wxyz"),
            "timestamp": [0, 60, 3600, 7200],
        }
    ).with_columns(kind=pl.lit("click"))
    config = SplitConfig(method=SplitMethod.time, validation_fraction=0.25, test_fraction=0.25)
    once, crossed = leakage_checks(split_events(events, config), config)
    assert once == "No event stands in two parts, among 2 train, 1 validation and 1 test events: 0 found."
    assert crossed == (
        "No event crosses a cutoff: train from 1970-01-01 00:00:00 to 1970-01-01 00:01:00, validation from "
        "1970-01-01 01:00:00 to 1970-01-01 01:00:00, test from 1970-01-01 02:00:00 to 1970-01-01 02:00:00."
    )
    last = SplitConfig(method=SplitMethod.leave_last, n=1)
    assert leakage_checks(split_events(events, last), last)[1].startswith(
        "No user has an event in an earlier"
    )


def test_a_leak_that_came_in_after_the_split_stops_the_report() -> None:
    events = pl.DataFrame(
        {"event_id": list("abcd"), "user_id": ["u"] * 4, "item_id": list("wxyz"), "timestamp": [1, 2, 3, 4]}
    ).with_columns(kind=pl.lit("click"))
    config = SplitConfig(method=SplitMethod.leave_last, n=1)
    split = split_events(events, config)
    leaking = replace(split, train=pl.concat([split.train, split.test]))
    with pytest.raises(LeakageError, match=r"1 events of train stand in test as well, for example .*'d'"):
        leakage_checks(leaking, config)


def test_readings_are_counted_by_part(tmp_path: Path) -> None:
    parts = ["test", "validation", "test", "validation", "test"]
    assert [count_reading(tmp_path, part) for part in parts] == [1, 1, 2, 2, 3]


def test_a_test_part_read_again_is_named_and_a_validation_part_is_not() -> None:
    assert not reading_cautions("test", 1)
    assert not reading_cautions("validation", 9)
    (caution,) = reading_cautions("test", 3)
    assert caution.startswith("The test part has been read 3 times for this run")
