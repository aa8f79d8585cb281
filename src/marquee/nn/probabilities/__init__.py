"""Networks that say how likely a click and a conversion are, and how they become a graph for serving."""

from collections.abc import Mapping
from types import MappingProxyType

from marquee.nn.probabilities.networks import (
    CrossConfig,
    HeadConfig,
    LogisticConfig,
    ProbabilitiesConfig,
)

PROBABILITIES: Mapping[str, type[ProbabilitiesConfig]] = MappingProxyType(
    {"cross": CrossConfig, "logistic": LogisticConfig, "none": ProbabilitiesConfig}
)
"""The heads by the name that a config chooses them by."""

__all__ = [
    "PROBABILITIES",
    "CrossConfig",
    "HeadConfig",
    "LogisticConfig",
    "ProbabilitiesConfig",
]
