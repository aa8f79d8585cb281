from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from marquee.bundle.bundle import Bundle
from marquee.core.event_kinds import EventKinds, KindConfig
from marquee.core.histories import Interactions
from marquee.core.ids import IdMap
from marquee.core.item_lists import ItemLists
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.errors import DataError
from marquee.evaluation.analyses.served import (
    ServedComparison,
    ServedLists,
    compare_served,
    rewind,
    serve_lists,
)
from marquee.evaluation.evaluation import Evaluation, EvaluationTask, evaluate
from tests.support.bundles import KINDS, NOW, publish_tiny

K = 5
USERS = ("u2", "u1", "stranger")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


def _known(*histories: list[int]) -> Interactions:
    """Histories of the queries' users, of kind 1, in the indices of the data set."""
    items = np.array([item for history in histories for item in history], dtype=np.int64)
    users = np.repeat(np.arange(1, len(histories) + 1), [len(history) for history in histories])
    ones = np.ones(len(items), dtype=np.int64)
    return Interactions.group(
        users, items, ones, np.arange(len(items)), ones.astype(np.float32), n_users=len(histories)
    )


@cache
def _evaluation() -> Evaluation:
    """A model that ranks items 1 to 5 first for each of 60 users, whose target is one of them or not."""
    scores = np.tile(-np.arange(25, dtype=np.float32), (60, 1))
    targets = ItemLists.of([[1 + user % 10] for user in range(60)])
    return evaluate(
        {"model": lambda rows: scores[rows].copy()},
        EvaluationTask(targets, 24, (K,)),
        np.random.default_rng(0),
        n_resamples=50,
    )


def _compared(bundle: Bundle, lists: list[list[int]]) -> ServedComparison:
    served = ServedLists(np.array(lists), {"personal": len(lists)}, 0)
    return compare_served(_evaluation(), served, bundle, f"ndcg@{K}", np.random.default_rng(0))


def test_a_rewound_bundle_knows_what_was_known_and_nothing_else(bundle: Bundle) -> None:
    item_ids = IdMap(("i003", "i001", "elsewhere"))  # other indices than the bundle's
    rewound = rewind(bundle, USERS, _known([1, 2], [2], [1]), item_ids, KINDS)
    histories = [
        rewound.history_items[start:end].tolist()
        for start, end in zip(rewound.history_offsets[1:-1], rewound.history_offsets[2:], strict=True)
    ]
    assert histories == [[1], [3, 1], [], [], [], []]
    assert rewound.history_kinds.tolist() == [1] * 4


def test_a_rewound_bundle_answers_with_the_history_that_it_was_given(bundle: Bundle) -> None:
    item_ids = bundle.catalog.item_ids
    rewound = rewind(bundle, USERS, _known([7, 8], [9], []), item_ids, KINDS)
    requests = [Request(user_id=user, timestamp=NOW, k=K) for user in USERS]
    lists = serve_lists(rewound, requests, item_ids)
    assert not {7, 8} & set(lists.items[0].tolist())
    assert 9 not in lists.items[1]
    answers = Recommender(rewound).recommend(requests)
    assert item_ids.decode(lists.items[0].tolist()) == [item.item_id for item in answers[0].items]
    assert lists.sources == {"personal": 2, "popular": 1}


def test_short_answers_are_counted_and_padded(bundle: Bundle) -> None:
    request = Request(user_id="u1", timestamp=NOW, k=100)
    lists = serve_lists(bundle, [request], bundle.catalog.item_ids)
    assert lists.n_short == 1
    assert lists.items.shape == (1, 100)
    assert lists.items[0, -1] == 0


def test_a_bundle_that_counts_other_kinds_is_refused(bundle: Bundle) -> None:
    kinds = EventKinds({"view": KindConfig()})
    with pytest.raises(DataError, match=r"counts kinds \['click', 'rating'\], the run \['view'\]"):
        rewind(bundle, USERS, _known([], [], []), bundle.catalog.item_ids, kinds)


def test_the_same_lists_are_what_was_judged(bundle: Bundle) -> None:
    compared = _compared(bundle, [[1, 2, 3, 4, 5]] * 60)
    assert compared.is_within_tolerance
    assert (compared.difference.mean, compared.overlap, compared.identical_fraction) == (0.0, 1.0, 1.0)
    assert compared.sentence.startswith("What is served is what was judged")


def test_a_flipped_index_is_caught(bundle: Bundle) -> None:
    compared = _compared(bundle, [[24, 23, 22, 21, 20]] * 60)
    assert not compared.is_within_tolerance
    assert compared.served.mean == 0.0
    assert compared.difference.mean == pytest.approx(-compared.offline.mean)


def test_other_lists_of_the_same_quality_are_caught(bundle: Bundle) -> None:
    # Half of the users have targets 1 to 5, as many 6 to 10: the mean is the same, the lists are not.
    compared = _compared(bundle, [[6, 7, 8, 9, 10]] * 60)
    assert compared.difference.mean == pytest.approx(0.0)
    assert not compared.is_within_tolerance
    assert "a stale bundle" in compared.sentence


def test_lists_in_another_order_are_alike_and_not_identical(bundle: Bundle) -> None:
    compared = _compared(bundle, [[2, 1, 3, 4, 5]] * 60)
    assert (compared.overlap, compared.identical_fraction) == (1.0, 0.0)


def test_every_query_needs_an_answer(bundle: Bundle) -> None:
    with pytest.raises(DataError, match=r"one answer per query evaluated \(60\), got 2"):
        _compared(bundle, [[1, 2, 3, 4, 5]] * 2)


def test_a_stale_bundle_is_caught(bundle: Bundle, tmp_path: Path) -> None:
    item_ids = bundle.catalog.item_ids
    requests = [Request(user_id=f"u{user}", timestamp=NOW, k=K) for user in range(1, 7)]
    fresh, stale = (
        serve_lists(one, requests, item_ids) for one in (bundle, Bundle.load(publish_tiny(tmp_path, seed=1)))
    )
    model = _evaluation().models["model"]
    lists = replace(model.lists, items=fresh.items)
    judged = replace(_evaluation(), models={"model": replace(model, lists=lists)}, query_index=np.arange(6))
    generator = np.random.default_rng(0)
    assert compare_served(judged, fresh, bundle, f"ndcg@{K}", generator).is_within_tolerance
    assert not compare_served(judged, stale, bundle, f"ndcg@{K}", generator).is_within_tolerance
