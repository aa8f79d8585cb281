"""A decision asked again, alone, gives what it gave in its batch, drawn places and rules included."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marquee.bundle.bundle import Bundle
from marquee.core.catalog import ItemKind
from marquee.core.filters import Filters
from marquee.decision.explaining.asked import asked_of, request_of
from marquee.decision.explaining.explanation import Outcome, explain
from marquee.decision.explaining.replaying import replay
from marquee.decision.explaining.sentences import Words
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.recommender import Recommender
from marquee.decision.requests import HISTORY_WEIGHT, HistoryEvent, Request
from marquee.decision.reranking import Diversity, Reranking
from marquee.store.live_items import LiveItem
from marquee.store.log.event_log import Decision
from marquee.store.people.consent import Tier
from marquee.store.rules.rule import NO_RULES, ActiveRules, Boost, Pin, Rule, Target
from tests.support.bundles import NOW, make_tiny, publish_tiny
from tests.support.recorded import decide_together
from tests.support.round_trips import fields_at_default

RULES = ActiveRules(
    3,
    (
        Rule(rule_id="front", pins=(Pin("i003", 2),)),
        Rule(rule_id="gone", block=Target(items=("i001", "i009"))),
        Rule(rule_id="up", boost=Boost(weight=0.5, target=Target(items=("i011", "i013")))),
    ),
)
EVERYTHING = Request(
    timestamp=NOW,
    k=3,
    user_id="u1",
    history=(HistoryEvent("i002", "click"), HistoryEvent("i004", "rating", 4.5)),
    features={"age": 31},
    context={"device": "phone"},
    surface="home",
    kind=ItemKind.content,
    filters=Filters.of({"year": {"min": 1990}, "tags": {"any_of": ["by 2", "by 3"]}}),
    reranking=Reranking(n_candidates=9, diversity=Diversity.mmr, caps={"genre": 2}),
    exploration=Exploration(policy=PolicyName.softmax, share=0.5, floor=0.1),
    decision_id="d-1",
    exclude=("i005",),
    exclude_seen=False,
    tier=Tier.segment,
)
LATER = LiveItem(item_id="new", attributes={"genre": "drama"})


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles"), has_item_bias=True))


def random_request(rng: np.random.Generator, number: int) -> Request:
    """Returns a request of any kind; every third explores."""
    is_similar = number % 11 == 0
    items = [f"i{item:03d}" for item in rng.integers(1, 30, rng.integers(0, 6))]
    exploration = Exploration(policy=PolicyName.softmax, share=0.7, floor=0.1)
    return Request(
        timestamp=NOW + int(rng.integers(-20, 20)),
        k=int(rng.integers(1, 8)),
        user_id=None if is_similar else [None, "u1", "u3", "stranger"][number % 4],
        like_item="i007" if is_similar else None,
        history=() if is_similar else tuple(items if number % 2 else map(HistoryEvent, items)),
        features={} if is_similar or number % 3 else {"age": 25, "shoe_size": 44},
        context={"device": "phone"} if number % 5 == 0 else {},
        kind=ItemKind.content if number % 6 == 0 else None,
        filters=Filters.of({"year": {"min": 1995}} if number % 7 == 0 else {}),
        reranking=Reranking(freshness_weight=0.4, caps={"genre": 3}) if number % 4 == 1 else Reranking(),
        exploration=exploration if number % 3 == 0 else Exploration(),
        decision_id=f"d-{number}",
        exclude=("i008",) if number % 9 == 0 else (),
        exclude_seen=number % 8 != 0,
    )


@pytest.mark.parametrize("rules", [NO_RULES, RULES], ids=["no rules", "rules"])
@pytest.mark.parametrize("live", [{}, {LATER.item_id: LATER}], ids=["release", "live items"])
def test_every_decision_of_a_batch_is_replayed_alone(
    recommender: Recommender, rules: ActiveRules, live: dict[str, LiveItem]
) -> None:
    answering = recommender.with_live_items(live)
    rng = np.random.default_rng(7)
    requests = [replace(random_request(rng, number), rules=rules) for number in range(64)]
    for start in range(0, len(requests), 8):
        for decision in decide_together(answering, requests[start : start + 8]):
            explanation = explain(decision, answering, rules, Words())
            assert explanation.outcome is Outcome.agrees, explanation.why
            assert explanation.reasons is not None
            assert len(explanation.sentences) == len(decision.places)
            replayed = replay(answering, decision, rules)
            chances = replayed.decided.propensities
            expected = [1.0] * len(decision.places) if chances is None else chances.tolist()
            assert [place.propensity for place in decision.places] == pytest.approx(expected, rel=1e-9)


def test_boosts_reach_as_far_in_a_replay_as_they_did() -> None:
    # Where nothing re-ranks, rules look at 50 candidates: an item beyond them is not lifted.
    recommender = Recommender(Bundle.of(make_tiny(n_items=300).contents, NOW))
    asked = Request(timestamp=NOW, k=3, history=("i002",))
    (everything,) = recommender.recommend([replace(asked, k=300)])
    far = Boost(weight=1.0, target=Target(items=tuple(one.item_id for one in everything.items[100:110])))
    rules = ActiveRules(1, (Rule(rule_id="far", boost=far),))
    (decision,) = decide_together(recommender, [replace(asked, rules=rules)])
    assert explain(decision, recommender, rules, Words()).outcome is Outcome.agrees


def test_everything_that_a_request_says_comes_back_from_its_record(recommender: Recommender) -> None:
    without_words = replace(EVERYTHING, query=None, history_weight=HISTORY_WEIGHT)
    # A user excludes the item of `like_item`; the rules that held are kept by their version, and of ads the
    # auction is. Words are not kept.
    assert {one for one in fields_at_default(without_words) if one.startswith("Request.")} == {
        "Request.ads",
        "Request.history_weight",
        "Request.like_item",
        "Request.query",
        "Request.rules",
    }
    (decision,) = decide_together(recommender, [without_words])
    again = request_of(decision)
    differing = [
        one.name for one in fields(Request) if getattr(again, one.name) != getattr(without_words, one.name)
    ]
    assert differing == []


def test_attributes_that_no_release_reads_are_not_kept(recommender: Recommender) -> None:
    asked = asked_of(
        Request(timestamp=NOW, features={"age": 31, "email": "a@b.c"}),
        recommender.bundle.columns,
        is_known_user=False,
    )
    assert asked["features"] == {"age": 31}


def explained(decision: Decision, recommender: Recommender | None, **changes: Any) -> Outcome:
    return explain(replace(decision, **changes), recommender, NO_RULES, Words()).outcome


def test_what_stands_in_the_way_of_a_replay_is_said(recommender: Recommender, tmp_path: Path) -> None:
    (decision,) = decide_together(recommender, [Request(timestamp=NOW, k=5, user_id="u1")])
    assert explained(decision, recommender) is Outcome.agrees
    assert explained(decision, None) is Outcome.release_gone
    assert explain(decision, recommender, None, Words()).outcome is Outcome.rules_gone
    assert explained(decision, recommender, asked={}) is Outcome.not_recorded
    assert explained(decision, recommender, user_id="a pseudonym") is Outcome.user_unknown
    first = decision.places[0].item_id
    gone = recommender.with_live_items({first: LiveItem(item_id=first, is_withdrawn=True)})
    changed = explain(decision, gone, NO_RULES, Words())
    assert changed.outcome is Outcome.live_items_changed
    assert changed.reasons is None
    assert [sentence.cause for sentence in changed.sentences] == ["personal"] * 5
    another = Recommender.load(publish_tiny(tmp_path, seed=1))
    assert explained(decision, another) is Outcome.differs


def test_change_of_live_items_that_no_answer_shows_is_told_beside_the_causes(
    recommender: Recommender,
) -> None:
    (decision,) = decide_together(recommender, [Request(timestamp=NOW, k=5, user_id="u1")])
    ad = LiveItem(item_id="late", available_from=NOW + 1000, attributes={"genre": "drama"})
    explanation = explain(decision, recommender.with_live_items({"late": ad}), NO_RULES, Words())
    assert (explanation.outcome, explanation.live_items_changed) == (Outcome.agrees, True)


def test_digest_of_live_items_is_the_same_whatever_the_order(recommender: Recommender) -> None:
    items = {name: LiveItem(item_id=name, attributes={"genre": "drama"}) for name in ("a", "b", "c")}
    one = recommender.with_live_items(items).item_pool.live_digest
    step = recommender.with_live_items({"c": items["c"]}).with_live_items(dict(reversed(items.items())))
    assert one == step.item_pool.live_digest != ""
    changed = {**items, "b": replace(items["b"], attributes={"genre": "comedy"})}
    assert recommender.with_live_items(changed).item_pool.live_digest != one
