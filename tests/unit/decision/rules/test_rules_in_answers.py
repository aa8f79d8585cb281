"""Rules in answers of every kind: what stands where, what is named, and why the rest is not."""

import pytest

from marquee.bundle.bundle import Bundle
from marquee.core.filters import Filters
from marquee.decision.pages.rows import Row, RowKind
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, Request, RuleNotApplied
from marquee.decision.reranking import Diversity, Reranking
from marquee.store.live_items import LiveItem
from marquee.store.rules.rule import ActiveRules, Boost, Pin, Rule, Target
from tests.support.bundles import N_ITEMS, NOW, make_tiny, publish_tiny


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


def ask(recommender: Recommender, *rules: Rule, **fields: object) -> Answer:
    told = {"timestamp": NOW, "user_id": "u1", "k": 4, **fields, "rules": ActiveRules(1, rules)}
    if "like_item" in told:
        del told["user_id"]
    return recommender.recommend([Request(**told)])[0]  # type: ignore[arg-type]  # fields of any type


def ids(answer: Answer) -> list[str]:
    return [item.item_id for item in answer.items]


def pin(item_id: str, place: int, rule_id: str = "pin") -> Rule:
    return Rule(rule_id=rule_id, pins=(Pin(item_id, place),))


def block(*items: str, rule_id: str = "block") -> Rule:
    return Rule(rule_id=rule_id, block=Target(items=items))


def boost(weight: float, *items: str, rule_id: str = "boost") -> Rule:
    return Rule(rule_id=rule_id, boost=Boost(weight=weight, target=Target(items=items)))


def ranked(recommender: Recommender, **fields: object) -> list[str]:
    return ids(ask(recommender, k=N_ITEMS, **fields))


@pytest.mark.parametrize(
    "fields", [{}, {"user_id": None}, {"like_item": "i003"}], ids=["personal", "popular", "similar"]
)
def test_pinned_item_that_was_no_candidate_stands_with_its_true_score(
    recommender: Recommender, fields: dict[str, object]
) -> None:
    everything = ask(recommender, k=N_ITEMS, **fields)
    last = everything.items[-1]
    answer = ask(recommender, pin(last.item_id, 2), **fields)
    best = ids(everything)
    assert ids(answer) == [best[0], last.item_id, best[1], best[2]]
    assert answer.items[1] == last
    assert answer.source is everything.source
    assert answer.rules == ("pin",)
    assert not answer.rules_not_applied


def test_boost_of_what_is_pinned_and_was_no_candidate_had_no_effect() -> None:
    recommender = Recommender(Bundle.of(make_tiny(n_items=300).contents, NOW))
    last = ids(ask(recommender, k=300))[-1]
    answer = ask(recommender, pin(last, 1), boost(1.0, last))
    assert (ids(answer)[0], answer.rules) == (last, ("pin",))


def test_pin_that_may_not_stand_leaves_its_place_to_the_next_best(recommender: Recommender) -> None:
    best = ranked(recommender, exclude_seen=False)
    rules = [block(best[5]), pin(best[5], 1), pin(best[7], 3, "other")]
    answer = ask(recommender, *rules, exclude_seen=False)
    assert ids(answer) == [best[0], best[1], best[7], best[2]]
    assert answer.rules == ("block", "other")
    assert answer.rules_not_applied == (RuleNotApplied("pin", f"{best[5]!r} is blocked by a rule"),)


