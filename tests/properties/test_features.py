import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.features import FeatureConfig, FeatureEncoder, FeatureType, TimestampPart, UnknownPolicy

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=4),
    st.datetimes(),
    st.dates(),
    st.decimals(),
    st.complex_numbers(),
)
ANYTHING = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(max_size=2), SCALARS, max_size=2)
)
VALUES = st.lists(ANYTHING, max_size=5)
CONFIGS = {
    "category": FeatureConfig(),
    "ignored": FeatureConfig(unknown=UnknownPolicy.ignore),
    "multi": FeatureConfig(type=FeatureType.multi, max_values=3),
    "number": FeatureConfig(type=FeatureType.numeric),
    "bucket": FeatureConfig(type=FeatureType.numeric, buckets=4),
    "title": FeatureConfig(type=FeatureType.text, max_tokens=6, buckets=30, char_ngrams=[2, 3]),
    "vector": FeatureConfig(type=FeatureType.vector, dim=2),
    "moment": FeatureConfig(type=FeatureType.timestamp, parts=list(TimestampPart)),
}
ENCODER = FeatureEncoder.fit(
    CONFIGS,
    {
        "category": ["a", "b", 1, True],
        "ignored": ["a", "b"],
        "multi": [["a", "b"], ["1"]],
        "number": [1.0, 2.5, -3.0],
        "bucket": [1.0, 2.5, -3.0, 8.0],
        "title": ["Some title"],
        "vector": [[0.5, 1.5]],
        "moment": [0, 1_700_000_000],
    },
)


def row_of(value: object) -> dict[str, object]:
    """One value for every feature: whatever it is, it is wrong for some of them."""
    return dict.fromkeys(CONFIGS, value)


@given(values=VALUES)
@settings(max_examples=100, deadline=None)
def test_no_value_raises_and_every_result_is_in_range(values: list[object]) -> None:
    arrays = ENCODER.encode(dict.fromkeys(CONFIGS, values), len(values))
    assert arrays.tokens.shape == (len(values), ENCODER.n_token_columns)
    assert np.isfinite(arrays.numeric).all()
    for block in ENCODER.blocks:
        tokens = arrays.tokens[:, block.first_column : block.first_column + block.n_columns]
        inside = (tokens >= block.first_row) & (tokens < block.first_row + block.n_rows)
        assert (inside | (tokens == 0)).all()


@given(values=VALUES)
@settings(max_examples=100, deadline=None)
def test_one_row_is_encoded_as_it_is_among_many(values: list[object]) -> None:
    many = ENCODER.encode(dict.fromkeys(CONFIGS, values), len(values))
    for index, value in enumerate(values):
        one = ENCODER.encode_one(row_of(value))
        np.testing.assert_array_equal(one.tokens[0], many.tokens[index])
        np.testing.assert_array_equal(one.numeric[0], many.numeric[index])


@given(value=ANYTHING)
@settings(max_examples=100, deadline=None)
def test_own_row_features_always_say_something(value: object) -> None:
    tokens = ENCODER.encode_one(row_of(value)).tokens[0]
    for block in ENCODER.blocks:
        if block.unknown_row:
            assert tokens[block.first_column : block.first_column + block.n_columns].any()


@given(
    values=VALUES,
    numbers=st.lists(st.one_of(st.none(), st.floats()), max_size=6),
    buckets=st.sampled_from([0, 2, 5]),
)
@settings(max_examples=60, deadline=None)
def test_a_fitted_specification_survives_json_exactly(
    values: list[object], numbers: list[float | None], buckets: int
) -> None:
    values = ["usable", *values]
    configs = {
        "category": FeatureConfig(column="value"),
        "tags": FeatureConfig(type=FeatureType.multi, column="value"),
        "number": FeatureConfig(type=FeatureType.numeric, buckets=buckets),
    }
    encoder = FeatureEncoder.fit(configs, {"value": values, "number": [0.1, *numbers]})
    again = FeatureEncoder.from_json(encoder.to_json())
    assert (again, again.blocks, again.to_json()) == (encoder, encoder.blocks, encoder.to_json())
    for value in values:
        row = {"value": value, "number": 0.1}
        np.testing.assert_array_equal(again.encode_one(row).tokens, encoder.encode_one(row).tokens)


@given(order=st.permutations(list(range(6))))
@settings(max_examples=20, deadline=None)
def test_the_order_of_training_rows_has_no_influence(order: list[int]) -> None:
    values, numbers = ["a", "b", "b", None, "c", 3], [1.0, 2.0, None, 4.0, 8.0, 16.0]
    configs = {"v": FeatureConfig(), "n": FeatureConfig(type=FeatureType.numeric, buckets=3)}
    straight = FeatureEncoder.fit(configs, {"v": values, "n": numbers})
    mixed = FeatureEncoder.fit(configs, {"v": [values[i] for i in order], "n": [numbers[i] for i in order]})
    assert mixed == straight
