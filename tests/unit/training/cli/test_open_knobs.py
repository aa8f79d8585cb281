"""Knobs that are left open are known by name, and so are those that somebody has set to the same number."""

from dataclasses import dataclass, field

from omegaconf import OmegaConf

from training.cli.command import as_object
from training.cli.open_knobs import with_left_open


@dataclass
class Part:
    size: int = 3
    rate: float | None = None


@dataclass
class Whole:
    part: Part = field(default_factory=Part)
    name: str = "n"
    left_open: list[str] = field(default_factory=list)


def composed(**part: object) -> Whole:
    return as_object(OmegaConf.merge(OmegaConf.structured(Whole), {"part": part}), Whole)  # type: ignore[arg-type] # of a schema, a DictConfig


def test_open_knobs_are_named_and_have_their_fallback() -> None:
    config = composed(size="${open:7}", rate="${open:null}")
    assert config == Whole(Part(7, None), left_open=["part.rate", "part.size"])


def test_a_number_closes_a_knob_also_where_it_is_the_fallback() -> None:
    opened = OmegaConf.merge(
        OmegaConf.structured(Whole), {"part": {"size": "${open:7}"}}, {"part": {"size": 7}}
    )
    assert as_object(opened, Whole) == Whole(Part(7))  # type: ignore[arg-type] # as above


def test_names_that_stand_already_are_kept() -> None:
    named = OmegaConf.merge(OmegaConf.structured(Whole), {"left_open": ["part.size"]})
    assert with_left_open(named) is named  # type: ignore[arg-type] # as above
