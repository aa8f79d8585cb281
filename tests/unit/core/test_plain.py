"""Typed dataclasses out of what JSON holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from marquee.core.plain import from_plain
from tests.support.round_trips import fields_at_default


@dataclass(frozen=True)
class Part:
    size: int
    label: str = ""

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size must be 0 or more, got {self.size}")


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    by_name: Mapping[str, Part] = field(default_factory=dict)
    anything: Mapping[str, object] = field(default_factory=dict)


def test_nested_dataclasses_are_built_from_mappings_and_lists() -> None:
    body = {"parts": [{"size": 1}], "by_name": {"a": {"size": 2, "label": "x"}}, "anything": {"b": [1, {}]}}
    expected = Whole((Part(1),), {"a": Part(2, "x")}, {"b": [1, {}]})
    assert from_plain(body, Whole) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"parts": [{"size": "1"}]}, r"Expected `int`, got `str` - at `\$\.parts\[0\]\.size`"),
        ({"parts": [{"size": True}]}, r"Expected `int`, got `bool`"),
        ({"parts": [{}]}, r"missing required field `size` - at `\$\.parts\[0\]`"),
        ({"parts": [{"size": -1}]}, r"size must be 0 or more, got -1 - at `\$\.parts\[0\]`"),
        ({"parts": [], "part": 1}, r"unknown field `part` - at `\$`"),
        ({"parts": [{"size": 1, "x": 1}]}, r"unknown field `x` - at `\$\.parts\[0\]`"),
        ({"parts": [], "by_name": {"a": {"size": 1, "x": 1}}}, r"unknown field `x` - at `\$\.by_name\.a`"),
        ([], r"Expected `object`, got `array`"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(body: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_plain(body, Whole)


def test_examples_that_leave_a_field_at_its_default_are_found() -> None:
    assert fields_at_default(Whole((Part(1),))) == {"Whole.by_name", "Whole.anything", "Part.label"}
    assert fields_at_default(Whole((Part(1),), {"a": Part(2, "x")}), Whole((), anything={"b": 1})) == set()
