"""Requests by words: beside a slow oracle, under every rule that an answer keeps, with and without a user."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from marquee.bundle.bundle import Bundle
from marquee.core.arrays import Float64Array
from marquee.core.catalog import ItemKind
from marquee.core.filters import Filters
from marquee.decision.golden_requests import make_golden_requests, sample_requests
from marquee.decision.pages.rows import Row, RowKind
from marquee.decision.query_encoder import UNREAD
from marquee.decision.recommender import Recommender
from marquee.decision.requests import HISTORY_WEIGHT, Answer, Request, Source, within_tier
from marquee.decision.reranking import Reranking
from marquee.decision.texts import finding
from marquee.decision.texts.asking import LIKENESS_WEIGHT
from marquee.errors import DataError, QueryError
from marquee.store.live_items import LiveItem
from marquee.store.people.consent import Tier
from marquee.store.rules.rule import ActiveRules, Pin, Rule, Target
from tests.support.bundles import CREATED, N_ITEMS, NOW
from tests.support.texts import cosine, pieces_of, title_of, titled_contents, unknown_word

Titles = Mapping[int, str | None]
WORDS = "red lamp"
LIVE = {
    "new-1": LiveItem(item_id="new-1", attributes={"title": "red lampshade", "genre": "drama"}),
    "new-2": LiveItem(item_id="new-2", attributes={"title": "blue carpet"}),
    "new-3": LiveItem(item_id="new-3", attributes={"genre": "comedy"}),
}


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    return Recommender(Bundle.of(titled_contents(), CREATED))


def ask(recommender: Recommender, query: str = WORDS, **of: Any) -> Answer:
    (answer,) = recommender.recommend([Request(**{"timestamp": NOW, "k": 5, "query": query, **of})])
    return answer


def ids(answer: Answer) -> list[str]:
    return [item.item_id for item in answer.items]


def scaled(embedding: Float64Array, vectors: Float64Array) -> Float64Array:
    spread = (vectors @ embedding).std()
    return embedding / spread if spread else 0.0 * embedding


def scores_by_hand(recommender: Recommender, request: Request, titles: Titles) -> Float64Array:
    """Returns the score of every item of the bundle and of live ones, as the module of asking states it."""
    bundle, table = recommender.bundle, recommender.item_pool.table
    own = bundle.index.item_vectors[1:].astype(np.float64)
    everywhere = [piece for n in range(1, N_ITEMS + 1) for piece in pieces_of(titles[n])]
    weight = {p: np.log((1 + N_ITEMS) / (1 + everywhere.count(p))) for p in set(everywhere)}
    asked = {piece for piece in pieces_of(request.query) if weight.get(piece)}
    assert bundle.texts is not None
    # The tower's row of a piece: padding and the row of missing texts come first.
    text = sum(weight[piece] * bundle.texts.contents.directions[piece + 2] for piece in asked)
    embedding = scaled(np.asarray(text), own)
    queries = recommender.queries.encode([replace(request, query=None)])
    if queries.sources[0] in (Source.personal, Source.history):
        user = queries.embeddings[0].astype(np.float64)
        embedding = embedding + request.history_weight * scaled(user, own)
    items = np.arange(1, len(titles) + 1)
    like = [cosine(asked, pieces_of(titles[item]), weight) for item in items.tolist()]
    scores: Float64Array = LIKENESS_WEIGHT * table.vectors(items).astype(np.float64) @ embedding
    scores += np.array(like)
    return scores


def best_by_hand(recommender: Recommender, request: Request, titles: Mapping[int, str | None]) -> list[str]:
    scores = scores_by_hand(recommender, request, titles)
    pool = recommender.item_pool
    allowed = pool.allowed(request.kind, request.timestamp, request.filters).flags()
    allowed[pool.table.encode(list(request.exclude))] = False
    if request.exclude_seen:
        allowed[recommender.queries.seen(request)] = False
    order = [item for item in np.lexsort((np.arange(len(scores)), -scores)) + 1 if allowed[item]]
    return pool.table.decode(np.array(order[: request.k]))


def random_request(rng: np.random.Generator, number: int) -> Request:
    words = " ".join(
        rng.choice(["red", "lamp", "grene", "kettle", "no", "7", "penc", "blue teapot", "what"], 2)
    )
    return Request(
        timestamp=NOW,
        k=int(rng.integers(1, 12)),
        query=words,
        history_weight=float(rng.choice([0.0, 0.5, HISTORY_WEIGHT])),
        user_id=str(rng.choice(["u1", "u2", "u6", "stranger"])) if number % 3 else None,
        history=("i003", "i010") if number % 2 else (),
        kind=[None, ItemKind.content, ItemKind.ad][number % 3],
        filters=Filters.of({"genre": {"any_of": ["drama"]}}) if number % 4 == 0 else Filters(),
        exclude=("i001", "i009", "i012") if number % 5 else (),
        exclude_seen=bool(number % 2),
    )


@pytest.mark.parametrize("live", [{}, LIVE], ids=["release", "live"])
@pytest.mark.parametrize("most", [finding.MAX_LIKE, 100], ids=str)
def test_answers_are_those_of_a_slow_oracle(
    recommender: Recommender, live: Mapping[str, LiveItem], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "MAX_LIKE", most)
    asked = recommender.with_live_items(live)
    titles: dict[int, str | None] = {number: title_of(number) for number in range(1, N_ITEMS + 1)}
    for number, one in enumerate(live.values(), N_ITEMS + 1):
        titles[number] = str(one.attributes["title"]) if "title" in one.attributes else None
    rng = np.random.default_rng(len(live))
    requests = [random_request(rng, number) for number in range(60)]
    answers = asked.recommend(requests)
    for request, answer in zip(requests, answers, strict=True):
        assert answer.source is Source.query
        assert ids(answer) == best_by_hand(asked, request, titles), request
        scores = scores_by_hand(asked, request, titles)
        items = asked.item_pool.table.encode(ids(answer))
        assert [one.score for one in answer.items] == pytest.approx(scores[items - 1], abs=2e-5)


def test_only_so_many_items_count_by_their_words(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "MAX_LIKE", 1)
    answer = ask(recommender, "yellow pencil no 15", k=3, exclude_seen=False)
    assert ids(answer)[0] == "i015"
    assert [one.score > 0.5 for one in answer.items] == [True, False, False]


def test_words_stand_before_what_the_user_likes(recommender: Recommender) -> None:
    alone = ask(recommender, "teapot no 16", history_weight=0.0, exclude_seen=False)
    mixed = ask(recommender, "teapot no 16", history=("i003", "i005"), exclude_seen=False)
    assert ids(alone)[0] == ids(mixed)[0] == "i016"
    assert ids(alone) != ids(mixed)
    assert ids(ask(recommender, "teapot no 16", history=("i003", "i005"), history_weight=0.0)) == ids(alone)


def test_attributes_alone_do_not_join_the_words(recommender: Recommender) -> None:
    assert ask(recommender, context={"device": "phone"}) == ask(recommender)
    assert ask(recommender, features={"city": "oslo"}).items == ask(recommender).items


def test_without_consent_the_words_alone_count(recommender: Recommender) -> None:
    personal = Request(timestamp=NOW, k=5, query=WORDS, user_id="u1", history=("i003",))
    for tier in (Tier.none, Tier.segment):
        (answer,) = recommender.recommend([within_tier(personal, tier)])
        assert answer.source is Source.query
        assert answer.items == ask(recommender).items
    (decided,) = recommender.decide([within_tier(personal, Tier.none)])
    assert not len(decided.read)


def test_words_that_nothing_has_leave_the_answer_to_the_user(recommender: Recommender) -> None:
    unknown = unknown_word()
    personal = ask(recommender, unknown, user_id="u1")
    assert (personal.source, personal.fallback_reason) == (Source.personal, UNREAD)
    (without,) = recommender.recommend([Request(timestamp=NOW, k=5, user_id="u1")])
    assert personal.items == without.items
    nobody = ask(recommender, unknown)
    assert (nobody.source, nobody.fallback_reason) == (Source.popular, UNREAD)


def test_a_batch_gives_each_its_own_answer(recommender: Recommender) -> None:
    requests = [
        Request(timestamp=NOW, query=WORDS),
        Request(timestamp=NOW, user_id="u1"),
        Request(timestamp=NOW, like_item="i003"),
        Request(timestamp=NOW, query="blue kettle", user_id="u2"),
        Request(timestamp=NOW),
    ]
    together = recommender.recommend(requests)
    alone = [recommender.recommend([request])[0] for request in requests]
    assert [ids(one) for one in together] == [ids(one) for one in alone]
    sources = [Source.query, Source.personal, Source.similar, Source.query, Source.popular]
    assert [one.source for one in together] == sources


def test_caps_pins_and_blocks_hold_for_words(recommender: Recommender) -> None:
    first = ids(ask(recommender))[0]
    capped = ask(recommender, reranking=Reranking(n_candidates=24, caps={"genre": 1}), k=4)
    assert len(capped.items) == 2
    rules = ActiveRules(
        1,
        (
            Rule(rule_id="block", block=Target(items=(first,))),
            Rule(rule_id="pin", pins=(Pin(item_id="i002", place=2),)),
        ),
    )
    ruled = ask(recommender, rules=rules, exclude_seen=False)
    assert first not in ids(ruled)
    assert ids(ruled)[1] == "i002"
    assert ruled.rules == ("block", "pin")


def test_pinned_item_has_the_score_of_its_words(recommender: Recommender) -> None:
    everything = {one.item_id: one.score for one in ask(recommender, k=24, exclude_seen=False).items}
    rules = ActiveRules(1, (Rule(rule_id="pin", pins=(Pin(item_id="i018", place=1),)),))
    pinned = ask(recommender, rules=rules, k=2, exclude_seen=False)
    assert pinned.items[0].score == pytest.approx(everything["i018"], abs=1e-6)


def test_live_items_are_found_by_their_words_at_once(recommender: Recommender) -> None:
    with_live = recommender.with_live_items(LIVE)
    assert ids(ask(with_live, "lampshade"))[0] == "new-1"
    changed = {**LIVE, "new-1": replace(LIVE["new-1"], attributes={"title": "green umbrella"})}
    again = with_live.with_live_items(changed)
    assert "new-1" not in ids(ask(again, "lampshade", k=1))
    assert ids(ask(again, "grene umbrela"))[0] == "new-1"
    # The recommender before goes on with what it had.
    assert ids(ask(with_live, "lampshade"))[0] == "new-1"


def test_row_of_a_page_by_words(recommender: Recommender) -> None:
    user = Request(timestamp=NOW, user_id="u1")
    asked = Request(timestamp=NOW, k=4, query=WORDS)
    rows = [
        Row(kind=RowKind.continued, request=Request(timestamp=NOW, k=2), items=("i003", "i005")),
        Row(kind=RowKind.for_you, request=asked),
        Row(kind=RowKind.for_you, request=Request(timestamp=NOW, k=3)),
    ]
    first, by_words, last = recommender.recommend_page(user, rows)
    assert [one.answer.source for one in (first, by_words, last)] == [
        Source.history,
        Source.query,
        Source.personal,
    ]
    (alone,) = recommender.recommend_page(user, rows[1:2])
    assert ids(alone.answer) == ids(ask(recommender, user_id="u1", k=4))
    shown = [*ids(first.answer), *ids(by_words.answer), *ids(last.answer)]
    assert len(set(shown)) == len(shown)
    with pytest.raises(DataError, match="query belongs to a row of kind for_you, got one"):
        Row(kind=RowKind.new, request=asked)


@pytest.mark.parametrize("words", ["", "  ", "?!", "—"])
def test_words_without_a_letter_are_refused(words: str) -> None:
    with pytest.raises(QueryError, match="query must hold a letter or a digit"):
        Request(timestamp=NOW, query=words)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(DataError, match="history_weight must be a number from 0 on"):
        Request(timestamp=NOW, query=WORDS, history_weight=weight)


def test_words_beside_an_item_to_be_like_are_refused() -> None:
    with pytest.raises(DataError, match="like_item must stand without user, history, features and query"):
        Request(timestamp=NOW, like_item="i001", query=WORDS)


def test_release_without_texts_says_what_to_do() -> None:
    plain = Recommender(Bundle.of(replace(titled_contents(), texts=None), CREATED))
    with pytest.raises(QueryError, match=r"without; declare a feature of type text for the items"):
        plain.validate(Request(timestamp=NOW, query=WORDS))


def test_golden_requests_ask_by_words(recommender: Recommender) -> None:
    requests = sample_requests(recommender.bundle, NOW, np.random.default_rng(0))
    golden = make_golden_requests(recommender, requests)
    asked = [one.request.query for one in golden if one.source is Source.query]
    assert asked == [" ".join(str(title_of(number)).split()[:3]) for number in (1, 7, 13, 19)]


def test_long_text_is_cut_and_not_refused(recommender: Recommender) -> None:
    assert ids(ask(recommender, "red lamp no 12 " + "and so on " * 500, exclude_seen=False))