@pytest.mark.parametrize(
    ("rule", "fields", "why"),
    [
        (pin("nothing", 1), {}, "'nothing' is no item of release"),
        (pin("i004", 1), {"kind": "content"}, "is not of kind content"),
        (pin("i001", 1), {"filters": {"genre": {"any_of": ["comedy"]}}}, "does not pass the filters"),
        (pin("i001", 1), {"exclude": ("i001",)}, "was seen, or is excluded"),
        (pin("i006", 1), {"timestamp": NOW + 10}, "is withdrawn, or not available at this time"),
        (pin("i001", 5), {}, "place 5 is behind the 4 that were asked for"),
    ],
)
def test_refused_pin_is_told_with_its_reason(
    recommender: Recommender, rule: Rule, fields: dict[str, object], why: str
) -> None:
    if "filters" in fields:
        fields = {"filters": Filters.of(fields["filters"])}  # type: ignore[arg-type]  # JSON
    answer = ask(recommender, rule, user_id="u6", **fields)
    (told,) = answer.rules_not_applied
    assert told.rule_id == "pin"
    assert why in told.why
    assert answer.items == ask(recommender, user_id="u6", **fields).items


def test_item_pinned_twice_stands_once_at_the_first_place(recommender: Recommender) -> None:
    item = ranked(recommender)[-1]
    answer = ask(recommender, pin(item, 3, "late"), pin(item, 2, "early"))
    assert ids(answer).count(item) == 1
    assert answer.rules == ("early",)
    assert answer.rules_not_applied[0].why == f"{item!r} stands at place 2 already"


def test_pin_behind_the_end_of_a_short_answer_stands_at_its_end(recommender: Recommender) -> None:
    best = ranked(recommender)
    answer = ask(recommender, pin(best[0], 9), k=12, exclude=tuple(best[3:]))
    assert ids(answer) == [best[1], best[2], best[0]]
    assert not answer.rules
    assert "stands at place 3 and not at 9" in answer.rules_not_applied[0].why


def test_blocks_never_make_an_answer_short_while_anything_is_left(recommender: Recommender) -> None:
    best = ranked(recommender)
    answer = ask(recommender, block(*best[:4]))
    assert ids(answer) == best[4:8]
    short = ask(recommender, block(*best[2:]))
    assert ids(short) == best[:2]
    assert f"rules block {len(best) - 2} of them" in (short.short_reason or "")


def test_boost_lifts_an_item_by_its_weight_of_relevance(recommender: Recommender) -> None:
    everything = ask(recommender, k=N_ITEMS)
    best = ids(everything)
    lifted = ask(recommender, boost(1.0, best[9]), boost(-1.0, best[0], rule_id="down"))
    assert ids(lifted)[0] == best[9]
    assert best[0] not in ids(lifted)
    assert lifted.rules == ("boost", "down")
    assert lifted.items[0].score == everything.items[9].score  # what is told stays the inner product
    # Named twice it is lifted once; of an item that cannot be shown it does nothing and is not named.
    once = ask(recommender, boost(0.01, "i001", "i001"), k=N_ITEMS)
    assert once.items == ask(recommender, boost(0.01, "i001"), k=N_ITEMS).items
    assert ask(recommender, boost(1.0, best[9]), exclude=(best[9],)).rules == ()


def test_rule_that_is_about_no_item_of_the_release_is_told(recommender: Recommender) -> None:
    elsewhere = Rule(rule_id="song", block=Target(filters=Filters.of({"tempo": {"min": 90}})))
    answer = ask(recommender, elsewhere, boost(1, "nothing"))
    assert [one.rule_id for one in answer.rules_not_applied] == ["song", "boost"]
    assert "about no item of release" in answer.rules_not_applied[0].why
    assert answer.items == ask(recommender).items


def test_live_items_are_pinned_blocked_and_boosted_as_others(recommender: Recommender) -> None:
    items = {name: LiveItem(item_id=name, attributes={"genre": "drama"}) for name in ("new1", "new2")}
    with_items = recommender.with_live_items({**items, "i001": LiveItem(item_id="i001", is_withdrawn=True)})
    drama = Rule(rule_id="drama", block=Target(filters=Filters.of({"genre": {"any_of": ["drama"]}})))
    assert ids(ask(with_items, pin("new2", 1)))[0] == "new2"
    assert {"new1", "new2"} <= set(ranked(with_items))
    assert not {"new1", "new2"} & set(ids(ask(with_items, drama, k=N_ITEMS)))
    assert ids(ask(with_items, boost(1.0, "new1"), boost(1.0, "new1", rule_id="more")))[0] == "new1"
    (told,) = ask(with_items, pin("i001", 1)).rules_not_applied
    assert "withdrawn" in told.why


