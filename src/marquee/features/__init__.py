"""Declared features of users, items and requests, turned into arrays by one code path for all.

`config` states what may be declared, `values` turns one value into tokens or numbers, `text` cuts and
hashes text, `encoder` puts the features of a row side by side.
"""

from marquee.features.arrays import FeatureArrays, TokenArray
from marquee.features.config import FeatureConfig, FeaturesConfig, FeatureType, TimestampPart, UnknownPolicy

__all__ = [
    "FeatureArrays",
    "FeatureConfig",
    "FeatureType",
    "FeaturesConfig",
    "TimestampPart",
    "TokenArray",
    "UnknownPolicy",
]
