import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from marquee.errors import ConfigError, DataError, MissingColumnError, ShapeError
from marquee.features import (
    FeatureArrays,
    FeatureConfig,
    FeatureEncoder,
    FeaturesConfig,
    FeatureType,
    TimestampPart,
    UnknownPolicy,
)
from marquee.features.codecs import FeatureState
from marquee.features.encoder import FittedFeature
from marquee.features.values import read_category, read_list, read_number, read_time, read_vector
from tests.support.round_trips import fields_at_default

CATEGORY = FeatureConfig()
UNUSABLE = [None, float("nan"), float("inf"), {}, object(), b"bytes", [], 10**400]


def shown(value: object) -> str:
    """Returns a test's name for a value: the same in every process, and short."""
    return "object" if type(value) is object else repr(value)[:24]


def fit_one(config: FeatureConfig, column: list[object]) -> FeatureEncoder:
    return FeatureEncoder.fit({"x": config}, {"x": column})


def tokens_of(encoder: FeatureEncoder, value: object) -> list[int]:
    return [int(token) for token in encoder.encode_one({"x": value}).tokens[0]]


def numbers_of(encoder: FeatureEncoder, value: object) -> list[float]:
    return [float(number) for number in encoder.encode_one({"x": value}).numeric[0]]


def test_a_category_gets_its_row_in_sorted_order() -> None:
    encoder = fit_one(CATEGORY, ["b", "c", "a", "b"])
    assert [tokens_of(encoder, value) for value in "abc"] == [[2], [3], [4]]
    assert (encoder.n_token_rows, encoder.n_token_columns, encoder.n_numeric) == (5, 1, 0)


@pytest.mark.parametrize(
    ("value", "same"), [(2018, "2018"), (2018.0, 2018), (np.int64(7), 7), (True, "true")]
)
def test_one_category_may_be_written_in_several_types(value: object, same: object) -> None:
    encoder = fit_one(CATEGORY, [value, "other"])
    assert tokens_of(encoder, same) == tokens_of(encoder, value) != tokens_of(encoder, "unseen")


@pytest.mark.parametrize("value", [*UNUSABLE, "", "unseen"], ids=shown)
def test_what_says_nothing_gets_the_unknown_row(value: object) -> None:
    encoder = fit_one(CATEGORY, ["a", "b"])
    assert tokens_of(encoder, value) == [encoder.blocks[0].unknown_row] == [1]


@pytest.mark.parametrize("value", [*UNUSABLE, "", "unseen"], ids=shown)
def test_ignored_unknown_values_become_padding(value: object) -> None:
    encoder = fit_one(FeatureConfig(unknown=UnknownPolicy.ignore), ["a", "b"])
    assert tokens_of(encoder, value) == [0]
    assert (encoder.blocks[0].unknown_row, encoder.n_token_rows) == (0, 3)


def test_rare_categories_are_unknown() -> None:
    encoder = fit_one(FeatureConfig(min_count=2), ["a", "a", "b"])
    assert tokens_of(encoder, "b") == [encoder.blocks[0].unknown_row]
    assert tokens_of(encoder, "a") == [2]


def test_multi_keeps_the_first_distinct_values() -> None:
    encoder = fit_one(FeatureConfig(type=FeatureType.multi, max_values=2), [["a", "b"], ["c"]])
    assert tokens_of(encoder, ["c", "c", "a", "b"]) == [4, 2]
    assert tokens_of(encoder, ["b"]) == [3, 0]
    assert tokens_of(encoder, "b") == [3, 0]


def test_multi_counts_a_value_once_per_row() -> None:
    config = FeatureConfig(type=FeatureType.multi, min_count=2)
    encoder = fit_one(config, [["a", "a"], ["b"], ["b"]])
    assert tokens_of(encoder, ["a", "b"])[:2] == [2, 1]  # b, then the unknown row for a


@pytest.mark.parametrize("value", [None, [], [None, "new"], {"a": 1}], ids=repr)
def test_multi_without_a_known_value_gets_the_unknown_row_once(value: object) -> None:
    encoder = fit_one(FeatureConfig(type=FeatureType.multi, max_values=3), [["a"]])
    assert tokens_of(encoder, value) == [1, 0, 0]


def test_multi_drops_the_unknown_row_before_a_known_value() -> None:
    encoder = fit_one(FeatureConfig(type=FeatureType.multi, max_values=2), [["a", "b"]])
    assert tokens_of(encoder, ["new", "a", "b"]) == [2, 3]


def test_numbers_are_standardised_by_training_values_alone() -> None:
    encoder = fit_one(FeatureConfig(type=FeatureType.numeric), [1.0, 3.0, None, "x"])
    assert numbers_of(encoder, 4) == [(4 - 2) / 1, 0.0]
    assert numbers_of(encoder, "2") == [0.0, 0.0]
    assert numbers_of(encoder, None) == [0.0, 1.0]


