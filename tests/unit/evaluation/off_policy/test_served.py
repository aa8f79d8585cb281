"""The probabilities of a service's answers, place by place, beside those that it would log."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marquee.bundle.bundle import Bundle
from marquee.core.catalog import ItemKind
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.decision.reranking import Reranking
from marquee.evaluation.off_policy.served import spread_answers
from tests.support.bundles import publish_tiny


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender(Bundle.load(publish_tiny(Path(tmp_path_factory.mktemp("served")))))


def requests(exploration: Exploration, reranking: Reranking | None = None) -> list[Request]:
    asked = [
        Request(timestamp=1_700_000_000, k=4, user_id="u1", decision_id="d1", exploration=exploration),
        Request(timestamp=1_700_000_000, k=3, decision_id="d2", exploration=exploration),
        Request(timestamp=1_700_000_000, k=2, history=("i2",), kind=ItemKind.content, decision_id="d3",
                exploration=exploration),
    ]  # fmt: skip
    return asked if reranking is None else [replace(one, reranking=reranking) for one in asked]


@pytest.mark.parametrize(
    "exploration",
    [
        Exploration(policy=PolicyName.softmax, temperature=0.3, floor=0.1),
        Exploration(policy=PolicyName.epsilon, epsilon=0.4, share=0.5),
    ],
    ids=["softmax", "epsilon"],
)
def test_own_answers_have_the_propensities_that_were_logged(
    recommender: Recommender, exploration: Exploration
) -> None:
    asked = requests(exploration)
    decided = recommender.decide(asked)
    answers = [[item.item_id for item in one.answer.items] for one in decided]
    assert max(map(len, answers)) > 1
    for one, answer, (items, chances) in zip(
        decided, answers, spread_answers(recommender, asked, answers), strict=True
    ):
        np.testing.assert_allclose(chances.sum(axis=1), 1.0)
        own = [chances[place, items.index(item)] for place, item in enumerate(answer)]
        assert own == pytest.approx(
            one.propensities.tolist() if one.propensities is not None else [], rel=1e-12
        )


def test_a_service_that_draws_nothing_is_certain_of_its_answer(recommender: Recommender) -> None:
    asked = requests(Exploration())
    answers = [[item.item_id for item in one.items] for one in recommender.recommend(asked)]
    for answer, (items, chances) in zip(answers, spread_answers(recommender, asked, answers), strict=True):
        assert [items[best] for best in chances.argmax(axis=1)] == answer
        assert set(np.unique(chances)) <= {0.0, 1.0}


def test_items_from_elsewhere_are_no_candidates(recommender: Recommender) -> None:
    exploration = Exploration(policy=PolicyName.softmax)
    (first, *_) = spread_answers(recommender, requests(exploration)[:1], [["nobody knows", "i2"]])
    items, chances = first
    assert "nobody knows" not in items
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
