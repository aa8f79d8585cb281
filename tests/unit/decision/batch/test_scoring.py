"""Scores of many users are what each would be answered, whatever is asked for."""

import pytest

from marquee.core.catalog import ItemKind
from marquee.core.filters import Filters
from marquee.decision.batch.scoring import SCORE_SCHEMA, USERS_AT_ONCE, score_users
from marquee.decision.batch.terms import AskedUser, BatchTerms
from marquee.decision.recommender import Recommender
from marquee.decision.requests import HistoryEvent
from marquee.decision.reranking import Diversity, Reranking
from tests.support.bundles import N_USERS, NOW, publish_tiny

COMEDY = Filters.of({"genre": {"any_of": ["comedy"]}})
KNOWN = [AskedUser(user_id=f"u{number}") for number in range(1, N_USERS + 1)]
ASKED = [
    *KNOWN,
    AskedUser(user_id="nobody"),
    AskedUser(user_id="new", history=("i003", "none such")),
    AskedUser(user_id="u2", history=(HistoryEvent("i004", "rating", 5.0),), features={"age": 30}),
]
TERMS = {
    "plain": BatchTerms(timestamp=NOW),
    "more than there are": BatchTerms(timestamp=NOW, k=40),
    "filters": BatchTerms(timestamp=NOW, k=8, filters=COMEDY, exclude_seen=False),
    "ads": BatchTerms(timestamp=NOW, kind=ItemKind.ad),
    "surface": BatchTerms(timestamp=NOW, surface="home", context={"surface": "home"}),
    "re-ranked": BatchTerms(
        timestamp=NOW, k=5, reranking=Reranking(diversity=Diversity.mmr, caps={"genre": 2}, n_candidates=12)
    ),
}


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_scores_are_what_each_user_is_answered(recommender: Recommender, terms: BatchTerms) -> None:
    scored = score_users(recommender, ASKED, terms)

    answers = recommender.recommend([terms.request_of(user) for user in ASKED])
    assert scored.rows(named=True) == [
        {
            "user_id": user.user_id,
            "items": [item.item_id for item in answer.items],
            "scores": [item.score for item in answer.items],
            "source": answer.source.value,
            "version": recommender.version,
            "short_reason": answer.short_reason,
            "fallback_reason": answer.fallback_reason,
            "popular_in": answer.popular_in,
            "unknown_user": answer.unknown_user,
            "unknown_history": answer.unknown_history,
        }
        for user, answer in zip(ASKED, answers, strict=True)
    ]
    assert scored.schema == SCORE_SCHEMA


def test_users_of_several_batches_stay_in_order(recommender: Recommender) -> None:
    users = [AskedUser(user_id=f"u{number}") for number in range(USERS_AT_ONCE + 3)]

    scored = score_users(recommender, iter(users), BatchTerms(timestamp=NOW, k=2))

    assert scored["user_id"].to_list() == [user.user_id for user in users]
    alone = score_users(recommender, users[-2:], BatchTerms(timestamp=NOW, k=2))
    assert scored[-2:].equals(alone)


def test_nobody_has_no_scores(recommender: Recommender) -> None:
    scored = score_users(recommender, [], BatchTerms(timestamp=NOW))

    assert scored.is_empty()
    assert scored.schema == SCORE_SCHEMA


def test_nothing_is_allowed_and_the_reason_is_told(recommender: Recommender) -> None:
    terms = BatchTerms(timestamp=NOW, filters=Filters.of({"genre": {"any_of": ["none such"]}}))

    scored = score_users(recommender, KNOWN, terms)

    assert scored["items"].to_list() == [[]] * N_USERS
    assert scored["short_reason"].str.contains("do not pass the filters").all()
