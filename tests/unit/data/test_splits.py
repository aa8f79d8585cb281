"""Splits against tables small enough to part by hand, and the leakage check against leaks of each kind."""

import math
from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import pytest

from marquee.core.schema import TimeMeaning
from marquee.data.splits import Cutoffs, Split, SplitConfig, SplitMethod, split_events, validate_no_leakage
from marquee.errors import ConfigError, DataError, LeakageError, MissingColumnError

LEAVE_LAST = SplitConfig(method=SplitMethod.leave_last)
GIVEN = SplitConfig(method=SplitMethod.given)


def events_of(users: Sequence[str], times: Sequence[int], parts: Sequence[str] = ()) -> pl.DataFrame:
    n = len(users)
    frame = pl.DataFrame(
        {
            "event_id": [f"e{i}" for i in range(n)],
            "user_id": users,
            "item_id": [f"i{i}" for i in range(n)],
            "timestamp": pl.Series(times, dtype=pl.Int64),
            "kind": ["view"] * n,
        }
    )
    return frame.with_columns(split=pl.Series(parts)) if parts else frame


def times_of(split: Split) -> tuple[list[int], list[int], list[int]]:
    train, validation, test = (p["timestamp"].to_list() for p in (split.train, split.validation, split.test))
    return train, validation, test


def by_fraction(n: int, **keywords: float) -> tuple[int, int, int]:
    config = SplitConfig(method=SplitMethod.last_fraction, **keywords)  # type: ignore[arg-type]  # fractions
    train, validation, test = times_of(split_events(events_of(["u"] * n, range(n)), config))
    assert train + validation + test == list(range(n))
    return len(train), len(validation), len(test)


def test_time_parts_at_two_moments() -> None:
    config = SplitConfig(validation_fraction=0.2, test_fraction=0.3)
    split = split_events(events_of(list("abcdefghij"), range(10, 20)), config)
    assert times_of(split) == ([10, 11, 12, 13, 14], [15, 16], [17, 18, 19])
    assert split.cutoffs == Cutoffs(validation=15, test=17)


def test_events_of_one_moment_stay_together() -> None:
    config = SplitConfig(validation_fraction=0.2, test_fraction=0.2)
    split = split_events(events_of(list("abcdefghij"), [1, 1, 1, 2, 2, 2, 3, 3, 3, 3]), config)
    assert times_of(split) == ([1, 1, 1], [2, 2, 2], [3, 3, 3, 3])


def test_declared_moments_replace_fractions() -> None:
    config = SplitConfig(validation_from="1970-01-02", test_from="172800")
    split = split_events(events_of(list("abcd"), [86_399, 86_400, 172_799, 172_800]), config)
    assert times_of(split) == ([86_399], [86_400, 172_799], [172_800])
    assert split.description == "validation from 1970-01-02 00:00:00, test from 1970-01-03 00:00:00"


def test_validation_fraction_is_taken_before_a_declared_test() -> None:
    config = SplitConfig(test_from="8", validation_fraction=0.2)
    assert times_of(split_events(events_of(list("abcdefghij"), range(10)), config))[1] == [6, 7]


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.2), (0.2, 0.0), (0.0, 0.0)])
def test_no_share_makes_an_empty_part(validation: float, test: float) -> None:
    config = SplitConfig(validation_fraction=validation, test_fraction=test)
    parts = times_of(split_events(events_of(list("abcdefghij"), range(10)), config))
    assert [len(part) for part in parts[1:]] == [int(validation * 10), int(test * 10)]


def test_leave_last_takes_the_last_of_each_user() -> None:
    events = events_of(["u", "v", "u", "v", "u", "w"], [1, 2, 3, 4, 5, 6])
    assert times_of(split_events(events, LEAVE_LAST)) == ([1, 2, 6], [3], [4, 5])


def test_leave_last_takes_several() -> None:
    config = SplitConfig(method=SplitMethod.leave_last, n=2)
    assert times_of(split_events(events_of(["u"] * 6, range(6)), config)) == ([0, 1], [2, 3], [4, 5])


@pytest.mark.parametrize(
    ("n_events", "parts"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 0, 2)), (4, (1, 1, 2)), (5, (1, 2, 2))]
)
def test_first_event_is_always_train(n_events: int, parts: tuple[int, int, int]) -> None:
    config = SplitConfig(method=SplitMethod.leave_last, n=2)
    train, validation, test = times_of(split_events(events_of(["u"] * n_events, range(n_events)), config))
    assert (len(train), len(validation), len(test)) == parts
    assert train[0] == 0


def test_equal_times_count_in_the_order_of_the_table() -> None:
    split = split_events(events_of(["u"] * 3, [7, 7, 7]), LEAVE_LAST)
    assert [part["event_id"].to_list() for part in (split.train, split.validation, split.test)] == [
        ["e0"],
        ["e1"],
        ["e2"],
    ]


def test_table_out_of_order_is_parted_by_time() -> None:
    assert times_of(split_events(events_of(["u"] * 3, [3, 1, 2]), LEAVE_LAST)) == ([1], [2], [3])


