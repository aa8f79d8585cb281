"""Declared features of users, items and requests, turned into arrays by one code path for all.

`config` states what may be declared, `values` reads one value, `text` cuts and hashes text, `codecs` turn a
value into tokens or numbers, `fitting` learns from training rows, `encoder` puts the features of a row
side by side.
"""

from marquee.features.arrays import FeatureArrays
from marquee.features.config import FeatureConfig, FeaturesConfig, FeatureType, TimestampPart, UnknownPolicy
from marquee.features.encoder import FeatureEncoder, TokenBlock

__all__ = [
    "FeatureArrays",
    "FeatureConfig",
    "FeatureEncoder",
    "FeatureType",
    "FeaturesConfig",
    "TimestampPart",
    "TokenBlock",
    "UnknownPolicy",
]
