"""Re-ranked answers: chosen among what may be returned, scores untouched, and never silently short."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.core.catalog import ItemKind
from marquee.decision.constraints import Candidates
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, Request, Source
from marquee.decision.reranking import Diversity, Reranking
from marquee.decision.retrieval import Retriever
from marquee.errors import DataError
from marquee.store.live_items import LiveItem
from tests.support.bundles import N_ITEMS, NOW, OPENS, publish_tiny


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


def ask(recommender: Recommender, reranking: Reranking, **fields: object) -> Answer:
    request = Request(**{"timestamp": NOW, "user_id": "u1", "reranking": reranking, **fields})  # type: ignore[arg-type]
    return recommender.recommend([request])[0]


def ids(answer: Answer) -> list[str]:
    return [item.item_id for item in answer.items]


def is_drama(item_id: str) -> bool:
    return int(item_id[1:]) % 2 == 1


rerankings = st.builds(
    Reranking,
    n_candidates=st.sampled_from([1, 5, 200]),
    diversity=st.sampled_from([None, *Diversity]),
    caps=st.dictionaries(st.sampled_from(["genre", "tags", "kind"]), st.integers(1, 4)),
    spacing=st.dictionaries(st.sampled_from(["genre", "tags", "kind"]), st.integers(2, 3)),
    freshness_weight=st.sampled_from([0.0, 0.5]),
)


@settings(max_examples=100, deadline=None)
@given(
    rerankings,
    st.integers(1, N_ITEMS),
    st.sampled_from([None, *ItemKind]),
    st.sampled_from(["u1", "u6", None]),
    st.lists(st.integers(1, N_ITEMS).map(lambda number: f"i{number:03d}"), max_size=5),
)
def test_answer_holds_only_what_may_be_returned_with_its_true_score(
    recommender: Recommender,
    reranking: Reranking,
    k: int,
    kind: ItemKind | None,
    user_id: str | None,
    exclude: list[str],
) -> None:
    fields: dict[str, object] = {"kind": kind, "user_id": user_id, "exclude": tuple(exclude)}
    everything = ask(recommender, Reranking(), k=N_ITEMS, **fields)
    answer = ask(recommender, reranking, k=k, **fields)
    assert answer.source is everything.source
    assert set(answer.items) <= set(everything.items)
    assert len(set(ids(answer))) == len(answer.items) <= k
    assert answer.reranked == reranking.steps
    genres = Counter(map(is_drama, ids(answer)))
    assert max(genres.values(), default=0) <= reranking.caps.get("genre", N_ITEMS)
    assert (answer.short_reason is not None) == (len(answer.items) < k)
    if not reranking.caps and not reranking.spacing:
        assert len(answer.items) == min(k, len(everything.items))


def test_answer_without_reranking_says_so(recommender: Recommender) -> None:
    answer = ask(recommender, Reranking())
    assert answer.reranked == ()
    assert answer == ask(recommender, Reranking(diversity=Diversity.mmr, diversity_weight=0.0))


def test_caps_take_the_next_best_in_the_order_of_scores(recommender: Recommender) -> None:
    plain = ids(ask(recommender, Reranking(), k=N_ITEMS))
    dramas, comedies = [i for i in plain if is_drama(i)][:3], [i for i in plain if not is_drama(i)][:3]
    answer = ask(recommender, Reranking(caps={"genre": 3}), k=6)
    assert ids(answer) == [i for i in plain if i in dramas or i in comedies]


def test_rules_look_beyond_the_first_candidates(recommender: Recommender) -> None:
    narrow = Reranking(caps={"genre": 3}, n_candidates=1)
    assert ids(ask(recommender, narrow, k=6)) == ids(ask(recommender, Reranking(caps={"genre": 3}), k=6))


def test_rules_that_leave_an_answer_short_are_named(recommender: Recommender) -> None:
    answer = ask(recommender, Reranking(caps={"genre": 2}), k=9)
    n_all = len(ask(recommender, Reranking(), k=N_ITEMS).items)
    assert len(answer.items) == 4
    assert answer.short_reason == (
        f"caps and spacing permit 4 of the {n_all} best items that may be returned, 9 were requested"
    )


def test_what_availability_leaves_short_is_not_blamed_on_rules(recommender: Recommender) -> None:
    answer = ask(recommender, Reranking(caps={"genre": N_ITEMS}), k=100)
    assert answer.short_reason is not None
    assert "available at this time" in answer.short_reason


def test_popular_answer_is_reranked_too(recommender: Recommender) -> None:
    answer = ask(recommender, Reranking(spacing={"genre": 2}), user_id=None, k=8)
    assert answer.source is Source.popular
    genres = [is_drama(item_id) for item_id in ids(answer)]
    assert all(genres[place] != genres[place + 1] for place in range(7))


def test_fresh_items_rise(recommender: Recommender) -> None:
    fresh = Reranking(freshness_weight=100.0, freshness_half_life_days=1.0)
    answer = ask(recommender, fresh, k=3, timestamp=OPENS + 1)
    assert {item_id for item_id in ids(answer) if int(item_id[1:]) % 5 == 0} == set(ids(answer))


def test_bias_has_no_say_in_diversity(tmp_path: Path) -> None:
    recommender = Recommender.load(publish_tiny(tmp_path, has_item_bias=True))
    items = recommender.item_pool.table.encode(["i001", "i002"])
    assert recommender.item_pool.table.directions(items).shape == (2, 3)
    assert len(ask(recommender, Reranking(diversity=Diversity.dpp), k=5).items) == 5


def test_each_request_of_a_batch_is_reranked_by_itself(recommender: Recommender) -> None:
    requests = [
        Request(timestamp=NOW, user_id="u1", k=6, reranking=reranking)
        for reranking in (Reranking(), Reranking(caps={"genre": 3}), Reranking(diversity=Diversity.mmr))
    ]
    assert recommender.recommend(requests) == [recommender.recommend([request])[0] for request in requests]


def test_live_items_are_reranked_with_the_others(recommender: Recommender) -> None:
    items = {name: LiveItem(item_id=name, attributes={"genre": "opera"}) for name in ("new1", "new2")}
    answer = ask(recommender.with_live_items(items), Reranking(caps={"genre": 1}), k=5)
    assert len(answer.items) == 3
    assert len({"new1", "new2"} & set(ids(answer))) == 1


@pytest.mark.parametrize(
    ("reranking", "message"),
    [
        (Reranking(caps={"colour": 1}), r"no attribute 'colour' in bundle .*; name kind or one of \['genre'"),
        (Reranking(spacing={"colour": 2}), "no attribute 'colour'"),
        (Reranking(freshness_weight=1.0, freshness_attribute="genre"), "attribute of moments.*got 'genre'"),
        (Reranking(freshness_weight=1.0, freshness_attribute="colour"), "no attribute 'colour'"),
    ],
)
def test_attribute_that_is_not_there_is_refused_by_name(
    recommender: Recommender, reranking: Reranking, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        ask(recommender, reranking)
    with pytest.raises(DataError, match=message):
        recommender.validate(Request(timestamp=NOW, reranking=reranking))


def test_attributes_that_are_there_pass(recommender: Recommender) -> None:
    reranking = Reranking(caps={"genre": 1, "kind": 2}, spacing={"tags": 2}, freshness_weight=1.0)
    recommender.validate(Request(timestamp=NOW, reranking=reranking))
    recommender.validate(Request(timestamp=NOW))


def test_how_far_to_look_does_not_depend_on_what_is_drawn(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the propensities would be those of lists that happened to be long enough."""
    looked: list[int] = []
    search_again = Retriever.search_row

    def counted(*arguments: Any) -> Candidates:
        looked.append(arguments[-1].n_candidates)
        return search_again(*arguments)

    monkeypatch.setattr(Retriever, "search_row", counted)
    reranking = Reranking(n_candidates=4, caps={"genre": 1})
    ask(recommender, reranking, k=3)
    greedily, drawn = list(looked), set[tuple[int, ...]]()
    for number in range(50):
        looked.clear()
        exploration = Exploration(policy=PolicyName.epsilon, epsilon=1.0)
        ask(recommender, reranking, k=3, exploration=exploration, decision_id=str(number))
        drawn.add(tuple(looked))
    assert drawn == {tuple(greedily)}


def test_drawn_answer_follows_from_the_decisions_id(recommender: Recommender) -> None:
    exploration = Exploration(policy=PolicyName.softmax, temperature=1.0)
    answers = [
        ids(ask(recommender, Reranking(), k=5, exploration=exploration, decision_id=decision_id))
        for decision_id in ("a", "a", "b", "c")
    ]
    assert answers[0] == answers[1]
    assert len(set(map(tuple, answers))) > 1


def test_drawing_without_an_id_is_refused() -> None:
    with pytest.raises(DataError, match="decision_id must be given"):
        Request(timestamp=NOW, exploration=Exploration(policy=PolicyName.softmax))
