"""The settings of re-ranking: variety, caps, spacing, freshness. What they do is decided in `arranging`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from marquee.core.schema import AVAILABLE_FROM
from marquee.errors import ConfigError

# Variety compares every candidate at every place: this bounds the time of a request.
MAX_CANDIDATES = 1000
MAX_RULES = 8
LARGEST_RULE = 1000


class Diversity(StrEnum):
    """How a list is kept from saying the same thing twice."""

    mmr = "mmr"  # maximal marginal relevance: unlike the item that it resembles most
    dpp = "dpp"  # determinantal point process: spans as much as possible with all that stands above


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """How candidates become an answer; the defaults leave the order as it is.

    Attributes:
        n_candidates: How many of the best items are considered; at least k are.
        diversity: How variety is measured; None for not at all.
        diversity_weight: What variety counts beside relevance, from 0 (nothing) to 1 (everything).
        caps: Most items of an answer with the same value, by attribute.
        spacing: Of so many places in a row no two hold the same value, by attribute.
        freshness_weight: What a brand-new item gains; relevance runs from 0 to 1.
        freshness_half_life_days: After so many days it gains half of that.
        freshness_attribute: Where the birth of an item stands, seconds since 1970 UTC.

    Raises:
        ConfigError: If a number is out of range or an attribute has no name.
    """

    n_candidates: int = 200
    diversity: Diversity | None = None
    diversity_weight: float = 0.3
    caps: Mapping[str, int] = field(default_factory=dict)
    spacing: Mapping[str, int] = field(default_factory=dict)
    freshness_weight: float = 0.0
    freshness_half_life_days: float = 7.0
    freshness_attribute: str = AVAILABLE_FROM

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError that names the key whose value is impossible."""
        ranges = {
            "n_candidates": (1, MAX_CANDIDATES),
            "diversity_weight": (0.0, 1.0),
            "freshness_weight": (0.0, 1000.0),
            "freshness_half_life_days": (1e-3, 1e5),
        }
        for key, (lowest, highest) in ranges.items():
            if not lowest <= getattr(self, key) <= highest:  # False for NaN too
                raise ConfigError(
                    f"{key} must be between {lowest} and {highest}, got {getattr(self, key)} "
                    f"(reranking.{key})"
                )
        # A cap of 0 would be a filter; a spacing of 1 forbids nothing.
        for key, least in (("caps", 1), ("spacing", 2)):
            _validate_rules(key, getattr(self, key), least)
        if not self.freshness_attribute:
            raise ConfigError(
                "freshness_attribute must name an attribute, got '' (reranking.freshness_attribute)"
            )

    @property
    def rule_attributes(self) -> tuple[str, ...]:
        """The attributes that caps and spacing look at, each once."""
        return tuple(dict.fromkeys((*self.caps, *self.spacing)))

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """The steps that are on, one word each; empty if every order stays as it is."""
        is_on = {
            "freshness": self.freshness_weight > 0.0,
            str(self.diversity): self.diversity is not None and self.diversity_weight > 0.0,
            "caps": bool(self.caps),
            "spacing": bool(self.spacing),
        }
        return tuple([step for step, on in is_on.items() if on])


def _validate_rules(key: str, rules: Mapping[str, int], least: int) -> None:
    """Raises ConfigError that names the rule which is none."""
    if len(rules) > MAX_RULES:
        raise ConfigError(
            f"{key} may name at most {MAX_RULES} attributes, got {len(rules)} (reranking.{key})"
        )
    for attribute, number in rules.items():
        # Trap: True would pass as 1.
        if not attribute or isinstance(number, bool) or not isinstance(number, int):
            raise ConfigError(
                f"{key} must map attributes to whole numbers, got {attribute!r}: {number!r} (reranking.{key})"
            )
        if not least <= number <= LARGEST_RULE:
            raise ConfigError(
                f"{key}.{attribute} must be between {least} and {LARGEST_RULE}, got {number} "
                f"(reranking.{key})"
            )


NO_RERANKING = Reranking()
"""Leaves every order as it is."""