def test_ignored_missing_numbers_have_no_flag() -> None:
    encoder = fit_one(FeatureConfig(type=FeatureType.numeric, unknown=UnknownPolicy.ignore), [1.0, 3.0])
    assert numbers_of(encoder, None) == [0.0]


@pytest.mark.parametrize("value", [1e29, -1e29])
def test_extreme_numbers_stay_finite(value: float) -> None:
    encoder = fit_one(FeatureConfig(type=FeatureType.numeric), [0.0, 1.0])
    assert numbers_of(encoder, value) == [math.copysign(10.0, value), 0.0]


def test_a_constant_number_is_zero_everywhere() -> None:
    encoder = fit_one(FeatureConfig(type=FeatureType.numeric), [0.1 + 0.2] * 7)
    assert numbers_of(encoder, 0.3) == [pytest.approx(0.0, abs=1e-12), 0.0]


def test_buckets_hold_equal_shares_of_training_values() -> None:
    values: list[object] = list(range(100))
    encoder = fit_one(FeatureConfig(type=FeatureType.numeric, buckets=4), values)
    rows = encoder.encode({"x": values}, 100).tokens[:, 0]
    assert np.bincount(rows).tolist() == [0, 0, 25, 25, 25, 25]
    assert [tokens_of(encoder, value) for value in (-9, 999, None)] == [[2], [5], [1]]


def test_every_bucket_holds_a_training_value() -> None:
    encoder = fit_one(FeatureConfig(type=FeatureType.numeric, buckets=10), [0, 0, 0, 1])
    assert [tokens_of(encoder, value) for value in (0, 1)] == [[2], [3]]
    assert encoder.n_token_rows == 4


def test_text_without_a_word_gets_the_unknown_row() -> None:
    encoder = fit_one(FeatureConfig(type=FeatureType.text, max_tokens=4, buckets=50), ["a title"])
    values: list[object] = [None, "", "?!", [], 3.5j]
    for value in values:
        assert tokens_of(encoder, value) == [1, 0, 0, 0]
    assert all(2 <= row <= 51 for row in tokens_of(encoder, "unheard of words"))
    assert encoder.n_token_rows == 52


def test_vector_passes_through_and_wrong_ones_are_zero() -> None:
    encoder = fit_one(FeatureConfig(type=FeatureType.vector, dim=2), [[0.5, -1.0], None])
    assert numbers_of(encoder, np.array([0.5, -1.0])) == [0.5, -1.0]
    for value in (None, [1.0], [1.0, 2.0, 3.0], ["a", "b"], [1.0, None], [1e300, 0.0], "text"):
        assert numbers_of(encoder, value) == [0.0, 0.0]


def test_timestamp_parts_are_those_of_utc() -> None:
    config = FeatureConfig(type=FeatureType.timestamp, parts=list(TimestampPart))
    moment = datetime(2024, 2, 29, 23, 30, tzinfo=UTC)  # a Thursday
    encoder = fit_one(config, [int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()), int(moment.timestamp())])
    first = 2  # after padding and the unknown row
    expected = [first + 23, first + 24 + 3, first + 24 + 7 + 1, first + 24 + 7 + 12 + (2024 - 2020)]
    east = moment.astimezone(timezone(timedelta(hours=9)))
    for value in (int(moment.timestamp()), moment, moment.replace(tzinfo=None), east):
        assert tokens_of(encoder, value) == expected


def test_years_outside_training_are_unknown() -> None:
    config = FeatureConfig(type=FeatureType.timestamp, parts=[TimestampPart.year, TimestampPart.month])
    encoder = fit_one(config, [date(2020, 5, 1)])
    assert tokens_of(encoder, date(2021, 5, 1)) == [1, tokens_of(encoder, date(2020, 5, 1))[1]]


@pytest.mark.parametrize("value", [None, "soon", 1e18, 1_700_000_000_000_000, [1], float("nan")], ids=repr)
def test_an_impossible_moment_gets_the_unknown_row_once(value: object) -> None:
    encoder = fit_one(FeatureConfig(type=FeatureType.timestamp), [1_700_000_000])
    assert tokens_of(encoder, value) == [1, 0]


