"""Answers against brute force, over random requests to a bundle whose sums are exact."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.bundle.publishing import publish
from marquee.core.catalog import ItemKind
from marquee.core.filters import NO_FILTERS, Clause, Filters, Value
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, HistoryEvent, Request, Source
from marquee.index.faiss_index import IndexConfig, IndexKind
from tests.support.bundles import (
    CLOSES,
    CREATED,
    HISTORY_LENGTH,
    N_ITEMS,
    N_USERS,
    NOW,
    OPENS,
    Tiny,
    make_tiny,
    tags_of,
    year_of,
)

MODEST = settings(max_examples=100, deadline=None)
ANN = IndexConfig(kind=IndexKind.hnsw, max_ann_cost=1e9, ef_search=4)

ITEM_IDS = st.integers(1, N_ITEMS + 3).map(lambda number: f"i{number:03d}")  # the last three are unknown
EVENTS = st.builds(
    HistoryEvent,
    item_id=ITEM_IDS,
    kind=st.sampled_from(["", "click", "rating", "exposure"]),
    value=st.sampled_from([None, 1.0, 4.0]),
)
TAGS = st.lists(st.sampled_from(["by 2", "by 3", "by 5", "by 7"]), min_size=1, max_size=3)
YEARS = st.integers(1988, 1990 + N_ITEMS)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "tags": st.fixed_dictionaries({}, optional={"any_of": TAGS, "all_of": TAGS, "none_of": TAGS}),
        "genre": st.fixed_dictionaries({}, optional={"none_of": st.just(["drama", "opera"])}),
        "year": st.fixed_dictionaries(
            {}, optional={"min": YEARS, "max": YEARS, "none_of": st.lists(YEARS, min_size=1, max_size=4)}
        ),
    },
).map(lambda declared: Filters.of(cast(dict[str, dict[str, object]], declared)))
REQUESTS = st.builds(
    Request,
    timestamp=st.sampled_from([OPENS - 1, OPENS, NOW, CLOSES - 1, CLOSES]),
    k=st.integers(1, N_ITEMS + 2),
    user_id=st.sampled_from([None, "stranger", *(f"u{number}" for number in range(1, N_USERS + 1))]),
    history=st.lists(EVENTS, max_size=HISTORY_LENGTH + 3).map(tuple)
    | st.lists(ITEM_IDS, max_size=HISTORY_LENGTH + 3).map(tuple),
    features=st.sampled_from([{}, {"age": 50}, {"city": "rome"}, {"city": "paris", "age": None}]),
    context=st.sampled_from([{}, {"device": "desk"}, {"weather": "rain"}]),
    kind=st.sampled_from([None, ItemKind.content, ItemKind.ad]),
    filters=st.just(NO_FILTERS) | FILTERS,
    exclude=st.lists(ITEM_IDS, max_size=6).map(tuple),
    exclude_seen=st.booleans(),
)


def load(tiny: Tiny, folder: Path) -> Recommender:
    """Returns the recommender of a published bundle."""
    return Recommender.load(publish(tiny.contents, folder, "tiny", created=CREATED))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, Recommender]:
    tiny = make_tiny()
    return tiny, load(tiny, tmp_path_factory.mktemp("flat"))


@pytest.fixture(scope="module")
def ann_bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, Recommender]:
    tiny = make_tiny(index=ANN)
    return tiny, load(tiny, tmp_path_factory.mktemp("ann"))


def known_events(tiny: Tiny, user: int) -> list[tuple[int, int]]:
    """Returns the events of a user as (item_index, kind_index)."""
    stored = tiny.contents.interactions
    events = slice(stored.offsets[user], stored.offsets[user + 1]) if user else slice(0)
    return list(zip(stored.item_index[events].tolist(), stored.kind_index[events].tolist(), strict=True))


def given_events(entries: Sequence[HistoryEvent | str]) -> list[tuple[int, int]]:
    """Returns a given history as (item_index, kind_index), 0 for what the bundle does not know or count."""
    history = [HistoryEvent(entry) if isinstance(entry, str) else entry for entry in entries]
    numbers = [int(event.item_id[1:]) for event in history]
    items = [number if number <= N_ITEMS else 0 for number in numbers]
    rating = [2 if event.value is None or event.value < 4.0 else 3 for event in history]
    pairs = zip(history, rating, strict=True)
    kinds = [{"": 1, "click": 1, "rating": row}.get(event.kind, 0) for event, row in pairs]
    return list(zip(items, kinds, strict=True))


def allowed_items(request: Request, seen: Sequence[tuple[int, int]]) -> list[int]:
    """Returns the items that may be returned, by the rules in which the tiny catalog is made."""
    forbidden = {int(item_id[1:]) for item_id in request.exclude}
    forbidden |= {item for item, _ in seen} if request.exclude_seen else set()
    return [
        number
        for number in range(1, N_ITEMS + 1)
        if number not in forbidden
        and request.kind in (None, ItemKind.content if number % 4 else ItemKind.ad)
        and (number % 5 or request.timestamp >= OPENS)
        and (number % 6 or request.timestamp < CLOSES)
        and all(passes(number, clause) for clause in request.filters.clauses)
    ]


def passes(number: int, clause: Clause) -> bool:
    """Returns whether an item of the tiny catalog has what a clause asks for."""
    year = year_of(number)
    values_of: dict[str, list[Value]] = {
        "tags": [*(tags_of(number) or ())],
        "genre": ["drama" if number % 2 else "comedy"],
        "year": [] if year is None else [year],
    }
    values = set(values_of[clause.attribute])
    return (
        (not clause.any_of or bool(values & set(clause.any_of)))
        and values >= set(clause.all_of)
        and not values & set(clause.none_of)
        and (clause.min is None or (year is not None and year >= clause.min))
        and (clause.max is None or (year is not None and year <= clause.max))
    )


def brute_force(tiny: Tiny, request: Request) -> tuple[Source, list[tuple[str, float]]]:
    """Returns the source of the right answer, and every allowed item, sorted."""
    name = request.user_id or ""
    user = int(name[1:]) if name.startswith("u") else 0
    seen = known_events(tiny, user) + given_events(request.history)
    history = [(item, kind) for item, kind in seen if item and kind]
    values: dict[str, object] = (
        {"age": 40 - 20 * (user % 2), "city": "oslo" if user % 2 else "rome"} if user else {}
    )
    told = {**request.features, **request.context}
    encoder = tiny.contents.query_features
    row, nothing = encoder.encode_one({**values, **told}), encoder.encode_one({})
    says_something = (row.tokens != nothing.tokens).any() or (row.numeric != nothing.numeric).any()
    source = (
        Source.personal
        if user
        else Source.history
        if history
        else Source.features
        if says_something
        else Source.popular
    )
    query = tiny.query(user, history, row.tokens[0].tolist(), row.numeric[0].tolist())
    scores = (
        tiny.contents.index.item_vectors @ query if source is not Source.popular else tiny.contents.popularity
    )
    ranked = sorted((-float(scores[item]), item) for item in allowed_items(request, seen))
    return source, [(f"i{item:03d}", -score) for score, item in ranked]


def plain(answer: Answer) -> tuple[Source, list[tuple[str, float]]]:
    """Returns source and items of an answer."""
    return answer.source, [(item.item_id, item.score) for item in answer.items]


@MODEST
@given(requests=st.lists(REQUESTS, min_size=1, max_size=5))
def test_answers_equal_brute_force(bundle: tuple[Tiny, Recommender], requests: list[Request]) -> None:
    tiny, recommender = bundle
    for request, answer in zip(requests, recommender.recommend(requests), strict=True):
        source, ranked = brute_force(tiny, request)
        assert plain(answer) == (source, ranked[: request.k])


@MODEST
@given(requests=st.lists(REQUESTS, min_size=1, max_size=5))
def test_answers_of_an_ann_index_are_never_short_or_forbidden(
    ann_bundle: tuple[Tiny, Recommender], requests: list[Request]
) -> None:
    tiny, recommender = ann_bundle
    for request, answer in zip(requests, recommender.recommend(requests), strict=True):
        source, ranked = brute_force(tiny, request)
        assert (answer.source, len(answer.items)) == (source, min(request.k, len(ranked)))
        assert {(item.item_id, item.score) for item in answer.items} <= set(ranked)


@MODEST
@given(requests=st.lists(REQUESTS, min_size=1, max_size=5))
def test_batch_equals_one_by_one(bundle: tuple[Tiny, Recommender], requests: list[Request]) -> None:
    recommender = bundle[1]
    assert recommender.recommend(requests) == [recommender.recommend([request])[0] for request in requests]


@MODEST
@given(request=REQUESTS)
def test_short_answers_say_why(bundle: tuple[Tiny, Recommender], request: Request) -> None:
    answer = bundle[1].recommend([request])[0]
    assert answer.requested == request.k
    assert (answer.short_reason is None) == (len(answer.items) == request.k)


@settings(max_examples=60, deadline=None)
@given(
    item=st.integers(1, N_ITEMS),
    k=st.integers(1, N_ITEMS + 2),
    kind=st.sampled_from([None, ItemKind.content, ItemKind.ad]),
    filters=FILTERS,
    exclude=st.lists(ITEM_IDS, max_size=6).map(tuple),
    timestamp=st.sampled_from([OPENS - 1, NOW, CLOSES]),
)
def test_similar_items_equal_sorting_by_cosine(
    bundle: tuple[Tiny, Recommender],
    item: int,
    k: int,
    kind: ItemKind | None,
    filters: Filters,
    exclude: tuple[str, ...],
    timestamp: int,
) -> None:
    tiny, recommender = bundle
    answer = recommender.similar(
        f"i{item:03d}", k=k, kind=kind, filters=filters, exclude=exclude, timestamp=timestamp
    )
    request = Request(timestamp=timestamp, kind=kind, filters=filters, exclude=(*exclude, f"i{item:03d}"))
    vectors = tiny.contents.index.item_vectors.astype(np.float64)
    norms = np.maximum(np.linalg.norm(vectors, axis=1), 1e-9)
    cosines = vectors @ vectors[item] / norms / norms[item]
    expected = {f"i{other:03d}": round(float(cosines[other]), 5) for other in allowed_items(request, ())}
    found = {recommendation.item_id: round(recommendation.score, 5) for recommendation in answer.items}
    assert list(found.values()) == sorted(expected.values(), reverse=True)[:k]
    assert found.items() <= expected.items()
