"""Ads in an answer of content: each at its place, the content around in its order, with propensities."""

from collections.abc import Sequence

import numpy as np
import pytest

from marquee.core.catalog import ItemKind
from marquee.decision.ads.merging import with_ads
from marquee.decision.requests import Answer, Decided, Recommendation, Source


def answered(names: str, requested: int, drawn: Sequence[float] | None = None) -> Decided:
    """Returns an answer of content, one letter an item."""
    items = tuple([Recommendation(name, 1.0, ItemKind.content) for name in names])
    is_short = len(names) < requested
    answer = Answer(
        items, Source.popular, "v1", requested, short_reason="nothing is left" if is_short else None
    )
    return Decided(answer, None if drawn is None else np.array(drawn), np.zeros(0, dtype=np.int64))


def ad(name: str, propensity: float = 1.0) -> tuple[Recommendation, float]:
    return Recommendation(name, 0.5, ItemKind.ad), propensity


def names(decided: Decided) -> str:
    return "".join(item.item_id for item in decided.answer.items)


def test_ads_stand_at_their_places_and_the_last_content_gives_way() -> None:
    merged = with_ads(answered("abcdef", 6), {3: ad("Y"), 1: ad("X")})
    assert names(merged) == "aXbYcd"
    assert [item.kind for item in merged.answer.items[:2]] == [ItemKind.content, ItemKind.ad]
    assert merged.propensities is None


def test_answer_without_ads_is_the_same_object() -> None:
    content = answered("abc", 3)
    assert with_ads(content, {}) is content


@pytest.mark.parametrize("n_content", [2, 3, 4, 5])
def test_answer_is_never_longer_than_asked(n_content: int) -> None:
    merged = with_ads(answered("abcde"[:n_content], 5), {0: ad("X"), 2: ad("Y")})
    assert len(merged.answer.items) == min(n_content + 2, 5)
    assert names(merged).startswith("XaYb")


def test_short_answer_says_why_until_ads_fill_it() -> None:
    assert with_ads(answered("abc", 5), {1: ad("X")}).answer.short_reason == "nothing is left"
    assert with_ads(answered("abc", 5), {1: ad("X"), 3: ad("Y")}).answer.short_reason is None


def test_propensities_move_with_their_items() -> None:
    merged = with_ads(answered("abcd", 4, [0.9, 0.8, 0.7, 0.6]), {1: ad("X", 0.25), 3: ad("Y")})
    assert merged.propensities is not None
    assert merged.propensities.tolist() == [0.9, 0.25, 0.8, 1.0]


def test_drawn_creative_beside_certain_content_is_on_record() -> None:
    merged = with_ads(answered("abc", 3), {1: ad("X", 0.25)})
    assert merged.propensities is not None
    assert merged.propensities.tolist() == [1.0, 0.25, 1.0]
