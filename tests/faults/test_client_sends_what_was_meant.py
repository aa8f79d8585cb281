"""A value that would change its meaning on the way is refused before anything is sent."""

import math
from collections.abc import Callable

import pytest

from marquee.client import (
    Client,
    Filter,
    HistoryEntry,
    ItemMessage,
    ItemsRequest,
    RecommendRequest,
    RerankingRequest,
    SimilarRequest,
    TimedOutError,
)
from tests.support.clients import AnyClient, Script, answered, client_of

NOT_FINITE = (math.nan, math.inf, -math.inf)


def messages(number: float) -> dict[str, Callable[[AnyClient], object]]:
    """Returns calls with a number at each place that may hold one, by that place."""
    return {
        "filters['year'].min": lambda c: c.recommend(RecommendRequest(filters={"year": Filter(min=number)})),
        "filters['year'].any_of[1]": lambda c: c.similar(
            SimilarRequest(item_id="a", filters={"year": Filter(any_of=[1, number])})
        ),
        "features['x']": lambda c: c.recommend(RecommendRequest(features={"x": number})),
        "context['x'][0]": lambda c: c.recommend(RecommendRequest(context={"x": [number, 1]})),
        "history[1].value": lambda c: c.recommend(
            RecommendRequest(history=["a", HistoryEntry(item_id="b", value=number)])
        ),
        "reranking.diversity_weight": lambda c: c.recommend(
            RecommendRequest(reranking=RerankingRequest(diversity_weight=number))
        ),
        "requests[1].features['x']": lambda c: c.recommend_batch(
            [RecommendRequest(), RecommendRequest(features={"x": number})]
        ),
        "items[0].attributes['price']": lambda c: c.put_items(
            ItemsRequest(items=[ItemMessage(item_id="a", attributes={"price": number})])
        ),
    }


@pytest.mark.parametrize("number", NOT_FINITE)
@pytest.mark.parametrize("place", messages(0.0))
def test_number_that_json_cannot_hold_is_refused_with_its_place(place: str, number: float) -> None:
    script = Script([answered()])
    with pytest.raises(ValueError, match="must be a finite number, got") as caught:
        messages(number)[place](client_of("sync", script))
    assert place in str(caught.value)
    assert script.seen == []


def test_nothing_that_is_meant_is_refused() -> None:
    script = Script([answered()])
    client_of("sync", script).recommend(RecommendRequest(features={"x": None, "null": "null", "y": 1e308}))
    assert script.bodies == [{"features": {"x": None, "null": "null", "y": 1e308}}]


@pytest.mark.parametrize("seconds", [*NOT_FINITE, 0.0, -1.0, 1e9])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_deadline_that_is_none_is_refused(kind: str, seconds: float) -> None:
    script = Script([answered()])
    with pytest.raises(ValueError, match="deadline_s must be more than 0 and at most 86400"):
        client_of(kind, script, deadline_s=seconds)
    with pytest.raises((ValueError, TimedOutError)):  # nothing left to wait is no mistake of a single call
        client_of(kind, script).recommend(RecommendRequest(), deadline_s=seconds)
    assert script.seen == []


@pytest.mark.parametrize("key", ["abc\n", "a b", "a\r\nX-Other: 1", "schlüssel", "\x00"])
def test_key_that_no_header_can_hold_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match="key must be printable ASCII") as caught:
        Client("http://service", key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_name_that_would_ask_for_another_path_is_refused(name: str) -> None:
    script = Script([answered()])
    client = client_of("sync", script)
    with pytest.raises(ValueError, match="item_id must name one"):
        client.withdraw_item(name)
    with pytest.raises(ValueError, match="version must name one"):
        client.activate(name)
    assert script.seen == []
