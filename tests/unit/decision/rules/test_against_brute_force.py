"""1,000 random sets of rules, candidates and filters against an answer by brute force."""

import random
from collections import Counter

import pytest

from marquee.decision.recommender import Recommender
from marquee.decision.requests import Source
from tests.support.bundles import publish_tiny
from tests.support.rule_cases import brute_force, random_case

N_CASES = 1_000


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


def test_answers_are_those_of_brute_force(recommender: Recommender) -> None:
    draw, seen = random.Random(15), Counter[str]()
    item_ids = recommender.bundle.catalog.item_ids.ids
    for _ in range(N_CASES):
        case = random_case(draw, item_ids)
        expected = brute_force(case, recommender)
        (answer,) = recommender.recommend([case.asked])
        ids = [item.item_id for item in answer.items]
        assert ids == list(expected.items), case
        assert not set(ids) & expected.blocked
        for place, item in expected.standing.items():
            assert ids[place - 1] == item
            assert ids.count(item) == 1
        assert answer.rules == expected.applied
        if not case.active:
            assert answer == recommender.recommend([case.request])[0]
        seen["pins"] += len(expected.standing)
        seen["blocks"] += bool(expected.blocked)
        seen["idle"] += not case.active and bool(case.rules)
        seen["popular"] += answer.source is Source.popular
        seen["refused"] += bool(answer.rules_not_applied)
    # The cases are worth something: each of these happened often.
    assert min(seen.values()) > N_CASES // 20, seen