@pytest.mark.parametrize("n", [1, 2, 4, 5, 9, 10, 14, 15, 30, 100])
def test_shares_of_a_user_are_rounded_down(n: int) -> None:
    n_test, n_validation = n // 5, n // 10  # 0.2 and 0.1 of n, in whole numbers
    assert by_fraction(n, test_fraction=0.2) == (n - n_test - n_validation, n_validation, n_test)


@pytest.mark.parametrize(("fraction", "expected"), [(0.29, 29), (0.57, 57), (0.07, 7)])
def test_rounding_of_floats_loses_no_event(fraction: float, expected: int) -> None:
    assert math.floor(fraction * 100) <= expected
    assert by_fraction(100, test_fraction=fraction)[2] == expected


def test_given_parts_are_taken_as_they_are() -> None:
    parts = ["test", "train", "validation", "train"]
    split = split_events(events_of(list("uuuv"), [1, 2, 3, 4], parts), GIVEN, TimeMeaning.none)
    assert times_of(split) == ([2, 4], [3], [1])
    assert split.description == "as the files say"


def test_given_without_validation_takes_the_last_of_train() -> None:
    events = events_of(["u"] * 21, range(21), ["train"] * 20 + ["test"])
    split = split_events(events, GIVEN)
    assert times_of(split)[1:] == ([18, 19], [20])


def test_given_without_time_takes_some_at_random() -> None:
    events = events_of(["u", "v"] * 50, [0] * 100, ["train"] * 100)
    first, same, other = (
        split_events(events, SplitConfig(method=SplitMethod.given, seed=seed), TimeMeaning.none)
        for seed in (1, 1, 2)
    )
    assert first.validation.group_by("user_id").len().sort("user_id").rows() == [("u", 5), ("v", 5)]
    assert first.validation.equals(same.validation)
    assert not first.validation.equals(other.validation)


def test_given_without_time_may_take_the_end_of_each_list() -> None:
    users, parts = list("uuvuuvu"), ["train", "train", "train", "validation", "train", "test", "train"]
    config = replace(GIVEN, validate_end=True, validation_fraction=0.5)
    split = split_events(events_of(users, [3, 1, 7, 4, 2, 6, 5], parts), config, TimeMeaning.none)
    assert [sorted(times) for times in times_of(split)] == [[1, 3, 4, 7], [2, 5], [6]]  # not the latest
    assert split.description == (
        "as the files say, 50% of each user's training events validate, the last in the file, in place of "
        "the validation file, which trains"
    )


def test_events_of_a_validation_file_that_train_are_spread_over_each_list() -> None:
    users = list("uuuuuuvv")
    parts = ["train"] * 4 + ["validation"] * 2 + ["train", "validation"]
    events = events_of(users, [1, 2, 3, 4, 8, 9, 5, 7], parts)
    split = split_events(events, replace(GIVEN, fit_on_validation=True), TimeMeaning.none)
    assert split.train.filter(user_id="u")["timestamp"].to_list() == [1, 8, 2, 3, 9, 4]
    assert split.train.filter(user_id="v")["timestamp"].to_list() == [5, 7]
    by_time = split_events(events, replace(GIVEN, fit_on_validation=True), TimeMeaning.order)
    assert by_time.train["timestamp"].to_list() == [1, 2, 3, 4, 8, 9, 5, 7]  # where there is time it decides


def test_given_may_go_without_validation() -> None:
    config = SplitConfig(method=SplitMethod.given, validation_fraction=0.0)
    split = split_events(events_of(["u"] * 20, range(20), ["train"] * 19 + ["test"]), config)
    assert split.validation.is_empty()
    assert split.description == "as the files say"


@pytest.mark.parametrize("method", [SplitMethod.time, SplitMethod.leave_last, SplitMethod.last_fraction])
def test_validation_can_be_added_to_train(method: SplitMethod) -> None:
    events = events_of(["u", "v"] * 20, range(40))
    apart = split_events(events, SplitConfig(method=method))
    merged = split_events(events, SplitConfig(method=method, fit_on_validation=True))
    assert times_of(merged)[0] == sorted(times_of(apart)[0] + times_of(apart)[1])
    assert merged.validation.is_empty()
    assert merged.test.equals(apart.test)
    assert merged.description.endswith(", validation added to train")


def test_split_by_time_needs_times() -> None:
    with pytest.raises(ConfigError, match=r"data\.split\.method=time needs data\.time=absolute, got order"):
        split_events(events_of(["u"], [0]), SplitConfig(), TimeMeaning.order)


def test_given_split_needs_its_column() -> None:
    with pytest.raises(MissingColumnError, match=r"needs the column 'split', got \['event_id', 'user_id'"):
        split_events(events_of(["u"], [0]), GIVEN)


def test_given_split_knows_three_parts() -> None:
    with pytest.raises(DataError, match=r"must hold one of .*'train', 'validation', 'test'.*, got 'dev'"):
        split_events(events_of(["u"], [0], ["dev"]), GIVEN)


def test_split_without_train_is_refused() -> None:
    config = SplitConfig(validation_from="0", test_from="5")
    with pytest.raises(
        DataError, match="the split leaves no event to train on, got 3 events and validation from"
    ):
        split_events(events_of(list("uvw"), [1, 2, 9]), config)


