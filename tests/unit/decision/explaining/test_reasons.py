"""Causes of items: a score without an event is that of a request without it, and the largest one is said."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marquee.bundle.bundle import Bundle
from marquee.core.catalog import ItemKind
from marquee.core.filters import Filters
from marquee.core.histories import Interactions
from marquee.decision.explaining.counting import Step
from marquee.decision.explaining.explanation import Explanation, Outcome, explain
from marquee.decision.explaining.sentences import DEFAULT_WORDS, Words
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.decision.reranking import Reranking
from marquee.errors import ConfigError
from marquee.store.live_items import LiveItem
from marquee.store.rules.rule import NO_RULES, ActiveRules, Boost, Pin, Rule, Target
from tests.support.bundles import NOW, make_tiny, publish_tiny
from tests.support.recorded import decide_together

HISTORY = ("i002", "i004", "i002", "i010", "i015", "i021")
ASKED = Request(
    timestamp=NOW,
    k=24,
    history=HISTORY,
    features={"age": 31, "city": "oslo"},
    context={"device": "phone"},
    exclude_seen=False,
)


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles"), has_item_bias=True))


def explained(recommender: Recommender, request: Request, rules: ActiveRules = NO_RULES) -> Explanation:
    (decision,) = decide_together(recommender, [replace(request, rules=rules)])
    explanation = explain(decision, recommender, rules, Words())
    assert explanation.outcome is Outcome.agrees
    return explanation


def scores(recommender: Recommender, request: Request) -> Mapping[str, float]:
    (answer,) = recommender.recommend([request])
    return {item.item_id: item.score for item in answer.items}


def test_scores_without_an_event_are_those_of_a_request_that_never_told_it(recommender: Recommender) -> None:
    reasons = explained(recommender, ASKED).reasons
    assert reasons is not None
    # The tiny tower is fed four events: without one of them the one before moves up.
    assert reasons.events == HISTORY[-4:]
    for position in range(4):
        left = tuple(item for place, item in enumerate(HISTORY) if place != len(HISTORY) - 4 + position)
        expected = scores(recommender, replace(ASKED, history=left))
        told = {item.item_id: item.without.events[position] for item in reasons.items}
        assert told == pytest.approx({item_id: expected[item_id] for item_id in told}, abs=1e-5)


def test_scores_without_an_attribute_are_those_of_a_request_that_never_told_it(
    recommender: Recommender,
) -> None:
    reasons = explained(recommender, ASKED).reasons
    assert reasons is not None
    for column in ("age", "city", "device"):
        without = replace(
            ASKED,
            features={name: value for name, value in ASKED.features.items() if name != column},
            context={name: value for name, value in ASKED.context.items() if name != column},
        )
        expected = scores(recommender, without)
        told = {item.item_id: item.without.features[column] for item in reasons.items}
        assert told == pytest.approx({item_id: expected[item_id] for item_id in told}, abs=1e-5)


def test_scores_without_the_learned_user_are_those_of_a_stranger_with_the_same_past(
    recommender: Recommender,
) -> None:
    bundle = recommender.bundle
    asked = Request(timestamp=NOW, k=24, user_id="u2", exclude_seen=False)
    reasons = explained(recommender, asked).reasons
    assert reasons is not None
    items = recommender.item_pool.table.encode([item.item_id for item in reasons.items])
    difference = bundle.index.item_vectors[items] @ bundle.user_vectors[2]
    told = [item.score - (item.without.user or 0.0) for item in reasons.items]
    assert told == pytest.approx(difference.tolist(), abs=1e-5)


def test_nothing_to_go_by_is_no_score(recommender: Recommender) -> None:
    explanation = explained(recommender, Request(timestamp=NOW, k=3, history=("i002",)))
    assert explanation.reasons is not None
    assert [item.without.events for item in explanation.reasons.items] == [(None,)] * 3
    assert {sentence.text for sentence in explanation.sentences} == {"Because of i002"}


def test_bias_is_the_last_coordinate_and_freshness_that_of_re_ranking(recommender: Recommender) -> None:
    config = Reranking(freshness_weight=2.0, freshness_half_life_days=1.0)
    explanation = explained(recommender, replace(ASKED, reranking=config))
    reasons = explanation.reasons
    assert reasons is not None
    query = recommender.queries.encode([ASKED]).embeddings[0]
    vectors = recommender.bundle.index.item_vectors
    found = recommender.item_pool.table.encode([item.item_id for item in reasons.items])
    biases = [item.bias.value for item in reasons.items if item.bias]
    assert biases == pytest.approx((vectors[found, -1] * query[-1]).tolist(), abs=1e-5)
    # Every fifth item of the tiny catalog opened ten seconds ago, the others have no birth.
    fresh = {item.item_id: item.freshness for item in reasons.items if item.freshness}
    assert fresh == pytest.approx({f"i{number:03d}": 2.0 * 2 ** (-10 / 86_400) for number in (5, 10, 15, 20)})
    causes = dict(zip(map(lambda item: item.item_id, reasons.items), explanation.sentences, strict=True))
    # Twice the whole spread of the scores: no event comes near.
    assert {causes[item_id].cause for item_id in fresh} == {"freshness"}


def test_pins_and_boosts_of_rules_are_causes(recommender: Recommender) -> None:
    weights = Boost(weight=1.0, target=Target(items=("i011",)))
    rules = ActiveRules(1, (Rule(rule_id="p", pins=(Pin("i003", 1),)), Rule(rule_id="b", boost=weights)))
    explanation = explained(recommender, replace(ASKED, history=(), features={"age": 40}, context={}), rules)
    assert explanation.reasons is not None
    by_item = {
        item.item_id: (item, sentence.cause)
        for item, sentence in zip(explanation.reasons.items, explanation.sentences, strict=True)
    }
    assert by_item["i003"][1] == "pin"
    assert by_item["i011"][0].boost == 1.0
    assert {item.boost for item, _ in by_item.values()} == {0.0, 1.0}


def test_pinned_item_that_was_no_candidate_stretches_no_relevance() -> None:
    recommender = Recommender(Bundle.of(make_tiny(n_items=300).contents, NOW))
    asked = Request(timestamp=NOW, k=3, history=("i002",))
    (everything,) = recommender.recommend([replace(asked, k=300)])
    first, last = everything.items[0].item_id, everything.items[-1].item_id
    boosts = Rule(rule_id="b", boost=Boost(weight=0.1, target=Target(items=(first,))))
    alone = explained(recommender, asked, ActiveRules(1, (boosts,)))
    pinned = explained(recommender, asked, ActiveRules(1, (boosts, Rule(rule_id="p", pins=(Pin(last, 1),)))))
    assert alone.reasons is not None
    assert pinned.reasons is not None
    assert pinned.reasons.items[0].is_pinned
    assert pinned.reasons.relevance_scale == alone.reasons.relevance_scale > 0


def test_stages_and_filters_count_what_falls_out(recommender: Recommender) -> None:
    live = {
        "new": LiveItem(item_id="new", attributes={"genre": "drama", "year": 2001}),
        "i013": LiveItem(item_id="i013", is_withdrawn=True),
    }
    answering = recommender.with_live_items(live)
    filters = Filters.of({"genre": {"any_of": ["drama"]}, "year": {"min": 1995}})
    rules = ActiveRules(1, (Rule(rule_id="b", block=Target(items=("i021", "i002"))),))
    asked = Request(
        timestamp=NOW,
        k=4,
        history=("i007", "i009", "i002"),
        kind=ItemKind.content,
        filters=filters,
        exclude=("i017", "nobody"),
        reranking=Reranking(freshness_weight=0.1, n_candidates=5),
    )
    counts = explained(answering, asked, rules).counts
    assert counts is not None
    # Tiny items: 24 of which 4 ads in every 4th place; odd ones are dramas of 1991 and later.
    numbers = set(range(1, 25)) - {13}
    content = {number for number in numbers if number % 4}
    passing = {number for number in content if number % 2 and number >= 5}
    left = passing - {21} - {7, 9, 17}
    expected = {
        Step.items: 25,
        Step.available: len(numbers) + 1,
        Step.kind: len(content) + 1,
        Step.filters: len(passing) + 1,
        Step.rules: len(passing),
        Step.exclusions: len(left) + 1,
        Step.candidates: 5,
        Step.answer: 4,
    }
    assert {count.stage: count.n_left for count in counts.stages} == expected
    by_attribute = {count.clause.attribute: count.n_removed for count in counts.filters}
    n_too_old = len({number for number in content if number < 5 or number % 8 == 0})
    assert by_attribute == {"genre": len({n for n in content if not n % 2}), "year": n_too_old}
    assert (counts.n_seen, counts.n_excluded) == (2, 1)


def test_what_a_popular_and_a_similar_answer_rest_on_is_said(recommender: Recommender) -> None:
    popular = explained(recommender, Request(timestamp=NOW, k=2, surface="home"))
    assert {sentence.cause for sentence in popular.sentences} == {"popular_in"}
    similar = explained(recommender, Request(timestamp=NOW, k=2, like_item="i007"))
    assert {sentence.text for sentence in similar.sentences} == {"Similar to i007"}


def test_largest_cause_is_said_in_the_operator_s_words(recommender: Recommender, tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text("event: 'Vous avez vu {event}'\nbias: Populaire\n")
    (decision,) = decide_together(recommender, [ASKED])
    explanation = explain(decision, recommender, NO_RULES, Words.read(path))
    assert explanation.reasons is not None
    for item, sentence in zip(explanation.reasons.items, explanation.sentences, strict=True):
        effects = [item.score - (without or 0.0) for without in item.without.events]
        if sentence.cause == "event":
            assert sentence.text == f"Vous avez vu {HISTORY[-4:][int(np.argmax(effects))]}"
    said = {sentence.cause: sentence.text for sentence in explanation.sentences}
    assert said.get("bias", "Populaire") == "Populaire"
    assert "event" in said


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("weather: sunny", "'weather'"),
        ("event: 'Because of {event.__class__}'", "event.__class__"),
        ("event: '{event!r}'", "'event'"),
        ("event: '{event:>9}'", "'event'"),
        ("bias: 'Liked by {n}'", "'n'"),
        ("event: 'Because of {event'", "braces"),
        ("bias: ''", "1 to 300"),
        ("- event", "YAML"),
    ],
)
def test_words_that_are_none_are_refused(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        Words.read(path)
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        Words.read(tmp_path / "none.yaml")


def test_default_words_are_good_ones() -> None:
    assert Words().sentences == DEFAULT_WORDS


def test_interactions_of_the_tiny_bundle_are_what_is_read(recommender: Recommender) -> None:
    """A known user's stored history stands before what the request tells."""
    interactions: Interactions = make_tiny().contents.interactions
    reasons = explained(recommender, Request(timestamp=NOW, k=2, user_id="u1", history=("i010",))).reasons
    assert reasons is not None
    start, end = interactions.offsets[1:3].tolist()
    stored = [f"i{item:03d}" for item in interactions.item_index[start:end].tolist()]
    assert list(reasons.events) == [*stored[-3:], "i010"]