def test_features_own_separate_rows_and_columns() -> None:
    configs = {
        "tags": FeatureConfig(type=FeatureType.multi, max_values=3),
        "price": FeatureConfig(type=FeatureType.numeric),
        "colour": FeatureConfig(unknown=UnknownPolicy.ignore),
        "size": FeatureConfig(type=FeatureType.numeric, unknown=UnknownPolicy.ignore),
    }
    encoder = FeatureEncoder.fit(
        configs, {"tags": [["a", "b"]], "price": [1.0], "colour": ["red"], "size": [2.0]}
    )
    blocks = [(b.name, b.first_column, b.n_columns, b.first_row, b.n_rows) for b in encoder.blocks]
    assert blocks == [("tags", 0, 3, 1, 3), ("colour", 3, 1, 4, 1)]
    arrays = encoder.encode_one({"tags": ["b"], "colour": "red", "price": None, "size": 2})
    assert (arrays.tokens.tolist(), arrays.numeric.tolist()) == ([[3, 0, 0, 4]], [[0.0, 1.0, 0.0]])


def test_two_features_may_read_one_column() -> None:
    configs = {
        "moment": FeatureConfig(type=FeatureType.timestamp, column="timestamp"),
        "age": FeatureConfig(type=FeatureType.numeric, column="timestamp"),
    }
    encoder = FeatureEncoder.fit(configs, {"timestamp": [0, 10]})
    assert (encoder.n_token_columns, encoder.n_numeric) == (2, 2)
    assert encoder.encode({"timestamp": [10]}, 1).numeric.tolist() == [[1.0, 0.0]]


def test_a_column_that_is_not_given_says_nothing() -> None:
    encoder = fit_one(CATEGORY, ["a"])
    assert encoder.encode({}, 2).tokens.tolist() == [[1], [1]]


def test_no_features_give_arrays_without_columns() -> None:
    arrays = FeatureEncoder.fit({}, {}).encode({}, 3)
    assert (arrays.tokens.shape, arrays.numeric.shape) == ((3, 0), (3, 0))


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(ShapeError, match="column 'x' must have 3 values, got 1"):
        fit_one(CATEGORY, ["a"]).encode({"x": ["a"]}, 3)


def test_fitting_without_a_declared_column_names_it() -> None:
    with pytest.raises(MissingColumnError, match=r"feature 'x' is read from column 'colour'.*'color'"):
        FeatureEncoder.fit({"x": FeatureConfig(column="colour")}, {"color": ["red"]})


@pytest.mark.parametrize(
    ("config", "value"),
    [
        (FeatureConfig(type=FeatureType.numeric), "expensive"),
        (FeatureConfig(type=FeatureType.numeric, buckets=3), {"a": 1}),
        (FeatureConfig(type=FeatureType.timestamp), "yesterday"),
        (FeatureConfig(type=FeatureType.vector, dim=3), [1.0, 2.0]),
        (FeatureConfig(type=FeatureType.text), "!?"),
        (FeatureConfig(type=FeatureType.categorical), ["a", "list"]),
        (FeatureConfig(type=FeatureType.multi), [{}]),
    ],
)
def test_a_column_of_the_wrong_type_throughout_is_refused(config: FeatureConfig, value: object) -> None:
    with pytest.raises(DataError, match=f"'x'.*declared {config.type}, and none of its 2 values"):
        fit_one(config, [value, None])


@pytest.mark.parametrize("type_", [t for t in FeatureType if t is not FeatureType.vector])
def test_a_column_without_any_value_is_allowed(type_: FeatureType) -> None:
    encoder = fit_one(FeatureConfig(type=type_), [None, float("nan"), ""])
    assert len(encoder.encode({"x": [1, "a", None]}, 3)) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_values": 0}, "max_values must be 1 or more, got 0"),
        ({"max_tokens": -1}, "max_tokens must be 1 or more, got -1"),
        ({"min_count": 0}, "min_count must be 1 or more, got 0"),
        ({"char_ngrams": [3, 0]}, r"char_ngrams must be sizes of 1 or more, got \[3, 0\]"),
        ({"type": FeatureType.numeric, "buckets": 1}, "buckets must be 0, or 2 or more, got 1"),
        ({"buckets": 5}, "got buckets=5 on a categorical feature"),
        ({"type": FeatureType.vector}, "dim must be the length of the ready-made vector, got 0"),
        ({"dim": 3}, "got dim=3 on a categorical feature"),
        ({"parts": []}, r"parts must be distinct names.*got \[\]"),
        ({"parts": ["hour", "hour"]}, "parts must be distinct"),
        ({"parts": ["minute"]}, r"got \['minute'\]"),
    ],
)
def test_an_impossible_declaration_names_its_key(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):  # Any: fields of every type, right and wrong
        FeatureConfig(**fields)


def test_user_and_context_features_may_not_share_names_or_columns() -> None:
    with pytest.raises(ConfigError, match=r"must have different names, got \['device'\]"):
        FeaturesConfig(user={"device": CATEGORY}, context={"device": CATEGORY})
    with pytest.raises(ConfigError, match=r"different columns, got \['device'\]"):
        FeaturesConfig(user={"own_device": FeatureConfig(column="device")}, context={"device": CATEGORY})