def test_unreachable_moment_is_written_as_a_number() -> None:
    events = events_of(["u"] * 10, [10**15 + i for i in range(10)])
    assert split_events(events, SplitConfig()).description.endswith(f"test from {10**15 + 9}")


# Leaks, one of each kind, put into a split that has none.


def leak(split: Split, source: str, target: str, **changes: object) -> Split:
    event = (
        getattr(split, source)
        .head(1)
        .with_columns(pl.lit(value).alias(name) for name, value in changes.items())
    )
    moved = event.cast(dict(getattr(split, target).schema))
    return replace(split, **{target: pl.concat([getattr(split, target), moved])})


def sound_split(config: SplitConfig) -> Split:
    parts = ["train"] * 16 + ["validation"] * 2 + ["test"] * 2 if config.method is SplitMethod.given else ()
    return split_events(events_of(["u", "v"] * 10, range(20), parts), config)


@pytest.mark.parametrize("method", list(SplitMethod))
@pytest.mark.parametrize("source", ["validation", "test"])
def test_event_in_two_parts_leaks(method: SplitMethod, source: str) -> None:
    config = SplitConfig(method=method)
    leaking = leak(sound_split(config), source, "train")
    with pytest.raises(
        LeakageError, match=f"1 events of train stand in {source} as well, for example .*'event_id'"
    ):
        validate_no_leakage(leaking, config)


def test_leak_in_given_files_stops_the_split() -> None:
    events = events_of(["u"] * 3, [1, 2, 1], ["train", "train", "test"]).with_columns(item_id=pl.lit("i"))
    with pytest.raises(LeakageError, match="1 events of train stand in test as well"):
        split_events(events, GIVEN)


@pytest.mark.parametrize(
    ("target", "timestamp", "message"),
    [
        (
            "train",
            16,
            r"1 events of train cross a cutoff, for example 'x' at 16; expected train to lie from None",
        ),
        ("validation", 15, "1 events of validation cross a cutoff.* from 16 to before 18"),
        ("validation", 18, "1 events of validation cross a cutoff"),
        ("test", 17, "1 events of test cross a cutoff.* from 18 to before None"),
    ],
)
def test_event_on_the_wrong_side_of_a_cutoff_leaks(target: str, timestamp: int, message: str) -> None:
    config = SplitConfig()
    leaking = leak(sound_split(config), target, target, event_id="x", timestamp=timestamp)
    with pytest.raises(LeakageError, match=message):
        validate_no_leakage(leaking, config)


@pytest.mark.parametrize("method", [SplitMethod.leave_last, SplitMethod.last_fraction])
@pytest.mark.parametrize(("target", "later"), [("train", "validation"), ("validation", "test")])
def test_crossed_order_of_a_user_leaks(method: SplitMethod, target: str, later: str) -> None:
    config = SplitConfig(method=method)
    leaking = leak(sound_split(config), target, target, event_id="x", timestamp=99)
    with pytest.raises(
        LeakageError, match=f"1 users have {target} events after {later} events, for example 'u'"
    ):
        validate_no_leakage(leaking, config)


def test_order_of_other_users_is_no_leak() -> None:
    split = split_events(events_of(["u", "u", "u", "v", "v", "v"], [1, 2, 3, 11, 12, 13]), LEAVE_LAST)
    validate_no_leakage(split, LEAVE_LAST)


def test_like_of_an_event_in_another_given_part_leaks() -> None:
    leaking = leak(sound_split(GIVEN), "test", "train", event_id="x")
    with pytest.raises(
        LeakageError, match=r"1 events of train stand in test as well, for example .*'item_id': 'i18'"
    ):
        validate_no_leakage(leaking, GIVEN)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"validation_fraction": 1.0}, r"validation_fraction must be in \[0, 1\), got 1.0"),
        ({"test_fraction": -0.1}, r"test_fraction must be in \[0, 1\), got -0.1"),
        (
            {"validation_fraction": 0.5, "test_fraction": 0.5},
            "must leave something to train, got validation_fraction",
        ),
        ({"n": 0}, "data.split.n must be 1 or more, got 0"),
        ({"test_from": "soon"}, "test_from must be seconds or ISO 8601 such as 2011-09-01, got 'soon'"),
        (
            {"test_from": "5", "method": SplitMethod.given},
            "validation_from and test_from need method=time, got given",
        ),
        (
            {"validate_end": True},
            "validate_end needs method=given and a validation_fraction above 0, got time",
        ),
        ({"validation_from": "6", "test_from": "5"}, "validation_from must not be after test_from"),
    ],
)
def test_impossible_split_is_refused(keywords: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SplitConfig(**keywords)  # type: ignore[arg-type]  # the point is that the values are wrong


@pytest.mark.parametrize(
    "moment", ["86400", "1970-01-02", "1970-01-02T00:00:00Z", "1970-01-02T01:00:00+01:00"]
)
def test_moment_may_be_written_in_several_ways(moment: str) -> None:
    assert SplitConfig(test_from=moment).test_cutoff() == 86_400
