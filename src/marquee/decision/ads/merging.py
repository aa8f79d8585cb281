"""Puts ads into an answer of content: each in its slot, the content around in its order."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from marquee.decision.requests import Decided, Recommendation


def with_ads(decided: Decided, ads: Mapping[int, tuple[Recommendation, float]]) -> Decided:
    """Returns an answer with ads in some places; it is not longer than was asked for.

    Args:
        decided: The answer of content.
        ads: Ad and its propensity by place, from 0; each place has content before it.
    """
    if not ads:
        return decided
    answer = decided.answer
    items = list(answer.items)
    drawn = decided.propensities
    chances = [1.0] * len(items) if drawn is None else drawn.tolist()
    for place in sorted(ads):
        item, propensity = ads[place]
        items.insert(place, item)
        chances.insert(place, propensity)
    del items[answer.requested :], chances[answer.requested :]
    is_whole = len(items) == answer.requested
    merged = replace(answer, items=tuple(items), short_reason=None if is_whole else answer.short_reason)
    is_certain = drawn is None and all(propensity == 1.0 for _, propensity in ads.values())
    return replace(decided, answer=merged, propensities=None if is_certain else np.array(chances))
