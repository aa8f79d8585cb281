"""Event kinds: their rows and their weights."""

import polars as pl
import pytest

from marquee.core.event_kinds import EventKinds, KindConfig
from marquee.errors import ConfigError

KINDS = EventKinds(
    {
        "rating": KindConfig(edges=[3.0, 4.0], part_weights=[0.0, 0.5, 2.0]),
        "click": KindConfig(weight=3.0),
        "conversion": KindConfig(weight=2.0, weigh_by_value=True),
    }
)
CASES: list[tuple[str, float | None, int, float]] = [
    # kind, value, row, weight
    ("rating", 1.0, 1, 0.0),
    ("rating", 2.999, 1, 0.0),
    ("rating", 3.0, 2, 0.5),
    ("rating", 4.0, 3, 2.0),
    ("rating", 5.0, 3, 2.0),
    ("rating", None, 1, 0.0),
    ("click", None, 4, 3.0),
    ("click", 7.0, 4, 3.0),
    ("conversion", 2.5, 5, 5.0),
    ("conversion", None, 5, 2.0),
    ("conversion", -1.0, 5, 0.0),
    ("view", 1.0, 0, 0.0),
    ("exposure", None, 0, 0.0),
]


@pytest.mark.parametrize(("kind", "value", "row", "weight"), CASES)
def test_event_has_the_row_and_weight_of_its_part(
    kind: str, value: float | None, row: int, weight: float
) -> None:
    assert KINDS.encode([kind], [value]).tolist() == [row]
    assert KINDS.weights([kind], [value]).tolist() == [weight]


def test_many_events_are_encoded_as_each_alone() -> None:
    kinds, values, rows, weights = zip(*CASES, strict=True)
    assert KINDS.encode(kinds, values).tolist() == list(rows)
    assert KINDS.weights(kinds, values).tolist() == list(weights)
    # The columns of a table, as texts and as words of a fixed set.
    for dtype in (pl.String, pl.Categorical):
        column = pl.Series(kinds, dtype=dtype)
        of_table, weights_of_table = KINDS.encode_columns(column, pl.Series(values, dtype=pl.Float64))
        assert of_table.tolist() == list(rows)
        assert weights_of_table.tolist() == list(weights)


def test_every_part_has_a_name() -> None:
    assert KINDS.names == ("rating:0", "rating:1", "rating:2", "click", "conversion")


def test_no_event_gives_no_row() -> None:
    assert KINDS.encode([], []).tolist() == []
    assert KINDS.weights([], []).tolist() == []


def test_parts_share_the_weight_if_none_is_given() -> None:
    kinds = EventKinds({"rating": KindConfig(edges=[3.0], weight=0.7)})
    assert kinds.weights(["rating", "rating"], [1.0, 5.0]).tolist() == pytest.approx([0.7, 0.7])


def test_parts_may_weigh_by_value_too() -> None:
    kinds = EventKinds({"rating": KindConfig(edges=[3.0], part_weights=[1.0, 10.0], weigh_by_value=True)})
    assert kinds.weights(["rating", "rating"], [2.0, 4.0]).tolist() == [2.0, 40.0]


def test_descending_edges_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"edges must ascend, got \[4\.0, 3\.0\]"):
        KindConfig(edges=[4.0, 3.0])


def test_part_weights_must_fit_the_edges() -> None:
    with pytest.raises(ConfigError, match=r"part_weights must have one entry per part \(2\), got 3"):
        KindConfig(edges=[4.0], part_weights=[1.0, 2.0, 3.0])


@pytest.mark.parametrize("config", [{"weight": -1.0}, {"edges": [1.0], "part_weights": [1.0, -0.5]}])
def test_negative_weight_is_refused(config: dict[str, float | list[float]]) -> None:
    with pytest.raises(ConfigError, match=r"weights must be 0 or more, got \[.*-"):
        KindConfig(**config)  # type: ignore[arg-type] # the table above holds one value per field


def test_unknown_kind_is_named() -> None:
    with pytest.raises(ConfigError, match=r"data\.kinds must name at least one of .*, got \['purchase'\]"):
        EventKinds({"click": KindConfig(), "purchase": KindConfig()})


def test_no_kind_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.kinds must name .*, got none"):
        EventKinds({})
