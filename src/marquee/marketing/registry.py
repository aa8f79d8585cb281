"""Which code computes each type of trait."""

from typing import Any  # each type has a config of its own

from marquee.marketing.forecast.trait import ForecastConfig, compute_forecast
from marquee.marketing.probability.config import ProbabilityConfig
from marquee.marketing.probability.trait import compute_probability
from marquee.marketing.segments.config import SegmentConfig
from marquee.marketing.segments.trait import compute_segments
from marquee.marketing.sentiment.config import SentimentConfig
from marquee.marketing.sentiment.trait import compute_sentiment
from marquee.marketing.traits import TraitType
from marquee.marketing.uplift.config import UpliftConfig
from marquee.marketing.uplift.trait import compute_uplift
from marquee.marketing.value.config import ValueConfig
from marquee.marketing.value.trait import compute_value

TRAIT_TYPES: dict[str, TraitType[Any]] = {
    "probability": TraitType(ProbabilityConfig, compute_probability),
    "value": TraitType(ValueConfig, compute_value),
    "segment": TraitType(SegmentConfig, compute_segments),
    "uplift": TraitType(UpliftConfig, compute_uplift),
    "sentiment": TraitType(SentimentConfig, compute_sentiment),
    "forecast": TraitType(ForecastConfig, compute_forecast),
}
