"""The rules of re-ranking in a request, and how they join a surface's own."""

from dataclasses import replace
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from marquee.decision.reranking import (
    LARGEST_RULE,
    MAX_CANDIDATES,
    MAX_RULES,
    NO_RERANKING,
    Diversity,
    Reranking,
)
from marquee.errors import ConfigError
from serving.http.errors import Problem, Refusal

MAX_NAME_LENGTH = 256

# JSON has one type of number, and to JSON Schema 10.0 is an integer; hence the type of whole numbers.
_Whole = int | float
_Rules = dict[Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)], _Whole]


class RerankingRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How the best items become the answer; what is left out is off. Scores stay what they are."""

    n_candidates: Annotated[
        _Whole, Meta(description="How many of the best items are considered; at least k are.")
    ] = Reranking.n_candidates
    diversity: Annotated[
        Diversity | None,
        Meta(description="How variety is measured: by the most alike item above, or by all of them."),
    ] = None
    diversity_weight: Annotated[
        float, Meta(ge=0, le=1, description="What variety counts beside relevance.")
    ] = Reranking.diversity_weight
    caps: Annotated[
        _Rules, Meta(description="By attribute: most items with the same value; `kind` is one too.")
    ] = msgspec.field(default_factory=dict)
    spacing: Annotated[
        _Rules, Meta(description="By attribute: of so many places in a row no two hold the same value.")
    ] = msgspec.field(default_factory=dict)
    freshness_weight: Annotated[
        float, Meta(ge=0, le=1000, description="What a brand-new item gains; relevance is 0 to 1.")
    ] = Reranking.freshness_weight
    freshness_half_life_days: Annotated[
        float, Meta(ge=0.001, le=100_000, description="After so many days it gains half of that.")
    ] = Reranking.freshness_half_life_days
    freshness_attribute: Annotated[
        str, Meta(min_length=1, max_length=MAX_NAME_LENGTH, description="Where the birth of an item stands.")
    ] = Reranking.freshness_attribute


WHOLE_NUMBERS: dict[str, tuple[int, int]] = {
    "n_candidates": (1, MAX_CANDIDATES),
    "caps": (1, LARGEST_RULE),
    "spacing": (2, LARGEST_RULE),
}
"""Bounds of the fields whose numbers must be whole."""


def reranking_within(wanted: RerankingRequest | UnsetType | None, own: Reranking | None) -> Reranking:
    """Returns the re-ranking of a request: what it wants, but never looser than the surface's own rules.

    Args:
        wanted: What the request says; UNSET or None for nothing.
        own: Of the surface, None if it has none. Holds as it is for a request that says nothing.

    Raises:
        Refusal: If a number is not whole or out of range.
    """
    if wanted is UNSET or wanted is None:
        return own or NO_RERANKING
    fields = msgspec.structs.asdict(wanted)
    fields["n_candidates"] = _whole("n_candidates", wanted.n_candidates)
    for key in ("caps", "spacing"):
        fields[key] = {name: _whole(f"{key}.{name}", number) for name, number in fields[key].items()}
    try:
        reranking = Reranking(**fields)
    except ConfigError as error:
        raise Refusal(Problem.invalid_request, str(error), field="reranking") from None
    if own is None:
        return reranking
    return replace(
        reranking,
        caps={**reranking.caps, **{n: min(cap, reranking.caps.get(n, cap)) for n, cap in own.caps.items()}},
        spacing={
            **reranking.spacing,
            **{name: max(gap, reranking.spacing.get(name, gap)) for name, gap in own.spacing.items()},
        },
    )


def describe(schema: dict[str, object]) -> None:
    """Writes into the schema of a `RerankingRequest` what its types cannot say of whole numbers."""
    properties = schema["properties"]
    assert isinstance(properties, dict), f"a schema of an object has properties, got {properties!r}"
    for name, (lowest, highest) in WHOLE_NUMBERS.items():
        number = {"type": "integer", "minimum": lowest, "maximum": highest}
        if name == "n_candidates":
            properties[name] = {**number, **_kept(properties[name])}
        else:
            properties[name] |= {"additionalProperties": number, "maxProperties": MAX_RULES}


def _kept(schema: dict[str, object]) -> dict[str, object]:
    """Returns the parts of a schema that hold for any type."""
    return {"description": schema["description"]}


def _whole(name: str, number: float) -> int:
    """Returns a number as the integer that JSON meant; raises Refusal if it is none."""
    if number != int(number):
        raise Refusal(
            Problem.invalid_request,
            f"reranking.{name[:120]} must be a whole number, got {number}; change it",
            field=f"reranking.{name[:120]}",
        )
    return int(number)
