"""A request for items like another is answered among requests of users, and stands alone."""

from pathlib import Path

import pytest

from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request, Source, Stage
from marquee.decision.reranking import Reranking
from marquee.errors import UnknownIdError
from tests.support.bundles import NOW, publish_tiny


@pytest.fixture
def recommender(tmp_path: Path) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path))


def test_batch_may_ask_for_users_and_for_items_alike(recommender: Recommender) -> None:
    users = [Request(timestamp=NOW, user_id=user) for user in ("u1", "u2")]
    like = Request(timestamp=NOW, like_item="i002", k=3, exclude=("i001",))
    stages: list[Stage] = []
    answers = recommender.recommend([users[0], like, users[1]], stages.append)
    assert [answers[0], answers[2]] == recommender.recommend(users)
    assert answers[1] == recommender.similar("i002", k=3, exclude=("i001",), timestamp=NOW)
    assert answers[1].source is Source.similar
    assert stages[-1] is Stage.retrieve


def test_item_is_never_like_itself_whether_seen_items_may_come_or_not(recommender: Recommender) -> None:
    for exclude_seen in (True, False):
        request = Request(timestamp=NOW, like_item="i002", k=100, exclude_seen=exclude_seen)
        (answer,) = recommender.recommend([request])
        assert "i002" not in {item.item_id for item in answer.items}


def test_unknown_item_is_found_before_the_batch(recommender: Recommender) -> None:
    with pytest.raises(UnknownIdError, match="got 'nope'"):
        recommender.validate(Request(timestamp=NOW, like_item="nope"))
    recommender.validate(Request(timestamp=NOW, like_item="i002"))


def test_similar_items_are_reranked_like_others(recommender: Recommender) -> None:
    alike = recommender.similar("i002", timestamp=NOW, k=100)
    capped = recommender.similar(
        "i002", timestamp=NOW, k=4, reranking=Reranking(caps={"genre": 2}, n_candidates=3)
    )
    assert (capped.source, capped.reranked) == (Source.similar, ("caps",))
    genre = {item.item_id: "drama" if int(item.item_id[1:]) % 2 else "comedy" for item in alike.items}
    expected: list[str] = []
    for item in alike.items:  # looks as far as it must, beyond its three candidates
        if sum(genre[taken] == genre[item.item_id] for taken in expected) < 2:
            expected.append(item.item_id)
    assert [item.item_id for item in capped.items] == expected[:4]
    assert {item.item_id: item.score for item in capped.items}.items() <= {
        item.item_id: item.score for item in alike.items
    }.items()


def test_unknown_user_is_said(recommender: Recommender) -> None:
    asked = [Request(timestamp=NOW, user_id=user) for user in ("nobody", "u1", None)]
    assert [answer.unknown_user for answer in recommender.recommend(asked)] == [True, False, False]
