"""Which code computes each type of trait."""

from typing import Any  # each type has a config of its own

from marquee.marketing.probability.config import ProbabilityConfig
from marquee.marketing.probability.trait import compute_probability
from marquee.marketing.traits import TraitType

TRAIT_TYPES: dict[str, TraitType[Any]] = {
    "probability": TraitType(ProbabilityConfig, compute_probability),
}