def test_pinned_place_is_certain_and_the_others_are_drawn(recommender: Recommender) -> None:
    item = ranked(recommender)[-1]
    exploration = Exploration(policy=PolicyName.softmax, temperature=0.5, floor=0.2, share=0.7)
    lists = set()
    for number in range(20):
        request = Request(
            timestamp=NOW,
            user_id="u1",
            k=4,
            exploration=exploration,
            decision_id=f"d{number}",
            rules=ActiveRules(1, (pin(item, 3),)),
        )
        (decided,) = recommender.decide([request])
        assert ids(decided.answer)[2] == item
        assert decided.propensities is not None
        assert decided.propensities[2] == 1.0
        assert all(0 < chance < 1 for chance in decided.propensities[[0, 1, 3]])
        lists.add(tuple(ids(decided.answer)))
    assert len(lists) > 5


@pytest.mark.parametrize("diversity", list(Diversity))
def test_what_stands_above_a_pin_is_unlike_it(recommender: Recommender, diversity: Diversity) -> None:
    # The last two items have the same vector: what is like the pinned one comes last.
    reranking = Reranking(diversity=diversity, diversity_weight=0.9)
    twin, item = f"i{N_ITEMS - 1:03d}", f"i{N_ITEMS:03d}"
    time = {"timestamp": NOW - 5, "exclude_seen": False}  # a time at which both are there
    assert {twin, item} <= set(ranked(recommender, **time))
    answer = ask(recommender, pin(item, 4), reranking=reranking, **time)
    assert ids(answer)[3] == item
    assert twin not in ids(answer)[:3]


def test_rows_of_a_page_keep_the_rules_and_show_a_pinned_item_once(recommender: Recommender) -> None:
    best = ranked(recommender, user_id="u6")
    rules = ActiveRules(1, (pin("i001", 1), block(best[0])))
    kinds = [
        (RowKind.for_you, {}),
        (RowKind.popular, {}),
        (RowKind.new, {}),
        (RowKind.similar, {"item_id": "i002"}),
    ]
    rows = [
        Row(kind=kind, request=Request(timestamp=NOW, k=3, rules=rules), **more)  # type: ignore[arg-type]
        for kind, more in kinds
    ]
    answered = recommender.recommend_page(Request(timestamp=NOW, user_id="u6"), rows)
    shown = [item for row in answered for item in ids(row.answer)]
    assert shown[0] == "i001"
    assert len(set(shown)) == len(shown)
    assert best[0] not in shown
    assert [row.answer.rules for row in answered] == [("pin", "block"), *[("block",)] * 3]
    assert "was seen, or is excluded" in answered[1].answer.rules_not_applied[0].why
    # A row of new items has no score for one that was always there, and shows it all the same.
    (new,) = recommender.recommend_page(Request(timestamp=NOW), [rows[2]])
    assert new.answer.items[0].item_id == "i001"


def test_masks_are_made_once_for_the_same_rules(recommender: Recommender) -> None:
    rules = ActiveRules(1, (block("i001"),))
    pool = recommender.item_pool
    ruling = pool.ruling(rules)
    assert pool.ruling(rules) is ruling
    allowed = pool.allowed(None, NOW)
    assert pool.without_blocked(allowed, ruling) == pool.without_blocked(allowed, ruling)
    # Other live items leave the arrays of the bundle's own items as they are.
    other = recommender.with_live_items({"new": LiveItem(item_id="new")}).item_pool
    assert other.ruling(rules) is not ruling
    assert other.ruling(rules).own is ruling.own