def test_query_features_are_those_of_user_then_context() -> None:
    config = FeaturesConfig(user={"age": CATEGORY}, context={"device": CATEGORY})
    assert list(config.query) == ["age", "device"]


def test_every_field_of_a_feature_survives_being_written() -> None:
    one_of_each = [
        FeatureConfig(type=FeatureType.multi, column="tags", max_values=3, min_count=2),
        FeatureConfig(type=FeatureType.text, max_tokens=4, buckets=50, char_ngrams=[2, 4]),
        FeatureConfig(type=FeatureType.vector, dim=2, unknown=UnknownPolicy.ignore),
        FeatureConfig(type=FeatureType.timestamp, parts=[TimestampPart.year]),
    ]
    states = [
        FeatureState(
            values=("a", "b"), mean=1e-7, std=0.5, edges=(0.25, 1e20), first_year=2000, last_year=2001
        ),
        FeatureState(),
        FeatureState(),
        FeatureState(),
    ]
    features = [FittedFeature(f"f{n}", *pair) for n, pair in enumerate(zip(one_of_each, states, strict=True))]
    assert fields_at_default(features) == set(), "give each new field a value that is not its default"
    encoder = FeatureEncoder(tuple(features))
    assert FeatureEncoder.from_json(encoder.to_json()) == encoder


def test_a_specification_that_is_no_specification_is_refused() -> None:
    good = json.loads(fit_one(CATEGORY, ["a"]).to_json())
    good["features"][0]["config"]["colour"] = 1
    for text in ("", "[]", '{"features": [{}]}', json.dumps(good)):
        with pytest.raises(ConfigError, match=r"must be as FeatureEncoder\.to_json writes it"):
            FeatureEncoder.from_json(text)


def test_a_broken_surrogate_survives_the_disk(tmp_path: Path) -> None:
    encoder = fit_one(CATEGORY, ["\ud800", "ä"])
    (tmp_path / "features.json").write_text(encoder.to_json(), encoding="utf8")
    assert FeatureEncoder.from_json((tmp_path / "features.json").read_text(encoding="utf8")) == encoder


def test_arrays_take_rows_and_gain_a_padding_row() -> None:
    arrays = fit_one(CATEGORY, ["a", "b"]).encode({"x": ["a", "b"]}, 2)
    assert arrays.take(np.array([1, 1])).tokens.tolist() == [[3], [3]]
    assert arrays.with_padding_row().tokens.tolist() == [[0], [2], [3]]


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"got \(2, 1\) and \(3, 1\)"):
        FeatureArrays(tokens=np.zeros((2, 1), np.int32), numeric=np.zeros((3, 1), np.float32))


@pytest.mark.parametrize(
    ("value", "number"),
    [(Decimal("2.5"), 2.5), (np.float32(0.5), 0.5), (" 7 ", 7.0), (Decimal("sNaN"), None)],
)
def test_numbers_are_read_from_many_types(value: object, number: float | None) -> None:
    assert read_number(value) == number


def test_values_that_numpy_holds_are_read_as_python_values() -> None:
    assert read_category(np.str_("a")) == "a"
    assert read_category(date(2024, 1, 2)) == "2024-01-02"
    assert read_list(np.array([1, 2])) == [1, 2]
    assert read_list({"b", "a"}) == ["a", "b"]
    assert read_vector((1, "2"), 2) == [1.0, 2.0]
    assert read_time(np.datetime64("2024-01-02T03", "s")) == datetime(2024, 1, 2, 3, tzinfo=UTC)


def test_published_films_encode_the_same_in_bulk_and_one_by_one(data_root: Path) -> None:
    lines = (data_root / "ml-1m" / "movies.dat").read_text(encoding="latin-1").splitlines()
    films = pl.DataFrame([line.split("::") for line in lines], schema=["id", "title", "genres"], orient="row")
    columns = {"title": films["title"].to_list(), "genres": [g.split("|") for g in films["genres"].to_list()]}
    configs = {
        "title": FeatureConfig(type=FeatureType.text),
        "genres": FeatureConfig(type=FeatureType.multi),
    }
    encoder = FeatureEncoder.fit(configs, columns)
    arrays = encoder.encode(columns, len(films))
    assert encoder.blocks[1].n_rows == 18 + 1  # the published list of genres, and the unknown row
    one_by_one = [
        encoder.encode_one({key: values[row] for key, values in columns.items()}) for row in range(99)
    ]
    assert arrays.tokens[:99].tolist() == [one.tokens[0].tolist() for one in one_by_one]
