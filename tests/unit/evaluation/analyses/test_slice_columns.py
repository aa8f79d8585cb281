import numpy as np
import pytest

from marquee.evaluation.analyses.slice_columns import MAX_VALUES, by_moment, by_thirds, slice_values
from marquee.features import FeatureConfig, FeatureType, TimestampPart

DAY = 86_400


def test_numbers_are_parted_at_their_thirds_and_equal_ones_stay_together() -> None:
    values = [1, 2, 2, 2, 5, 6, 7, 8.5, None, "text"]
    parts = by_thirds(values)
    assert list(parts) == ["up to 2", "up to 5", "above 5"]
    assert np.stack([*parts.values()]).sum(axis=0).tolist() == [1] * 8 + [0, 0]


def test_numbers_of_two_values_have_two_parts_and_of_none_no_part() -> None:
    assert list(by_thirds([0, 0, 0, 1])) == ["up to 0", "above 0"]
    assert by_thirds([None, None]) == {}


def test_moments_are_parted_in_their_own_order() -> None:
    monday = 1_704_067_200
    moments = [monday + day * DAY for day in (6, 0, 3)] + [None]
    parts = by_moment(moments, TimestampPart.weekday)
    assert list(parts) == ["Monday", "Thursday", "Sunday"]
    assert parts["Monday"].tolist() == [False, True, False, False]
    assert list(by_moment([monday + 23 * 3600, monday], TimestampPart.hour)) == ["0 to 6 h", "18 to 24 h"]
    assert list(by_moment(moments, TimestampPart.year)) == ["2024"]
    assert list(by_moment(moments, TimestampPart.month)) == ["1"]


def test_every_declared_part_of_a_moment_is_a_column() -> None:
    feature = FeatureConfig(type=FeatureType.timestamp, parts=[TimestampPart.hour, TimestampPart.year])
    slices, reason = slice_values("at", feature, [0, 20 * 3600, DAY])
    assert list(slices) == ["at, hour"]  # all of one year
    assert reason == ""


@pytest.mark.parametrize(
    ("feature", "values", "reason"),
    [
        (FeatureConfig(type=FeatureType.text), ["a b", "c"], "a text is not sliced"),
        (FeatureConfig(type=FeatureType.vector, dim=2), [[1.0, 2.0]], "a vector is not sliced"),
        (FeatureConfig(), [str(n) for n in range(MAX_VALUES + 1)], "201 distinct values, more than 200"),
        (FeatureConfig(), ["a", "a", None], "the same value for all"),
        (FeatureConfig(type=FeatureType.numeric), [3, 3, None], "the same value for all"),
    ],
)
def test_what_parts_nothing_is_named_with_the_reason(
    feature: FeatureConfig, values: list[object], reason: str
) -> None:
    assert slice_values("column", feature, values) == ({}, reason)


def test_lists_stand_for_each_of_their_values() -> None:
    slices, _ = slice_values("tags", FeatureConfig(type=FeatureType.multi), [["a", "b"], ["b"], None])
    assert {value: is_in.tolist() for value, is_in in slices["tags"].items()} == {
        "a": [True, False, False],
        "b": [True, True, False],
    }
